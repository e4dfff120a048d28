"""Parts of large files, sent and read back by many workers at once.

A part is read from escrow into memory, hashed, and sent; nothing else of the file is in memory. Reading back compares
each part with a second, independent read of escrow, so the copy is compared with what Verify hashed, not with what one
worker believed to have read.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from chalicelib.delivery.s3_notes import Notes
from chalicelib.domain.delivery_ports import DeliveryFault, Shipment, ShippedFile
from chalicelib.domain.foreign_bucket import ForeignBucket
from chalicelib.domain.objects import MAX_PARTS, MultipartGoneError, ObjectStore, PartInfo

MIB = 1024 * 1024
#: Parts in memory at once, as long as they have the usual size.
THREADS = 2


@dataclass(frozen=True)
class Sizes:
    """``part``: of parts, and up to which files need none. ``most``: of a part that fits into a worker's memory beside
    everything else. ``whole``: up to which one worker reads a file back as a whole. In bytes; ``piece`` in parts."""

    part: int = 64 * MIB
    most: int = 192 * MIB
    whole: int = 1024 * MIB
    piece: int = 16


#: Whether a worker should begin no further part.
Stop = Callable[[], bool]


def part_bytes_of(size: int, sizes: Sizes) -> int:
    """The size of a file's parts, whole MiB; all but the last are equal, as R2 demands
    (https://developers.cloudflare.com/r2/objects/multipart-objects/). Raises DeliveryFault ``too_large``."""
    smallest = -(-size // MAX_PARTS)
    part_bytes = sizes.part if smallest <= sizes.part else -(-smallest // MIB) * MIB
    if part_bytes > sizes.most:
        raise DeliveryFault(
            "too_large",
            f"A file of {size} bytes is more than S3 takes in {MAX_PARTS} parts of {sizes.most // MIB} MiB.",
            "Fetch it from escrow instead: stcloud jobs pull JOB.",
            retry=False,
        )
    return part_bytes


def count_of(size: int, part_bytes: int) -> int:
    return -(-size // part_bytes)


def pieces_of(kind: str, index: int, size: int, part_bytes: int, length: int, **more: Any) -> list[dict[str, Any]]:
    """The pieces of one file: runs of ``length`` parts, numbered from 1."""
    count = count_of(size, part_bytes)
    return [
        {
            "do": kind,
            "file": index,
            "first": first,
            "count": min(length, count - first + 1),
            "part_bytes": part_bytes,
            **more,
        }
        for first in range(1, count + 1, length)
    ]


def name_of(piece: Mapping[str, Any]) -> str:
    """Where a piece's note lies."""
    return f"pieces/{piece['do']}-{piece['file']:05d}-{piece['first']:05d}.json"


def noted(notes: Notes, piece: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """What a piece has done so far, by part; nothing of another upload or another round."""
    note = notes.load(name_of(piece))
    if note is None or note.get("of") != piece["of"]:
        return {}
    return {int(number): part for number, part in note.get("parts", {}).items()}


def was_slow(notes: Notes, piece: Mapping[str, Any]) -> bool:
    """Whether a worker ran out of time with a piece that can't be done by halves."""
    note = notes.load(name_of(piece))
    return note is not None and note.get("of") == piece["of"] and bool(note.get("slow"))


def bytes_of(piece: Mapping[str, Any], size: int) -> int:
    """What a piece moves of a file of ``size``."""
    return min(int(piece["count"]) * int(piece["part_bytes"]), size)


def is_done(piece: Mapping[str, Any], parts: Mapping[int, Any]) -> bool:
    return all(number in parts for number in _numbers(piece))


class PieceWorker:
    """Does one piece, or as much of it as ``stop`` allows; what is done is noted after each part."""

    def __init__(
        self, shipment: Shipment, bucket: ForeignBucket, notes: Notes, key: str, piece: Mapping[str, Any], stop: Stop
    ) -> None:
        self._escrow = shipment.escrow
        self._file = shipment.files[piece["file"]]
        self._bucket = bucket
        self._notes = notes
        self._key = key
        self._piece = piece
        self._stop = stop
        self._lock = threading.Lock()
        self._done: dict[int, dict[str, Any]] = {}
        self._there: dict[int, PartInfo] = {}

    def run(self) -> None:
        """Raises DeliveryFault of the first part that failed, after the others have ended."""
        before = self._notes.load(name_of(self._piece))
        if before is not None and before.get("of") == self._piece["of"]:
            self._done = {int(number): part for number, part in before.get("parts", {}).items()}
        if is_done(self._piece, self._done):
            return
        part_bytes = int(self._piece["part_bytes"])
        if self._piece["do"] == "send":
            if self._done or before is not None:
                # A worker before us was cut off: what it sent and did not note need not be sent again.
                self._there = {p.number: p for p in self._parts_there()}
            else:
                self._save()
        todo = [number for number in _numbers(self._piece) if number not in self._done]
        work = {"send": self._send, "read": self._read_back, "whole": self._read_whole}[self._piece["do"]]
        threads = THREADS if part_bytes <= Sizes.part else 1
        with ThreadPoolExecutor(threads) as pool:
            faults = list(pool.map(lambda number: self._guarded(work, number), todo))
        for fault in faults:
            if fault is not None:
                raise fault

    def _guarded(self, work: Callable[[int], None], number: int) -> Exception | None:
        if self._stop():
            return None
        try:
            work(number)
        except Exception as error:  # noqa: BLE001 - handed to the caller's thread, and raised there
            self._stop = lambda: True
            return error
        return None

    def _parts_there(self) -> Sequence[PartInfo]:
        try:
            return self._bucket.parts(self._key, self._piece["of"])
        except MultipartGoneError:
            raise _upload_gone() from None

    def _send(self, number: int) -> None:
        data = self._from_escrow(number)
        sha256 = hashlib.sha256(data).hexdigest()
        there = self._there.get(number)
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if there is not None and there.size == len(data) and there.etag.strip('"').lower() == md5:
            etag = there.etag
        else:
            try:
                etag = self._bucket.put_part(
                    self._key, self._piece["of"], number, data, sha256=sha256 if self._piece["checksums"] else None
                )
            except MultipartGoneError:
                raise _upload_gone() from None
        self._note(number, {"etag": etag, "sha256": sha256})

    def _read_back(self, number: int) -> None:
        part_bytes = int(self._piece["part_bytes"])
        start = (number - 1) * part_bytes
        length = min(part_bytes, self._file.size - start)
        copy = hashlib.sha256()
        for chunk in self._bucket.read(self._key, start=start, length=length):
            copy.update(chunk)
        source = hashlib.sha256()
        for at in range(start, start + length, MIB * 8):
            source.update(from_escrow(self._escrow, self._file, at, min(MIB * 8, start + length - at)))
        self._note(number, {"ok": copy.digest() == source.digest()})

    def _read_whole(self, number: int) -> None:
        copy = hashlib.sha256()
        for chunk in self._bucket.read(self._key, start=0, length=self._file.size):
            copy.update(chunk)
            if self._stop():
                # A digest of half a file can't be kept, so a slow store is read in parts.
                self._notes.save(name_of(self._piece), {"of": self._piece["of"], "parts": {}, "slow": True})
                return
        self._note(number, {"ok": copy.hexdigest() == self._file.sha256})

    def _from_escrow(self, number: int) -> bytes:
        start = (number - 1) * int(self._piece["part_bytes"])
        return from_escrow(
            self._escrow, self._file, start, min(int(self._piece["part_bytes"]), self._file.size - start)
        )

    def _note(self, number: int, part: dict[str, Any]) -> None:
        with self._lock:
            self._done[number] = part
            self._save()

    def _save(self) -> None:
        self._notes.save(name_of(self._piece), {"of": self._piece["of"], "parts": self._done})


def from_escrow(escrow: ObjectStore, file: ShippedFile, start: int, length: int) -> bytes:
    """Exactly these bytes of the source. Raises DeliveryFault ``source_missing``."""
    data = escrow.get(file.source_key, start=start, length=length)
    if data is None or len(data) != length:
        raise source_missing(file)
    return data


def source_missing(file: ShippedFile) -> DeliveryFault:
    return DeliveryFault(
        "source_missing",
        f"Escrow no longer holds {file.path} as it was verified.",
        "It was removed or changed there; train again, or deliver a copy of your own.",
        retry=False,
    )


def _numbers(piece: Mapping[str, Any]) -> range:
    return range(int(piece["first"]), int(piece["first"]) + int(piece["count"]))


def _upload_gone() -> DeliveryFault:
    return DeliveryFault(
        "unavailable",
        "The store has thrown away an unfinished upload.",
        "Nothing to do at first: the file is sent again. If it stays, look at the bucket's lifecycle rules.",
        retry=True,
    )
