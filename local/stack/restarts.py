"""When a child that died is started again, and when not any more."""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW_SECONDS = 120.0
MOST_IN_WINDOW = 5
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 8.0


@dataclass
class Restarts:
    """The deaths of one child. Times are seconds of one monotonic clock."""

    _deaths: list[float] = field(default_factory=list)

    def delay(self, now: float) -> float | None:
        """Call at each death: the seconds to wait before the next start, doubling from death to death; None when it
        died too often lately to hope."""
        self._deaths = [death for death in self._deaths if now - death < WINDOW_SECONDS] + [now]
        if len(self._deaths) > MOST_IN_WINDOW:
            return None
        return float(min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** (len(self._deaths) - 1)))
