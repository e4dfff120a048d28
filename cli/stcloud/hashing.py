"""SHA-256 of files, remembered between runs."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from stcloud.errors import LocalError, UsageError
from stcloud.listing import FoundFile, Listing

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 1024 * 1024
THREADS = min(8, max(2, os.cpu_count() or 2))
#: A larger file goes up in parts of this size.
PART_BYTES = 64 * 1024**2
#: A file changed this recently may change again without its time stamp moving, so its hash is not remembered.
SETTLED_NS = 2_000_000_000
#: Small files are hashed in groups: a task for each would cost more than its hash.
GROUP_FILES, GROUP_BYTES = 64, 8 * CHUNK
#: A push that is killed keeps what was hashed up to the last of these.
SAVE_SECONDS = 5.0
_FORMAT = 3
_CACHE_KIB = 4096
_KEY = "size, mtime_ns, ctime_ns, inode"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS hashes (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, inode TEXT, sha256 TEXT, parts TEXT,
    run INTEGER
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Hashes:
    """``parts``: of each 64 MiB of a file that is larger."""

    sha256: str
    parts: tuple[str, ...] | None = None


class HashCache:
    """Hashes of one folder's files, keyed by path, size, mtime, ctime and inode; a database in the user's cache folder.

    ctime tells of a change by a program that sets mtime back.

    It is only an aid: when it can't be read or written, everything is hashed again and nothing is said. Used by one
    thread; several processes may use the same one.
    """

    def __init__(self, file: Path) -> None:
        self._db: sqlite3.Connection | None = None
        self._run = time.time_ns()
        self._writable = True
        with suppress(OSError, sqlite3.Error):
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._db = _open(file)
            except sqlite3.DatabaseError:
                file.unlink(missing_ok=True)
                self._db = _open(file)

    @classmethod
    def of(cls, cache_dir: Path, folder: Path) -> HashCache:
        """The cache of ``folder``."""
        name = hashlib.sha256(str(folder.absolute()).encode("utf-8", "surrogatepass")).hexdigest()[:24]
        return cls(cache_dir / "hashes" / f"{name}.sqlite")

    def get(self, path: str, status: os.stat_result) -> Hashes | None:
        try:
            row = self._execute(f"SELECT {_KEY}, sha256, parts FROM hashes WHERE path = ?", path)  # noqa: S608
        except sqlite3.Error:
            return None
        if row is None or row[:4] != _key(status):
            return None
        digest = row[4]
        try:
            parts = None if row[5] is None else tuple(json.loads(str(row[5])))
        except (TypeError, ValueError):
            return None
        if not isinstance(digest, str) or len(digest) != 64 or (parts is None) is (status.st_size > PART_BYTES):
            return None
        self._write("UPDATE hashes SET run = ? WHERE path = ?", self._run, path)
        return Hashes(digest, parts)

    def put(self, path: str, status: os.stat_result, hashes: Hashes, *, now_ns: int) -> None:
        if now_ns - status.st_mtime_ns <= SETTLED_NS:
            return
        parts = None if hashes.parts is None else json.dumps(hashes.parts)
        row = (path, *_key(status), hashes.sha256, parts, self._run)
        self._write("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", *row)

    def forget(self, path: str) -> None:
        """The file is read again next time, whatever its times say."""
        self._write("DELETE FROM hashes WHERE path = ?", path)

    def save(self) -> None:
        """Keeps what was put so far."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.commit()

    def close(self, *, forget: bool = False) -> None:
        """``forget``: files that were neither asked for nor put since it was opened are gone."""
        if self._db is None:
            return
        with closing(self._db) as db, suppress(sqlite3.Error):
            if forget and self._writable:
                db.execute("DELETE FROM hashes WHERE run <> ?", (self._run,))
            db.commit()
        self._db = None

    def _write(self, sql: str, *values: object) -> None:
        """After the first failure (a full disk, another push of this folder) nothing is tried any more."""
        if self._writable:
            try:
                self._execute(sql, *values)
            except sqlite3.Error:
                self._writable = False

    def _execute(self, sql: str, *values: object) -> tuple[object, ...] | None:
        if self._db is None:
            return None
        row: tuple[object, ...] | None = self._db.execute(sql, values).fetchone()
        return row


def _key(status: os.stat_result) -> tuple[int, int, int, str]:
    # SQLite's integers have a sign; inodes of some file systems need all 64 bits.
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, str(status.st_ino)


def _open(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=1.0)
    try:
        if db.execute("PRAGMA user_version").fetchone()[0] != _FORMAT:
            db.execute("DROP TABLE IF EXISTS hashes")
            db.execute(f"PRAGMA user_version = {_FORMAT}")
        db.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        db.execute("PRAGMA synchronous=OFF")
        db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def hashes_of(path: Path, stop: threading.Event | None = None, on_bytes: Callable[[int], None] | None = None) -> Hashes:
    """SHA-256 of a file and, if it is larger than one, of its parts, read once.

    Raises OSError, InterruptedError when ``stop`` is set.
    """
    whole, part, parts, filled = hashlib.sha256(), hashlib.sha256(), [], 0
    with path.open("rb", buffering=0) as file:
        in_parts = os.fstat(file.fileno()).st_size > PART_BYTES
        # PART_BYTES is a multiple of CHUNK, but a read may give less than asked for.
        while chunk := file.read(min(CHUNK, PART_BYTES - filled) if in_parts else CHUNK):
            if stop is not None and stop.is_set():
                raise InterruptedError
            whole.update(chunk)
            if in_parts:
                part.update(chunk)
                filled += len(chunk)
                if filled == PART_BYTES:
                    parts.append(part.hexdigest())
                    part, filled = hashlib.sha256(), 0
            if on_bytes is not None:
                on_bytes(len(chunk))
    if in_parts and filled:
        parts.append(part.hexdigest())
    return Hashes(whole.hexdigest(), tuple(parts) if in_parts else None)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in lower-case hex. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def hash_files(
    found: Listing,
    cache: HashCache,
    *,
    on_bytes: Callable[[int], None] | None = None,
    now_ns: Callable[[], int] = time.time_ns,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Gives every file of the listing its hashes; those the cache knows are not read. Closes the cache.

    Raises UsageError when a file changed since it was found, LocalError when one can't be read.
    """
    tell = on_bytes or (lambda _count: None)
    stop = threading.Event()
    saved_at, whole = monotonic(), False
    with ThreadPoolExecutor(THREADS, thread_name_prefix="hash") as pool:
        try:
            unknown = _groups(_unknown(found, cache, tell))
            for _, future in as_done(pool, lambda group: [_hashed(f, stop, tell) for f in group], unknown):
                for file, status, hashes in future.result():
                    found.hashed(file.path, hashes.sha256, hashes.parts)
                    cache.put(file.path, status, hashes, now_ns=now_ns())
                if monotonic() - saved_at > SAVE_SECONDS:
                    saved_at = monotonic()
                    cache.save()
            whole = True
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            cache.close(forget=whole)


def _unknown(found: Listing, cache: HashCache, tell: Callable[[int], None]) -> Iterator[FoundFile]:
    """The files that must be read; the others get their hashes from the cache."""
    for file in found.files():
        try:
            status = file.source.stat()
        except OSError as error:
            raise _unreadable(file, error) from error
        known = cache.get(file.path, status) if status.st_size == file.size else None
        if known is None:
            yield file
        else:
            found.hashed(file.path, known.sha256, known.parts)
            tell(file.size)


def _groups(files: Iterable[FoundFile]) -> Iterator[list[FoundFile]]:
    group: list[FoundFile] = []
    size = 0
    for file in files:
        group.append(file)
        size += file.size
        if len(group) >= GROUP_FILES or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _hashed(
    file: FoundFile, stop: threading.Event, tell: Callable[[int], None]
) -> tuple[FoundFile, os.stat_result, Hashes]:
    try:
        before = file.source.stat()
        hashes = hashes_of(file.source, stop, tell)
        after = file.source.stat()
    except InterruptedError:
        raise
    except OSError as error:
        raise _unreadable(file, error) from error
    moved = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
    if moved or after.st_size != file.size:
        raise UsageError(f"'{file.path}' changed while it was being read.", advice="Run the command again.")
    return file, after, hashes


def _unreadable(file: FoundFile, error: OSError) -> LocalError:
    return LocalError(f"'{file.source}' can't be read: {error.strerror}.")


def as_done(
    pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], *, ahead: int = 2 * THREADS
) -> Iterator[tuple[T, Future[R]]]:
    """Runs ``work`` on each item and yields it with its future as each ends; at most ``ahead`` are under way."""
    running: dict[Future[R], T] = {}
    for item in items:
        running[pool.submit(work, item)] = item
        if len(running) >= ahead:
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                yield running.pop(future), future
    while running:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield running.pop(future), future
