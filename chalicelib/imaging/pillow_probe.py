"""The ImageProbe port with Pillow: the only importer of PIL, in the package of one function alone.

What it is given comes from strangers. It opens a list of formats whose decoders need no other program, looks at the
size in the header before it decodes, and takes whatever a decoder raises for a verdict on the image.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from chalicelib.domain.inspection_facts import THUMBNAIL, ImageFacts, Problem, pixels_problem

#: Pillow's names of what is opened. Left out are those that start other programs (EPS) or read other files.
FORMATS: Final = (
    "JPEG",
    "PNG",
    "WEBP",
    "GIF",
    "BMP",
    "DIB",
    "TIFF",
    "AVIF",
    "JPEG2000",
    "PPM",
    "TGA",
    "ICO",
    "PSD",
)
_NAMES = {"mpo": "jpeg", "dib": "bmp", "ppm": "pnm"}
#: Columns of a contact sheet, and its quality as JPEG.
COLUMNS = 20
QUALITY = 75
#: Smaller than this on a side, and it is hardly meant.
TINY = 64
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N", "RGBA;16B"})
#: EXIF's orientation, and its value for "as it is".
_ORIENTATION, _UPRIGHT = 0x0112, 1
_SWAPPED = frozenset({5, 6, 7, 8})
#: What decoders raise for bad content. Everything that is not here would be a defect of ours.
_BAD = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    EOFError,
    NotImplementedError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_ICON = b"\0\0\1\0"
_CUT = ("truncated", "unexpected end", "premature", "not enough data", "incomplete")


class PillowProbe:
    """Safe for untrusted content within the bounds of the port, which keep the memory it takes below 1.2 GiB."""

    def look(self, data: bytes, *, thumbnail: bool) -> ImageFacts:
        # Warnings of decoders go to the log of nobody; bombs are told apart here.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                # Pillow decodes an icon when it opens it:
                # https://github.com/python-pillow/Pillow/blob/main/src/PIL/IcoImagePlugin.py
                too_many = _icon_problem(data)
                if too_many is not None:
                    return ImageFacts(format="ico", problems=(too_many,))
                with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                    return _look(image, data, thumbnail=thumbnail)
            except Image.DecompressionBombError:
                return ImageFacts(problems=(Problem.TOO_MANY_PIXELS,))
            except UnidentifiedImageError:
                return ImageFacts(problems=(Problem.UNREADABLE,))
            except MemoryError:
                return ImageFacts(problems=(Problem.TOO_LARGE,))
            except _BAD as error:
                return ImageFacts(problems=(_verdict(error),))

    def sheet(self, thumbnails: Sequence[bytes]) -> bytes:
        columns = max(min(COLUMNS, math.ceil(math.sqrt(len(thumbnails)))), 1)
        rows = max(math.ceil(len(thumbnails) / columns), 1)
        sheet = Image.new("RGB", (columns * THUMBNAIL, rows * THUMBNAIL), "white")
        for i, data in enumerate(thumbnails):
            try:
                with Image.open(io.BytesIO(data), formats=("JPEG",)) as thumb:
                    thumb.load()
                    row, column = divmod(i, columns)
                    at = (column * THUMBNAIL + (THUMBNAIL - thumb.width) // 2,
                          row * THUMBNAIL + (THUMBNAIL - thumb.height) // 2)  # fmt: skip
                    sheet.paste(thumb, at)
            except (UnidentifiedImageError, *_BAD):
                continue
        return _jpeg(sheet)


def _look(image: ImageFile.ImageFile, data: bytes, *, thumbnail: bool) -> ImageFacts:
    name = (image.format or "").lower()
    name = _NAMES.get(name, name)
    width, height = image.size
    too_many = pixels_problem(name, width, height)
    if too_many is not None:
        return ImageFacts(format=name, width=width, height=height, problems=(too_many,))
    mode, deep = image.mode, _is_deep(image, data)
    animated = name != "jpeg" and name != "tiff" and bool(getattr(image, "is_animated", False))
    try:
        if name == "jpeg":
            # A smaller scale decodes faster, reads the data to its end all the same, and is enough for a hash.
            image.draft(None, (THUMBNAIL, THUMBNAIL))
        image.load()
    except MemoryError:
        return ImageFacts(format=name, width=width, height=height, problems=(Problem.TOO_LARGE,))
    except _BAD as error:
        return ImageFacts(format=name, width=width, height=height, problems=(_verdict(error),))
    # Only now: Pillow loads a PNG to read its EXIF, and hides that it could not.
    orientation = _orientation(image)
    shown = (height, width) if orientation in _SWAPPED else (width, height)
    problems = []
    if deep or mode in _DEEP_MODES:
        problems.append(Problem.DEEP)
    if mode == "CMYK":
        problems.append(Problem.CMYK)
    if mode == "P" and name != "gif":
        problems.append(Problem.PALETTE)
    if animated:
        problems.append(Problem.ANIMATED)
    if orientation != _UPRIGHT:
        problems.append(Problem.ROTATED)
    if min(width, height) < TINY:
        problems.append(Problem.TINY)
    small, transparent = _small(image)
    if transparent is not None:
        problems.append(transparent)
    rows, columns = difference_hashes(small)
    return ImageFacts(
        format=name,
        width=shown[0],
        height=shown[1],
        problems=tuple(problems),
        rows=rows,
        columns=columns,
        thumbnail=_jpeg(small) if thumbnail else None,
    )


def _icon_problem(data: bytes) -> Problem | None:
    """What is wrong with the size of the largest picture in an icon, by the headers of the pictures themselves: its
    directory says 256 at most."""
    if not data.startswith(_ICON):
        return None
    found = []
    for at in range(6, 6 + 16 * int.from_bytes(data[4:6], "little"), 16):
        start = int.from_bytes(data[at + 12 : at + 16], "little")
        head = data[start : start + 24]
        if head.startswith(b"\x89PNG"):
            size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
        else:
            # A bitmap; the height is that of the picture and its mask together.
            width, height = (int.from_bytes(head[i : i + 4], "little", signed=True) for i in (4, 8))
            size = abs(width), abs(height) // 2
        found.append(pixels_problem("ico", *size))
    return next((problem for problem in found if problem is not None), None)


def _verdict(error: BaseException) -> Problem:
    text = str(error).lower()
    return Problem.TRUNCATED if any(word in text for word in _CUT) else Problem.UNREADABLE


def _is_deep(image: ImageFile.ImageFile, data: bytes) -> bool:
    """Whether the file has 16 bits a channel: Pillow makes 8 of a colour PNG's 16 and says nothing of it."""
    if image.format == "PNG":
        return len(data) > 24 and data[24] == 16
    tags = getattr(image, "tag_v2", None)
    if image.format == "TIFF" and tags is not None:
        bits = tags.get(258, (8,))
        return max(bits if isinstance(bits, tuple) else (bits,), default=8) > 8
    return False


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except _BAD:
        return _UPRIGHT
    return value if isinstance(value, int) and 1 <= value <= 8 else _UPRIGHT


def _small(image: Image.Image) -> tuple[Image.Image, Problem | None]:
    """The image as shown, in RGB on white, at most THUMBNAIL on a side; and what is to be said of its transparency."""
    has_alpha = image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
    transparent: Problem | None = None
    if image.mode in _DEEP_MODES:
        image = image.convert("F")
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        image = _to_eight_bits(image)
    if has_alpha:
        image = image.convert("RGBA")
        low, high = image.getchannel("A").getextrema()
        if low != 255:
            transparent = Problem.INVISIBLE if high == 0 else Problem.ALPHA
        image.thumbnail((2 * THUMBNAIL, 2 * THUMBNAIL))
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    image = image.convert("RGB")
    try:
        return ImageOps.exif_transpose(image), transparent
    except _BAD:
        return image, transparent


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Values of mode F stretched to 0 to 255: for looking at, not for training."""
    values = struct.unpack(f"={image.width * image.height}f", image.tobytes())
    low, high = min(values), max(values)
    scale = 255 / (high - low) if math.isfinite(high - low) and high > low else 0.0
    eight = bytes(int((v - low) * scale) if scale else 128 for v in values)
    return Image.frombytes("L", image.size, eight)


def difference_hashes(image: Image.Image) -> tuple[int, int]:
    """dHash of the rows and of the columns, 64 bits each: whether a cell is lighter than the one before it."""
    grey = image.convert("L")
    across = grey.resize((9, 8), Image.Resampling.BOX).tobytes()
    down = grey.resize((8, 9), Image.Resampling.BOX).tobytes()
    rows = columns = 0
    for y in range(8):
        for x in range(8):
            rows = rows << 1 | (across[y * 9 + x + 1] > across[y * 9 + x])
            columns = columns << 1 | (down[(y + 1) * 8 + x] > down[y * 8 + x])
    return rows, columns


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
