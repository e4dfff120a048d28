"""Second step of unpacking, many at once: the files of some pieces, from the archive into the version's prefix.

Memory is bounded whatever the files' sizes: small ones wait to be stored a few megabytes at a time, large ones are
stored as they are unpacked. What has been stored is written down every few seconds, so that a step that is repeated
goes on from there; a file that is stored twice is the same both times.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from chalicelib.domain.archive_entries import Entry, EntryDamagedError, RangeReader, Reader, unpacked
from chalicelib.domain.archive_names import HEAD, judge_content
from chalicelib.domain.archive_plan import LeftOutList, load_entry
from chalicelib.domain.archive_stream import CompressedReader
from chalicelib.domain.archives import ArchiveKind, ArchiveRefusedError
from chalicelib.domain.ports import Ports
from chalicelib.services.archive_ending import fail_archive
from chalicelib.workflow.unpack import (
    SUMMARY,
    Unpacking,
    archive_gone,
    done_name,
    failure_of,
    identity,
    open_archive,
    plan_name,
)

BUDGET = timedelta(seconds=780)
SAVE_EVERY = timedelta(seconds=10)
SAVE_FILES = 250
THREADS = 8
#: A file up to this size is held in memory while it is stored; so many bytes of them at once.
SMALL_BYTES = 4 * 1024 * 1024
WAITING_BYTES = 16 * 1024 * 1024
WAITING_FILES = 64
#: Files above this size are listed with the digests of parts of this size.
PART_BYTES = 64 * 1024 * 1024


class _OutOfTimeError(Exception):
    """This call is over; the next one goes on."""


def unpack_piece(event: Mapping[str, Any], ports: Ports, *, budget: timedelta = BUDGET) -> dict[str, Any]:
    """Unpacks the pieces ``first`` to ``first + count - 1``. ``more`` True: call again to go on."""
    handed_on = {**identity(event), "first": event["first"], "count": event["count"]}
    unpacking = open_archive(event, ports)
    if unpacking is None:
        return {**handed_on, "more": False}
    work = _Work(unpacking, ports.clock.now() + budget)
    try:
        more = not work.run(range(event["first"], event["first"] + event["count"]))
    except ArchiveRefusedError as refused:
        fail_archive(ports, unpacking.archive, failure_of(refused))
        more = False
    return {**handed_on, "more": more}


class _Work:
    """The pieces of one call."""

    def __init__(self, unpacking: Unpacking, stop_at: datetime) -> None:
        self.unpacking, self._stop_at = unpacking, stop_at
        self.archive, self.store = unpacking.archive, unpacking.ports.dataset_files
        self.clock = unpacking.ports.clock
        #: Entries dealt with in this call.
        self.entries = 0

    def run(self, pieces: range) -> bool:
        """True when all are done. Raises ArchiveRefusedError."""
        summary = self.unpacking.load(SUMMARY)
        if summary is None:
            raise archive_gone()
        strip = len(summary["strip"]) + 1 if summary["strip"] else 0
        with ExitStack() as stack:
            pool = stack.enter_context(ThreadPoolExecutor(THREADS))
            reader: Reader | None = None
            for number in pieces:
                before = self.unpacking.load(done_name(number))
                if before is not None and before["done"]:
                    continue
                reader = reader or self._reader(ArchiveKind(summary["kind"]), stack)
                try:
                    _Piece(self, number, before, pool).run(reader, strip)
                except _OutOfTimeError:
                    if not self.entries:
                        raise _too_slow() from None
                    return False
        return True

    def in_time(self) -> None:
        """Raises _OutOfTimeError."""
        if self.clock.now() > self._stop_at:
            raise _OutOfTimeError

    def _reader(self, kind: ArchiveKind, stack: ExitStack) -> Reader:
        if not kind.is_compressed_tar:
            return RangeReader(self.unpacking.read)
        source = self.store.open(self.archive.key)
        if source is None:
            raise archive_gone()
        stack.enter_context(source)
        return CompressedReader(source, kind, self.archive.size, on_block=self.in_time)


class _Piece:
    """What became of a piece so far: of its first ``at`` entries, in their order."""

    def __init__(self, work: _Work, number: int, before: Mapping[str, Any] | None, pool: ThreadPoolExecutor) -> None:
        self._work, self._number, self._pool = work, number, pool
        self._at: int = before["at"] if before else 0
        self._taken: list[list[Any]] = before["taken"] if before else []
        self._left_out = LeftOutList.load(before["left_out"]) if before else LeftOutList()
        self._waiting: deque[tuple[list[Any], int, Future[None]]] = deque()
        self._held = 0
        self._saved, self._saved_at = self._at, work.clock.now()

    def run(self, reader: Reader, strip: int) -> None:
        planned = self._work.unpacking.load(plan_name(self._number))
        if planned is None:
            raise archive_gone()
        try:
            for document in planned[self._at :]:
                entry = load_entry(document)
                self._work.in_time()
                self._entry(entry, entry.path[strip:], reader)
                self._save_sometimes()
        except _OutOfTimeError:
            self._settle(0)
            self._save(done=False)
            raise
        self._settle(0)
        self._save(done=True)

    def _entry(self, entry: Entry, path: str, reader: Reader) -> None:
        try:
            if entry.size <= SMALL_BYTES:
                self._small(entry, path, reader)
            else:
                self._settle(0)
                line = self._large(entry, path, reader)
                self._finished(line)
        except EntryDamagedError as damaged:
            self._settle(0)
            self._left_out.add(path, damaged.code, damaged.reason)
            self._finished(None)

    def _small(self, entry: Entry, path: str, reader: Reader) -> None:
        data = b"".join(unpacked(entry, reader))
        _refuse_content(path, len(data), data[:HEAD])
        line = [path, len(data), hashlib.sha256(data).hexdigest(), None]
        self._settle(WAITING_BYTES - len(data), WAITING_FILES)
        self._held += len(data)
        stored = self._pool.submit(self._work.store.put, self._work.archive.prefix + path, data)
        self._waiting.append((line, len(data), stored))

    def _large(self, entry: Entry, path: str, reader: Reader) -> list[Any]:
        chunks = self._watched(unpacked(entry, reader))
        head = b""
        first: list[bytes] = []
        for chunk in chunks:
            first.append(chunk)
            head += chunk[: HEAD - len(head)]
            if len(head) >= HEAD:
                break
        _refuse_content(path, entry.size, head)
        digests = _Digests()
        content = digests.over(chain(first, chunks))
        self._work.store.put_stream(self._work.archive.prefix + path, content, size=entry.size, sha256=False)
        return [path, entry.size, digests.whole.hexdigest(), digests.parts() if entry.size > PART_BYTES else None]

    def _watched(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._work.in_time()
            yield chunk

    def _settle(self, down_to: int, files: int = 0) -> None:
        """Waits for the oldest that are being stored, until ``down_to`` bytes or less of ``files`` or fewer are."""
        while self._waiting and (self._held > down_to or len(self._waiting) > files):
            line, size, stored = self._waiting.popleft()
            stored.result()
            self._held -= size
            self._finished(line)

    def _finished(self, line: list[Any] | None) -> None:
        if line is not None:
            self._taken.append(line)
        self._at += 1
        self._work.entries += 1

    def _save_sometimes(self) -> None:
        if self._at - self._saved >= SAVE_FILES or self._work.clock.now() - self._saved_at > SAVE_EVERY:
            self._save(done=False)

    def _save(self, *, done: bool) -> None:
        self._saved, self._saved_at = self._at, self._work.clock.now()
        document = {"at": self._at, "done": done, "taken": self._taken, "left_out": self._left_out.dump()}
        self._work.unpacking.save(done_name(self._number), document)


class _Digests:
    """SHA-256 of a content and of its parts, made as it passes by."""

    def __init__(self) -> None:
        self.whole = hashlib.sha256()
        self._part, self._in_part = hashlib.sha256(), 0
        self._finished: list[str] = []

    def over(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.whole.update(chunk)
            view = memoryview(chunk)
            while len(view):
                step = min(PART_BYTES - self._in_part, len(view))
                self._part.update(view[:step])
                self._in_part += step
                view = view[step:]
                if self._in_part == PART_BYTES:
                    self._end_part()
            yield chunk

    def parts(self) -> list[str]:
        if self._in_part:
            self._end_part()
        return self._finished

    def _end_part(self) -> None:
        self._finished.append(self._part.hexdigest())
        self._part, self._in_part = hashlib.sha256(), 0


def _refuse_content(path: str, size: int, head: bytes) -> None:
    problem = judge_content(path, size, head)
    if problem is not None:
        raise EntryDamagedError(*problem)


def _too_slow() -> ArchiveRefusedError:
    return ArchiveRefusedError(
        "archive_too_slow",
        "A file of the archive takes too long to unpack.",
        "Push the folder instead: stcloud datasets push",
    )
