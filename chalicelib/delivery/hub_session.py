"""``huggingface_hub``, tamed: nothing hidden, and every request bounded.

To be imported only while something is sent: the library ships with the delivery functions alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from chalicelib.delivery.hub_faults import BUSY, HubWords, malformed, timed_out, unreachable
from chalicelib.domain.delivery_ports import DeliveryFault

# The library reads these when it is imported, and only from the environment. They are written here, not read: no
# telemetry (a hidden request before the first one), no Xet (its package does not ship), no token but the one it is
# given, no progress bars, and what it may keep goes to the only folder a function can write to.
os.environ.update(
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_XET="1",
    HF_HUB_DISABLE_IMPLICIT_TOKEN="1",  # noqa: S106 - a switch
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_HOME="/tmp/hf",  # noqa: S108
)

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, get_session, set_client_factory
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.hf_api import RepoFile
from huggingface_hub.lfs import LFS_HEADERS, UploadInfo, post_lfs_batch_info
from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]  # documented, not declared

#: All that others use of the library: it must not be imported before the lines above.
__all__ = [
    "LFS_HEADERS",
    "CommitOperationAdd",
    "HfApi",
    "HfHubHTTPError",
    "RepoFile",
    "UploadInfo",
    "get_session",
    "hf_raise_for_status",
    "httpx2",
    "open_api",
    "post_lfs_batch_info",
    "storage_client",
    "translated",
]

#: Seconds without a byte of an answer. Putting the parts of a large file together takes the Hub a while.
READ_SECONDS = 60.0
#: Seconds for a whole answer: the read time-out begins anew with every byte.
MAX_SECONDS = 90.0
#: Of an answer. A batch names a link of about a kilobyte for every part of a file, of which there are 10,000 at most.
MAX_BYTES = 24 * 1024 * 1024
#: What the library would try again by itself, with sleeps of any length that the server asks for, or for ever (409):
#: https://github.com/huggingface/huggingface_hub/blob/v2.4.0/src/huggingface_hub/utils/_http.py
_LIBRARY_REPEATS = frozenset({408, 425, 429, 500, 502, 503, 504})


class BoundedTransport(httpx2.BaseTransport):
    """Reads every answer itself, within limits, and raises DeliveryFault where the library would begin to repeat.

    Raising here is what keeps the library from it: its retries look for statuses and for httpx2's own errors, and the
    loop in ``create_repo`` for a 409 (https://github.com/huggingface/huggingface_hub/pull/1675). Neither sees any.
    """

    def __init__(
        self,
        inner: httpx2.BaseTransport,
        *,
        max_seconds: float = MAX_SECONDS,
        max_bytes: int = MAX_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inner = inner
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self._monotonic = monotonic

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        what = f"{request.method} {_kind(request.url.path)}"
        try:
            response = self._inner.handle_request(request)
            try:
                body = self._read(response, what)
            finally:
                response.close()
        except httpx2.TimeoutException:
            raise timed_out(what) from None
        except httpx2.TransportError as error:
            raise unreachable(f"{type(error).__name__}, {what}") from None
        status = response.status_code
        # The redirects to a file's content are followed by the client, as are those of renamed repositories.
        if status in _LIBRARY_REPEATS or (status == 409 and BUSY.search(body.decode(errors="replace"))):
            headers = {name.lower(): value for name, value in response.headers.items()}
            raise HubWords(f"https://{request.url.host}", "the repository", None).answered(
                status, headers, body.decode(errors="replace")
            )
        kept = [(k, v) for k, v in response.headers.multi_items() if k.lower() not in _BODY_HEADERS]
        return httpx2.Response(status, headers=kept, content=body, request=request)

    def _read(self, response: httpx2.Response, what: str) -> bytes:
        stop_at = self._monotonic() + self._max_seconds
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > self._max_bytes:
                raise malformed(f"more than {self._max_bytes} bytes, {what}")
            if self._monotonic() > stop_at:
                raise timed_out(what)
        return bytes(body)

    def close(self) -> None:
        self._inner.close()


_BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


def _kind(path: str) -> str:
    """What was asked, without names: the last telling part of the path."""
    for part in ("preupload", "paths-info", "commit", "revision", "branch", "batch", "verify", "resolve", "whoami-v2"):
        if f"/{part}" in path:
            return part
    return "create" if path.endswith("/repos/create") else "upload"


def _timeout(read_seconds: float) -> httpx2.Timeout:
    return httpx2.Timeout(connect=5.0, read=read_seconds, write=30.0, pool=10.0)


def _api_client(read_seconds: float) -> httpx2.Client:
    # A function freezes between invocations; a connection that died meanwhile would fail the first request after it.
    inner = httpx2.HTTPTransport(limits=httpx2.Limits(max_keepalive_connections=0), retries=0, trust_env=False)
    transport = BoundedTransport(inner)
    return httpx2.Client(transport=transport, follow_redirects=True, timeout=_timeout(read_seconds), trust_env=False)


@lru_cache(maxsize=1)
def _use(read_seconds: float) -> None:
    """The library has one client for the whole process and can't be given another one for a call."""
    set_client_factory(lambda: _api_client(read_seconds))


def open_api(endpoint: str, token: str, *, read_seconds: float = READ_SECONDS) -> HfApi:
    _use(read_seconds)
    return HfApi(endpoint=endpoint, token=token, library_name="simpletuner-cloud")


def storage_client(connections: int, *, read_seconds: float = READ_SECONDS) -> httpx2.Client:
    """For the content: links that carry their own permission, so no token, no redirects. The caller closes it."""
    inner = httpx2.HTTPTransport(
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=15.0),
        retries=0,
        trust_env=False,
    )
    transport = BoundedTransport(inner, max_bytes=1024 * 1024)
    return httpx2.Client(transport=transport, follow_redirects=False, timeout=_timeout(read_seconds), trust_env=False)


@contextmanager
def translated(words: HubWords) -> Iterator[None]:
    """Everything the library raises becomes a DeliveryFault with this delivery's words."""
    try:
        yield
    except DeliveryFault:
        raise
    except Exception as error:
        raise _fault(error, words) from error


def _fault(error: BaseException, words: HubWords) -> DeliveryFault:
    seen: BaseException | None = error
    for _ in range(8):
        if isinstance(seen, DeliveryFault):
            return seen
        if isinstance(seen, HfHubHTTPError):
            headers = {name.lower(): value for name, value in seen.response.headers.items()}
            return words.answered(seen.response.status_code, headers, seen.response.text)
        if seen is None:
            break
        seen = seen.__cause__ or seen.__context__
    if isinstance(error, httpx2.TimeoutException):
        return timed_out("the Hub")
    if isinstance(error, httpx2.HTTPError):
        return unreachable(type(error).__name__)
    if isinstance(error, ValueError | KeyError | TypeError | AttributeError | RuntimeError):
        return malformed(type(error).__name__)
    raise error
