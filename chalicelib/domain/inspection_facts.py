"""What an inspection learns: of one image, of one file, of a whole version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from chalicelib.domain.media import Kind

#: Images with more pixels are not decoded: a decompression bomb, or of no use to a trainer.
MAX_PIXELS = 120_000_000
#: Images with more pixels are not decoded in the function that looks at them: decoding takes up to 25 bytes of memory a
#: pixel in these formats (measured with transparency), up to 13 in all others, and the peak stays below 1.2 GiB.
INSPECTED_PIXELS = {"jpeg2000": 40_000_000, "webp": 40_000_000, "avif": 40_000_000, "tiff": 40_000_000,
                    "psd": 40_000_000, "ico": 40_000_000}  # fmt: skip
INSPECTED_PIXELS_OF_OTHERS = 100_000_000
#: Images with more bytes are not read.
MAX_IMAGE_BYTES = 200 * 1000 * 1000
#: Files whose whole SHA-256 is confirmed by reading them; larger ones rest on the checksums of their parts.
MAX_HASHED_BYTES = 24 * 1024**3
#: Longest side of a thumbnail, in pixels.
THUMBNAIL = 128
#: Thumbnails of one report, sampled over the whole set.
MAX_THUMBNAILS = 200


class Problem(StrEnum):
    """What is wrong with a file, or worth knowing of it. The values are the codes of findings."""

    # That nothing can be trained with
    EMPTY_FILE = "empty_file"
    NOT_AN_IMAGE = "not_an_image"
    UNREADABLE = "image_unreadable"
    TRUNCATED = "image_truncated"
    TOO_MANY_PIXELS = "image_too_many_pixels"
    FORMAT_UNSUPPORTED = "image_format_unsupported"
    CHECKSUM = "checksum_mismatch"
    MISSING = "file_missing"
    SECRET_NAME = "secret_file"  # noqa: S105 - the code of a finding
    SECRET_CONTENT = "secret_in_text"  # noqa: S105 - the code of a finding
    CAPTION_NOT_UTF8 = "caption_not_utf8"
    # That nobody looked at
    TOO_LARGE = "image_too_large_to_inspect"
    BIG_FILE = "image_not_inspected"
    NOT_INSPECTED = "not_inspected"
    # That it is, but not as meant
    CMYK = "image_cmyk"
    DEEP = "image_16_bit"
    ANIMATED = "image_animated"
    INVISIBLE = "image_invisible"
    CAPTION_EMPTY = "caption_empty"
    CAPTION_HUGE = "caption_huge"
    # Good to know
    MISLABELLED = "mislabelled"
    ALPHA = "image_alpha"
    PALETTE = "image_palette"
    ROTATED = "image_exif_rotation"
    TINY = "image_tiny"
    NOT_HASHED = "checksum_of_parts_only"
    CAPTION_BOM = "caption_bom"
    UNKNOWN = "unknown_file"


@dataclass(frozen=True)
class ImageFacts:
    """What decoding an image told. ``width`` and ``height`` are as shown, after EXIF rotation; 0 when unknown. The
    hashes are None when the image could not be decoded, ``thumbnail`` (JPEG) too, or when none was asked for."""

    format: str = ""
    width: int = 0
    height: int = 0
    problems: tuple[Problem, ...] = ()
    rows: int | None = None
    columns: int | None = None
    thumbnail: bytes | None = None


class ImageProbe(Protocol):
    """Decodes images. Never raises for what an image holds, and never decodes one that has too many pixels: more than
    MAX_PIXELS (TOO_MANY_PIXELS), or than can be looked at in its format (TOO_LARGE)."""

    def look(self, data: bytes, *, thumbnail: bool) -> ImageFacts: ...

    def sheet(self, thumbnails: Sequence[bytes]) -> bytes:
        """One JPEG of all thumbnails in rows, in this order; what can't be decoded leaves its place empty."""


def pixels_problem(image_format: str, width: int, height: int) -> Problem | None:
    """Why an image of this size, told by its header, is not to be decoded."""
    pixels = width * height
    if pixels > MAX_PIXELS:
        return Problem.TOO_MANY_PIXELS
    return Problem.TOO_LARGE if pixels > INSPECTED_PIXELS.get(image_format, INSPECTED_PIXELS_OF_OTHERS) else None


class FileFacts(BaseModel):
    """What is known of one file, as the batches of an inspection store it, one JSON line each. ``detail`` says more
    about a problem, in words. ``tokens`` and ``text`` (a digest) are those of a caption."""

    model_config = ConfigDict(frozen=True)

    path: str
    size: int
    sha256: str
    kind: Kind
    format: str = ""
    problems: tuple[Problem, ...] = ()
    detail: str = ""
    width: int = 0
    height: int = 0
    rows: int | None = None
    columns: int | None = None
    tokens: int = 0
    chars: int = 0
    text: str = ""


class SizeCount(BaseModel):
    """``images`` of this size in pixels."""

    model_config = ConfigDict(frozen=True)

    width: int
    height: int
    images: int


class Counts(BaseModel):
    """Files by kind; ``bytes`` are those of all."""

    model_config = ConfigDict(frozen=True)

    files: int = 0
    bytes: int = 0
    images: int = 0
    captions: int = 0
    video: int = 0
    audio: int = 0
    metadata: int = 0
    other: int = 0


class CaptionCounts(BaseModel):
    """``missing``: images and videos without a caption of their name. ``distinct`` texts. ``over_…`` count captions
    estimated to have more tokens than those encoders take."""

    model_config = ConfigDict(frozen=True)

    captions: int = 0
    missing: int = 0
    empty: int = 0
    orphans: int = 0
    distinct: int = 0
    over_clip: int = 0
    over_t5_short: int = 0
    over_t5_long: int = 0
    longest_tokens: int = 0


class ReportFacts(BaseModel):
    """What the checks of a configuration need of a version. ``sizes`` are those of all images that could be read, each
    with its count; ``sizes_exact`` is False when there were so many that they were rounded down."""

    model_config = ConfigDict(frozen=True)

    counts: Counts
    captions: CaptionCounts
    sizes: tuple[SizeCount, ...] = ()
    sizes_exact: bool = True

    @property
    def usable_images(self) -> int:
        return sum(s.images for s in self.sizes)
