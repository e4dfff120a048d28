"""Content of any size out of nothing, the same on both sides."""

from __future__ import annotations

import random

PERIOD = 1024 * 1024 + 7
_BLOCK = random.Random(24).randbytes(PERIOD) * 2


def slice_of(start: int, length: int) -> bytes:
    """Bytes ``start`` to ``start + length`` of the endless pattern."""
    whole = bytearray(length)
    done = 0
    while done < length:
        offset = (start + done) % PERIOD
        count = min(length - done, PERIOD)
        whole[done : done + count] = memoryview(_BLOCK)[offset : offset + count]
        done += count
    return bytes(whole)
