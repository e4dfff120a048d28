"""Named credentials on the deployed stack: with the API's own rights, in the real parameter store."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.stack import Stack

PATH = "/cloud/credentials"
TOKENS = ["hf_" + "aBcD1234" * 4, "hf_" + "zYxW9876" * 4]


def parameters(stack: Stack) -> dict[str, dict[str, Any]]:
    """What lies below the credentials' path, by name, in clear."""
    ssm, found, more = stack.client("ssm"), dict[str, dict[str, Any]](), dict[str, str]()
    while True:
        path = "/stcloud/local/credentials"
        page = ssm.get_parameters_by_path(Path=path, Recursive=True, WithDecryption=True, **more)
        found |= {p["Name"]: p for p in page["Parameters"]}
        if "NextToken" not in page:
            return found
        more = {"NextToken": page["NextToken"]}


@pytest.fixture
def name(stack: Stack) -> Any:
    made = "stack-hub"
    stack.ok("POST", PATH, json={"name": made, "kind": "huggingface", "token": TOKENS[0]})
    yield made
    stack.api("DELETE", f"{PATH}/{made}?force=true")


def test_a_secret_is_stored_encrypted_rotated_and_removed(stack: Stack, name: str) -> None:
    ((path, first),) = parameters(stack).items()
    assert f"/{name}/000001-" in path
    assert (first["Type"], TOKENS[0] in first["Value"]) == ("SecureString", True)
    raw = stack.client("ssm").get_parameter(Name=path, WithDecryption=False)["Parameter"]["Value"]
    assert TOKENS[0] not in raw
    rotated = stack.ok("PUT", f"{PATH}/{name}/secret", json={"token": TOKENS[1]})
    assert rotated["credential"]["secret_version"] == 2
    ((path, second),) = parameters(stack).items()
    assert f"/{name}/000002-" in path
    assert TOKENS[1] in second["Value"]
    # Each version is written once, so the store's history of a parameter holds no earlier secret.
    history = stack.client("ssm").get_parameter_history(Name=path, WithDecryption=True)["Parameters"]
    assert [TOKENS[0] in p["Value"] for p in history] == [False]
    shown = stack.api("GET", f"{PATH}/{name}").text + stack.api("GET", PATH).text
    assert not any(token in shown for token in TOKENS)
    assert stack.ok("DELETE", f"{PATH}/{name}") == {"name": name, "used_by": []}
    assert parameters(stack) == {}
    assert stack.api("GET", f"{PATH}/{name}").status == 404


def test_a_name_is_taken_once_and_the_second_secret_is_not_kept(stack: Stack, name: str) -> None:
    again = stack.api("POST", PATH, json={"name": name, "kind": "huggingface", "token": TOKENS[1]})
    assert (again.status, again.json["code"]) == (409, "credential_exists")
    ((_, kept),) = parameters(stack).items()
    assert TOKENS[1] not in kept["Value"]


def test_a_signing_secret_is_made_by_the_function(stack: Stack) -> None:
    made = stack.ok("POST", PATH, json={"name": "stack-hook", "kind": "webhook"})
    try:
        ((_, kept),) = parameters(stack).items()
        assert made["secret"] in kept["Value"]
    finally:
        stack.ok("DELETE", f"{PATH}/stack-hook")
