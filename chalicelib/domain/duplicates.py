"""Near duplicates among pictures: groups with almost the same difference hashes, found without comparing all pairs.

A 64-bit hash is cut into five bands. Two hashes that differ in at most four bits agree in at least one band whole
(pigeonhole), so only pictures that share a band are compared (multi-index hashing: Norouzi, Punjani, Fleet, "Fast
search in Hamming space with multi-index hashing", 2012).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

#: Bits in which the hashes of near duplicates differ at most, in each direction.
MAX_DISTANCE = 4
#: Comparisons of one search, about two seconds of them; then the answer says that it is not whole.
MAX_COMPARISONS = 20_000_000
_BANDS = ((0, 13), (13, 13), (26, 13), (39, 13), (52, 12))
#: A hash with fewer ones than this, or fewer zeros, is that of a plain surface: all of those are alike.
_MIN_BITS = 4


@dataclass(frozen=True)
class Fingerprint:
    """The difference hashes of a picture, 64 bits each: of its rows and of its columns."""

    rows: int
    columns: int

    @property
    def is_plain(self) -> bool:
        """Whether there is too little in the picture to tell it from others."""
        return any(not _MIN_BITS <= bits.bit_count() <= 64 - _MIN_BITS for bits in (self.rows, self.columns))


@dataclass(frozen=True)
class Groups:
    """``groups`` hold indices of alike pictures, each at least two, in ascending order. ``whole`` is False when the
    search was broken off."""

    groups: list[list[int]]
    whole: bool


def are_near(one: Fingerprint, other: Fingerprint) -> bool:
    return (one.rows ^ other.rows).bit_count() <= MAX_DISTANCE and (
        one.columns ^ other.columns
    ).bit_count() <= MAX_DISTANCE


def near_groups(prints: Sequence[Fingerprint | None], *, max_comparisons: int = MAX_COMPARISONS) -> Groups:
    """Groups of near duplicates among ``prints`` (None and plain ones belong to none)."""
    parent = list(range(len(prints)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    left = max_comparisons
    for i, j in _candidates(prints):
        if left == 0:
            break
        left -= 1
        one, other = prints[i], prints[j]
        if one is not None and other is not None and are_near(one, other):
            parent[max(root(i), root(j))] = min(root(i), root(j))
    found: dict[int, list[int]] = defaultdict(list)
    for i in range(len(prints)):
        found[root(i)].append(i)
    return Groups([group for _, group in sorted(found.items()) if len(group) > 1], left > 0)


def _candidates(prints: Sequence[Fingerprint | None]) -> Iterator[tuple[int, int]]:
    """Pairs that share a band; the same pair may come more than once. Pictures with the very same hash are chained, so
    that a thousand copies of one make a thousand pairs and not a million."""
    same: dict[Fingerprint, int] = {}
    distinct: list[int] = []
    for i, print_ in enumerate(prints):
        if print_ is None or print_.is_plain:
            continue
        first = same.setdefault(print_, i)
        if first == i:
            distinct.append(i)
        else:
            yield first, i
    for shift, width in _BANDS:
        buckets: dict[int, list[int]] = defaultdict(list)
        for i in distinct:
            print_ = prints[i]
            if print_ is not None:
                buckets[(print_.rows >> shift) & ((1 << width) - 1)].append(i)
        for bucket in buckets.values():
            for at, i in enumerate(bucket):
                for j in bucket[at + 1 :]:
                    yield i, j
