"""Sizes and counts in classes, small enough to be stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from chalicelib.domain.inspection_facts import SizeCount

#: Sizes kept apart; more are rounded down until they are few enough.
MAX_SIZES = 2_000
_GRIDS = (8, 32, 64, 128, 256, 1024)


def coarse(sizes: Counter[tuple[int, int]]) -> tuple[tuple[SizeCount, ...], bool]:
    """The sizes with their counts, the most common first, and whether they are exact: when there are more than
    MAX_SIZES, both sides are rounded down to the finest grid that makes them few enough."""
    found, exact = sizes, True
    for grid in _GRIDS:
        if len(found) <= MAX_SIZES:
            break
        exact, found = False, Counter()
        for (width, height), images in sizes.items():
            found[max(width // grid * grid, 1), max(height // grid * grid, 1)] += images
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return tuple(SizeCount(width=w, height=h, images=n) for (w, h), n in ranked[:MAX_SIZES]), exact


def classes(counts: Counter[int], ends: Sequence[int]) -> dict[str, int]:
    """``counts`` in classes named by their upper ends, "<=512", the last one ">4096"."""
    found = {f"<={end}": 0 for end in ends} | {f">{ends[-1]}": 0}
    for value, count in counts.items():
        end = next((end for end in ends if value <= end), None)
        found[f"<={end}" if end is not None else f">{ends[-1]}"] += count
    return found
