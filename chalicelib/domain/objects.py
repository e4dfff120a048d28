"""The port of an object store: one bucket, its objects, and uploads in parts.

Part of ``ports.py``, which names them all; see there for what holds for every port.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class ObjectInfo:
    """``sha256`` is lower-case hex when the store keeps a full-object SHA-256, else None. ``composite_sha256`` is what
    it keeps of an object put together from parts: ``<hex>-<count>``, the SHA-256 of the parts' digests, see
    ``composite_of``. At most one of the two is there."""

    key: str
    size: int
    modified_at: datetime
    sha256: str | None = None
    composite_sha256: str | None = None


@dataclass(frozen=True)
class PresignedPut:
    """``headers`` must be sent exactly as given, or the store refuses the upload."""

    url: str
    headers: Mapping[str, str]
    expires_at: datetime


@dataclass(frozen=True)
class PartInfo:
    """A part that the store holds. ``sha256`` (hex) is None when the upload was started without checksums."""

    number: int
    size: int
    etag: str
    sha256: str | None = None


@dataclass(frozen=True)
class MultipartInfo:
    """An upload in parts that was neither finished nor aborted."""

    key: str
    upload_id: str
    started_at: datetime


class MultipartError(Exception):
    """An upload in parts can't go on as it is."""


class MultipartGoneError(MultipartError):
    """No such upload: aborted, finished, expired, or of another key. Start a new one."""


class PartRefusedError(MultipartError, ValueError):
    """The store does not put these parts together: one is missing, differs, or is too small (5 MiB but for the
    last)."""


#: S3's limit of a key, in UTF-8.
MAX_KEY_BYTES = 1024
#: S3's limit of parts in one upload; they are numbered from 1.
MAX_PARTS = 10_000


def composite_of(parts: Sequence[str]) -> str:
    """What the store keeps of an object put together from parts with these SHA-256 digests (hex), in order."""
    joined = b"".join(bytes.fromhex(part) for part in parts)
    return f"{hashlib.sha256(joined).hexdigest()}-{len(parts)}"


class ObjectStore(Protocol):
    """One bucket. What would write raises ValueError for a key that is empty or longer than MAX_KEY_BYTES."""

    @property
    def bucket(self) -> str: ...

    def presign_put(
        self, key: str, *, size: int, sha256: str | None, now: datetime, expires: timedelta
    ) -> PresignedPut:
        """A URL that accepts exactly this content: the checksum is signed. Without ``sha256``: any of this size."""

    def presign_get(self, key: str, *, expires: timedelta, filename: str | None = None) -> str: ...

    def head(self, key: str) -> ObjectInfo | None:
        """With checksum; None when missing."""

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        """Bytes of the object from ``start``, at most ``length``; None when missing, b"" past the end."""

    def open(self, key: str) -> BinaryIO | None:
        """A stream of the whole object with bounded memory; the caller closes it. None when missing."""

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None: ...

    def put_stream(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, sha256: bool = True
    ) -> ObjectInfo:
        """Writes what ``chunks`` gives, of any lengths, holding a few parts in memory at most: above 16 MiB it goes up
        in parts. The object appears whole or not at all; when ``chunks`` raises, nothing is left behind.

        The answer's ``sha256`` is that of the whole content (None without ``sha256``), which the store itself keeps
        only of objects that needed no parts. Raises ValueError when ``size`` is given and the content has another.
        """

    def copy(self, source_key: str, target_key: str, *, size: int, sha256: str | None = None) -> bool:
        """Copies an object of ``size`` bytes within the bucket, without its bytes passing here; the copy has a SHA-256.

        False, and no target, when the source is missing, or is not what ``size`` and ``sha256`` say. Above 5 GiB it is
        copied in parts, one after the other, and then ``sha256`` can't be confirmed.
        """

    def start_multipart(
        self, key: str, *, checksum: bool = True, content_type: str = "application/octet-stream"
    ) -> str:
        """Starts an upload in parts and returns its id. With ``checksum`` every part must come with its SHA-256.

        NOT safe to repeat: each call starts another one."""

    def multiparts(self, prefix: str, *, limit: int = 1000) -> Sequence[MultipartInfo]:
        """Unfinished uploads of keys that begin with ``prefix``, by key, then oldest first; at most ``limit``."""

    def find_multipart(self, key: str) -> str | None:
        """The newest unfinished upload of exactly this key."""

    def presign_part(
        self, key: str, upload_id: str, number: int, *, size: int, sha256: str | None, now: datetime, expires: timedelta
    ) -> PresignedPut:
        """A URL that accepts exactly this part; without ``sha256`` any content of this size."""

    def copy_part(
        self, source_key: str, target_key: str, upload_id: str, number: int, *, start: int, length: int
    ) -> PartInfo | None:
        """Makes ``length`` bytes of another object, from ``start``, a part. None when the source is missing or
        shorter. Raises MultipartGoneError."""

    def list_parts(self, key: str, upload_id: str) -> list[PartInfo]:
        """All parts that are there, by number. Raises MultipartGoneError."""

    def finish_multipart(self, key: str, upload_id: str, parts: Sequence[PartInfo]) -> None:
        """Puts the parts together. No effect when that was done before.

        Raises PartRefusedError (also for no parts at all), MultipartGoneError."""

    def abort_multipart(self, key: str, upload_id: str) -> None:
        """Throws the parts away; no effect when the upload is gone."""

    def list(self, prefix: str, *, start_after: str | None = None, limit: int | None = None) -> Iterator[ObjectInfo]:
        """By key in UTF-8 byte order, paging as it goes; ``start_after`` is a full key, exclusive. No checksums."""

    def delete(self, keys: Iterable[str]) -> int:
        """Deletes the keys; returns how many were asked for."""

    def delete_prefix(self, prefix: str) -> int:
        """Deletes everything below; returns the count. ``prefix`` must end in a slash."""
