"""The run's log, in SimpleTuner's own lines: Cog's event lines, logger lines and tqdm's bar."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, TextIO

from tqdm import tqdm  # type: ignore[import-untyped]

ICONS = {"running": "⏳", "completed": "✓", "failed": "✗"}
#: Cog returns this many characters of debug.log's end.
DEBUG_TAIL = 5000


class Console:
    """Writes to ``out``; ``now`` stamps the logger's lines. Flushes at once, so a killed run loses nothing."""

    def __init__(self, out: TextIO | None = None, *, now: Callable[[], datetime] = datetime.now) -> None:
        self._out = out or sys.stdout
        self._now = now
        self._debug: deque[str] = deque(maxlen=200)
        self._bar: Any = None
        self._drawn = False

    def say(self, text: str) -> None:
        """A line as printed. A bar that has just been drawn stays above it."""
        if self._drawn:
            print(file=self._out)
            self._drawn = False
        print(text, file=self._out, flush=True)

    def stage(self, label: str, status: str = "running", message: str = "", *, percent: float | None = None) -> None:
        progress = "" if percent is None else f" ({percent:.1f}%)"
        self.say(f"[STAGE] {ICONS.get(status, '•')} {label}{progress}" + (f": {message}" if message else ""))

    def log(self, level: str, text: str) -> None:
        """A line of SimpleTuner's logger, also kept for debug.log's tail."""
        line = f"{self._now():%Y-%m-%d %H:%M:%S,%f}"[:-3] + f" [{level}] {text}"
        self._debug.append(line)
        self.say(line)

    def debug_tail(self) -> str:
        return "\n".join(self._debug)[-DEBUG_TAIL:]

    def begin_steps(self, steps: int, epochs: int) -> None:
        tqdm.monitor_interval = 0  # no thread beside the trainer
        self._bar = tqdm(total=steps, desc=f"Epoch 1/{epochs} Steps", dynamic_ncols=True, file=self._out, ascii=False)

    def step(self, epoch: int, epochs: int, loss: float, rate: float) -> None:
        """One step is done; the bar is drawn anew with every step, as SimpleTuner's is."""
        if self._bar is None:
            raise RuntimeError("begin_steps comes first")
        if epoch > 1:
            self._bar.set_description_str(f"Epoch {epoch}/{epochs}, Steps", refresh=False)
        self._bar.update(1)
        self._bar.set_postfix(step_loss=loss, lr=rate)
        self._drawn = True

    def end_steps(self) -> None:
        if self._bar is not None:
            self._bar.close()  # draws it once more and ends its line
            self._bar, self._drawn = None, False
