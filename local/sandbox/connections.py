"""Knows the open connections, so that a fault can cut one off without an answer (ASGI itself has no way to)."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

_open: dict[tuple[str, int], asyncio.BaseTransport] = {}


class TrackedProtocol(H11Protocol):
    """uvicorn's protocol that remembers its transport by the peer's address; give it to ``uvicorn.Config(http=)``."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = transport.get_extra_info("peername")[:2]
        _open[self._peer] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        _open.pop(self._peer, None)
        super().connection_lost(exc)


async def abort(scope: Scope) -> None:
    """Resets the connection this request came over; returns when uvicorn knows, so that it doesn't answer 500."""
    client = scope.get("client")
    transport = _open.get((client[0], client[1])) if client else None
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
        for _ in range(3):  # connection_lost is called from the loop, not from abort()
            await asyncio.sleep(0)
