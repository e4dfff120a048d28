"""What is different between two versions of a dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from chalicelib.domain.datasets import ManifestFile


class Change(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"
    RENAMED = "renamed"


@dataclass(frozen=True)
class FileChange:
    """``size`` is None for a file that was removed, ``base_size`` for one that was added; ``base_path`` is what a
    renamed file was called."""

    path: str
    change: Change
    size: int | None
    base_size: int | None
    base_path: str | None = None


@dataclass
class Sum:
    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.bytes += size


@dataclass(frozen=True)
class Diff:
    """``files`` by UTF-8 path. Sums of bytes are of the new version, of the base for removed files."""

    files: Sequence[FileChange]
    sums: dict[Change, Sum] = field(default_factory=dict)
    unchanged: Sum = field(default_factory=Sum)


def diff(base: Sequence[ManifestFile], version: Sequence[ManifestFile]) -> Diff:
    """Both sorted by UTF-8 path. A file that is gone while another with the same content is new was renamed; of
    several with the same content, the first new one takes the name of the first old one."""
    added: list[ManifestFile] = []
    removed: list[ManifestFile] = []
    changes: list[FileChange] = []
    unchanged = Sum()
    for old, new in _pairs(base, version):
        if new is not None and old is not None:
            if (old.sha256, old.size) == (new.sha256, new.size):
                unchanged.add(new.size)
            else:
                changes.append(FileChange(new.path, Change.CHANGED, new.size, old.size))
        elif new is not None:
            added.append(new)
        elif old is not None:
            removed.append(old)
    gone: dict[tuple[str, int], list[ManifestFile]] = {}
    for file in reversed(removed):
        gone.setdefault((file.sha256, file.size), []).append(file)
    for file in added:
        before = gone.get((file.sha256, file.size))
        if before and file.size:
            changes.append(FileChange(file.path, Change.RENAMED, file.size, file.size, before.pop().path))
        else:
            changes.append(FileChange(file.path, Change.ADDED, file.size, None))
    changes += [FileChange(f.path, Change.REMOVED, None, f.size) for left in gone.values() for f in left]
    changes.sort(key=lambda c: (c.path.encode(), c.change))
    sums = {change: Sum() for change in Change}
    for entry in changes:
        sums[entry.change].add(entry.size if entry.size is not None else entry.base_size or 0)
    return Diff(changes, sums, unchanged)


def _pairs(
    base: Sequence[ManifestFile], version: Sequence[ManifestFile]
) -> Iterator[tuple[ManifestFile | None, ManifestFile | None]]:
    old_ones, new_ones = iter(base), iter(version)
    old, new = next(old_ones, None), next(new_ones, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.path.encode() < new.path.encode()):
            yield old, None
            old = next(old_ones, None)
        elif old is None or new.path.encode() < old.path.encode():
            yield None, new
            new = next(new_ones, None)
        else:
            yield old, new
            old, new = next(old_ones, None), next(new_ones, None)
