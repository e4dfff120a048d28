"""Stamps: the last thing a step writes, so that a step cut short is done again and a finished one is not."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

#: Folders that are made, not written by anybody.
_GENERATED = frozenset({"node_modules", "dist", "__pycache__", ".git"})


def digest(root: Path, paths: Iterable[Path], *extra: str) -> str:
    """SHA-256 over names and contents of ``paths`` (folders: all files below, generated ones left out) and ``extra``.

    A path that does not exist counts as such. Raises OSError.
    """
    total = hashlib.sha256("\0".join(extra).encode())
    for path in sorted(set(_files(paths))):
        total.update(f"\n{path.relative_to(root).as_posix()}\n".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest() if path.exists() else b"absent")
    return total.hexdigest()


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = [name for name in folders if name not in _GENERATED]
            yield from (Path(folder, name) for name in names if not name.endswith(".pyc"))


class Stamp:
    """One file with the digest of what a finished step was made from."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str | None:
        """None: never finished."""
        try:
            return self._path.read_text(encoding="utf-8").strip()
        except OSError:
            return None

    def clear(self) -> None:
        self._path.unlink(missing_ok=True)

    def write(self, value: str) -> None:
        """Whole or not at all. Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        temporary.write_text(value + "\n", encoding="utf-8")
        temporary.replace(self._path)
