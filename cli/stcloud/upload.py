"""Files to presigned PUTs: in parallel, streamed from disk, each tried again on its own."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import httpx

from stcloud.errors import LocalError, NetworkError, StcloudError, TransferError, UsageError
from stcloud.hashing import as_done
from stcloud.models import Upload
from stcloud.retry import TRANSIENT, Retry, parse_retry_after

CHUNK = 256 * 1024
#: What S3 calls bytes that are not the announced ones.
_OTHER_CONTENT = frozenset({"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest"})
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,100})</Code>")


class _Stopped(Exception):
    """The pool is being taken down; the file is left for the next run."""


class Sent(Enum):
    STORED = "stored"
    REFUSED = "refused"


@dataclass
class PassResult:
    """One pass over the missing files. ``refused`` URLs (403) want renewing: expired, or a key that changed."""

    stored: int = 0
    refused: list[str] = field(default_factory=list)
    reason: str = ""


class Uploader:
    """Puts files to the URLs it is given. ``on_bytes`` hears of progress (negative when a try starts again).

    ``stored`` counts the files that are up, over all runs, also after one that was broken off.
    """

    def __init__(
        self,
        http: httpx.Client,
        sources: Mapping[str, Path],
        *,
        concurrency: int,
        retry: Retry,
        on_bytes: Callable[[int], None] | None = None,
        on_file: Callable[[], None] | None = None,
    ) -> None:
        self._http = http
        self._sources = sources
        self._concurrency = concurrency
        self._retry = retry
        self._on_bytes = on_bytes or (lambda _count: None)
        self._on_file = on_file or (lambda: None)
        self._stop = threading.Event()
        self._reason = ""
        self._lock = threading.Lock()
        self.stored = 0

    def run(self, uploads: Iterable[Upload]) -> PassResult:
        """Sends every file of ``uploads`` once (with retries). The iterable may fetch as it goes.

        The first final error stops the others: NetworkError, TransferError, UsageError (a file changed), LocalError.
        KeyboardInterrupt stops at the next chunk. What was stored stays stored.
        """
        result = PassResult()
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="upload") as pool:
            try:
                for upload, future in as_done(pool, self._send, uploads, ahead=2 * self._concurrency):
                    if future.result() is Sent.STORED:
                        result.stored += 1
                        self._on_file()
                    else:
                        result.refused.append(upload["path"])
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        result.reason = self._reason
        return result

    def _send(self, upload: Upload) -> Sent:
        source = self._sources.get(upload["path"])
        if source is None:
            raise TransferError(
                f"The server asks for '{upload['path']}', which is not part of this dataset.", code="unknown_file"
            )
        for attempt in range(self._retry.attempts):
            last = attempt + 1 == self._retry.attempts
            try:
                response, sent = self._put(upload, source)
            except httpx.TransportError as error:
                if last:
                    raise NetworkError(
                        f"'{upload['path']}' could not be uploaded: {error or type(error).__name__}.",
                        advice="Run the same command again: what is up stays up.",
                    ) from error
                self._retry.wait(attempt)
                continue
            if response.is_success:
                with self._lock:
                    self.stored += 1
                return Sent.STORED
            self._on_bytes(-sent)
            code = _error_code(response)
            if response.status_code == 403:
                self._reason = code
                return Sent.REFUSED
            # S3 calls a connection that dried up RequestTimeout, with status 400.
            again = response.status_code in TRANSIENT | {500} or code == "RequestTimeout"
            if not again or last:
                raise _refusal(upload["path"], response.status_code, code)
            self._retry.wait(attempt, parse_retry_after(response.headers.get("retry-after")))
        raise AssertionError("unreachable: the last try returns or raises")

    def _put(self, upload: Upload, source: Path) -> tuple[httpx.Response, int]:
        """The answer, and how many bytes were sent before it came."""
        headers = httpx.Headers(upload["headers"])
        # S3 wants a length; with one, httpx does not fall back to chunks.
        headers.setdefault("content-length", str(upload["size"]))
        sent = 0

        def body() -> Iterator[bytes]:
            nonlocal sent
            for chunk in self._chunks(source, upload):
                sent += len(chunk)
                self._on_bytes(len(chunk))
                yield chunk

        try:
            return self._http.put(upload["url"], content=body(), headers=headers), sent
        except BaseException:
            self._on_bytes(-sent)
            raise

    def _chunks(self, source: Path, upload: Upload) -> Iterator[bytes]:
        left = upload["size"]
        try:
            with source.open("rb", buffering=0) as file:
                while left:
                    if self._stop.is_set():
                        raise _Stopped
                    chunk = file.read(min(CHUNK, left))
                    if not chunk:
                        raise _changed(upload["path"])
                    left -= len(chunk)
                    yield chunk
                if file.read(1):
                    raise _changed(upload["path"])
        except OSError as error:
            raise LocalError(f"'{source}' can't be read: {error.strerror}.") from error


def _error_code(response: httpx.Response) -> str:
    match = _CODE.search(response.text[:4000])
    return match.group(1) if match else f"HTTP {response.status_code}"


def _changed(path: str) -> UsageError:
    return UsageError(
        f"'{path}' changed while it was being uploaded.",
        advice="Run the command again when nothing writes to the folder.",
        code="file_changed",
    )


def _refusal(path: str, status: int, code: str) -> StcloudError:
    if code in _OTHER_CONTENT:
        return _changed(path)
    return TransferError(
        f"The storage refused '{path}': {code} (HTTP {status}).",
        advice="Run the same command again: what is up stays up.",
    )
