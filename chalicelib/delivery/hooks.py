"""The ``HookSender`` port over the client for users' addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from chalicelib.domain.notification_ports import HookAnswer

if TYPE_CHECKING:
    from chalicelib.delivery.safe_http import SafeClient

SECONDS = 10.0
MAX_BYTES = 16 * 1024


def _safe(allow_private: bool) -> SafeClient:
    # An HTTP library, for the few functions that send.
    from chalicelib.delivery.safe_http import safe_client

    return safe_client(allow_private=allow_private, max_seconds=SECONDS, max_bytes=MAX_BYTES)


class Hooks:
    """Ten seconds a request, the look-up of the name not counted. Safe to share between threads."""

    def __init__(self, *, allow_private: bool, connect: Callable[[bool], SafeClient] = _safe) -> None:
        self._allow_private = allow_private
        self._connect = connect

    def send(self, method: str, url: str, *, headers: Mapping[str, str], content: bytes) -> HookAnswer:
        return self._client.send(method, url, headers=headers, content=content)

    @cached_property
    def _client(self) -> SafeClient:
        return self._connect(self._allow_private)
