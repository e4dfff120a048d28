"""What the first bytes of a file say about it. Only an image is judged: one that is none would end the training."""

from __future__ import annotations

from pathlib import Path

#: As many bytes as the longest signature needs.
HEAD = 16
_STARTS = (
    b"\xff\xd8\xff",  # JPEG
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"BM",
    b"II*\x00",  # TIFF and BigTIFF, in both byte orders
    b"MM\x00*",
    b"II+\x00",
    b"MM\x00+",
    b"\xff\x0a",  # JPEG XL, bare and in its container
    b"\x00\x00\x00\x0cJXL ",
    b"\x00\x00\x00\x0cjP  ",  # JPEG 2000
    b"\xff\x4f\xff\x51",
)


def is_image(source: Path) -> bool:
    """True when the file begins like an image of a format trainers read, whatever its name says.

    Reads 16 bytes. Raises OSError.
    """
    with source.open("rb", buffering=0) as file:
        head = file.read(HEAD)
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    avif_or_heif = head[4:8] == b"ftyp"
    return webp or avif_or_heif or head.startswith(_STARTS)
