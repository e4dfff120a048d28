"""The ForeignBucket port in memory: a user's bucket that a test looks into, tampers with, and makes fail."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.foreign_bucket import ForeignObject
from chalicelib.domain.objects import MultipartGoneError, MultipartInfo, PartInfo, PartRefusedError, composite_of

STARTED = datetime(2026, 11, 24, 12, tzinfo=UTC)


@dataclass
class Held:
    data: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: str | None = None
    composite: str | None = None


@dataclass
class Upload:
    key: str
    metadata: Mapping[str, str]
    started_at: datetime
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class FakeForeignBucket:
    """``checksums``: whether it keeps SHA-256. ``before(call, key)`` and ``after(call, key)`` may raise, before a call
    takes effect or when it has. ``calls`` are the calls that took effect; ``sent`` counts bytes that came in."""

    checksums: bool = False
    objects: dict[str, Held] = field(default_factory=dict)
    under_way: dict[str, Upload] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    before: Callable[[str, str], None] = lambda _call, _key: None
    after: Callable[[str, str], None] = lambda _call, _key: None
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def head(self, key: str) -> ForeignObject | None:
        self.before("head", key)
        with self._lock:
            held = self.objects.get(key)
        self._done("head", key)
        if held is None:
            return None
        return ForeignObject(key, len(held.data), held.sha256, held.composite, dict(held.metadata))

    def read(self, key: str, *, start: int, length: int) -> Iterator[bytes]:
        self.before("read", key)
        held = self.objects.get(key)
        self._done("read", key)
        if held is not None:
            data = held.data[start : start + length]
            for at in range(0, len(data), 1000):
                yield data[at : at + 1000]

    def put(self, key: str, data: bytes, *, sha256: str, metadata: Mapping[str, str], content_type: str) -> None:
        assert hashlib.sha256(data).hexdigest() == sha256
        self.before("put", key)
        with self._lock:
            self.objects[key] = Held(data, dict(metadata), sha256 if self.checksums else None)
            self.sent += len(data)
        self._done("put", key)

    def delete(self, key: str) -> None:
        self.before("delete", key)
        self.objects.pop(key, None)
        self._done("delete", key)

    def start_upload(self, key: str, *, metadata: Mapping[str, str], content_type: str) -> tuple[str, bool]:
        self.before("start_upload", key)
        with self._lock:
            count = sum(1 for call, _ in self.calls if call == "start_upload") + 1
            upload_id = f"upload-{count}"
            self.under_way[upload_id] = Upload(key, dict(metadata), STARTED + timedelta(seconds=count))
        self._done("start_upload", key)
        return upload_id, self.checksums

    def uploads(self, key: str) -> Sequence[MultipartInfo]:
        self.before("uploads", key)
        found = [
            MultipartInfo(key, upload_id, upload.started_at)
            for upload_id, upload in self.under_way.items()
            if upload.key == key
        ]
        self._done("uploads", key)
        return found

    def parts(self, key: str, upload_id: str) -> Sequence[PartInfo]:
        self.before("parts", key)
        upload = self._upload(key, upload_id)
        self._done("parts", key)
        return [PartInfo(number, len(data), etag(data)) for number, data in sorted(upload.parts.items())]

    def put_part(self, key: str, upload_id: str, number: int, data: bytes, *, sha256: str | None) -> str:
        assert sha256 == (hashlib.sha256(data).hexdigest() if self.checksums else None)
        self.before("put_part", key)
        with self._lock:
            self._upload(key, upload_id).parts[number] = data
            self.sent += len(data)
        self._done("put_part", key)
        return etag(data)

    def finish_upload(self, key: str, upload_id: str, parts: Sequence[PartInfo]) -> None:
        self.before("finish_upload", key)
        with self._lock:
            upload = self._upload(key, upload_id)
            numbers = [part.number for part in parts]
            if not parts or numbers != sorted(numbers):
                raise PartRefusedError("parts in no order")
            if any(
                n not in upload.parts or etag(upload.parts[n]) != p.etag for n, p in zip(numbers, parts, strict=True)
            ):
                raise PartRefusedError("a part is not there")
            digests = [hashlib.sha256(upload.parts[number]).hexdigest() for number in numbers]
            self.objects[key] = Held(
                b"".join(upload.parts[number] for number in numbers),
                upload.metadata,
                None,
                composite_of(digests) if self.checksums else None,
            )
            del self.under_way[upload_id]
        self._done("finish_upload", key)

    def abort_upload(self, key: str, upload_id: str) -> None:
        self.before("abort_upload", key)
        self.under_way.pop(upload_id, None)
        self._done("abort_upload", key)

    def count(self, call: str) -> int:
        return sum(1 for name, _ in self.calls if name == call)

    def _upload(self, key: str, upload_id: str) -> Upload:
        upload = self.under_way.get(upload_id)
        if upload is None or upload.key != key:
            raise MultipartGoneError(upload_id)
        return upload

    def _done(self, call: str, key: str) -> None:
        with self._lock:
            self.calls.append((call, key))
        self.after(call, key)


def etag(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'


def fault(code: str, *, retry: bool = False) -> DeliveryFault:
    return DeliveryFault(code, f"{code} happened.", "Do something.", retry=retry)
