"""Time and randomness of the process itself."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime

from chalicelib.domain.api_keys import ALPHABET as BASE_62
from chalicelib.domain.ports import Clock

#: Crockford's base 32 in lower case: no i, l, o, u, and in ASCII order, so text sorts as the numbers do.
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 26
_RANDOM_BITS = 80
#: The second id of a millisecond follows the first by a random step: later, and still not guessable.
_STEP_BITS = 40
_TOKEN_BYTES = 24


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)


class UlidSource:
    """Ids of 48 bits of milliseconds and 80 random bits (https://github.com/ulid/spec), in lower case.

    Ids of one process always ascend, even when its clock steps back; ids of two processes ascend by the millisecond.
    Safe to share between threads.
    """

    def __init__(self, clock: Clock, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        self._clock = clock
        self._random_bits = random_bits
        self._lock = threading.Lock()
        self._last = 0

    def job_id(self) -> str:
        milliseconds = int(self._clock.now().timestamp() * 1000)
        with self._lock:
            value = (milliseconds << _RANDOM_BITS) | self._random_bits(_RANDOM_BITS)
            if value >> _RANDOM_BITS <= self._last >> _RANDOM_BITS:
                value = self._last + 1 + self._random_bits(_STEP_BITS)
            self._last = value
        return _encode(value)

    def token(self) -> str:
        return secrets.token_urlsafe(_TOKEN_BYTES)


def random_text(length: int) -> str:
    """That many characters of base 62, unguessable."""
    return "".join(secrets.choice(BASE_62) for _ in range(length))


def _encode(value: int) -> str:
    return "".join(ALPHABET[value >> shift & 31] for shift in range((ID_LENGTH - 1) * 5, -1, -5))
