"""The sandbox Hub on loopback, in this process: its inside is open to the test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Mount

from chalicelib.delivery.hub import HubTarget
from chalicelib.domain.credentials import HubSecret
from chalicelib.domain.destinations import HubDestination
from local.sandbox.connections import TrackedProtocol
from local.sandbox.hub.app import Hub, HubOptions, build_hub
from local.sandbox.hub.faults import Rules
from local.sandbox.hub.people import WRITE_TOKEN, Holder
from local.sandbox.hub.storage import MAIN, Repo

WAIT_SECONDS = 20.0


@dataclass
class RunningHub:
    """``url`` is the endpoint for clients: below a path, as beside the sandbox provider."""

    url: str
    hub: Hub
    read_seconds: float = 10.0

    def target(self, repo: str = "sandbox/cats", *, token: str = WRITE_TOKEN, **more: Any) -> HubTarget:
        destination = HubDestination(repo_id=repo, credential="hub", **more)
        secret = HubSecret(token=SecretStr(token))
        return HubTarget(destination, secret, endpoint=self.url, read_seconds=self.read_seconds, sleep=lambda _: None)

    def rules(self, *rules: Mapping[str, Any]) -> None:
        self.hub.gate.rules = Rules.parse({"rules": [dict(rule) for rule in rules]})

    def requests(self, *, authorized: bool | None = None) -> list[str]:
        """``METHOD path`` in order."""
        return [
            f"{entry['method']} {entry['path']}"
            for entry in self.hub.gate.requests
            if authorized is None or entry["authorized"] == authorized
        ]

    def repo(self, name: str = "sandbox/cats") -> Repo:
        found = self.hub.storage.repo(name)
        assert found is not None, f"there is no {name}"
        return found

    def content(self, name: str = "sandbox/cats", revision: str = MAIN) -> dict[str, bytes]:
        """What lies there, by path; without the Hub's own file."""
        repo = self.repo(name)
        commit = repo.resolve(revision)
        assert commit is not None
        files = {p: self.hub.storage.path_of(f).read_bytes() for p, f in repo.files(commit).items()}
        return {path: data for path, data in files.items() if path != ".gitattributes"}

    def edit(self, files: Mapping[str, bytes], name: str = "sandbox/cats", branch: str = MAIN) -> str:
        """A commit of somebody else's."""
        repo = self.repo(name)
        there = repo.files(repo.branches[branch])
        made = {path: self.hub.storage.put_blob(data) for path, data in files.items()}
        commit = repo.add(branch, "by hand", there | made)
        self.hub.storage.save(repo)
        return commit

    def commits(self, name: str = "sandbox/cats") -> int:
        """Without the one a repository begins with."""
        return len(self.repo(name).commits) - 1


@contextmanager
def running_hub(
    data_dir: Path,
    *,
    chunk_bytes: int = 64 * 1024,
    link_seconds: float = 3600.0,
    tokens: Mapping[str, Holder] | None = None,
) -> Iterator[RunningHub]:
    hub = build_hub(HubOptions(data_dir, tokens=tokens, chunk_bytes=chunk_bytes, link_seconds=link_seconds))
    app = Starlette(routes=[Mount("/hub", app=hub.app)])
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)) as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            app, http=TrackedProtocol, ws="none", log_level="warning", access_log=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="hub")
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                thread.join(0.01)
            yield RunningHub(f"http://127.0.0.1:{listener.getsockname()[1]}/hub", hub)
        finally:
            server.should_exit = True
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()
