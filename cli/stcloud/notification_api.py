"""The calls of notifications."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from stcloud.client import Client, require_private, shaped

# What the commands show of answers.
_CHANNEL = ("id", "channel_type", "name", "webhook_url", "email", "events", "state", "disabled_reason")
_ENTRY = (
    "id",
    "channel_id",
    "event_type",
    "recipient",
    "delivery_status",
    "created_at",
    "next_try_at",
    "note",
    "tries",
)
_BASE = "/cloud/notifications"


class NotificationApi:
    """Every method raises ApiError and NetworkError. What must not be done twice is not repeated by itself. Secrets are
    not shown over plain http from another computer: UsageError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        require_private(self._client.url, "A secret")
        return self._client.call("POST", f"{_BASE}/channels", json=body, attempts=1, needs=(*_CHANNEL, "secret"))

    def change(self, channel_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._client.call("PATCH", _channel(channel_id), json=body, needs=_CHANNEL)

    def delete(self, channel_id: str) -> dict[str, Any]:
        return self._client.call("DELETE", _channel(channel_id))

    def test(self, channel_id: str) -> dict[str, Any]:
        needs = ("success", "error", "latency_ms", "status")
        return self._client.call("POST", f"{_channel(channel_id)}/test", json={}, attempts=1, needs=needs)

    def rotate(self, channel_id: str) -> dict[str, Any]:
        require_private(self._client.url, "A secret")
        needs = ("secret", "previous_secret_until", "channel")
        return self._client.call("POST", f"{_channel(channel_id)}/rotate-secret", json={}, attempts=1, needs=needs)

    def history(self, query: Mapping[str, str]) -> dict[str, Any]:
        answer = self._client.call("GET", f"{_BASE}/history", query=query, needs=("entries", "next"))
        for entry in answer["entries"]:
            shaped(entry, _ENTRY, self._client.url)
        return answer

    def redeliver(self, message_id: str) -> dict[str, Any]:
        path = f"{_BASE}/history/{quote(message_id, safe='')}/redeliver"
        return self._client.call("POST", path, json={}, attempts=1, needs=_ENTRY)

    def events(self) -> list[dict[str, Any]]:
        answer = self._client.call("GET", f"{_BASE}/events", needs=("event_types",))
        return [shaped(e, ("id", "category", "description"), self._client.url) for e in answer["event_types"]]

    def list(self) -> list[dict[str, Any]]:
        answer = self._client.call("GET", f"{_BASE}/channels", needs=("channels",))
        return [shaped(entry, _CHANNEL, self._client.url) for entry in answer["channels"]]


def _channel(channel_id: str) -> str:
    return f"{_BASE}/channels/{quote(channel_id, safe='')}"
