"""Near duplicates found by bands are those found by comparing all; signatures and captions never fail on any bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.aspect import CropAspect, ResolutionType, Sizing, sort_into_buckets
from chalicelib.domain.captions import estimate_tokens, read_caption
from chalicelib.domain.datasets import ManifestFile
from chalicelib.domain.duplicates import Fingerprint, are_near, near_groups
from chalicelib.domain.inspection_facts import SizeCount
from chalicelib.domain.media import sniff
from chalicelib.workflow.inspection import BATCH_FILES, cut

bits = st.integers(0, 2**64 - 1)
#: Clusters: a few bits around a few centres, so that there is something to find.
centres = st.lists(st.builds(Fingerprint, bits, bits), min_size=1, max_size=4)
places = st.sets(st.integers(0, 63), max_size=3)
flips = st.lists(st.tuples(st.integers(0, 3), places, places), max_size=14)


def flipped(value: int, places: set[int]) -> int:
    for place in places:
        value ^= 1 << place
    return value


@given(centres, flips)
def test_bands_find_what_comparing_all_pairs_finds(
    around: list[Fingerprint], moves: list[tuple[int, set[int], set[int]]]
) -> None:
    prints = [
        Fingerprint(flipped(around[c % len(around)].rows, rows), flipped(around[c % len(around)].columns, columns))
        for c, rows, columns in moves
    ]
    parent = list(range(len(prints)))

    def root(i: int) -> int:
        return i if parent[i] == i else root(parent[i])

    for i in range(len(prints)):
        for j in range(i):
            if not prints[i].is_plain and not prints[j].is_plain and are_near(prints[i], prints[j]):
                one, other = sorted((root(i), root(j)))
                parent[other] = one
    expected: dict[int, list[int]] = {}
    for i in range(len(prints)):
        expected.setdefault(root(i), []).append(i)
    found = near_groups(prints)
    assert found.whole
    assert found.groups == [g for _, g in sorted(expected.items()) if len(g) > 1]


def test_the_search_ends_and_says_when_it_is_not_whole() -> None:
    # All share a band and none is near another: the worst case.
    prints = [Fingerprint((n * 0x9E3779B97F4A7C15 % 2**51) << 13 | 0b1010101010101, 0xF0F0) for n in range(2000)]
    assert not near_groups(prints, max_comparisons=1000).whole
    copies = near_groups([Fingerprint(0xFF00FF, 0xF0F0)] * 5000 + [None], max_comparisons=6000)
    assert copies.whole
    assert [len(g) for g in copies.groups] == [5000]


@given(st.binary(max_size=300))
def test_any_bytes_have_a_verdict(data: bytes) -> None:
    sniff(data)
    text = read_caption(data)
    assert text.problem in {None, "empty", "not_utf8"}


@given(st.text(max_size=400))
def test_an_estimate_is_positive_and_grows_with_the_text(line: str) -> None:
    assert 2 <= estimate_tokens(line) <= estimate_tokens(f"{line} cat")


sizes = st.lists(
    st.builds(SizeCount, width=st.integers(1, 20_000), height=st.integers(1, 20_000), images=st.integers(1, 50)),
    max_size=20,
)
sizings = st.one_of(
    st.builds(
        Sizing, st.integers(1, 4096), kind=st.sampled_from([ResolutionType.PIXEL, ResolutionType.PIXEL_AREA]),
        crop=st.booleans(), crop_aspect=st.sampled_from(CropAspect), minimum=st.none() | st.integers(1, 2048),
    ),
    st.builds(
        Sizing, st.floats(0.01, 16), kind=st.just(ResolutionType.AREA), crop=st.booleans(),
        crop_aspect=st.sampled_from(CropAspect), minimum=st.none() | st.floats(0.01, 4),
    ),
)  # fmt: skip


@given(sizes, sizings)
def test_every_image_is_in_one_bucket_or_left_out(found: list[SizeCount], sizing: Sizing) -> None:
    sorted_ = sort_into_buckets(found, sizing)
    assert sum(b.images for b in sorted_.buckets) + sorted_.left_out == sum(s.images for s in found) == sorted_.images
    assert len({b.aspect for b in sorted_.buckets}) == len(sorted_.buckets)
    assert all(b.width > 0 and b.height > 0 for b in sorted_.buckets)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(["png", "txt", "mp4"]), st.integers(0, 2**38)), max_size=2000))
def test_batches_hold_every_file_once_and_in_order(found: list[tuple[str, int]]) -> None:
    files = [
        ManifestFile(path=f"{n:05d}.{suffix}", size=size, sha256="0" * 64) for n, (suffix, size) in enumerate(found)
    ]
    batches = cut(files)
    assert [f for batch in batches for f in batch] == files
    assert all(batches)
    assert len(batches) <= 1_000 + 1
    assert all(len(batch) <= max(BATCH_FILES, len(files)) for batch in batches)
