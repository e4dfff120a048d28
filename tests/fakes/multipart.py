"""Uploads in parts and copies of the in-memory object store, with S3's rules."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from chalicelib.domain.objects import (
    MAX_KEY_BYTES,
    MAX_PARTS,
    MultipartGoneError,
    MultipartInfo,
    ObjectInfo,
    PartInfo,
    PartRefusedError,
    PresignedPut,
    composite_of,
)


class UploadRefused(Exception):
    """What S3 would answer with a 4xx: wrong headers, wrong content, expired."""


def to_base64(sha256_hex: str) -> str:
    """S3's spelling of a SHA-256; ValueError when it is none."""
    digest = bytes.fromhex(sha256_hex)
    if len(digest) != 32 or digest.hex() != sha256_hex:
        raise ValueError("a SHA-256 is 64 lower-case hex digits")
    return base64.b64encode(digest).decode()


def checked_key(key: str) -> str:
    if not 0 < len(key.encode()) <= MAX_KEY_BYTES:
        raise ValueError(f"not a key: {key[:100]!r} has {len(key.encode())} bytes")
    return key


@dataclass(frozen=True)
class Stored:
    data: bytes
    modified_at: datetime
    sha256: str | None
    composite: str | None = None


@dataclass
class _Upload:
    key: str
    checksum: bool
    started_at: datetime
    parts: dict[int, tuple[bytes, PartInfo]] = field(default_factory=dict)


class MultipartObjects:
    """What the in-memory store knows of parts. Times of start grow, so that the newest upload is known."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._lock = threading.RLock()
        self._objects: dict[str, Stored] = {}
        self._uploads: dict[str, _Upload] = {}
        self._finished: dict[str, str] = {}
        self._part_urls: dict[str, tuple[str, str, int, int, str | None, datetime]] = {}
        self._started = 0
        self.modified_at = datetime(2026, 11, 24, tzinfo=UTC)
        #: Keys that were copied, and bytes that a client sent or the server copied.
        self.copied: list[str] = []
        self.sent_bytes = 0

    def start_multipart(
        self, key: str, *, checksum: bool = True, content_type: str = "application/octet-stream"
    ) -> str:
        checked_key(key)
        with self._lock:
            self._started += 1
            upload_id = f"upload-{self._started:06d}"
            at = self.modified_at + timedelta(milliseconds=self._started)
            self._uploads[upload_id] = _Upload(key, checksum, at)
        return upload_id

    def multiparts(self, prefix: str, *, limit: int = 1000) -> Sequence[MultipartInfo]:
        with self._lock:
            found = [
                MultipartInfo(u.key, i, u.started_at) for i, u in self._uploads.items() if u.key.startswith(prefix)
            ]
        return sorted(found, key=lambda m: (m.key.encode(), m.started_at))[:limit]

    def find_multipart(self, key: str) -> str | None:
        ours = [m for m in self.multiparts(key) if m.key == key]
        return ours[-1].upload_id if ours else None

    def presign_part(
        self, key: str, upload_id: str, number: int, *, size: int, sha256: str | None, now: datetime, expires: timedelta
    ) -> PresignedPut:
        checked_key(key)
        _check_number(number)
        headers = {} if sha256 is None else {"x-amz-checksum-sha256": to_base64(sha256)}
        url = f"fake://{self._bucket}/{quote(key)}?uploadId={upload_id}&partNumber={number}&s={len(self._part_urls)}"
        self._part_urls[url] = (key, upload_id, number, size, sha256, now + expires)
        return PresignedPut(url=url, headers=headers, expires_at=now + expires)

    def _upload_part(self, url: str, headers: Mapping[str, str], data: bytes, now: datetime) -> None:
        key, upload_id, number, size, sha256, until = self._part_urls[url]
        digest = hashlib.sha256(data).hexdigest()
        with self._lock:
            upload = self._uploads.get(upload_id)
            if now > until:
                raise UploadRefused("expired")
            if upload is None or upload.key != key:
                raise UploadRefused("NoSuchUpload")
            if len(data) != size or (sha256 is not None and (digest != sha256 or _sent(headers) != to_base64(sha256))):
                raise UploadRefused("content differs from the signature")
            self._keep(upload, number, data)
            self.sent_bytes += len(data)

    def _keep(self, upload: _Upload, number: int, data: bytes) -> PartInfo:
        etag = f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
        part = PartInfo(number, len(data), etag, hashlib.sha256(data).hexdigest() if upload.checksum else None)
        upload.parts[number] = (data, part)
        return part

    def copy_part(
        self, source_key: str, target_key: str, upload_id: str, number: int, *, start: int, length: int
    ) -> PartInfo | None:
        checked_key(target_key)
        _check_number(number)
        with self._lock:
            upload, source = self._upload_of(target_key, upload_id), self._objects.get(source_key)
            if source is None or len(source.data) < start + length:
                return None
            self.copied.append(f"{target_key}#{number}")
            return self._keep(upload, number, source.data[start : start + length])

    def list_parts(self, key: str, upload_id: str) -> list[PartInfo]:
        with self._lock:
            upload = self._upload_of(key, upload_id)
            return [upload.parts[number][1] for number in sorted(upload.parts)]

    def finish_multipart(self, key: str, upload_id: str, parts: Sequence[PartInfo]) -> None:
        if not parts:
            raise PartRefusedError("there are no parts")
        with self._lock:
            if self._finished.get(upload_id) == key and key in self._objects:
                return
            upload = self._upload_of(key, upload_id)
            ordered = sorted(parts, key=lambda p: p.number)
            for part in ordered:
                kept = upload.parts.get(part.number)
                if kept is None or (kept[1].etag, kept[1].sha256) != (part.etag, part.sha256):
                    raise PartRefusedError(f"InvalidPart: {part.number}")
            data = b"".join(upload.parts[p.number][0] for p in ordered)
            composite = composite_of([p.sha256 for p in ordered if p.sha256]) if upload.checksum else None
            self._objects[key] = Stored(data, self.modified_at, None, composite)
            del self._uploads[upload_id]
            self._finished[upload_id] = key

    def abort_multipart(self, key: str, upload_id: str) -> None:
        with self._lock:
            if upload_id in self._uploads and self._uploads[upload_id].key == key:
                del self._uploads[upload_id]

    def _upload_of(self, key: str, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise MultipartGoneError(key)
        return upload

    def copy(self, source_key: str, target_key: str, *, size: int, sha256: str | None = None) -> bool:
        checked_key(target_key)
        with self._lock:
            source = self._objects.get(source_key)
            if source is None:
                return False
            digest = hashlib.sha256(source.data).hexdigest()
            if len(source.data) != size or sha256 not in {None, digest}:
                self._objects.pop(target_key, None)
                return False
            self._objects[target_key] = Stored(source.data, self.modified_at, digest)
            self.copied.append(target_key)
            return True

    def put_stream(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, sha256: bool = True
    ) -> ObjectInfo:
        checked_key(key)
        data = b"".join(chunks)
        if size is not None and len(data) != size:
            raise ValueError(f"{len(data)} bytes instead of the {size} that were announced")
        step = 16 * 1024**2
        digest, composite = hashlib.sha256(data).hexdigest(), None
        if len(data) > step:
            composite = composite_of(
                [hashlib.sha256(data[at : at + step]).hexdigest() for at in range(0, len(data), step)]
            )
        with self._lock:
            self._objects[key] = Stored(data, self.modified_at, None if composite else digest, composite)
        return ObjectInfo(key, len(data), self.modified_at, digest if sha256 else None, composite)


def _sent(headers: Mapping[str, str]) -> str | None:
    return headers.get("x-amz-checksum-sha256")


def _check_number(number: int) -> None:
    if not 1 <= number <= MAX_PARTS:
        raise ValueError(f"parts are numbered from 1 to {MAX_PARTS}, not {number}")
