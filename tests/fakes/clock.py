"""Time and ids that a test controls."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

from chalicelib.domain.api_keys import ALPHABET


class FakeClock:
    def __init__(self, now: datetime = datetime(2026, 11, 24, 12, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta | float) -> None:
        """Moves time forward; a number means seconds."""
        self._now += by if isinstance(by, timedelta) else timedelta(seconds=by)

    def advance_to(self, moment: datetime) -> None:
        self._now = max(self._now, moment)


class SequentialIds:
    def __init__(self) -> None:
        self._count = 0

    def _next(self) -> int:
        self._count += 1
        return self._count

    def job_id(self) -> str:
        return f"job{self._next():023d}"

    def token(self) -> str:
        return f"token-{self._next()}"


class PredictableText:
    """Text of base 62 that never repeats and sorts in the order it was made: a counter before its digest."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, length: int) -> str:
        self._count += 1
        digest = hashlib.sha512(str(self._count).encode()).digest()
        return (f"{self._count:06d}" + "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest))[:length]
