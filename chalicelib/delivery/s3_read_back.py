"""Confirming a delivery to a bucket.

A file counts as arrived when the store itself names its SHA-256 (of the whole object, or of the very parts that were
sent), or else when it has been read back: up to 1 GiB as a whole against the SHA-256 that Verify computed, above that
part by part against escrow. A store's checksum only ever confirms; when it is missing or differs, reading decides.

What is found damaged is noted, and sent again at the beginning of the next step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from chalicelib.delivery.s3_files import JOB, Files, done_of, has_time, work
from chalicelib.delivery.s3_pieces import (
    bytes_of,
    is_done,
    name_of,
    noted,
    part_bytes_of,
    pieces_of,
    was_slow,
)
from chalicelib.delivery.s3_send import MAX_FAN, Sending
from chalicelib.domain.delivery_ports import Advance, Budget
from chalicelib.domain.foreign_bucket import ForeignObject
from chalicelib.domain.objects import composite_of


class ReadBack:
    """One step. Its state is that of sending, and ``confirm``: ``of``, the round; ``ok``, by file how it was confirmed
    (``checksum`` or ``read``); ``read``, files that must be read in pieces; and ``mend``, the state of sending again
    what was damaged."""

    def __init__(self, files: Files, budget: Budget, token: Callable[[], str]) -> None:
        self._files = files
        self._budget = budget
        self._token = token

    def go(self, state: Mapping[str, Any]) -> Advance:
        mending = self._mend(state)
        return self._confirm(state) if mending is None else mending

    def _mend(self, state: Mapping[str, Any]) -> Advance | None:
        """Sends again what was damaged; None when there is nothing."""
        mend = state.get("mend")
        if mend is None and not self._files.any_damaged():
            return None
        advance = Sending(self._files, self._budget).go(mend)
        kept = {name: value for name, value in state.items() if name not in {"mend", "confirm"}}
        if not advance.done:
            return replace(advance, state={**kept, "mend": dict(advance.state)})
        # What was confirmed before may have been sent again: a new round looks at everything.
        return replace(advance, state=kept, done=False, files_done=0, bytes_done=0)

    def _confirm(self, state: Mapping[str, Any]) -> Advance:
        confirm = state.get("confirm") or {}
        of = str(confirm.get("of") or self._token())
        ok: dict[int, str] = {int(index): how for index, how in confirm.get("ok", {}).items()}
        read: list[int] = [int(index) for index in confirm.get("read", ())]
        fan: list[dict[str, Any]] = []
        if self._look(ok, read):
            fan = self._pieces(of, ok, read)
        count, size = done_of(self._files, ok)
        done = count == len(self._files.shipment.files)
        words = {str(index): how for index, how in sorted(ok.items())}
        return Advance(
            state={**state, "confirm": {"of": of, "ok": words, "read": read}},
            done=done,
            files_done=count,
            bytes_done=size,
            fan=fan,
            result=self._result(ok) if done else {},
        )

    def _look(self, ok: dict[int, str], read: list[int]) -> bool:
        """Looks at every file; small ones are read at once. False when time is up."""
        begun = len(ok) + len(read)
        for index in range(len(self._files.shipment.files)):
            if index in ok or index in read:
                continue
            file = self._files.file(index)
            if len(ok) + len(read) > begun and not has_time(self._budget, min(file.size, self._files.sizes.part)):
                return False
            found = self._files.bucket.head(self._files.key(index))
            if found is None:
                raise self._files.damaged(index, "is missing")
            if found.size != file.size:
                raise self._files.damaged(index, f"has {found.size} bytes instead of {file.size}")
            if found.sha256 == file.sha256 or self._has_our_parts(index, found):
                ok[index] = "checksum"
            elif file.size <= self._files.sizes.part:
                self._read_small(index)
                ok[index] = "read"
            else:
                read.append(index)
        return True

    def _has_our_parts(self, index: int, found: ForeignObject) -> bool:
        """Whether the store's checksum of parts is that of the parts that we have hashed and sent."""
        if found.composite_sha256 is None or found.metadata.get(JOB) != self._files.shipment.job_id:
            return False
        file, sizes = self._files.file(index), self._files.sizes
        digests: list[str] = []
        for piece in pieces_of("send", index, file.size, part_bytes_of(file.size, sizes), sizes.piece):
            note = self._files.notes.load(f"pieces/send-{index:05d}-{piece['first']:05d}.json") or {}
            parts = {int(number): part for number, part in note.get("parts", {}).items()}
            for number in range(piece["first"], piece["first"] + piece["count"]):
                if number not in parts:
                    return False
                digests.append(parts[number]["sha256"])
        return composite_of(digests) == found.composite_sha256

    def _read_small(self, index: int) -> None:
        file = self._files.file(index)
        digest = hashlib.sha256()
        for chunk in self._files.bucket.read(self._files.key(index), start=0, length=file.size):
            digest.update(chunk)
        if digest.hexdigest() != file.sha256:
            raise self._files.damaged(index, "has other contents than were sent")

    def _pieces(self, of: str, ok: dict[int, str], read: list[int]) -> list[dict[str, Any]]:
        missing = self._missing(of, ok, read)
        files = self._files
        if len(missing) == 1 and has_time(self._budget, bytes_of(missing[0], files.file(int(missing[0]["file"])).size)):
            work(files, missing[0], lambda: not has_time(self._budget))
            missing = self._missing(of, ok, read)
        return missing[:MAX_FAN]

    def _missing(self, of: str, ok: dict[int, str], read: list[int]) -> list[dict[str, Any]]:
        """Pieces that have not been read yet; a file whose every part is as it should be moves to ``ok``."""
        missing: list[dict[str, Any]] = []
        for index in list(read):
            left = []
            for piece in self._pieces_of(of, index):
                parts = noted(self._files.notes, piece)
                bad = sorted(number for number, part in parts.items() if not part.get("ok"))
                if bad:
                    # Or the next step, which sends it again, could take this for what it finds afterwards.
                    self._files.notes.drop(name_of(piece))
                    raise self._files.damaged(index, f"has other contents than were sent (part {bad[0]})")
                if not is_done(piece, parts):
                    left.append(piece)
            if not left:
                read.remove(index)
                ok[index] = "read"
            missing += left
        return missing

    def _pieces_of(self, of: str, index: int) -> list[dict[str, Any]]:
        size = self._files.file(index).size
        sizes = self._files.sizes
        if size <= sizes.whole:
            # One part that is the whole file: compared with the SHA-256 that Verify computed.
            whole = pieces_of("whole", index, size, size, 1, of=of)
            if not was_slow(self._files.notes, whole[0]):
                return whole
        return pieces_of("read", index, size, part_bytes_of(size, sizes), sizes.piece, of=of)

    def _result(self, ok: Mapping[int, str]) -> dict[str, Any]:
        destination = self._files.destination
        result: dict[str, Any] = {
            "uri": f"s3://{destination.bucket}/{self._files.folder}",
            "bucket": destination.bucket,
            "folder": self._files.folder,
            "confirmed": {
                "by_checksum_of_the_store": sum(how == "checksum" for how in ok.values()),
                "by_reading_back": sum(how == "read" for how in ok.values()),
            },
        }
        if destination.endpoint_url is not None:
            result["endpoint_url"] = destination.endpoint_url
        return result
