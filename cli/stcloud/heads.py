"""What the first bytes of a file say about it. Only an image is judged: one that is none would end the training.

The verdicts are those of the server's inspection (a test compares them).
"""

from __future__ import annotations

import re
from pathlib import Path

#: As many bytes as the longest signature needs.
HEAD = 16
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
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "heif"),
    b"jxl ": "jxl",
}
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
        return _BRANDS.get(head[8:12])
    if head.startswith(b"BM") and head[6:10] == b"\x00\x00\x00\x00":
        return "bmp"
    return "pnm" if _PNM.match(head) else None


def read_head(source: Path) -> bytes:
    """The first HEAD bytes of a file. Raises OSError."""
    with source.open("rb", buffering=0) as file:
        return file.read(HEAD)
