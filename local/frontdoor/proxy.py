"""The proxy, as an ASGI application: requests and answers are streamed, never held."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from local.frontdoor import answers
from local.frontdoor.answers import Status
from local.frontdoor.rules import (
    MAX_BODY_BYTES,
    Headers,
    Refusal,
    is_large_upload,
    refusal,
    to_client,
    to_upstream,
    too_large,
    values,
    wants_page,
    without_body,
)
from local.frontdoor.stackfile import StackFile, Upstream

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

HEALTH_PATH = "/_local/health"
#: API Gateway gives up after 29 s, and answers by then.
READ_SECONDS = 35.0
TIMEOUT = httpx.Timeout(connect=2.0, read=READ_SECONDS, write=30.0, pool=10.0)
LINGER_SECONDS = 2.0
#: For clients that send a large object before they look at the redirect.
UPLOAD_LINGER_SECONDS = 60.0
LIMITS = httpx.Limits(max_connections=200, max_keepalive_connections=50, keepalive_expiry=20.0)
logger = logging.getLogger("local.frontdoor")


class _BodyTooLargeError(Exception):
    pass


class _ClientGoneError(Exception):
    pass


@dataclass
class _Exchange:
    """One request: what came in, and whether an answer has begun (then nothing else can be said)."""

    scope: Scope
    receive: Receive
    send: Send
    started: bool = False

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def headers(self) -> Headers:
        return list(self.scope["headers"])

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def part(self, body: bytes, *, more: bool) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": more})


class FrontDoor:
    """``client`` and the lifespan belong to the caller; ``port`` is the one people use, for messages."""

    def __init__(self, stack: StackFile, status: Status, client: httpx.AsyncClient, port: int) -> None:
        self._stack = stack
        self._status = status
        self._client = client
        self._port = port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"The front door speaks HTTP only, not {scope['type']}")
        exchange = _Exchange(scope, receive, send)
        refused = refusal(exchange.method, scope["path"], exchange.headers, self._port)
        if refused is not None:
            await self._refuse(exchange, refused)
        elif scope["path"] == HEALTH_PATH:
            await self._health(exchange)
        elif (upstream := self._stack.upstream()) is None:
            await self._refuse(exchange, answers.starting(self._status.line()))
        else:
            await self._forward(exchange, upstream)

    async def _forward(self, exchange: _Exchange, upstream: Upstream) -> None:
        try:
            await self._pass_on(exchange, upstream)
        except _ClientGoneError:
            return
        except _BodyTooLargeError:
            await self._refuse(exchange, too_large())
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout):
            await self._refuse(exchange, answers.starting(self._status.line()))
        except httpx.ReadTimeout:
            await self._refuse(exchange, answers.timed_out(exchange.method, READ_SECONDS))
        except httpx.TransportError as error:
            logger.warning("%s %s broke off: %r", exchange.method, exchange.scope["path"], error)
            await self._refuse(exchange, answers.broken_off(exchange.method))

    async def _pass_on(self, exchange: _Exchange, upstream: Upstream) -> None:
        request = self._request(exchange, upstream)
        try:
            response = await self._client.send(request, stream=True)
        except (httpx.RemoteProtocolError, httpx.ReadError):
            # A kept connection that a restart of the emulator closed. Nothing was carried out twice by reading twice.
            if exchange.method not in {"GET", "HEAD"}:
                raise
            response = await self._client.send(self._request(exchange, upstream), stream=True)
        try:
            await exchange.start(response.status_code, to_client(response.headers.raw))
            async for chunk in response.aiter_raw():
                await exchange.part(chunk, more=True)
            if is_large_upload(exchange.method, exchange.scope["path"], exchange.headers):
                await self._linger(exchange, UPLOAD_LINGER_SECONDS)
            await exchange.part(b"", more=False)
        finally:
            await response.aclose()

    def _request(self, exchange: _Exchange, upstream: Upstream) -> httpx.Request:
        target = exchange.scope.get("raw_path") or exchange.scope["path"].encode()
        if exchange.scope["query_string"]:
            target += b"?" + exchange.scope["query_string"]
        headers = to_upstream(exchange.headers, upstream.host)
        withheld = is_large_upload(exchange.method, exchange.scope["path"], exchange.headers)
        if withheld:
            headers = without_body(headers)
        has_body = any(True for _ in values(exchange.headers, b"transfer-encoding")) or any(
            length != b"0" for length in values(exchange.headers, b"content-length")
        )
        return httpx.Request(
            exchange.method,
            httpx.URL(upstream.origin).copy_with(raw_path=target),
            headers=headers,
            content=_limited(exchange.receive) if has_body and not withheld else None,
            extensions={"timeout": TIMEOUT.as_dict()},
        )

    async def _refuse(self, exchange: _Exchange, refused: Refusal) -> None:
        if exchange.started:
            # Half an answer is out: only a broken connection tells the client that it is not whole.
            raise ConnectionAbortedError(refused.detail)
        if refused.status >= 500 and wants_page(exchange.method, exchange.headers):
            headers, body = answers.as_page(refused, self._status.line())
        else:
            headers, body = answers.as_problem(refused)
        await exchange.start(refused.status, headers)
        await exchange.part(body if exchange.method != "HEAD" else b"", more=True)
        if refused.status == 413:
            await self._linger(exchange)
        await exchange.part(b"", more=False)

    @staticmethod
    async def _linger(exchange: _Exchange, seconds: float = LINGER_SECONDS) -> None:
        """Reads on for a moment, into nothing: closing on a client that still sends would destroy the answer."""
        if any(True for _ in values(exchange.headers, b"expect")):
            return  # it waits for leave to send, and takes reading for leave
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (message := await exchange.receive())["type"] == "http.request" and message.get("more_body"):
                    pass

    async def _health(self, exchange: _Exchange) -> None:
        body = json.dumps({"ok": True, "stack": self._stack.upstream() is not None}).encode()
        await exchange.start(200, [(b"content-type", b"application/json"), (b"cache-control", b"no-store")])
        await exchange.part(body, more=False)


async def _limited(receive: Receive) -> AsyncIterator[bytes]:
    total = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGoneError
        chunk: bytes = message.get("body", b"")
        total += len(chunk)
        if total > MAX_BODY_BYTES:
            raise _BodyTooLargeError
        if chunk:
            yield chunk
        if not message.get("more_body"):
            return
