"""Broken and odd images, each with the verdict that an inspection must come to. Made anew each time, the same bytes."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from PIL import Image

from chalicelib.domain.inspection_facts import Problem

P = Problem


@dataclass(frozen=True)
class Case:
    """``problems`` are all that must be found; none is a sound image. ``size`` is as shown, None when unknown."""

    name: str
    data: bytes
    problems: frozenset[Problem] = frozenset()
    size: tuple[int, int] | None = None


def picture(width: int = 96, height: int = 96, *, seed: int = 1, mode: str = "RGB") -> Image.Image:
    """A picture with enough in it to be told from others: soft shapes, the same for the same seed."""
    rng = random.Random(seed)
    small = Image.new("RGB", (6, 6))
    small.putdata([(rng.randrange(256), rng.randrange(256), rng.randrange(256)) for _ in range(36)])
    return small.resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, format_: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format_, **options)
    return out.getvalue()


def png_chunks(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 2) -> bytes:
    """A PNG put together by hand: the header, then these chunks, then the end."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = b"".join(_chunk(name, data) for name, data in ((b"IHDR", header), *chunks, (b"IEND", b"")))
    return b"\x89PNG\r\n\x1a\n" + body


def declaring(format_: str, width: int, height: int) -> bytes:
    """A small image whose header claims this size."""
    if format_ == "TIFF":
        data = bytearray(encoded(picture(), format_))
        tags = int.from_bytes(data[4:8], "little")
        for at in range(tags + 2, tags + 2 + 12 * int.from_bytes(data[tags : tags + 2], "little"), 12):
            wanted = {256: width, 257: height}.get(int.from_bytes(data[at : at + 2], "little"))
            if wanted is not None:
                data[at + 2 : at + 12] = struct.pack("<HII", 4, 1, wanted)
        return bytes(data)
    if format_ == "WEBP":
        data = bytearray(encoded(picture(), format_, lossless=True))
        at = data.index(b"VP8L") + 9
        bits = int.from_bytes(data[at : at + 4], "little")
        data[at : at + 4] = (bits >> 28 << 28 | (height - 1) << 14 | (width - 1)).to_bytes(4, "little")
        return bytes(data)
    data = bytearray(encoded(picture(), format_))
    at = data.index(b"ihdr") + 4
    data[at : at + 8] = struct.pack(">II", height, width)
    return bytes(data)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def _deep_png() -> bytes:
    rows = b"".join(
        b"\x00" + struct.pack(">96H", *(((x * 31 + y * 17) % 97) * 600 for x in range(96))) for y in range(96)
    )
    return png_chunks(96, 96, (b"IDAT", zlib.compress(rows)), depth=16, colour=0)


def _deep_colour_png() -> bytes:
    row = b"\x00" + struct.pack(">288H", *((i * 211) % 65536 for i in range(288)))
    return png_chunks(96, 96, (b"IDAT", zlib.compress(row * 96)), depth=16, colour=2)


def _bomb_png() -> bytes:
    """Fifty thousand pixels a side in a few kilobytes."""
    return png_chunks(50_000, 50_000, (b"IDAT", zlib.compress(b"\x00" * 4_000_000, 9)))


def _text_bomb_png() -> bytes:
    text = b"Comment\x00\x00" + zlib.compress(b"a" * 80_000_000, 9)
    return png_chunks(96, 96, (b"zTXt", text), (b"IDAT", zlib.compress((b"\x00" + bytes(288)) * 96)))


def _frames(count: int) -> list[Image.Image]:
    return [picture(seed=n) for n in range(count)]


def _animated(format_: str) -> bytes:
    first, *rest = _frames(3)
    return encoded(first, format_, save_all=True, append_images=rest, duration=100)


def _rotated(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(128, 96), "JPEG", exif=exif)


def _see_through(alpha: int | None) -> bytes:
    image = picture(mode="RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size) if alpha is None else alpha)
    return encoded(image, "PNG")


def _bad_crc() -> bytes:
    data = bytearray(encoded(picture(), "PNG"))
    at = data.index(b"IDAT")
    data[at + 10] ^= 0xFF
    return bytes(data)


def _mp4() -> bytes:
    return struct.pack(">I", 24) + b"ftypisom" + struct.pack(">I", 512) + b"isommp41" + b"\x00" * 200


def _heic() -> bytes:
    return struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + b"\x00" * 200


_SQUARE = (96, 96)
_MAKERS: Mapping[str, tuple[Callable[[], bytes], frozenset[Problem], tuple[int, int] | None]] = {
    # Sound ones
    "sound.jpg": (lambda: encoded(picture(), "JPEG"), frozenset(), _SQUARE),
    "sound-wide.jpg": (lambda: encoded(picture(640, 320), "JPEG"), frozenset(), (640, 320)),
    "sound-progressive.jpg": (lambda: encoded(picture(), "JPEG", progressive=True), frozenset(), _SQUARE),
    "sound-grey.jpg": (lambda: encoded(picture(mode="L"), "JPEG"), frozenset(), _SQUARE),
    "sound.png": (lambda: encoded(picture(), "PNG"), frozenset(), _SQUARE),
    "sound-opaque-alpha.png": (lambda: _see_through(255), frozenset(), _SQUARE),
    "sound.webp": (lambda: encoded(picture(), "WEBP"), frozenset(), _SQUARE),
    "sound.bmp": (lambda: encoded(picture(), "BMP"), frozenset(), _SQUARE),
    "sound.tiff": (lambda: encoded(picture(), "TIFF", compression="tiff_lzw"), frozenset(), _SQUARE),
    "sound.avif": (lambda: encoded(picture(), "AVIF"), frozenset(), _SQUARE),
    "sound.ppm": (lambda: encoded(picture(), "PPM"), frozenset(), _SQUARE),
    # Cut off or damaged
    "cut.jpg": (lambda: encoded(picture(256, 256), "JPEG")[:-2500], frozenset({P.TRUNCATED}), (256, 256)),
    "cut.png": (lambda: encoded(picture(256, 256), "PNG")[:-4000], frozenset({P.TRUNCATED}), (256, 256)),
    "cut.webp": (lambda: encoded(picture(256, 256), "WEBP")[:-500], frozenset({P.UNREADABLE}), None),
    "cut.bmp": (lambda: encoded(picture(), "BMP")[:-9000], frozenset({P.TRUNCATED}), _SQUARE),
    "cut.gif": (lambda: encoded(picture(), "GIF")[:-2000], frozenset({P.TRUNCATED}), _SQUARE),
    "cut.tiff": (lambda: encoded(picture(), "TIFF")[:4000], frozenset({P.TRUNCATED}), _SQUARE),
    "header-only.jpg": (lambda: encoded(picture(), "JPEG")[:20], frozenset({P.UNREADABLE}), None),
    "header-only.png": (lambda: encoded(picture(), "PNG")[:20], frozenset({P.TRUNCATED}), None),
    "bad-checksum.png": (_bad_crc, frozenset({P.UNREADABLE}), _SQUARE),
    "no-data.png": (lambda: png_chunks(96, 96), frozenset({P.UNREADABLE}), _SQUARE),
    "bad-size.png": (lambda: png_chunks(0, 0, (b"IDAT", zlib.compress(b""))), frozenset({P.UNREADABLE}), None),
    # None at all
    "zeros.png": (lambda: bytes(5000), frozenset({P.NOT_AN_IMAGE}), None),
    "text.jpg": (lambda: b"this is no picture\n" * 20, frozenset({P.NOT_AN_IMAGE}), None),
    "page.jpg": (lambda: b"<!DOCTYPE html><html><body>404</body></html>", frozenset({P.NOT_AN_IMAGE}), None),
    "video.jpg": (_mp4, frozenset({P.NOT_AN_IMAGE}), None),
    "archive.png": (lambda: b"PK\x03\x04" + bytes(200), frozenset({P.NOT_AN_IMAGE}), None),
    "empty.png": (lambda: b"", frozenset({P.EMPTY_FILE}), None),
    # Bombs
    "bomb.png": (_bomb_png, frozenset({P.TOO_MANY_PIXELS}), None),
    "text-bomb.png": (_text_bomb_png, frozenset({P.UNREADABLE}), None),
    # Odd, but images
    "mislabelled.jpg": (lambda: encoded(picture(), "PNG"), frozenset({P.MISLABELLED}), _SQUARE),
    "mislabelled-pnm.jpg": (lambda: encoded(picture(), "PPM"), frozenset({P.MISLABELLED}), _SQUARE),
    "phone.heic": (_heic, frozenset({P.FORMAT_UNSUPPORTED}), None),
    "modern.jxl": (lambda: b"\xff\x0a" + bytes(100), frozenset({P.FORMAT_UNSUPPORTED}), None),
    "print.jpg": (lambda: encoded(picture(mode="CMYK"), "JPEG"), frozenset({P.CMYK}), _SQUARE),
    "print.tiff": (lambda: encoded(picture(mode="CMYK"), "TIFF"), frozenset({P.CMYK}), _SQUARE),
    "deep-grey.png": (_deep_png, frozenset({P.DEEP}), _SQUARE),
    "deep-colour.png": (_deep_colour_png, frozenset({P.DEEP}), _SQUARE),
    "float.tiff": (lambda: encoded(picture(mode="F"), "TIFF"), frozenset({P.DEEP}), _SQUARE),
    "palette.png": (lambda: encoded(picture(mode="P"), "PNG"), frozenset({P.PALETTE}), _SQUARE),
    "alpha.png": (lambda: _see_through(None), frozenset({P.ALPHA}), _SQUARE),
    "invisible.png": (lambda: _see_through(0), frozenset({P.INVISIBLE}), _SQUARE),
    "animated.gif": (lambda: _animated("GIF"), frozenset({P.ANIMATED}), _SQUARE),
    "animated.webp": (lambda: _animated("WEBP"), frozenset({P.ANIMATED}), _SQUARE),
    "animated.png": (lambda: _animated("PNG"), frozenset({P.ANIMATED}), _SQUARE),
    "turned.jpg": (lambda: _rotated(6), frozenset({P.ROTATED}), (96, 128)),
    "mirrored.jpg": (lambda: _rotated(2), frozenset({P.ROTATED}), (128, 96)),
    "icon.png": (lambda: encoded(picture(16, 16), "PNG"), frozenset({P.TINY}), (16, 16)),
    "line.png": (lambda: encoded(picture(2000, 1), "PNG"), frozenset({P.TINY}), (2000, 1)),
}


def cases() -> list[Case]:
    """All of them, by name."""
    return [Case(name, make(), problems, size) for name, (make, problems, size) in _MAKERS.items()]
