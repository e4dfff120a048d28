"""In-memory fakes of the AWS ports; the contract suite runs against them too."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import BinaryIO
from urllib.parse import quote

from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.ports import ObjectInfo, PresignedPut, TemporaryCredentials
from tests.fakes.multipart import MultipartObjects, Stored, UploadRefused, checked_key, to_base64

__all__ = ["FakeBroker", "FakeFacts", "InMemoryObjectStore", "InMemoryParameters", "UploadRefused", "to_base64"]

MAX_POLICY_CHARS = 2048


class InMemoryObjectStore(MultipartObjects):
    def __init__(self, bucket: str = "bucket") -> None:
        super().__init__(bucket)
        self._puts: dict[str, tuple[str, int, str | None, datetime]] = {}
        self._serial = itertools.count(1)

    @property
    def bucket(self) -> str:
        return self._bucket

    def presign_put(
        self, key: str, *, size: int, sha256: str | None, now: datetime, expires: timedelta
    ) -> PresignedPut:
        headers = {} if sha256 is None else {"x-amz-checksum-sha256": to_base64(sha256)}
        key = checked_key(key)
        url = f"fake://{self._bucket}/{quote(key)}?put={next(self._serial)}"
        self._puts[url] = (key, size, sha256, now + expires)
        return PresignedPut(url=url, headers=headers, expires_at=now + expires)

    def upload(self, url: str, headers: Mapping[str, str], data: bytes, *, now: datetime) -> None:
        """What a client's PUT to a presigned URL, of an object or a part, does. Raises UploadRefused."""
        if url in self._part_urls:
            self._upload_part(url, headers, data, now)
            return
        if url not in self._puts:
            raise UploadRefused("unknown URL")
        key, size, sha256, until = self._puts[url]
        digest = hashlib.sha256(data).hexdigest()
        if now > until:
            raise UploadRefused("expired")
        signed = sha256 is None or (headers.get("x-amz-checksum-sha256") == to_base64(sha256) and digest == sha256)
        if not signed or len(data) != size:
            raise UploadRefused("content differs from the signature")
        with self._lock:
            self._objects[key] = Stored(data, self.modified_at, digest)
            self.sent_bytes += len(data)

    def presign_get(self, key: str, *, expires: timedelta, filename: str | None = None) -> str:
        return f"fake://{self._bucket}/{quote(key)}?expires={int(expires.total_seconds())}"

    def head(self, key: str) -> ObjectInfo | None:
        with self._lock:
            found = self._objects.get(key)
        return ObjectInfo(key, len(found.data), found.modified_at, found.sha256, found.composite) if found else None

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        if start < 0 or (length is not None and length < 0):
            raise ValueError("start and length are not negative")
        with self._lock:
            found = self._objects.get(key)
        if found is None:
            return None
        return found.data[start:] if length is None else found.data[start : start + length]

    def open(self, key: str) -> BinaryIO | None:
        data = self.get(key)
        return None if data is None else io.BytesIO(data)

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        with self._lock:
            self._objects[checked_key(key)] = Stored(data, self.modified_at, hashlib.sha256(data).hexdigest())

    def list(self, prefix: str, *, start_after: str | None = None, limit: int | None = None) -> Iterator[ObjectInfo]:
        with self._lock:
            keys = sorted((k for k in self._objects if k.startswith(prefix)), key=str.encode)
        keys = [k for k in keys if start_after is None or k.encode() > start_after.encode()]
        for key in keys[:limit]:
            found = self._objects.get(key)
            if found is not None:
                yield ObjectInfo(key, len(found.data), found.modified_at)

    def delete(self, keys: Iterable[str]) -> int:
        count = 0
        with self._lock:
            for key in keys:
                self._objects.pop(key, None)
                count += 1
        return count

    def delete_prefix(self, prefix: str) -> int:
        if not prefix.endswith("/") or prefix.startswith("/"):
            raise ValueError(f"not a prefix to delete: {prefix!r}")
        return self.delete([info.key for info in self.list(prefix)])


@dataclass
class FakeBroker:
    """Hands out recognisable credentials and remembers for what; refuses what the port forbids."""

    now: datetime = datetime(2026, 11, 24, 12, tzinfo=UTC)
    issued: list[dict[str, object]] = field(default_factory=list)

    def scoped(
        self,
        *,
        name: str,
        read_prefixes: Sequence[str],
        scratch_prefix: str,
        write_prefix: str,
        duration: timedelta,
    ) -> TemporaryCredentials:
        self.check(read_prefixes=read_prefixes, scratch_prefix=scratch_prefix, write_prefix=write_prefix)
        for prefix in (*read_prefixes, scratch_prefix, write_prefix):
            if not prefix.endswith("/") or "*" in prefix:
                raise ValueError(f"not a key prefix to give access to: {prefix!r}")
        if not timedelta(minutes=15) <= duration <= timedelta(hours=36):
            raise ValueError(f"credentials last between 15 minutes and 36 hours, not {duration}")
        self.issued.append(
            {
                "name": name,
                "read": list(read_prefixes),
                "scratch": scratch_prefix,
                "write": write_prefix,
                "duration": duration,
            }
        )
        return TemporaryCredentials("AKFAKE", "secret", "session", self.now + duration)

    def check(self, *, read_prefixes: Sequence[str], scratch_prefix: str, write_prefix: str) -> None:
        # About what a session policy has: each prefix twice, and the words around them.
        if 900 + sum(2 * len(prefix) + 60 for prefix in read_prefixes) > MAX_POLICY_CHARS:
            raise ProviderFault("too many datasets", kind=FaultKind.USER, code="too_many_datasets", sent=False)


@dataclass
class InMemoryParameters:
    """The deploy program's parameters by name; counts the reads."""

    values: dict[str, str] = field(default_factory=dict)
    reads: int = 0

    def get(self, name: str) -> str | None:
        self.reads += 1
        return self.values.get(name)


@dataclass
class FakeFacts:
    url: str = "https://cloud.test"

    def public_url(self) -> str:
        return self.url
