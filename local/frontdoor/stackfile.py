"""Where the stack is: ``stack.json``, written at each deployment, read again when it changes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Upstream:
    """The emulator's origin (``http://127.0.0.1:8002``) and the name of the distribution it serves for us."""

    origin: str
    host: str


class StackFile:
    """``upstream`` is None while the file is missing or not (yet) whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark: tuple[int, int] | None = None
        self._upstream: Upstream | None = None

    def upstream(self) -> Upstream | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        mark = (stat.st_mtime_ns, stat.st_ino)
        if mark != self._mark:
            self._upstream = self._read()
            self._mark = mark
        return self._upstream

    def _read(self) -> Upstream | None:
        try:
            data = json.loads(self._path.read_text(encoding="utf-8"))
            origin, host = str(data["emulator_url"]), str(data["distribution_domain"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if urlsplit(origin).scheme != "http" or not host:
            return None
        return Upstream(origin.rstrip("/"), host)
