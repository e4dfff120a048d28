"""Versions of a dataset: which one is meant, and what differs between two."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import IO, Any

import httpx

from stcloud.errors import NetworkError, TransferError, UsageError
from stcloud.listing import FoundFile

#: Of a manifest that is one JSON document; those of large datasets are lines.
MAX_DOCUMENT = 64 * 1024**2


@dataclass(frozen=True)
class Known:
    """A line of a manifest."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Change:
    """``change`` is added, removed, changed or renamed (``base_path`` is what it was called); ``size`` is None for a
    removed file, ``base_size`` for an added one. ``copy_of``: the base has an added or changed file's content under
    this path, so that it need not be sent."""

    change: str
    path: str
    size: int | None
    base_size: int | None
    base_path: str | None = None
    copy_of: str | None = None

    @property
    def to_send(self) -> int:
        """Bytes that the base does not have."""
        return 0 if self.change == "renamed" or self.copy_of else self.size or 0

    def as_dict(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "change": self.change,
            "size": self.size,
            "base_size": self.base_size,
            "base_path": self.base_path,
            **({"copy_of": self.copy_of} if self.copy_of else {}),
        }


def latest(found: Mapping[str, Any]) -> str:
    """The id of the latest version. Raises UsageError when none is complete."""
    version = found["latest_version"]
    if version is None:
        raise UsageError(
            f"{found['dataset_id']} has no complete version yet.",
            advice=f"Go on with its push: stcloud datasets push {found['source_path'] or 'FOLDER'}",
        )
    return str(version)


def compare(base: Callable[[], Iterable[Known]], files: Iterable[FoundFile]) -> list[Change]:
    """What ``files`` change of ``base``, by path; both sorted by the UTF-8 bytes of their paths. Memory holds what
    differs alone; ``base`` is read again for copies.

    As on the server, a file that is gone while another of the same content is new was renamed; of several with the same
    content, the first new one takes the name of the first old one.
    """
    removed: list[Known] = []
    new: list[tuple[FoundFile, Known | None]] = []
    for was, now in pairs(base(), files):
        if now is None:
            assert was is not None  # noqa: S101  (one of them is there)
            removed.append(was)
        elif was is None or (was.size, was.sha256) != (now.size, now.sha256):
            new.append((now, was))
    gone: dict[tuple[int, str | None], list[Known]] = {}
    for old in reversed(removed):
        gone.setdefault((old.size, old.sha256), []).append(old)
    copies = _copies(base(), {(now.size, now.sha256) for now, _ in new if now.size})
    changes = []
    for now, was in new:
        content = (now.size, now.sha256)
        copy = copies.get(content)
        if was is not None:
            changes.append(Change("changed", now.path, now.size, was.size, copy_of=copy))
        elif now.size and gone.get(content):
            changes.append(Change("renamed", now.path, now.size, now.size, gone[content].pop().path))
        else:
            changes.append(Change("added", now.path, now.size, None, copy_of=copy))
    changes += [Change("removed", old.path, None, old.size) for left in gone.values() for old in left]
    return sorted(changes, key=lambda change: (change.path.encode(), change.change))


def pairs(base: Iterable[Known], files: Iterable[FoundFile]) -> Iterator[tuple[Known | None, FoundFile | None]]:
    """Those of one path side by side."""
    old, new = iter(base), iter(files)
    was, now = next(old, None), next(new, None)
    while was is not None or now is not None:
        if now is None or (was is not None and was.path.encode() < now.path.encode()):
            yield was, None
            was = next(old, None)
        elif was is None or now.path.encode() < was.path.encode():
            yield None, now
            now = next(new, None)
        else:
            yield was, now
            was, now = next(old, None), next(new, None)


def _copies(base: Iterable[Known], wanted: Set[tuple[int, str | None]]) -> dict[tuple[int, str | None], str]:
    """Where the base has each of the contents that are ``wanted``: the first path."""
    found: dict[tuple[int, str | None], str] = {}
    if wanted:
        for known in base:
            if (known.size, known.sha256) in wanted:
                found.setdefault((known.size, known.sha256), known.path)
    return found


def fetch_manifest(http: httpx.Client, url: str) -> IO[bytes]:
    """A version's manifest in a temporary file, at its start. Raises NetworkError, TransferError."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  (the caller closes it)
    try:
        _receive(http, url, file)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _receive(http: httpx.Client, url: str, file: IO[bytes]) -> None:
    what = "The list of the version's files can't be fetched"
    try:
        with http.stream("GET", url) as answer:
            if not answer.is_success:
                raise TransferError(f"{what} (HTTP {answer.status_code}).")
            for chunk in answer.iter_bytes():
                file.write(chunk)
    except httpx.TransportError as error:
        raise NetworkError(f"{what}: {error or type(error).__name__}.") from error


def read_manifest(file: IO[bytes]) -> Iterator[Known]:
    """The lines of a manifest that is JSON lines, or one JSON document, from its start. Raises TransferError."""
    file.seek(0)
    try:
        first = file.readline(MAX_DOCUMENT)
        start = json.loads(first) if first.rstrip().endswith(b"}") else None
        if isinstance(start, dict) and "path" in start:
            yield _known(start)
            for line in file:
                if line.strip():
                    yield _known(json.loads(line))
            return
        file.seek(0)
        document = json.loads(file.read(MAX_DOCUMENT))
        lines = document["files"] if isinstance(document, dict) else document
        for entry in sorted(lines, key=lambda line: str(line["path"]).encode()):
            yield _known(entry)
    except (ValueError, KeyError, TypeError) as error:
        raise TransferError("The list of the version's files can't be understood.", code="bad_manifest") from error


def _known(line: Mapping[str, Any]) -> Known:
    return Known(str(line["path"]), int(line["size"]), str(line["sha256"]))
