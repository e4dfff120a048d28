"""Sending a shipment to a bucket: what one step does, and in which order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from chalicelib.delivery.s3_files import Files, done_of, has_time, work
from chalicelib.delivery.s3_pieces import (
    bytes_of,
    from_escrow,
    is_done,
    name_of,
    noted,
    part_bytes_of,
    pieces_of,
    source_missing,
)
from chalicelib.domain.delivery_ports import Advance, Budget, DeliveryFault
from chalicelib.domain.objects import MultipartGoneError, PartInfo, PartRefusedError

#: Pieces given out at once.
MAX_FAN = 200


class Sending:
    """One step. Its state: ``at``, how many small files are there; ``large``, the large ones that are; ``uploads``,
    ``{"id", "checksums", "part_bytes"}`` of those under way."""

    def __init__(self, files: Files, budget: Budget | None) -> None:
        self._files = files
        self._budget = budget
        self._at = 0
        self._large: list[int] = []
        self._uploads: dict[int, dict[str, Any]] = {}
        self._part_bytes_done = 0
        self._opened: set[int] = set()

    def go(self, state: Mapping[str, Any] | None) -> Advance:
        if state is not None:
            self._at = int(state.get("at", 0))
            self._large = [int(index) for index in state.get("large", ())]
            self._uploads = {int(index): dict(upload) for index, upload in state.get("uploads", {}).items()}
        fan: list[dict[str, Any]] = []
        if self._small() and self._begin():
            fan = self._pieces()
            if not fan and self._finish():
                return self._last()
        return self._advance(fan)

    def _small(self) -> bool:
        """Sends small files, one request each. False when time is up."""
        small = self._files.small
        begun = self._at
        while self._at < len(small):
            # The first of a step is always sent: a budget that is too short must not stand still.
            if self._at > begun and not has_time(self._budget, self._files.file(small[self._at]).size):
                return False
            self._put(small[self._at])
            self._at += 1
        return True

    def _put(self, index: int) -> None:
        files = self._files
        if files.is_there(index):
            return
        file = files.file(index)
        data = from_escrow(files.shipment.escrow, file, 0, file.size) if file.size else b""
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise source_missing(file)
        files.bucket.put(
            files.key(index),
            data,
            sha256=file.sha256,
            metadata=files.metadata(index),
            content_type=files.content_type(index),
        )
        files.arrived(index)

    def _begin(self) -> bool:
        """Starts an upload for each large file that is not there. False when time is up."""
        for index in self._files.large:
            if index in self._large or index in self._uploads:
                continue
            if not has_time(self._budget):
                return False
            if self._files.is_there(index):
                self._large.append(index)
                continue
            self._open(index)
        return True

    def _open(self, index: int) -> None:
        files = self._files
        opened = files.notes.open_upload(
            files.bucket,
            index,
            files.key(index),
            metadata=files.metadata(index),
            content_type=files.content_type(index),
        )
        self._uploads[index] = {**opened, "part_bytes": part_bytes_of(files.file(index).size, files.sizes)}
        self._opened.add(index)

    def _pieces(self) -> list[dict[str, Any]]:
        """Pieces for others. A single one is done here."""
        missing = self._missing()
        if len(missing) == 1 and has_time(
            self._budget, bytes_of(missing[0], self._files.file(int(missing[0]["file"])).size)
        ):
            work(self._files, missing[0], lambda: not has_time(self._budget))
            missing = self._missing()
        return missing[:MAX_FAN]

    def _missing(self) -> list[dict[str, Any]]:
        missing: list[dict[str, Any]] = []
        self._part_bytes_done = 0
        for index in sorted(self._uploads):
            found = self._missing_of(index)
            if found and index not in self._opened and not self._is_alive(index):
                self._forget(index)
                self._open(index)
                found = self._missing_of(index)
            missing += found
        return missing

    def _missing_of(self, index: int) -> list[dict[str, Any]]:
        upload = self._uploads[index]
        missing = []
        for piece in self._pieces_of(index):
            parts = noted(self._files.notes, piece)
            self._part_bytes_done += len(parts) * int(upload["part_bytes"])
            if not is_done(piece, parts):
                missing.append(piece)
        return missing

    def _pieces_of(self, index: int) -> list[dict[str, Any]]:
        upload = self._uploads[index]
        return pieces_of(
            "send",
            index,
            self._files.file(index).size,
            int(upload["part_bytes"]),
            self._files.sizes.piece,
            of=upload["id"],
            checksums=bool(upload["checksums"]),
        )

    def _is_alive(self, index: int) -> bool:
        try:
            self._files.bucket.parts(self._files.key(index), self._uploads[index]["id"])
        except MultipartGoneError:
            return False
        return True

    def _forget(self, index: int) -> None:
        self._files.notes.abort_uploads(self._files.bucket, index)
        self._uploads.pop(index)

    def _finish(self) -> bool:
        """Has the store put the parts together. False when time is up, or when something must be sent once more."""
        for index in sorted(self._uploads):
            if not has_time(self._budget):
                return False
            if not self._put_together(index):
                return False
        return True

    def _put_together(self, index: int) -> bool:
        files = self._files
        upload = self._uploads[index]
        key = files.key(index)
        parts = self._agreed(index)
        if parts is None:
            if not self._is_alive(index):
                # Finished before, and the answer or the note of it got lost; or thrown away by the store.
                if files.is_there(index, again=False):
                    return self._is_finished(index)
                self._forget(index)
            return False
        # What another one may have put there since the delivery began is not overwritten either.
        if not files.is_there(index):
            try:
                files.bucket.finish_upload(key, upload["id"], parts)
            except MultipartGoneError:
                return False
            except PartRefusedError as refused:
                self._forget(index)
                raise DeliveryFault(
                    "unavailable",
                    f"{files.label} did not put {key} together: {refused}.",
                    "Nothing to do at first: the file is sent again. If it stays, look at the store.",
                    retry=True,
                ) from refused
        return self._is_finished(index)

    def _agreed(self, index: int) -> list[PartInfo] | None:
        """The parts as noted, when the store has exactly them; None, with the notes mended, when it has not."""
        files = self._files
        upload = self._uploads[index]
        try:
            there = {part.number: part for part in files.bucket.parts(files.key(index), upload["id"])}
        except MultipartGoneError:
            return None
        size, part_bytes = files.file(index).size, int(upload["part_bytes"])
        agreed: list[PartInfo] = []
        whole = True
        for piece in self._pieces_of(index):
            parts = noted(files.notes, piece)
            good = {}
            for number, part in parts.items():
                length = min(part_bytes, size - (number - 1) * part_bytes)
                found = there.get(number)
                if found is not None and found.size == length and _bare(found.etag) == _bare(part["etag"]):
                    good[number] = part
                    sha256 = part["sha256"] if upload["checksums"] else None
                    agreed.append(PartInfo(number, length, found.etag, sha256))
            if len(good) < len(parts):
                files.notes.save(name_of(piece), {"of": upload["id"], "parts": good})
                whole = False
        return sorted(agreed, key=lambda part: part.number) if whole else None

    def _is_finished(self, index: int) -> bool:
        self._files.arrived(index)
        self._files.notes.abort_uploads(self._files.bucket, index)
        self._uploads.pop(index)
        self._large.append(index)
        return True

    def _last(self) -> Advance:
        for index in self._files.last:
            self._put(index)
        count, size = done_of(self._files, range(len(self._files.shipment.files)))
        return Advance(state=self._state(), done=True, files_done=count, bytes_done=size)

    def _advance(self, fan: list[dict[str, Any]]) -> Advance:
        count, size = done_of(self._files, [*self._files.small[: self._at], *self._large])
        return Advance(
            state=self._state(), fan=fan, files_done=count, bytes_done=min(size + self._part_bytes_done, self._bytes)
        )

    @property
    def _bytes(self) -> int:
        return self._files.shipment.bytes

    def _state(self) -> dict[str, Any]:
        return {
            "at": self._at,
            "large": self._large,
            "uploads": {str(index): upload for index, upload in self._uploads.items()},
        }


def _bare(etag: str) -> str:
    return etag.strip('"').lower()
