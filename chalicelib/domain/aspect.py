"""SimpleTuner's aspect buckets: what it resizes an image to, and which images train together.

The rules are those of SimpleTuner 4.10.1, read in its source: ``helpers/multiaspect/image.py`` (sizes),
``helpers/image_manipulation/training_sample.py`` (square crops, the map of round areas), ``helpers/data_backend/config/
image.py`` (pixel_area) and ``helpers/metadata/backends/base.py`` (minimum sizes, batches of a bucket). Its defaults:
``aspect_bucket_alignment`` 64, ``aspect_bucket_rounding`` 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, sqrt

from chalicelib.domain.inspection_facts import SizeCount

ALIGNMENT = 64
ROUNDING = 2
#: Areas in megapixels that stand for these edges, and how near one must be.
_ROUND_AREAS = {0.25: 512, 0.5: 768, 1.0: 1024, 2.0: 1536, 4.0: 2048}
_NEAR = 0.05


class ResolutionType(StrEnum):
    """``resolution`` is megapixels for AREA; an edge in pixels for PIXEL (the smaller side) and PIXEL_AREA (that of a
    square of the same area)."""

    AREA = "area"
    PIXEL = "pixel"
    PIXEL_AREA = "pixel_area"


class CropAspect(StrEnum):
    SQUARE = "square"
    PRESERVE = "preserve"
    CLOSEST = "closest"
    RANDOM = "random"


@dataclass(frozen=True)
class Sizing:
    """How images are sized. ``minimum`` is ``minimum_image_size`` in the unit of ``resolution``."""

    resolution: float
    kind: ResolutionType = ResolutionType.PIXEL_AREA
    crop: bool = False
    crop_aspect: CropAspect = CropAspect.SQUARE
    crop_aspect_buckets: tuple[float, ...] = ()
    minimum: float | None = None
    alignment: int = ALIGNMENT
    rounding: int = ROUNDING

    @property
    def edge(self) -> int:
        """The edge of a square target, in pixels."""
        if self.kind is ResolutionType.PIXEL:
            return int(self.resolution)
        area = self.megapixels
        known = next((edge for key, edge in _ROUND_AREAS.items() if abs(area - key) < _NEAR), None)
        return self._round(known if known is not None else sqrt(area * 1e6))

    @property
    def megapixels(self) -> float:
        return self.resolution**2 / 1e6 if self.kind is ResolutionType.PIXEL_AREA else self.resolution

    def _round(self, value: float) -> int:
        return max(round(value / self.alignment) * self.alignment, self.alignment)

    def target(self, width: int, height: int) -> tuple[int, int]:
        """What an image of this size is resized and cropped to. A random crop has no answer: the square one stands
        for it."""
        square = (self.edge, self.edge)
        if self.crop and self.crop_aspect in {CropAspect.SQUARE, CropAspect.RANDOM}:
            return square
        aspect = round(width / height, self.rounding) or 10**-self.rounding
        if self.crop and self.crop_aspect is CropAspect.CLOSEST and self.crop_aspect_buckets:
            aspect = min(self.crop_aspect_buckets, key=lambda a: abs(a - aspect))
        if self.kind is ResolutionType.PIXEL:
            small = self.resolution
            sides = (small, int(small / aspect)) if width < height else (int(small * aspect), small)
            target = (self._round(sides[0]), self._round(sides[1]))
        else:
            edge = self._round(int(sqrt(self.megapixels * 1e6)))
            target = (self._round(edge * sqrt(aspect)), self._round(edge / sqrt(aspect)))
        return square if self.aspect_of(*target) == 1.0 else target

    def aspect_of(self, width: int, height: int) -> float:
        return round(width / height, self.rounding)

    def is_left_out(self, width: int, height: int) -> bool:
        """Whether the trainer passes the image over as smaller than ``minimum_image_size``."""
        if self.minimum is None:
            return False
        if self.kind is ResolutionType.PIXEL:
            return min(width, height) < self.minimum
        pixels = self.minimum**2 if self.kind is ResolutionType.PIXEL_AREA else self.minimum * 1e6
        if self.crop and self.crop_aspect is CropAspect.SQUARE and min(width, height) < int(sqrt(pixels)):
            return True
        return width * height < pixels


@dataclass(frozen=True)
class Bucket:
    """Images that train together: ``aspect`` of the target, ``width`` and ``height`` of its most common size."""

    aspect: float
    width: int
    height: int
    images: int

    def repeats_for(self, effective_batch: int) -> int:
        """The smallest ``repeats`` with which it fills one batch."""
        return ceil(effective_batch / self.images) - 1


@dataclass(frozen=True)
class Sorted:
    """``upscaled`` counts images smaller than their target, ``left_out`` those that the trainer passes over."""

    buckets: tuple[Bucket, ...]
    upscaled: int
    left_out: int
    images: int


def sort_into_buckets(sizes: Iterable[SizeCount], sizing: Sizing) -> Sorted:
    """What the trainer would make of images of these sizes."""
    counts: dict[float, dict[tuple[int, int], int]] = {}
    upscaled = left_out = images = 0
    for size in sizes:
        images += size.images
        if sizing.is_left_out(size.width, size.height):
            left_out += size.images
            continue
        target = sizing.target(size.width, size.height)
        if size.width < target[0] - sizing.alignment // 2 or size.height < target[1] - sizing.alignment // 2:
            upscaled += size.images
        by_target = counts.setdefault(sizing.aspect_of(*target), {})
        by_target[target] = by_target.get(target, 0) + size.images
    buckets = [
        Bucket(aspect, *max(by_target, key=lambda t: (by_target[t], t)), sum(by_target.values()))
        for aspect, by_target in counts.items()
    ]
    return Sorted(tuple(sorted(buckets, key=lambda b: (-b.images, b.aspect))), upscaled, left_out, images)
