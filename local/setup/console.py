"""One line per step, with the seconds it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Console:
    """Writes to ``out``; on a terminal the running step is shown, elsewhere only finished ones are."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = out or sys.stdout
        self._live = self._out.isatty()
        encoding = (self._out.encoding or "ascii").lower()
        self._done, self._failed = ("✓", "✗") if encoding.startswith("utf") else ("ok", "failed")

    def say(self, text: str) -> None:
        print(text, file=self._out, flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        started = time.monotonic()
        if self._live:
            print(f"  … {title}", end="", file=self._out, flush=True)
        mark = self._failed
        try:
            yield
            mark = self._done
        finally:
            start = "\r" if self._live else ""
            self.say(f"{start}  {mark} {title:<58} {time.monotonic() - started:6.1f} s")
