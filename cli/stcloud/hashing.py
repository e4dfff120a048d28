"""SHA-256 of files, remembered between runs."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from stcloud.errors import LocalError, UsageError
from stcloud.scan import FoundFile

T = TypeVar("T")
R = TypeVar("R")
CHUNK = 1024 * 1024
THREADS = 4
FORMAT = 1
#: A file changed this recently may change again without its time stamp moving, so its hash is not remembered.
SETTLED_NS = 2_000_000_000


class HashCache:
    """Hashes of one folder's files, keyed by path, size, mtime and inode; a JSON file in the user's cache folder.

    It is only an aid: when it can't be read or written, everything is hashed again and nothing is said.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._old: dict[str, list[object]] = {}
        self._new: dict[str, list[object]] = {}
        try:
            data = json.loads(file.read_bytes())
        except (OSError, ValueError):
            return
        if isinstance(data, dict) and data.get("format") == FORMAT and isinstance(data.get("files"), dict):
            self._old = data["files"]

    @classmethod
    def of(cls, cache_dir: Path, folder: Path) -> HashCache:
        """The cache of ``folder``."""
        name = hashlib.sha256(str(folder.absolute()).encode("utf-8", "surrogatepass")).hexdigest()[:24]
        return cls(cache_dir / "hashes" / f"{name}.json")

    def get(self, path: str, status: os.stat_result) -> str | None:
        entry = self._old.get(path)
        if not isinstance(entry, list) or entry[:3] != [status.st_size, status.st_mtime_ns, status.st_ino]:
            return None
        digest = entry[3] if len(entry) == 4 else None
        if not isinstance(digest, str) or len(digest) != 64:
            return None
        self._new[path] = entry
        return digest

    def put(self, path: str, status: os.stat_result, digest: str, *, now_ns: int) -> None:
        if now_ns - status.st_mtime_ns > SETTLED_NS:
            self._new[path] = [status.st_size, status.st_mtime_ns, status.st_ino, digest]

    def save(self) -> None:
        """Writes what was asked for or put since; files that are gone are forgotten."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._file.parent, prefix=".tmp-")
            with os.fdopen(handle, "w", encoding="utf-8") as out:
                json.dump({"format": FORMAT, "files": self._new}, out)
            os.replace(name, self._file)
        except OSError:
            return


def sha256_of(path: Path, stop: threading.Event | None = None, on_bytes: Callable[[int], None] | None = None) -> str:
    """SHA-256 of a file in lower-case hex. Raises OSError, InterruptedError when ``stop`` is set."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            if stop is not None and stop.is_set():
                raise InterruptedError
            digest.update(chunk)
            if on_bytes is not None:
                on_bytes(len(chunk))
    return digest.hexdigest()


def hash_files(
    files: Sequence[FoundFile],
    cache: HashCache,
    *,
    on_bytes: Callable[[int], None] | None = None,
    now_ns: Callable[[], int] = time.time_ns,
) -> dict[str, str]:
    """Path → SHA-256 of every file; those the cache knows are not read.

    Raises UsageError when a file changed since it was found, LocalError when one can't be read.
    """
    tell = on_bytes or (lambda _count: None)
    stop = threading.Event()

    def one(file: FoundFile) -> str:
        try:
            before = file.source.stat()
            known = cache.get(file.path, before)
            if known is not None:
                tell(before.st_size)
                return known
            digest = sha256_of(file.source, stop, tell)
            after = file.source.stat()
        except InterruptedError:
            raise
        except OSError as error:
            raise LocalError(f"'{file.source}' can't be read: {error.strerror}.") from error
        moved = (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns)
        if moved or after.st_size != file.size:
            raise UsageError(f"'{file.path}' changed while it was being read.", advice="Run the command again.")
        cache.put(file.path, after, digest, now_ns=now_ns())
        return digest

    hashes: dict[str, str] = {}
    with ThreadPoolExecutor(THREADS, thread_name_prefix="hash") as pool:
        try:
            for file, future in as_done(pool, one, files):
                hashes[file.path] = future.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            cache.save()
    return hashes


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
