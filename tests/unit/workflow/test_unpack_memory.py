"""Unpacking needs little memory, whatever the archive and its files measure."""

from __future__ import annotations

import hashlib
import tracemalloc
import zlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from chalicelib.domain.archives import UNPACKED, ArchiveRecord, ArchiveStatus
from chalicelib.domain.ports import ObjectInfo
from tests.corpus.zips import STORED, Item, zipped
from tests.fakes.aws import InMemoryObjectStore
from tests.fakes.world import OWNER, World
from tests.support.unpacking import DATASET, run_steps

MIB = 1024**2
SIZES = [400 * MIB, 300 * MIB, *[20 * MIB] * 12, *[3 * MIB] * 28]
LIMIT = 64 * MIB


def crc_of_zeros(size: int) -> int:
    crc, block = 0, bytes(MIB)
    for _ in range(size // MIB):
        crc = zlib.crc32(block, crc)
    return crc


def digest_of_zeros(size: int) -> str:
    digest, block = hashlib.sha256(), bytes(MIB)
    for _ in range(size // MIB):
        digest.update(block)
    return digest.hexdigest()


class SparseStore(InMemoryObjectStore):
    """Holds one object of a gigabyte without holding it: ``pieces`` are what is not zeros. What goes below
    a version's prefix is looked at and forgotten."""

    def __init__(self, key: str, size: int, pieces: dict[int, bytes]) -> None:
        super().__init__("datasets")
        self._key, self._size, self._sparse = key, size, pieces
        self.seen: dict[str, str] = {}
        self.largest_read = 0

    def head(self, key: str) -> ObjectInfo | None:
        return ObjectInfo(key, self._size, self.modified_at) if key == self._key else super().head(key)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        if key != self._key:
            return super().get(key, start=start, length=length)
        assert length is not None, "never the whole archive"
        end = min(self._size, start + length)
        found = bytearray(max(0, end - start))
        self.largest_read = max(self.largest_read, len(found))
        for at, piece in self._sparse.items():
            low, high = max(start, at), min(end, at + len(piece))
            if low < high:
                found[low - start : high - start] = piece[low - at : high - at]
        return bytes(found)

    def put(self, key: str, data: bytes, **options: Any) -> None:
        if key.startswith("_") and not key.startswith(UNPACKED):
            super().put(key, data, **options)
        else:
            self.seen[key.rpartition("/")[2]] = hashlib.sha256(data).hexdigest()

    def put_stream(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, sha256: bool = True
    ) -> ObjectInfo:
        digest, total = hashlib.sha256(), 0
        for chunk in chunks:
            digest.update(chunk)
            total += len(chunk)
        assert total == size
        self.seen[key.rpartition("/")[2]] = digest.hexdigest()
        return ObjectInfo(key, total, self.modified_at)


def sparse_zip() -> tuple[int, dict[int, bytes]]:
    """A zip of stored zeros, a gigabyte and more: its size, and what in it is not zeros."""
    pieces: dict[int, bytes] = {}
    at, items = 0, []
    for number, size in enumerate(SIZES):
        item = Item(f"{number:02d}.bin", method=STORED, packed=b"", size=size, packed_size=size, crc=crc_of_zeros(size))
        # Its header, as a zip of it alone begins with it.
        header = zipped([item])[: 30 + len(item.raw_name)]
        pieces[at] = header
        items.append(replace(item, offset=at))
        at += len(header) + size
    end = zipped(items, directory_offset=at)
    directory = end[end.index(b"PK\x01\x02") :]
    pieces[at] = directory
    return at + len(directory), pieces


def test_a_zip_of_a_gigabyte_is_unpacked_in_bounded_memory() -> None:
    size, pieces = sparse_zip()
    assert size > 1000 * MIB
    world = World()
    now = world.clock.now()
    archive = ArchiveRecord(
        owner=OWNER,
        dataset_id=DATASET,
        archive_id="sparse",
        filename="a.zip",
        size=size,
        upload_id="none",
        status=ArchiveStatus.UNPACKING,
        attempt=1,
        created_at=now,
        touched_at=now,
    )
    store = SparseStore(archive.key, size, pieces)
    ports = replace(world.ports, dataset_files=store)
    world.archives.create(archive)
    tracemalloc.start()
    try:
        run_steps(archive, ports)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    done = world.archives.get(OWNER, DATASET, "sparse")
    assert done is not None
    assert (done.status, done.failure) == (ArchiveStatus.READY, None)
    assert peak < LIMIT, f"{peak / MIB:.0f} MiB"
    assert store.largest_read <= 8 * MIB
    wanted = {size: digest_of_zeros(size) for size in set(SIZES)}
    assert store.seen == {f"{number:02d}.bin": wanted[size] for number, size in enumerate(SIZES)}
