"""The files of a shipment as objects of a bucket: their keys, what marks them as ours, and what is there already."""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from chalicelib.delivery.s3_notes import Notes
from chalicelib.delivery.s3_pieces import PieceWorker, Sizes, Stop
from chalicelib.domain.delivery_ports import Budget, DeliveryFault, Shipment, ShippedFile
from chalicelib.domain.destinations import S3Destination, label
from chalicelib.domain.foreign_bucket import ForeignBucket, ForeignObject
from chalicelib.domain.foreign_keys import folder_of, safe_path
from chalicelib.domain.shipping import MANIFEST_NAME

JOB = "stcloud-job"
SHA256 = "stcloud-sha256"
#: A file that arrives damaged so often will not arrive.
MAX_DAMAGES = 3


class Files:
    """Files are named by their place in ``shipment.files``, which never changes for one delivery."""

    def __init__(
        self, destination: S3Destination, shipment: Shipment, bucket: ForeignBucket, notes: Notes, sizes: Sizes
    ) -> None:
        self.destination = destination
        self.sizes = sizes
        self.shipment = shipment
        self.bucket = bucket
        self.notes = notes
        self.label = label(destination)
        self.folder = folder_of(destination, shipment.run_name, shipment.job_id)
        everything = range(len(shipment.files))
        self.last = [i for i in everything if shipment.files[i].path == MANIFEST_NAME]
        self.small = [i for i in everything if i not in self.last and shipment.files[i].size <= sizes.part]
        self.large = [i for i in everything if i not in self.last and shipment.files[i].size > sizes.part]

    def file(self, index: int) -> ShippedFile:
        return self.shipment.files[index]

    def key(self, index: int) -> str:
        return self.folder + safe_path(self.file(index).path)

    def metadata(self, index: int) -> Mapping[str, str]:
        return {JOB: self.shipment.job_id, SHA256: self.file(index).sha256}

    def content_type(self, index: int) -> str:
        path = self.file(index).path
        return mimetypes.guess_type(path)[0] or "application/octet-stream"

    def is_there(self, index: int, *, again: bool = True) -> bool:
        """Whether the file need not be sent: one of this size that says it has this SHA-256 is there. Confirming reads
        it; with ``again`` one that was found damaged is sent all the same.

        Raises DeliveryFault ``conflict`` when another object has this key that no delivery of this job put there.
        """
        found = self.bucket.head(self.key(index))
        if found is None:
            return False
        if self._is_same(index, found) and not (again and self.is_damaged(index)):
            return True
        if found.metadata.get(JOB) != self.shipment.job_id:
            raise DeliveryFault(
                "conflict",
                f"{self.label} already holds another object at {self.key(index)}.",
                "Nothing was overwritten. Deliver with another prefix, or remove the object and retry the delivery.",
                retry=False,
            )
        return False

    def _is_same(self, index: int, found: ForeignObject) -> bool:
        file = self.file(index)
        return found.size == file.size and found.metadata.get(SHA256) == file.sha256

    def is_damaged(self, index: int) -> bool:
        return bool((self.notes.load(_again(index)) or {}).get("open"))

    def any_damaged(self) -> bool:
        return any((self.notes.load(name) or {}).get("open") for name in self.notes.names("again/"))

    def arrived(self, index: int) -> None:
        """The file has been sent; if it was damaged before, that is mended as far as is known."""
        note = self.notes.load(_again(index))
        if note is not None and note.get("open"):
            self.notes.save(_again(index), {**note, "open": False})

    def damaged(self, index: int, why: str) -> DeliveryFault:
        """Notes that the copy is not what was sent, and says so."""
        times = int((self.notes.load(_again(index)) or {}).get("times", 0)) + 1
        self.notes.save(_again(index), {"times": times, "open": True})
        often = times >= MAX_DAMAGES
        return DeliveryFault(
            "corrupt_at_target",
            f"{self.key(index)} at {self.label} {why}.",
            f"It was sent {times} times and never arrived whole: look at the store. The model is safe in escrow."
            if often
            else "It is sent again. If something else writes to this prefix, deliver to another one.",
            retry=not often,
        )


def work(files: Files, piece: Mapping[str, Any], stop: Stop) -> None:
    """Does one piece, of sending or of reading back, as far as ``stop`` allows."""
    PieceWorker(files.shipment, files.bucket, files.notes, files.key(int(piece["file"])), piece, stop).run()


def has_time(budget: Budget | None, size: int = 0) -> bool:
    """Whether a file of ``size`` may be begun: at 2 MB a second it would end within the budget."""
    return budget is None or budget.left() > timedelta(seconds=size / 2_000_000)


def done_of(files: Files, indexes: Any) -> tuple[int, int]:
    """Count and bytes of these files."""
    sizes = [files.file(index).size for index in indexes]
    return len(sizes), sum(sizes)


def _again(index: int) -> str:
    return f"again/{index:05d}.json"
