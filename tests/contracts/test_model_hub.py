"""``ModelHub``: what the Hub shows to everybody. The fake, and the adapter over a server that answers as the Hub does.

The shapes are those of the Hub's public API (https://huggingface.co/docs/hub/api): ``gated`` is false, "auto" or
"manual"; without a credential 401 stands for what is private and for what does not exist; a name in another spelling,
or one that was changed, is answered with 307.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from chalicelib.domain.hub import HubRepo, HubUnreachableError, ModelHub, RepoKind, is_repo_name
from chalicelib.providers.hub import HttpModelHub
from tests.fakes.hub import FakeModelHub

OPEN = HubRepo("open/model", license="apache-2.0")
GATED = HubRepo("Gated/Model", gated=True)
PICTURES = HubRepo("owner/pictures")


@dataclass
class Rig:
    hub: ModelHub
    seen: list[dict[str, str]] = field(default_factory=list)
    breaks: list[tuple[int, bytes, dict[str, str]]] = field(default_factory=list)

    def down(self) -> None:
        if isinstance(self.hub, FakeModelHub):
            self.hub.down = "the Hub answered 503"
        self.breaks.append((503, b"", {}))


REPOS: dict[str, dict[str, Any]] = {
    "/api/models/open/model": {"id": "open/model", "gated": False, "cardData": {"license": "apache-2.0"}},
    "/api/models/Gated/Model": {"id": "Gated/Model", "gated": "auto", "cardData": None},
    "/api/datasets/owner/pictures": {"id": "owner/pictures"},
}


@pytest.fixture
def server() -> Iterator[tuple[str, Rig]]:
    rig = Rig(FakeModelHub())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            rig.seen.append({**dict(self.headers), "path": self.path})
            status, body, headers = rig.breaks.pop(0) if rig.breaks else self._found()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _found(self) -> tuple[int, bytes, dict[str, str]]:
            if self.path in REPOS:
                return 200, json.dumps(REPOS[self.path]).encode(), {}
            proper = next((path for path in REPOS if path.lower() == self.path.lower()), None)
            return (307, b"", {"Location": proper}) if proper else (401, b'{"error": "Repository not found"}', {})

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", rig
        running.shutdown()
        thread.join(5)


@pytest.fixture(params=["memory", "http"])
def rig(request: pytest.FixtureRequest) -> Rig:
    if request.param == "memory":
        hub = FakeModelHub()
        hub.put(OPEN)
        hub.put(GATED)
        hub.put(PICTURES, RepoKind.DATASET)
        return Rig(hub)
    url, served = request.getfixturevalue("server")
    served.hub = HttpModelHub(url)
    rig: Rig = served
    return rig


def test_what_is_public_is_described(rig: Rig) -> None:
    assert rig.hub.look(RepoKind.MODEL, "open/model") == OPEN
    assert rig.hub.look(RepoKind.DATASET, "owner/pictures") == PICTURES
    gated = rig.hub.look(RepoKind.MODEL, "gated/model")
    assert gated is not None
    assert gated.gated


def test_what_is_not_is_none(rig: Rig) -> None:
    assert rig.hub.look(RepoKind.MODEL, "nobody/nothing") is None
    assert rig.hub.look(RepoKind.MODEL, "owner/pictures") is None


def test_no_answer_is_an_error(rig: Rig) -> None:
    rig.down()
    with pytest.raises(HubUnreachableError, match="503"):
        rig.hub.look(RepoKind.MODEL, "open/model")


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/b/c", "a/../b", "https://x/y", "a b/c", "a/" + "x" * 200]
)
def test_a_path_is_no_name(rig: Rig, name: str) -> None:
    assert not is_repo_name(name)
    with pytest.raises(ValueError, match="not the name"):
        rig.hub.look(RepoKind.MODEL, name)
    assert rig.seen == []


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"no json", {}),
        (200, b"[]", {}),
        (200, b'{"id": 5}', {}),
        (200, b"[" * 100_000, {}),
        (200, b"x" * 3_000_000, {}),
        (500, b"", {}),
        (429, b"", {"Retry-After": "60"}),
        (307, b"", {"Location": "http://elsewhere.example/api/models/x"}),
        (307, b"", {}),
    ],
)
def test_a_broken_answer_is_an_error_too(server: tuple[str, Rig], answer: tuple[int, bytes, dict[str, str]]) -> None:
    url, rig = server
    rig.breaks.append(answer)
    with pytest.raises(HubUnreachableError):
        HttpModelHub(url).look(RepoKind.MODEL, "open/model")


def test_it_is_not_sent_round_for_ever_and_no_credential_is_sent(server: tuple[str, Rig]) -> None:
    url, rig = server
    rig.breaks += [(307, b"", {"Location": "/api/models/round"})] * 10
    with pytest.raises(HubUnreachableError, match="one address to the next"):
        HttpModelHub(url).look(RepoKind.MODEL, "open/model")
    assert len(rig.seen) == 3
    assert not [name for seen in rig.seen for name in seen if name.lower() in {"authorization", "cookie"}]


def test_nobody_at_home(server: tuple[str, Rig]) -> None:
    with pytest.raises(HubUnreachableError, match="does not answer"):
        HttpModelHub("http://127.0.0.1:9").look(RepoKind.MODEL, "open/model")
