"""The calls of named credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from stcloud.client import Client, require_private, shaped

# What the commands show of answers.
_CREDENTIAL = (
    *("name", "kind", "hint", "secret_version", "created_at", "rotated_at"),
    *("tested_at", "test_passed", "facts"),
)
_SAVED = ("credential", "secret", "warnings")
_TESTED = ("passed", "facts", "problem", "credential")
_PROBLEM = ("code", "message", "advice", "temporary")


class CredentialApi:
    """Every method raises ApiError and NetworkError. What must not be done twice is not repeated by itself. Secrets are
    not sent over plain http to another computer: UsageError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        require_private(self._client.url, "A secret")
        return self._saved(self._client.call("POST", "/cloud/credentials", json=body, attempts=1, needs=_SAVED))

    def list(self) -> list[dict[str, Any]]:
        answer = self._client.call("GET", "/cloud/credentials", needs=("credentials",))
        return [shaped(entry, _CREDENTIAL, self._client.url) for entry in answer["credentials"]]

    def get(self, name: str) -> dict[str, Any]:
        return self._client.call("GET", _path(name), needs=(*_CREDENTIAL, "used_by"))

    def rotate(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        require_private(self._client.url, "A secret")
        return self._saved(self._client.call("PUT", f"{_path(name)}/secret", json=body, attempts=1, needs=_SAVED))

    def test(self, name: str, destination: Mapping[str, Any] | None) -> dict[str, Any]:
        body = {} if destination is None else {"destination": destination}
        answer = self._client.call("POST", f"{_path(name)}/test", json=body, attempts=1, needs=_TESTED)
        if answer["problem"] is not None:
            shaped(answer["problem"], _PROBLEM, self._client.url)
        return answer

    def delete(self, name: str, *, force: bool) -> dict[str, Any]:
        query = {"force": "true"} if force else {}
        return self._client.call("DELETE", _path(name), query=query)

    def _saved(self, answer: dict[str, Any]) -> dict[str, Any]:
        shaped(answer["credential"], _CREDENTIAL, self._client.url)
        return answer


def _path(name: str) -> str:
    return f"/cloud/credentials/{quote(name, safe='')}"
