"""The port of a bucket that is not ours: a user's own, at any S3-compatible store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from chalicelib.domain.objects import MultipartInfo, PartInfo


@dataclass(frozen=True)
class ForeignObject:
    """``sha256`` (lower-case hex, of the whole object) and ``composite_sha256`` (see ``objects.composite_of``) are
    there when the store keeps them. ``metadata`` has lower-case names, without S3's prefix."""

    key: str
    size: int
    sha256: str | None = None
    composite_sha256: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class ForeignBucket(Protocol):
    """Every call raises DeliveryFault, in words for the bucket's owner, and takes a few minutes at most however slow
    the store is. Contents are checked on their way: the store refuses what differs from its MD5."""

    def head(self, key: str) -> ForeignObject | None: ...

    def read(self, key: str, *, start: int, length: int) -> Iterator[bytes]:
        """The bytes from ``start``, at most ``length``, in chunks of 1 MiB at most; nothing when the object is missing
        or shorter. The caller exhausts or closes it."""

    def put(self, key: str, data: bytes, *, sha256: str, metadata: Mapping[str, str], content_type: str) -> None: ...

    def delete(self, key: str) -> None:
        """No effect when there is none."""

    def start_upload(self, key: str, *, metadata: Mapping[str, str], content_type: str) -> tuple[str, bool]:
        """The id of a new upload in parts, and whether the store wants each part with its SHA-256. Not safe to
        repeat."""

    def uploads(self, key: str) -> Sequence[MultipartInfo]:
        """Unfinished uploads of exactly this key, oldest first."""

    def parts(self, key: str, upload_id: str) -> Sequence[PartInfo]:
        """What has arrived, by number. Raises MultipartGoneError."""

    def put_part(self, key: str, upload_id: str, number: int, data: bytes, *, sha256: str | None) -> str:
        """Sends one part and returns its ETag. Raises MultipartGoneError."""

    def finish_upload(self, key: str, upload_id: str, parts: Sequence[PartInfo]) -> None:
        """Raises MultipartGoneError (also when it was finished before), PartRefusedError."""

    def abort_upload(self, key: str, upload_id: str) -> None:
        """No effect when it is gone."""
