"""The emulator launcher's rules; with the emulator itself: tests/functional/test_emulator.py."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from local.emulator.environment import Layout, emulator_environment
from local.emulator.gateway import refusal
from local.emulator.lambdas import bounded
from local.emulator.parameters import listed_path
from local.emulator.pins import PatchError, require_source, require_text


def test_nothing_of_the_developer_is_inherited(tmp_path: Path) -> None:
    inherited = {
        "PATH": "/bin",
        "LANG": "C",
        "AWS_PROFILE": "x",
        "HTTPS_PROXY": "x",
        "PYTHONPATH": "x",
        "HF_TOKEN": "x",
    }
    env = emulator_environment(inherited, Layout(tmp_path), port=9000, node=Path("/opt/node/bin/node"))
    assert env["PATH"] == "/opt/node/bin:/bin"
    assert (env["BIND_HOST"], env["AUTH"], env["GATEWAY_PORT"]) == ("127.0.0.1", "true", "9000")
    assert not {"AWS_PROFILE", "HTTPS_PROXY", "PYTHONPATH", "HF_TOKEN"} & env.keys()
    assert all(env[name].startswith(str(tmp_path)) for name in ("STATE_DIR", "S3_DATA_DIR", "HOME", "TMPDIR"))


def test_the_state_is_private_and_scratch_files_go(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "state")
    layout.prepare()
    (layout.tmp / "worker").write_text("x")
    (layout.services / "s3.json").write_text("{}")
    layout.prepare()
    assert not list(layout.tmp.iterdir())
    assert (layout.services / "s3.json").exists()
    assert layout.root.stat().st_mode & 0o777 == 0o700


def test_changed_sources_are_refused_with_advice() -> None:
    require_source(require_text, "for fragment in fragments")
    with pytest.raises(PatchError, match=r"local/emulator .* adapt it"):
        require_source(require_text, "something else")


@pytest.mark.parametrize(
    ("path", "headers", "served"),
    [
        ("/", {"host": "127.0.0.1:8002"}, True),
        ("/", {"host": "d1.cloudfront.net", "origin": "http://localhost:8001"}, True),
        ("/b/k", {"host": "bucket.s3.localhost:8002"}, True),
        ("/_ministack/health", {"host": "localhost"}, True),
        ("/", {}, False),
        ("/", {"host": "evil.example"}, False),
        ("/", {"host": "127.0.0.1", "origin": "http://evil.example"}, False),
        ("/", {"host": "127.0.0.1", "origin": "null"}, False),
        ("/_ministack/reset", {"host": "127.0.0.1"}, False),
        ("/_localstack/state", {"host": "127.0.0.1"}, False),
    ],
)
def test_who_is_served(path: str, headers: dict[str, str], served: bool) -> None:
    assert (refusal("GET", path, "", headers) is None) is served


SIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ASIA%2F20261124%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20261124T143000Z&X-Amz-Expires=600&X-Amz-SignedHeaders=host&X-Amz-Signature=00"
)


@pytest.mark.parametrize(
    ("method", "path", "query", "site", "served"),
    [
        # What the console does: links, pictures and uploads, from another port of this computer.
        ("GET", "/bucket/a/b.png", SIGNED, "cross-site", True),
        (
            "GET",
            "/bucket/a/b.png",
            f"{SIGNED}&response-content-disposition=attachment&x-id=GetObject",
            "same-site",
            True,
        ),
        ("PUT", "/bucket/a/b.png", SIGNED, "cross-site", True),
        ("OPTIONS", "/bucket/a/b.png", SIGNED, "same-site", True),
        # What an address in a page of another site would do.
        ("GET", "/", "", "cross-site", False),
        ("GET", "/", "", "same-site", False),
        ("GET", "/bucket/a/b.png", "", "cross-site", False),
        ("GET", "/bucket", SIGNED, "cross-site", False),
        ("GET", "/bucket/", SIGNED, "cross-site", False),
        ("DELETE", "/bucket/a", SIGNED, "cross-site", False),
        ("POST", "/bucket/a", SIGNED, "cross-site", False),
        ("PUT", "/bucket/a", f"{SIGNED}&acl", "cross-site", False),
        ("GET", "/bucket/a", SIGNED.replace("%2Fs3%2F", "%2Fiam%2F"), "cross-site", False),
        ("GET", "/bucket/a", SIGNED.replace("Signature=00", "Signature="), "cross-site", False),
        # An action in an address, also from a browser that says nothing about itself.
        ("GET", "/", f"Action=DeleteStack&StackName=stcloud-local&{SIGNED}", "cross-site", False),
        ("GET", "/bucket/a", f"{SIGNED}&%41ction=DeleteUser", "cross-site", False),
        ("GET", "/", "Action=DeleteUser&UserName=x", None, False),
        ("POST", "/", "action=DeleteUser", None, False),
        ("GET", "/_aws/execute-api/a1/api/audit", "action=key.create", "cross-site", False),
        ("GET", "/_aws/execute-api/a1/api/audit", "action=key.create&Action=DeleteUser", None, False),
        ("GET", "/_aws/../_aws/execute-api/", "action=DeleteUser", None, False),
        # A parameter of the API's own.
        ("GET", "/_aws/execute-api/a1/api/audit", "action=key.create", None, True),
        # Programs, and people who type.
        ("GET", "/bucket/a", "", None, True),
        ("POST", "/", "", None, True),
        ("GET", "/", "", "none", True),
        ("GET", "/", "", "same-origin", True),
    ],
)
def test_what_a_browser_may_reach(method: str, path: str, query: str, site: str | None, served: bool) -> None:
    headers = {"host": "127.0.0.1:8002"} | ({"sec-fetch-site": site} if site else {})
    assert (refusal(method, path, query, headers) is None) is served


def test_what_the_front_door_passed_on_is_served_and_actions_are_not() -> None:
    headers = {"host": "d1.cloudfront.net", "sec-fetch-site": "cross-site"}
    assert refusal("GET", "/", "", headers) is None
    assert refusal("GET", "/api/audit", "action=key.create", headers) is None
    assert refusal("GET", "/", "Action=DeleteStack", headers) is not None


def test_calls_beyond_the_limit_are_throttled_after_the_wait() -> None:
    inside, go = threading.Semaphore(0), threading.Event()

    def execute(_func: dict[str, Any], event: Any, _request_id: str) -> dict[str, Any]:
        inside.release()
        go.wait(10)
        return {"body": event}

    call = bounded(execute, throttled=lambda name: {"throttle": name}, limit=2, wait_seconds=0.0)
    function, other = {"config": {"FunctionArn": "f"}}, {"config": {"FunctionArn": "g"}}
    threads = [threading.Thread(target=call, args=(function, n, "r")) for n in range(2)]
    for thread in threads:
        thread.start()
    assert all(inside.acquire(timeout=10) for _ in threads)
    assert call(function, 3, "r") == {"throttle": "f"}
    go.set()
    assert call(other, 4, "r") == {"body": 4}
    for thread in threads:
        thread.join(10)
    assert call(function, 5, "r") == {"body": 5}


def test_a_slot_is_free_again_after_a_failure() -> None:
    def execute(*_: Any) -> dict[str, Any]:
        raise ValueError("broken")

    call = bounded(execute, throttled=lambda name: {"throttle": name}, limit=1, wait_seconds=0.0)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            call({"FunctionName": "f"}, None, "r")


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"Path": "/stcloud/x/credentials", "Recursive": true}', "/stcloud/x/credentials"),
        (b'{"Name": "/a"}', None),
        (b'{"Path": ["/a"]}', None),
        (b'{"Path": ""}', None),
        (b'["Path"]', None),
        (b"not json", None),
        (b"", None),
    ],
)
def test_the_path_whose_parameters_are_listed(body: bytes, path: str | None) -> None:
    assert listed_path(body) == path
