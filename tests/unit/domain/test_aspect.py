"""SimpleTuner's buckets. The expected sizes are what its own code gives (4.10.1, alignment 64, rounding 2)."""

from __future__ import annotations

import pytest

from chalicelib.domain.aspect import CropAspect, ResolutionType, Sizing, sort_into_buckets
from chalicelib.domain.inspection_facts import SizeCount

AREA, PIXEL, PIXEL_AREA = ResolutionType


def sizes(*found: tuple[int, int, int]) -> list[SizeCount]:
    return [SizeCount(width=w, height=h, images=n) for w, h, n in found]


@pytest.mark.parametrize(
    ("sizing", "size", "target"),
    [
        (Sizing(1024), (2000, 2000), (1024, 1024)),
        (Sizing(1024), (3000, 2000), (1280, 832)),
        (Sizing(1024), (2000, 3000), (832, 1280)),
        (Sizing(1.0, AREA), (1920, 1080), (1344, 768)),
        (Sizing(512), (1920, 1080), (704, 384)),
        (Sizing(512, PIXEL), (1000, 1000), (512, 512)),
        (Sizing(512, PIXEL), (1500, 1000), (768, 512)),
        (Sizing(512, PIXEL), (1000, 1500), (512, 768)),
        (Sizing(1024, crop=True), (3000, 1000), (1024, 1024)),
        (Sizing(0.5, AREA, crop=True), (3000, 1000), (768, 768)),
        (Sizing(1024, crop=True, crop_aspect=CropAspect.PRESERVE), (3000, 2000), (1280, 832)),
        (
            Sizing(1024, crop=True, crop_aspect=CropAspect.CLOSEST, crop_aspect_buckets=(1.0, 0.5)),
            (3000, 2900),
            (1024, 1024),
        ),
    ],
)
def test_targets(sizing: Sizing, size: tuple[int, int], target: tuple[int, int]) -> None:
    assert sizing.target(*size) == target


def test_extreme_shapes_have_a_target_too() -> None:
    for size in ((1, 100_000), (100_000, 1), (1, 1)):
        for sizing in (Sizing(1024), Sizing(0.1, AREA), Sizing(64, PIXEL)):
            assert min(sizing.target(*size)) >= 64


def test_images_of_one_aspect_train_together() -> None:
    found = sort_into_buckets(sizes((3000, 2000, 5), (1500, 1000, 2), (1024, 1024, 3)), Sizing(1024))
    assert [(b.aspect, b.width, b.height, b.images) for b in found.buckets] == [
        (1.54, 1280, 832, 7),
        (1.0, 1024, 1024, 3),
    ]
    assert (found.images, found.left_out, found.upscaled) == (10, 0, 0)


def test_small_images_are_scaled_up_or_left_out() -> None:
    small = sizes((256, 256, 4), (1024, 1024, 6))
    assert sort_into_buckets(small, Sizing(1024)).upscaled == 4
    left = sort_into_buckets(small, Sizing(1024, minimum=512))
    assert (left.left_out, left.upscaled, [b.images for b in left.buckets]) == (4, 0, [6])


@pytest.mark.parametrize(
    ("sizing", "size", "left_out"),
    [
        (Sizing(512, PIXEL, minimum=512), (511, 2000), True),
        (Sizing(512, PIXEL, minimum=512), (512, 512), False),
        (Sizing(1.0, AREA, minimum=0.25), (500, 500), False),
        (Sizing(1.0, AREA, minimum=0.25), (400, 500), True),
        (Sizing(1024, minimum=512), (512, 512), False),
        (Sizing(1024, minimum=8), (64, 64), False),
        (Sizing(1024, minimum=512), (300, 800), True),
        (Sizing(1024, minimum=512, crop=True), (500, 2000), True),
        (Sizing(1024), (1, 1), False),
    ],
)
def test_what_is_below_the_minimum(sizing: Sizing, size: tuple[int, int], left_out: bool) -> None:
    assert sizing.is_left_out(*size) is left_out


def test_repeats_fill_a_batch() -> None:
    (bucket,) = sort_into_buckets(sizes((100, 100, 3)), Sizing(1024)).buckets
    assert [bucket.repeats_for(n) for n in (1, 3, 4, 6, 7)] == [0, 0, 1, 1, 2]
