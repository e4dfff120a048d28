"""A stack deployed by the deploy program itself on an emulator of its own: nothing beside it, no front door."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.deploy import deploy
from infra.options import DeployOptions, StackOutputs
from tests.support.emulator import Emulator, running_emulator

TOKEN = "r8_" + "t" * 37
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Deployed:
    """A hosted stack (tokens, not local mode) without a provider. ``said`` is what the program said."""

    emulator: Emulator
    options: DeployOptions
    outputs: StackOutputs
    said: list[str] = field(default_factory=list)

    def api(
        self, path: str, *, token: str | None = None, method: str = "GET", body: Any = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one request to the API's gateway; ``path`` is below ``/api``."""
        url = f"{self.emulator.url}/_aws/execute-api/{self.outputs.api_id}/api{path}"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        status, _, text = fetch(url, headers, method=method, body=body)
        return status, json.loads(text) if text else {}

    def page(self, path: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of one page of the distribution."""
        return fetch(self.emulator.url + path, {"Host": self.outputs.distribution_domain})


def fetch(
    url: str, headers: dict[str, str], *, method: str = "GET", body: Any = None
) -> tuple[int, dict[str, str], str]:
    data = None if body is None else json.dumps(body).encode()
    headers = headers if data is None else headers | {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        with _direct.open(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, dict(refused.headers), refused.read().decode()


@contextmanager
def running_deployment(folder: Path, build_dir: Path) -> Iterator[Deployed]:
    """A deployed stack with its state below ``folder``; nothing is left running afterwards."""
    dist = folder / "dist"
    for name, text in {
        "index.html": "<title>console</title>",
        "docs/index.html": "<title>reference</title>",
        "assets/app-0123abcd.js": "export {}",
    }.items():
        (dist / name).parent.mkdir(parents=True, exist_ok=True)
        (dist / name).write_text(text)
    with running_emulator(folder / "state") as emulator:
        options = DeployOptions(
            stage="local",
            endpoint_url=emulator.url,
            sandbox=True,
            provider_base_url="http://127.0.0.1:9",
            provider_token=TOKEN,
            public_url="http://localhost:9",
            web_dist=dist,
            stack_file=folder / "stack.json",
            port=9,
            sandbox_url="http://127.0.0.1:9",
            build_dir=build_dir,
        )
        said: list[str] = []
        yield Deployed(emulator, options, deploy(options, said.append), said)
