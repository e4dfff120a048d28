"""HTTP to a provider, bounded: in time, in size, and to one request a call."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import httpx

#: Seconds. A create answers within a second or two; 20 leave room for a slow day and stay well below the launch lease.
TIMEOUT = httpx.Timeout(connect=5.0, read=20.0, write=20.0, pool=5.0)
#: Seconds for a whole answer: httpx's read time-out begins anew with every byte.
MAX_SECONDS = 30.0
#: Of a decoded answer. The log of a day's training takes a few MB.
MAX_BYTES = 32 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
#: The longest wait a provider may ask of us; an absurd one must not park a job.
MAX_RETRY_AFTER = 3600.0

_RESETS_IN = re.compile(r"resets? in ~?(\d{1,6}) ?s", re.ASCII)


class Refused(Exception):
    """The provider answered, and not with 2xx. ``body`` holds at most MAX_ERROR_BYTES and may repeat our request."""

    def __init__(self, status: int, headers: httpx.Headers, body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = headers
        self.body = body


class AnswerTooLarge(Exception):
    """The answer is larger than the limit; the request was taken."""


class AnswerTooSlow(Exception):
    """The answer trickled in for longer than the limit; the request was taken."""


def fresh_connections() -> httpx.HTTPTransport:
    """A transport that opens a connection for every request.

    A Lambda freezes between invocations. On a connection that died meanwhile a create fails after it was sent, nobody
    knows with what effect, and the launch has to wait and look: far dearer than a handshake.
    """
    return httpx.HTTPTransport(limits=httpx.Limits(max_keepalive_connections=0), retries=0)


class BoundedTransport(httpx.BaseTransport):
    """Reads every answer itself, within limits, and raises Refused for all that are not 2xx.

    Raising here also keeps ``replicate``'s RetryTransport, which wraps this one, from ever seeing a 429 or 503: it
    would sleep up to ten times inside a Lambda and honour any Retry-After, and ``ReplicateError`` drops the headers
    (https://github.com/replicate/replicate-python/blob/1.0.7/replicate/client.py). Emptying the class's
    ``RETRYABLE_METHODS`` would change it for the whole process; its constructor can't be reached from outside.

    Raises Refused, AnswerTooLarge, AnswerTooSlow and httpx's errors.
    """

    def __init__(
        self,
        inner: httpx.BaseTransport,
        *,
        max_bytes: int = MAX_BYTES,
        max_seconds: float = MAX_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._monotonic = monotonic

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        stop_at = self._monotonic() + self._max_seconds
        response = self._inner.handle_request(request)
        response.request = request
        try:
            if not response.is_success:
                body = self._read(response, stop_at, MAX_ERROR_BYTES, cut=True)
                raise Refused(response.status_code, response.headers, body)
            body = self._read(response, stop_at, self._max_bytes, cut=False)
        finally:
            response.close()
        # The body is decoded already, so the headers that describe the encoded one must go.
        kept = [(k, v) for k, v in response.headers.multi_items() if k.lower() not in _ENCODING_HEADERS]
        return httpx.Response(response.status_code, headers=kept, content=body, request=request)

    def _read(self, response: httpx.Response, stop_at: float, limit: int, *, cut: bool) -> bytes:
        """The decoded body; beyond ``limit`` it is cut, or refused."""
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > limit:
                if cut:
                    break
                raise AnswerTooLarge(f"more than {limit} bytes")
            if self._monotonic() > stop_at:
                raise AnswerTooSlow(f"more than {self._max_seconds:.0f} seconds")
        return bytes(body[:limit])

    def close(self) -> None:
        self._inner.close()


_ENCODING_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def retry_after(headers: httpx.Headers, text: str) -> float | None:
    """Seconds the provider asks to wait: Retry-After (in seconds), or its words ("resets in ~30s"). At most an hour."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", value):
        return min(MAX_RETRY_AFTER, float(value))
    said = _RESETS_IN.search(text)
    return min(MAX_RETRY_AFTER, float(said[1])) if said else None
