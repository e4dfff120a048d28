"""First step of unpacking: what the archive is, what of it is taken, and the pieces in which that is unpacked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.archive_entries import Entry, RangeReader
from chalicelib.domain.archive_names import ENCODING_NAMES
from chalicelib.domain.archive_plan import Planner, dump_entry
from chalicelib.domain.archive_stream import CompressedReader
from chalicelib.domain.archive_tar import TarState, is_tar, scan_tar
from chalicelib.domain.archive_zip import read_zip
from chalicelib.domain.archives import (
    MAX_COMPRESSED_TAR_BYTES,
    SNIFF_BYTES,
    ArchiveKind,
    ArchiveRefusedError,
    ArchiveReport,
    Taken,
    kind_of,
    name_of_other,
    not_an_archive,
)
from chalicelib.domain.ports import Ports
from chalicelib.domain.wording import count_text
from chalicelib.services.archive_ending import fail_archive
from chalicelib.workflow.unpack import (
    STATE,
    SUMMARY,
    Unpacking,
    archive_gone,
    failure_of,
    identity,
    open_archive,
    plan_name,
    quota_exceeded,
)

#: A round of a plain tar ends well within the function's 900 seconds; a compressed one has only this one.
BUDGET = timedelta(seconds=780)
#: A tar of 100 GiB whose headers are read at 30 MB a second takes five.
MAX_ROUNDS = 20
#: Iterations of the map: each may have several pieces.
MAX_ITEMS = 200
_SCAN_BLOCK = 1024 * 1024
_HASH_BLOCK = 4 * 1024 * 1024


class _OutOfTimeError(Exception):
    """The round is over."""


def plan_archive(event: Mapping[str, Any], ports: Ports, *, budget: timedelta = BUDGET) -> dict[str, Any]:
    """Plans the archive, or goes on with that. ``next`` is ``plan`` (call again), ``unpack`` (``items`` say what), or
    ``done`` (it is over; the record says how)."""
    unpacking = open_archive(event, ports)
    if unpacking is None:
        return {**identity(event), "next": "done", "items": []}
    planning = _Planning(unpacking, ports.clock.now() + budget)
    try:
        summary = unpacking.load(SUMMARY) or planning.run()
    except ArchiveRefusedError as refused:
        fail_archive(ports, unpacking.archive, failure_of(refused), planning.report())
        return {**identity(event), "next": "done", "items": []}
    if summary is None:
        return {**identity(event), "next": "plan", "items": []}
    return {**identity(event), "next": "unpack", "items": _items(summary)}


def _items(summary: Mapping[str, Any]) -> list[dict[str, int]]:
    pieces = int(summary["pieces"])
    # A compressed stream is read once, from front to back.
    each = pieces if ArchiveKind(summary["kind"]).is_compressed_tar else -(-pieces // MAX_ITEMS)
    return [{"first": first, "count": min(each, pieces - first)} for first in range(0, pieces, each)]


class _Planning:
    def __init__(self, unpacking: Unpacking, stop_at: datetime) -> None:
        self._unpacking, self._stop_at = unpacking, stop_at
        self._archive, self._ports = unpacking.archive, unpacking.ports
        self._planner = Planner(self._archive.size, self._write)
        self._kind: ArchiveKind | None = None
        self._encoding: str | None = None
        self._notes: list[str] = []

    def run(self) -> dict[str, Any] | None:
        """The plan's summary, or None when it takes another round. Raises ArchiveRefusedError."""
        state = self._unpacking.load(STATE)
        if state is None:
            self._check_content()
        kind = self._kind = ArchiveKind(state["kind"]) if state else self._sniff()
        if kind is ArchiveKind.ZIP:
            self._zip()
        elif kind is ArchiveKind.TAR:
            if not self._tar(state):
                return None
        else:
            self._compressed(kind)
        self._planner.finish()
        self._refuse_beyond_quota()
        if self._planner.case_twins:
            self._notes.append(
                f"{count_text(self._planner.case_twins, 'name differs', 'names differ')} from another by case alone; "
                "on Windows and macOS they would be one file."
            )
        if self._planner.top_folder is not None:
            self._notes.append(f"Everything lay in the folder '{self._planner.top_folder}', which is left away.")
        summary = {
            "kind": kind.value,
            "pieces": self._planner.pieces,
            "files": self._planner.files,
            "bytes": self._planner.bytes,
            "strip": self._planner.top_folder,
            "encoding": self._encoding,
            "notes": self._notes,
            "left_out": self._planner.left_out.dump(),
        }
        self._unpacking.save(SUMMARY, summary)
        return summary

    def report(self) -> ArchiveReport:
        """Of a plan that was refused: nothing is taken."""
        left_out = self._planner.left_out
        return ArchiveReport(
            kind=self._kind,
            taken=Taken(),
            left_out=left_out.listed,
            left_out_counts=left_out.counts,
            encoding=self._encoding,
            notes=self._notes,
        )

    def _refuse_beyond_quota(self) -> None:
        """Before anything is unpacked; what counts in the end is the version, which may be there already."""
        quota = self._ports.limits.dataset_quota_bytes
        used = self._ports.datasets.usage(self._archive.owner).bytes
        if used + self._planner.bytes > quota:
            raise quota_exceeded(used, quota, self._planner.bytes)

    def _write(self, piece: int, entries: Sequence[Entry]) -> None:
        self._unpacking.save(plan_name(piece), [dump_entry(entry) for entry in entries])

    def _check_content(self) -> None:
        archive = self._archive
        info = self._ports.dataset_files.head(archive.key)
        if info is None:
            raise archive_gone()
        if info.size != archive.size:
            raise ArchiveRefusedError(
                "wrong_size",
                f"The archive has {info.size:,} bytes and was announced with {archive.size:,}.",
                "Upload it again.",
            )
        if archive.sha256 is None:
            return
        digest, at = hashlib.sha256(), 0
        while piece := self._unpacking.read(at, _HASH_BLOCK):
            digest.update(piece)
            at += len(piece)
        if digest.hexdigest() != archive.sha256:
            raise ArchiveRefusedError(
                "wrong_sha256",
                f"The archive arrived with the SHA-256 {digest.hexdigest()}, not the one that was announced.",
                "Look whether the announced one is that of this file (sha256sum), then upload it again.",
            )

    def _sniff(self) -> ArchiveKind:
        head = self._unpacking.read(0, SNIFF_BYTES)
        kind = kind_of(head)
        if kind is None and is_tar(head):
            return ArchiveKind.TAR
        if kind is not None and kind.is_compressed_tar and self._archive.size > MAX_COMPRESSED_TAR_BYTES:
            raise compressed_too_large()
        if kind is not None:
            return kind
        other = name_of_other(head)
        if other is not None:
            raise not_an_archive(f"The file is {other}, which can't be unpacked here.")
        # A zip may begin with a program that unpacks it: its directory decides.
        return ArchiveKind.ZIP

    def _zip(self) -> None:
        directory = read_zip(self._unpacking.read, self._archive.size)
        self._encoding = ENCODING_NAMES[directory.encoding]
        self._notes += directory.notes
        for found in directory.entries:
            self._planner.add(found)

    def _tar(self, state: Mapping[str, Any] | None) -> bool:
        """True when the whole tar has been seen; otherwise where it stands is saved."""
        tar, rounds = TarState(), 1
        if state is not None:
            tar, rounds = TarState.load(state["tar"]), state["round"] + 1
            self._planner.load(state["planner"])
        if rounds > MAX_ROUNDS:
            raise _too_slow()
        reader = RangeReader(self._unpacking.read, block=_SCAN_BLOCK)
        for found in scan_tar(reader, tar, self._archive.size):
            self._planner.add(found)
            if self._ports.clock.now() > self._stop_at:
                saved = {"kind": ArchiveKind.TAR, "tar": tar.dump(), "round": rounds, "planner": self._planner.dump()}
                self._unpacking.save(STATE, saved)
                return False
        self._read_as(tar)
        return True

    def _compressed(self, kind: ArchiveKind) -> None:
        source = self._ports.dataset_files.open(self._archive.key)
        if source is None:
            raise archive_gone()
        with source:
            reader = CompressedReader(source, kind, self._archive.size, on_block=self._in_time)
            tar = TarState()
            try:
                for found in scan_tar(reader, tar, None):
                    self._planner.add(found)
                reader.drain()
            except _OutOfTimeError:
                raise _too_slow() from None
            if reader.trailing:
                self._notes.append("Bytes behind the compressed data were ignored.")
        self._read_as(tar)

    def _in_time(self) -> None:
        if self._ports.clock.now() > self._stop_at:
            raise _OutOfTimeError

    def _read_as(self, tar: TarState) -> None:
        self._encoding = ", ".join(ENCODING_NAMES[encoding] for encoding in tar.encodings if encoding != "ascii")
        self._encoding = self._encoding or ENCODING_NAMES["ascii"]
        self._notes += tar.notes


def compressed_too_large() -> ArchiveRefusedError:
    return ArchiveRefusedError(
        "compressed_tar_too_large",
        f"A compressed tar may have {MAX_COMPRESSED_TAR_BYTES // 1024**3} GiB: it can only be read from front to back.",
        "Send a zip or an uncompressed tar, or push the folder: stcloud datasets push",
    )


def _too_slow() -> ArchiveRefusedError:
    return ArchiveRefusedError(
        "archive_too_slow",
        "The archive takes too long to read from front to back.",
        "Send a zip, or push the folder: stcloud datasets push",
    )
