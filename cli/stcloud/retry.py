"""When and after how long something is tried again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

#: Statuses that say "not now": throttled, or something in front of the server has no server.
TRANSIENT = frozenset({429, 502, 503, 504})
#: However long a server asks us to wait, a person sits in front of this.
MAX_RETRY_AFTER = 30.0


@dataclass(frozen=True)
class Retry:
    """Exponential back-off with full jitter: the n-th wait is random between 0 and ``min(cap, base * 2**n)`` seconds.

    ``attempts`` counts the first try too. ``sleep`` and ``rng`` are there for tests.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 8.0
    sleep: Callable[[float], None] = time.sleep
    rng: random.Random = field(default_factory=random.Random)

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after failed try ``attempt`` (from 0). ``Retry-After`` is obeyed, up to 30 seconds."""
        jittered = self.rng.uniform(0, min(self.cap, self.base * 2**attempt))
        if retry_after is None:
            return jittered
        return min(max(0.0, retry_after), MAX_RETRY_AFTER) + jittered

    def wait(self, attempt: int, retry_after: float | None = None) -> None:
        self.sleep(self.delay(attempt, retry_after))


def parse_retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header; None when there is none or it is a date (nobody here sends dates)."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None
