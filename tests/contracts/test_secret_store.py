"""``SecretStore``: from memory, and from SSM with the rights that the template gives."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.secrets import SsmSecretStore
from chalicelib.domain.credentials import MAX_SECRET_BYTES, SecretStore
from chalicelib.errors import Unavailable
from infra.template_parts import load_template
from tests.fakes.credentials import InMemorySecretStore
from tests.support.emulator import Emulator

ALICE, BOB = "alice", "bob/../alice #1 写真"
STAGE = f"test-{uuid.uuid4().hex[:8]}"
PREFIX = f"/stcloud/{STAGE}"
PARAMETERS = "arn:aws:ssm:us-east-1:123456789012:parameter"


def rights() -> list[str]:
    """What the template lets the API do with secrets."""
    work = load_template()["Resources"]["ApiHandlerRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
    (statement,) = [s for s in work if s["Sid"] == "NamedCredentials"]
    assert statement["Resource"]["Fn::Sub"].endswith(":parameter/stcloud/${Stage}/credentials/*")
    return list(statement["Action"])


@pytest.fixture(scope="module")
def clients(emulator: Emulator) -> Iterator[Callable[[list[str]], Clients]]:
    """Clients of somebody who may do this to this stage's secrets, and nothing else."""
    made: list[Clients] = []

    def connect(actions: list[str]) -> Clients:
        iam, name = emulator.client("iam"), f"test-{uuid.uuid4().hex[:12]}"
        iam.create_user(UserName=name)
        statement = {"Effect": "Allow", "Action": actions, "Resource": f"{PARAMETERS}{PREFIX}/credentials/*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=name, PolicyName="secrets", PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        access = AccessKey(key["AccessKeyId"], key["SecretAccessKey"])
        made.append(Clients("us-east-1", endpoint_url=emulator.url, root=access))
        return made[-1]

    yield connect
    for client in made:
        client.close()


@pytest.fixture(scope="module")
def api(clients: Callable[[list[str]], Clients]) -> Clients:
    return clients(rights())


@pytest.fixture(params=["memory", "ssm"])
def secrets(request: pytest.FixtureRequest) -> Iterator[SecretStore]:
    if request.param == "memory":
        yield InMemorySecretStore()
        return
    store = SsmSecretStore(PREFIX, request.getfixturevalue("api").ssm)
    yield store
    for owner in (ALICE, BOB):
        for name in store.names(owner):
            store.delete(owner, name)


def test_what_is_stored_comes_back(secrets: SecretStore) -> None:
    secret = {"kind": "s3", "secret_access_key": 'a"b\\c/+=', "secrets": ["x", "写真"]}
    secrets.put(ALICE, "hub/000001-aB_c-9", secret)
    assert secrets.get(ALICE, "hub/000001-aB_c-9") == secret


def test_what_is_not_there_is_none_and_need_not_be_removed(secrets: SecretStore) -> None:
    assert secrets.get(ALICE, "hub/1") is None
    secrets.delete(ALICE, "hub/1")
    assert secrets.names(ALICE) == []
    assert secrets.names(ALICE, "hub") == []


def test_a_second_put_replaces_the_first_and_a_removed_one_is_gone(secrets: SecretStore) -> None:
    secrets.put(ALICE, "channel.9", {"a": 1})
    secrets.put(ALICE, "channel.9", {"a": 2})
    assert secrets.get(ALICE, "channel.9") == {"a": 2}
    secrets.delete(ALICE, "channel.9")
    assert secrets.get(ALICE, "channel.9") is None


def test_owners_of_any_name_are_kept_apart(secrets: SecretStore) -> None:
    secrets.put(ALICE, "hub/1", {"a": "alice"})
    assert secrets.get(BOB, "hub/1") is None
    secrets.put(BOB, "hub/1", {"a": "bob"})
    secrets.delete(ALICE, "hub/1")
    assert secrets.get(BOB, "hub/1") == {"a": "bob"}
    assert secrets.names(ALICE) == []


def test_names_are_all_or_those_below_one(secrets: SecretStore) -> None:
    names = sorted([*(f"hub/{n:06d}-x" for n in range(1, 13)), "hub", "hub2/000001-x", "channel.1"])
    for name in names:
        secrets.put(ALICE, name, {"n": name})
    assert list(secrets.names(ALICE)) == names
    assert list(secrets.names(ALICE, "hub")) == [n for n in names if n.startswith("hub/")]
    assert secrets.names(BOB) == []


def test_as_much_as_fits_and_no_more(secrets: SecretStore) -> None:
    most = MAX_SECRET_BYTES - len('{"a":""}')
    secrets.put(ALICE, "hub/1", {"a": "x" * most})
    assert secrets.get(ALICE, "hub/1") == {"a": "x" * most}
    with pytest.raises(ValueError, match="4096"):
        secrets.put(ALICE, "hub/2", {"a": "x" * (most + 1)})
    assert secrets.get(ALICE, "hub/2") is None


# --- what only SSM knows ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["", "/", "a//b", "../name-key", "a/../b#", "a b", "a/", "/a", "*", "a\n"])
def test_no_name_leads_out_of_the_owners_part(name: str) -> None:
    def nobody() -> Any:
        raise AssertionError("SSM was asked")

    store = SsmSecretStore(PREFIX, nobody)
    for call in (lambda: store.get(ALICE, name), lambda: store.put(ALICE, name, {}), lambda: store.delete(ALICE, name)):
        with pytest.raises(ValueError, match="not the name"):
            call()


def test_it_lies_there_encrypted_below_a_hash_of_its_owner(emulator: Emulator, api: Clients) -> None:
    SsmSecretStore(f"{PREFIX}/", api.ssm).put("Alice", "hub/1", {"token": "hf_canary"})
    ssm = emulator.client("ssm")
    path = f"{PREFIX}/credentials/{hashlib.sha256(b'Alice').hexdigest()[:32]}/hub/1"
    found = ssm.get_parameter(Name=path, WithDecryption=False)["Parameter"]
    assert found["Type"] == "SecureString"
    assert "hf_canary" not in found["Value"]
    ssm.delete_parameter(Name=path)


def test_what_lies_there_and_is_no_secret_is_none_and_is_not_repeated(
    emulator: Emulator, api: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    store, ssm = SsmSecretStore(PREFIX, api.ssm), emulator.client("ssm")
    store.put(ALICE, "hub/1", {"a": 1})
    (path,) = [
        p["Name"] for p in ssm.get_parameters_by_path(Path=f"{PREFIX}/credentials", Recursive=True)["Parameters"]
    ]
    for value in ("canary-not-json", '["canary"]'):
        ssm.put_parameter(Name=path, Value=value, Type="SecureString", Overwrite=True)
        assert store.get(ALICE, "hub/1") is None
    assert "canary" not in caplog.text
    assert path in caplog.text
    store.delete(ALICE, "hub/1")


def test_who_delivers_may_read_and_nothing_else(api: Clients, clients: Callable[[list[str]], Clients]) -> None:
    SsmSecretStore(PREFIX, api.ssm).put(ALICE, "hub/1", {"a": 1})
    reader = SsmSecretStore(PREFIX, clients(["ssm:GetParameter"]).ssm)
    assert reader.get(ALICE, "hub/1") == {"a": 1}
    for call in (
        lambda: reader.put(ALICE, "hub/1", {"a": 2}),
        lambda: reader.delete(ALICE, "hub/1"),
        lambda: reader.names(ALICE),
    ):
        with pytest.raises(ClientError, match="AccessDenied"):
            call()
    SsmSecretStore(PREFIX, api.ssm).delete(ALICE, "hub/1")


def test_the_api_can_read_no_secret_of_the_stack_by_way_of_credentials(emulator: Emulator, api: Clients) -> None:
    emulator.client("ssm").put_parameter(Name=f"{PREFIX}/trainer-key", Value="{}", Type="SecureString", Overwrite=True)
    with pytest.raises(ClientError, match="AccessDenied"):
        api.ssm().get_parameter(Name=f"{PREFIX}/trainer-key", WithDecryption=True)
    with pytest.raises(ClientError, match="AccessDenied"):
        api.ssm().get_parameters_by_path(Path=PREFIX, Recursive=True)


def test_a_silent_store_is_unavailable() -> None:
    clients = Clients("us-east-1", endpoint_url="http://127.0.0.1:9", root=AccessKey("test", "test"))
    store = SsmSecretStore(PREFIX, clients.ssm)
    with pytest.raises(Unavailable):
        store.get(ALICE, "hub/1")
    clients.close()
