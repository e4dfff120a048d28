"""Token buckets for Replicate's documented limits: 600 creations and 3,000 other requests a minute."""

from __future__ import annotations

from collections.abc import Callable


class RateLimit:
    """Allows ``per_minute`` requests in a burst and refills evenly. 0 means no limit."""

    def __init__(self, per_minute: int, monotonic: Callable[[], float]) -> None:
        self._size = float(per_minute)
        self._monotonic = monotonic
        self._left = self._size
        self._seen = monotonic()

    def wait(self) -> float:
        """Takes one request; 0 when it is allowed, else the seconds until the next one is."""
        if not self._size:
            return 0.0
        now = self._monotonic()
        self._left = min(self._size, self._left + (now - self._seen) * self._size / 60)
        self._seen = now
        if self._left >= 1:
            self._left -= 1
            return 0.0
        return (1 - self._left) * 60 / self._size
