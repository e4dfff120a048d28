"""The files of a dataset, in a database on disk instead of memory: 200,000 files need no more of it than 200."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PAGE = 1000
#: Names that a summary shows of each kind.
EXAMPLES = 1000
_CACHE_KIB = 8192
_SCHEMA = """
CREATE TABLE files (
    path TEXT PRIMARY KEY, source TEXT, size INTEGER NOT NULL, kind INTEGER NOT NULL, stem TEXT NOT NULL,
    flaw INTEGER NOT NULL, sha256 TEXT, parts TEXT
) WITHOUT ROWID;
CREATE INDEX stems ON files (stem, kind);
CREATE TABLE excluded (path TEXT NOT NULL, reason TEXT NOT NULL);
"""
# Statements are put together from what stands in this module alone; values are bound.
_COLUMNS = "path, source, size, sha256, parts"


class Kind(IntEnum):
    UNKNOWN = 0
    IMAGE = 1
    VIDEO = 2
    AUDIO = 3
    CAPTION = 4
    METADATA = 5


class Flaw(IntEnum):
    """What is wrong with a file that is sent all the same."""

    NONE = 0
    #: A caption without text.
    EMPTY = 1
    #: A caption in another encoding.
    NOT_UTF8 = 2
    #: An image that the trainer can't open.
    FORMAT = 3


@dataclass(frozen=True)
class FoundFile:
    """A file of the dataset: ``path`` as the manifest names it (relative, ``/``, NFC), ``source`` on this disk.

    ``parts``: SHA-256 of each part of a file that goes up in parts.
    """

    path: str
    source: Path
    size: int
    sha256: str | None = None
    parts: tuple[str, ...] | None = None

    @property
    def line(self) -> dict[str, Any]:
        """Its line of the manifest; only of a file that has been hashed."""
        line: dict[str, Any] = {"path": self.path, "size": self.size, "sha256": self.sha256}
        if self.parts is not None:
            line["parts"] = list(self.parts)
        return line


@dataclass(frozen=True)
class Excluded:
    """Something left out; folders end in a slash and stand for all they hold."""

    path: str
    reason: str


@dataclass(frozen=True)
class Some:
    """``count`` paths, of which ``paths`` are the first (at most 1,000)."""

    count: int
    paths: list[str]

    def __bool__(self) -> bool:
        return self.count > 0


class Listing:
    """What a folder holds, sorted by the UTF-8 bytes of the paths (as S3 sorts keys). Used by one thread.

    Lives in a temporary file without a name, so nothing is left of it when the process dies.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.executescript(_SCHEMA)
        self._db.execute("BEGIN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    # --- filling ----------------------------------------------------------------------------------------------
    def add(self, path: str, source: str, size: int, kind: Kind, stem: str, flaw: Flaw = Flaw.NONE) -> bool:
        """``source`` is the path below the root as the disk spells it. False: there is a file of that name already."""
        row = (path, None if source == path else source, size, int(kind), stem, int(flaw))
        columns = "path, source, size, kind, stem, flaw"
        done = self._db.execute(
            f"INSERT INTO files ({columns}) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608
            row,
        )
        return done.rowcount == 1

    def exclude(self, path: str, reason: str) -> None:
        self._db.execute("INSERT INTO excluded VALUES (?, ?)", (path, reason))

    def hashed(self, path: str, sha256: str, parts: Sequence[str] | None) -> None:
        text = None if parts is None else json.dumps(list(parts))
        self._db.execute("UPDATE files SET sha256 = ?, parts = ? WHERE path = ?", (sha256, text, path))

    # --- reading ----------------------------------------------------------------------------------------------
    def files(self) -> Iterator[FoundFile]:
        """All, in order; the listing may be changed meanwhile."""
        after = ""
        while True:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM files WHERE path > ? ORDER BY path LIMIT {PAGE}",  # noqa: S608
                (after,),
            ).fetchall()
            for row in rows:
                yield self._file(row)
            if len(rows) < PAGE:
                return
            after = rows[-1][0]

    def file(self, path: str) -> FoundFile | None:
        row = self._db.execute(f"SELECT {_COLUMNS} FROM files WHERE path = ?", (path,)).fetchone()  # noqa: S608
        return None if row is None else self._file(row)

    def bytes_between(self, after: str | None, until: str | None) -> int:
        """Bytes of the files from one cursor of the server to the next: a path, with it what is before it; or a path
        with the number of a part behind a line feed, which is in the midst of that file. None: the beginning, the end.
        """
        sql, values = "SELECT coalesce(sum(size), 0) FROM files WHERE path > ?", [""]
        if after is not None:
            path, mark, _ = after.partition("\n")
            sql, values = f"{sql} AND path {'>=' if mark else '>'} ?", [*values, path]
        if until is not None:
            path, mark, _ = until.partition("\n")
            sql, values = f"{sql} AND path {'<' if mark else '<='} ?", [*values, path]
        return self._number(sql, values)

    def excluded(self, limit: int | None = None) -> Iterator[Excluded]:
        """Sorted by path."""
        found = self._db.execute("SELECT path, reason FROM excluded ORDER BY path LIMIT ?", (limit or -1,))
        for path, reason in found:
            yield Excluded(path, reason)

    # --- sums -------------------------------------------------------------------------------------------------
    @property
    def count(self) -> int:
        return self._number("SELECT count(*) FROM files")

    @property
    def bytes(self) -> int:
        return self.bytes_between(None, None)

    @property
    def excluded_count(self) -> int:
        return self._number("SELECT count(*) FROM excluded")

    def of(self, *kinds: Kind) -> Some:
        return self._some(f"FROM files WHERE kind IN ({_list(kinds)})")

    @property
    def without_caption(self) -> Some:
        """Images and videos that have no ``.txt`` of the same name beside them."""
        return self._alone((Kind.IMAGE, Kind.VIDEO), (Kind.CAPTION,))

    @property
    def without_image(self) -> Some:
        """Captions that have no image, video or audio of the same name beside them."""
        return self._alone((Kind.CAPTION,), (Kind.IMAGE, Kind.VIDEO, Kind.AUDIO))

    def flawed(self, flaw: Flaw) -> Some:
        return self._some(f"FROM files WHERE flaw = {int(flaw)}")

    def excluded_as(self, *reasons: str, prefix: str | None = None) -> Some:
        """What was left out for one of ``reasons``, or for one that begins with ``prefix``."""
        marks = ", ".join("?" * len(reasons))
        where = f"reason IN ({marks})" if prefix is None else "substr(reason, 1, ?) = ?"
        values: tuple[Any, ...] = reasons if prefix is None else (len(prefix), prefix)
        return self._some(f"FROM excluded WHERE {where}", values)

    def reasons(self) -> list[tuple[str, int]]:
        """Why things were left out, the most frequent first."""
        sql = "SELECT reason, count(*) FROM excluded GROUP BY reason ORDER BY count(*) DESC, reason"
        return [(str(reason), int(count)) for reason, count in self._db.execute(sql)]

    def _alone(self, kinds: Sequence[Kind], partners: Sequence[Kind]) -> Some:
        partner = f"SELECT 1 FROM files p WHERE p.stem = f.stem AND p.kind IN ({_list(partners)})"  # noqa: S608
        return self._some(f"FROM files f WHERE kind IN ({_list(kinds)}) AND NOT EXISTS ({partner})")

    def _some(self, source: str, values: Sequence[Any] = ()) -> Some:
        paths = self._db.execute(f"SELECT path {source} ORDER BY path LIMIT {EXAMPLES}", values).fetchall()
        count = len(paths) if len(paths) < EXAMPLES else self._number(f"SELECT count(*) {source}", values)
        return Some(count, [path for (path,) in paths])

    def _number(self, sql: str, values: Sequence[Any] = ()) -> int:
        return int(self._db.execute(sql, values).fetchone()[0])

    def _file(self, row: tuple[Any, ...]) -> FoundFile:
        path, source, size, sha256, parts = row
        return FoundFile(
            path, self.root / (source or path), size, sha256, None if parts is None else tuple(json.loads(parts))
        )


def _list(kinds: Sequence[Kind]) -> str:
    return ", ".join(str(int(kind)) for kind in kinds)
