"""What of an archive is taken, and in which pieces it is unpacked: a verdict for each entry, in the order they come."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain.archive_entries import STORED, Entry, Found
from chalicelib.domain.archive_names import judge_content, judge_name, shown
from chalicelib.domain.archives import (
    MAX_ENTRIES,
    MAX_ENTRY_BYTES,
    MAX_FOLDERS,
    MAX_REPORTED,
    MAX_UNPACKED_BYTES,
    ArchiveRefusedError,
    LeftOut,
    bomb,
    is_bomb,
    is_entry_bomb,
    too_many_entries,
)
from chalicelib.domain.datasets import MAX_FILES
from chalicelib.domain.wording import count_text

#: One piece is read and written well within a function's time.
PIECE_FILES = 1_000
PIECE_BYTES = 512 * 1024 * 1024
_HASH_BYTES = 12


@dataclass
class LeftOutList:
    """The first MAX_REPORTED that were left out, and the count of all by code."""

    listed: list[LeftOut] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, path: str, code: str, reason: str) -> None:
        self.counts[code] = self.counts.get(code, 0) + 1
        if len(self.listed) < MAX_REPORTED:
            self.listed.append(LeftOut(path=shown(path), code=code, reason=reason))

    def merge(self, listed: Iterable[LeftOut], counts: dict[str, int]) -> None:
        for code, count in counts.items():
            self.counts[code] = self.counts.get(code, 0) + count
        self.listed += list(listed)[: MAX_REPORTED - len(self.listed)]

    def dump(self) -> dict[str, Any]:
        return {"listed": [[e.path, e.code, e.reason] for e in self.listed], "counts": self.counts}

    @classmethod
    def load(cls, document: dict[str, Any]) -> LeftOutList:
        return cls([LeftOut(path=p, code=c, reason=r) for p, c, r in document["listed"]], dict(document["counts"]))


class Planner:
    """Takes entries one by one and hands pieces of them to ``write`` (index, entries), each as soon as it is full.

    ``archive_size`` is what the sum of the files is compared with. Paths and folders are remembered as short digests:
    the most there may be of each take 100 MB together. ``dump`` and ``load`` carry it over to another function; what
    has not been written goes along.
    """

    def __init__(
        self, archive_size: int, write: Callable[[int, Sequence[Entry]], None], *, max_folders: int = MAX_FOLDERS
    ) -> None:
        self._archive_size, self._write, self._max_folders = archive_size, write, max_folders
        self.left_out = LeftOutList()
        self.files = self.bytes = self.pieces = self.seen = 0
        self.case_twins = 0
        self._pending: list[Entry] = []
        self._pending_bytes = 0
        self._paths: set[bytes] = set()
        self._folders: set[bytes] = set()
        self._folded: set[bytes] = set()
        self._top: str | None = None
        self._one_top = True

    def add(self, found: Found) -> None:
        """Raises ArchiveRefusedError when the archive as a whole is too much."""
        self.seen += 1
        if self.seen > MAX_ENTRIES:
            raise too_many_entries()
        verdict = judge_name(found.name, backslashes=found.backslashes)
        if verdict.code is not None:
            self.left_out.add(verdict.path, verdict.code, verdict.reason)
            return
        problem = found.problem or self._problem(verdict.path, found)
        if problem is not None:
            self.left_out.add(verdict.path, *problem)
            return
        self._take(verdict.path, found)

    def finish(self) -> None:
        """Writes what is left. Raises ArchiveRefusedError when there is nothing to take."""
        self._flush()
        if self.files:
            return
        if self.left_out.listed:
            first, count = self.left_out.listed[0], sum(self.left_out.counts.values())
            raise ArchiveRefusedError(
                "nothing_taken",
                f"Of the archive's {count_text(count, 'file')} none can be taken, like {first.path}: {first.reason}.",
                "See what the report says of each, and pack the files anew.",
            )
        raise ArchiveRefusedError(
            "empty_archive",
            "The archive holds no files.",
            "Pack images and a .txt caption of the same name beside each.",
        )

    @property
    def top_folder(self) -> str | None:
        """The one folder that holds every file that is taken."""
        return self._top if self._one_top and self.files else None

    def _problem(self, path: str, found: Found) -> tuple[str, str] | None:
        if found.size > MAX_ENTRY_BYTES:
            return "too_large", "larger than 10 GiB; send it with stcloud datasets push"
        if found.method != STORED and is_entry_bomb(found.size, found.packed):
            return "bomb", f"{found.packed:,} bytes would unpack to {found.size:,}, as in a zip bomb"
        empty = judge_content(path, 0, b"") if not found.size else None
        if empty is not None:
            return empty
        if _digest(path) in self._paths:
            return "duplicate_name", "is in the archive twice; the first one is taken"
        if _digest(path) in self._folders or self._lies_in_a_file(path):
            return "name_conflict", "is the name of a file and of a folder"
        return None

    def _lies_in_a_file(self, path: str) -> bool:
        # Of a folder that is known, and those around it, none is the name of a file.
        return not self._is_known(_parent(path)) and any(_digest(folder) in self._paths for folder in _folders(path))

    def _is_known(self, folder: str) -> bool:
        return not folder or _digest(folder) in self._folders

    def _take(self, path: str, found: Found) -> None:
        self.files += 1
        self.bytes += found.size
        if self.files > MAX_FILES:
            raise ArchiveRefusedError(
                "too_many_files",
                f"The archive holds more than {MAX_FILES:,} files.",
                "Split it into several datasets; a dataloader can name more than one.",
            )
        if self.bytes > MAX_UNPACKED_BYTES:
            raise ArchiveRefusedError(
                "archive_too_large",
                f"The archive unpacks to more than {MAX_UNPACKED_BYTES // 1024**3:,} GiB.",
                "Split it into several datasets; a dataloader can name more than one.",
            )
        if is_bomb(self.bytes, self._archive_size):
            raise bomb(self.bytes, self._archive_size)
        self._paths.add(_digest(path))
        if not self._is_known(_parent(path)):
            self._folders.update(_digest(folder) for folder in _folders(path))
        if len(self._folders) > self._max_folders:
            raise ArchiveRefusedError(
                "too_many_folders",
                f"The archive's files lie in more than {self._max_folders:,} folders.",
                "Pack them in fewer folders; one for all is enough.",
            )
        folded = _digest(path.casefold())
        self.case_twins += folded in self._folded
        self._folded.add(folded)
        top = path.partition("/")[0] if "/" in path else None
        if self.files == 1:
            self._top = top
        self._one_top = self._one_top and top is not None and top == self._top
        self._pending.append(
            Entry(path, found.offset, found.packed, found.size, found.method, found.crc, found.name_crc)
        )
        self._pending_bytes += max(found.packed, found.size)
        if len(self._pending) >= PIECE_FILES or self._pending_bytes >= PIECE_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._pending:
            self._write(self.pieces, self._pending)
            self.pieces += 1
            self._pending, self._pending_bytes = [], 0

    _PLAIN = ("files", "bytes", "pieces", "seen", "case_twins", "_pending_bytes", "_top", "_one_top")
    _SETS = ("_paths", "_folders", "_folded")

    def dump(self) -> dict[str, Any]:
        plain = {name: getattr(self, name) for name in self._PLAIN}
        sets = {name: base64.b64encode(b"".join(sorted(getattr(self, name)))).decode() for name in self._SETS}
        pending = [dump_entry(entry) for entry in self._pending]
        return {**plain, **sets, "_pending": pending, "left_out": self.left_out.dump()}

    def load(self, document: dict[str, Any]) -> None:
        for name in self._PLAIN:
            setattr(self, name, document[name])
        for name in self._SETS:
            joined = base64.b64decode(document[name])
            setattr(self, name, {joined[i : i + _HASH_BYTES] for i in range(0, len(joined), _HASH_BYTES)})
        self._pending = [load_entry(entry) for entry in document["_pending"]]
        self.left_out = LeftOutList.load(document["left_out"])


def dump_entry(entry: Entry) -> list[Any]:
    return [entry.path, entry.offset, entry.packed, entry.size, entry.method, entry.crc, entry.name_crc]


def load_entry(document: list[Any]) -> Entry:
    return Entry(*document)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _folders(path: str) -> list[str]:
    """``a/b/c`` lies in ``a`` and ``a/b``."""
    parts = path.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def _digest(path: str) -> bytes:
    return hashlib.blake2b(path.encode(), digest_size=_HASH_BYTES).digest()
