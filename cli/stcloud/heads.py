"""What the first bytes of a file say about it. Only an image is judged: one that is none would end the training.

The verdicts are those of the server's inspection (a test compares them).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

#: As many bytes as the longest look needs: the brands of a box that lists many.
HEAD = 256
_STARTS = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    # TIFF and BigTIFF, in both byte orders
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    # JPEG XL, bare and in its container
    (b"\xff\x0a", "jxl"),
    (b"\x00\x00\x00\x0cJXL ", "jxl"),
    (b"\x00\x00\x00\x0cjP  ", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"\x00\x00\x01\x00", "ico"),
    (b"8BPS", "psd"),
)
_AVIF = frozenset({b"avif", b"avis"})
_HEIF = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_PNM = re.compile(rb"P[1-6][ \t\r\n]")
#: Images that the trainer's image library does not open; the inspection calls each an error.
UNREAD_BY_TRAINER = frozenset({"heif", "jxl"})
#: TGA alone has no signature.
WITHOUT_SIGNATURE = frozenset({".tga"})


def image_format(head: bytes) -> str | None:
    """The format of the image that a file with these first HEAD bytes is, whatever its name says; None: no image."""
    for start, name in _STARTS:
        if head.startswith(start):
            return name
    if head[:4] == b"RIFF" and len(head) >= 12:
        return "webp" if head[8:12] == b"WEBP" else None
    if head[4:8] == b"ftyp":
        return _by_brand(head)
    if head.startswith(b"BM") and head[6:10] == b"\x00\x00\x00\x00":
        return "bmp"
    return "pnm" if _PNM.match(head) else None


def _by_brand(head: bytes) -> str | None:
    """By the brands of the ftyp box: the major one, then the compatible ones."""
    major = head[8:12]
    if major in _AVIF:
        return "avif"
    if major in _HEIF:
        end = min(max(int.from_bytes(head[:4], "big"), 16), HEAD)
        return "avif" if b"avif" in [head[i : i + 4] for i in range(16, end, 4)] else "heif"
    return "jxl" if major == b"jxl " else None


def read_start(source: Path, count: int) -> bytes:
    """The first ``count`` bytes of a file, in one read. Raises OSError."""
    # A file object costs as much again as the look itself, and a scan makes 200,000 of them.
    file = os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        return os.read(file, count)
    finally:
        os.close(file)
