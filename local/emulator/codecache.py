"""One unpacked, compiled copy of each deployment package, hard-linked into every worker's folder.

The emulator unpacks the zip (tens of megabytes, thousands of files) for every worker, which then compiles all it
imports: most of a cold start, and most of the disk.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

#: Packages kept when the emulator starts, newest first.
KEEP = 3


class CodeCache:
    """Thread-safe. Files in it are read-only, as deployed code is on AWS."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()

    def link_into(self, package: Path, target: Path) -> None:
        """Fills the empty folder ``target`` with the files of the zip ``package``. Raises OSError, BadZipFile."""
        with self._lock:
            source = self._unpacked(package)
        shutil.copytree(source, target, copy_function=_link, dirs_exist_ok=True, symlinks=True)

    def prune(self) -> None:
        """Drops what a killed start left half-done, and old packages."""
        entries = sorted(self._root.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
        whole = [entry for entry in entries if not entry.name.endswith(".partial")]
        for entry in [*whole[KEEP:], *(e for e in entries if e not in whole)]:
            shutil.rmtree(entry, ignore_errors=True)

    def _unpacked(self, package: Path) -> Path:
        with package.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        whole = self._root / digest
        if whole.is_dir():
            return whole
        partial = whole.with_name(f"{digest}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(package) as archive:
            archive.extractall(partial)
        for folder, _, names in os.walk(partial):
            for name in names:
                Path(folder, name).chmod(0o555 if name.endswith(".so") else 0o444)
        partial.rename(whole)
        self._compile(whole)
        return whole

    @staticmethod
    def _compile(folder: Path) -> None:
        """In the background: the workers that start meanwhile compile for themselves what they import. compileall
        replaces files whole, so a link never sees half of one."""
        command = [sys.executable, "-m", "compileall", "-q", str(folder)]
        if nice := shutil.which("nice"):
            command = [nice, *command]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        threading.Thread(target=process.wait, daemon=True, name="compile-code").start()


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except FileNotFoundError:
        return  # a compiled file's temporary name, gone by now
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)  # file systems without hard links


class ZipfileShim:
    """Stands for the zipfile module in the emulator's worker code: deployment packages come from the cache."""

    def __init__(self, cache: CodeCache) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(zipfile, name)

    def ZipFile(self, file: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N802 - the name of what it replaces
        if isinstance(file, str) and os.path.basename(file) == "code.zip":
            return _Package(self._cache, Path(file))
        return zipfile.ZipFile(file, *args, **kwargs)


class _Package:
    def __init__(self, cache: CodeCache, path: Path) -> None:
        self._cache = cache
        self._path = path

    def __enter__(self) -> _Package:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def extractall(self, target: str) -> None:
        self._cache.link_into(self._path, Path(target))
        self._path.unlink(missing_ok=True)
