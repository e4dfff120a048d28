"""Bytes to presigned PUTs: in parallel, streamed from disk, each piece tried again on its own."""

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
from stcloud.retry import TRANSIENT, Retry, parse_retry_after

CHUNK = 256 * 1024
#: Pieces up to this size are read whole: one write to the socket instead of several.
WHOLE = 1024 * 1024
#: Names that are kept of what the storage refused.
EXAMPLES = 20
#: What S3 calls bytes that are not the announced ones.
_OTHER_CONTENT = frozenset({"BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "InvalidDigest"})
#: What S3 answers for a part whose upload has been put together or thrown away.
_NO_UPLOAD = "NoSuchUpload"
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,100})</Code>")


class _Stopped(Exception):
    """The pool is being taken down; the file is left for the next run."""


class Sent(Enum):
    STORED = "stored"
    REFUSED = "refused"


@dataclass(frozen=True)
class Piece:
    """``size`` bytes of ``source`` from ``offset``, for one presigned PUT: a file (``number`` 0) or a part of one.

    ``file_size``: of the whole file, which must not have changed.
    """

    path: str
    source: Path
    offset: int
    size: int
    file_size: int
    url: str
    headers: Mapping[str, str]
    number: int = 0


@dataclass
class PassResult:
    """One pass over pieces. What was ``refused`` (403) wants another URL: it expired, or a key changed."""

    stored: int = 0
    refused: int = 0
    examples: list[str] = field(default_factory=list)
    reason: str = ""


class Uploader:
    """Puts pieces to their URLs. ``on_bytes`` hears of progress (negative when a try starts again), ``on_piece`` of
    each that is up, in the thread that called ``run``. ``whole`` counts the files that went up in one piece, over all
    runs, also after one that was broken off.
    """

    def __init__(
        self,
        http: httpx.Client,
        *,
        concurrency: int,
        retry: Retry,
        on_bytes: Callable[[int], None] | None = None,
        on_piece: Callable[[Piece], None] | None = None,
    ) -> None:
        self._http = http
        self._concurrency = concurrency
        self._retry = retry
        self._on_bytes = on_bytes or (lambda _count: None)
        self._on_piece = on_piece or (lambda _piece: None)
        self._stop = threading.Event()
        self._reason = ""
        self._lock = threading.Lock()
        self.whole = 0

    def run(self, pieces: Iterable[Piece]) -> PassResult:
        """Sends every piece once (with retries). The iterable may fetch as it goes.

        The first final error stops the others: NetworkError, TransferError, UsageError (a file changed), LocalError.
        KeyboardInterrupt stops at the next chunk. What was stored stays stored.
        """
        result = PassResult()
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="upload") as pool:
            try:
                for piece, future in as_done(pool, self._send, pieces, ahead=2 * self._concurrency):
                    if future.result() is Sent.STORED:
                        result.stored += 1
                        self._on_piece(piece)
                    else:
                        result.refused += 1
                        if len(result.examples) < EXAMPLES:
                            result.examples.append(piece.path)
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=True, cancel_futures=True)
                raise
        result.reason = self._reason
        return result

    def _send(self, piece: Piece) -> Sent:
        for attempt in range(self._retry.attempts):
            last = attempt + 1 == self._retry.attempts
            try:
                response, sent = self._put(piece)
            except httpx.TransportError as error:
                if last:
                    raise NetworkError(
                        f"'{piece.path}' could not be uploaded: {error or type(error).__name__}.",
                        advice="Run the same command again: what is up stays up.",
                    ) from error
                self._retry.wait(attempt)
                continue
            if response.is_success:
                with self._lock:
                    self.whole += piece.number == 0
                return Sent.STORED
            self._on_bytes(-sent)
            code = _error_code(response)
            if response.status_code == 403 or code == _NO_UPLOAD:
                self._reason = code
                return Sent.REFUSED
            # S3 calls a connection that dried up RequestTimeout, with status 400.
            again = response.status_code in TRANSIENT | {500} or code == "RequestTimeout"
            if not again or last:
                raise _refusal(piece.path, response.status_code, code)
            self._retry.wait(attempt, parse_retry_after(response.headers.get("retry-after")))
        raise AssertionError("unreachable: the last try returns or raises")

    def _put(self, piece: Piece) -> tuple[httpx.Response, int]:
        """The answer, and how many bytes were sent before it came."""
        headers = httpx.Headers(piece.headers)
        # S3 wants a length; with one, httpx does not fall back to chunks.
        headers.setdefault("content-length", str(piece.size))
        if piece.size <= WHOLE:
            content = b"".join(self._chunks(piece, piece.size))
            response = self._http.put(piece.url, content=content, headers=headers)
            self._on_bytes(piece.size)
            return response, piece.size
        sent = 0

        def body() -> Iterator[bytes]:
            nonlocal sent
            for chunk in self._chunks(piece, CHUNK):
                sent += len(chunk)
                self._on_bytes(len(chunk))
                yield chunk

        try:
            return self._http.put(piece.url, content=body(), headers=headers), sent
        except BaseException:
            self._on_bytes(-sent)
            raise

    def _chunks(self, piece: Piece, most: int) -> Iterator[bytes]:
        left = piece.size
        try:
            with piece.source.open("rb", buffering=0) as file:
                file.seek(piece.offset)
                while left:
                    if self._stop.is_set():
                        raise _Stopped
                    chunk = file.read(min(most, left))
                    if not chunk:
                        raise FileChangedError(piece.path)
                    left -= len(chunk)
                    yield chunk
                if piece.offset + piece.size == piece.file_size and file.read(1):
                    raise FileChangedError(piece.path)
        except OSError as error:
            raise LocalError(f"'{piece.source}' can't be read: {error.strerror}.") from error


def _error_code(response: httpx.Response) -> str:
    match = _CODE.search(response.text[:4000])
    return match.group(1) if match else f"HTTP {response.status_code}"


class FileChangedError(UsageError):
    """The file at ``path`` (of the dataset) has other bytes than when it was hashed."""

    code = "file_changed"

    def __init__(self, path: str) -> None:
        super().__init__(
            f"'{path}' changed while it was being uploaded.",
            advice="Run the command again when nothing writes to the folder.",
        )
        self.path = path


def _refusal(path: str, status: int, code: str) -> StcloudError:
    if code in _OTHER_CONTENT:
        return FileChangedError(path)
    return TransferError(
        f"The storage refused '{path}': {code} (HTTP {status}).",
        advice="Run the same command again: what is up stays up.",
    )
