"""What a file is by its name, as the server's inspection sees it too (a test compares the two)."""

from __future__ import annotations

import fnmatch
import re

from stcloud.listing import Kind

IMAGE_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jfif", ".png", ".apng", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic"),
        *(".heif", ".jxl", ".jp2", ".j2k", ".ppm", ".pgm", ".tga", ".ico", ".psd"),
    }
)
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".ogv", ".flv", ".wmv", ".mpg", ".mpeg"}
)
AUDIO_SUFFIXES = frozenset(
    {".wav", ".wave", ".mp3", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".wma"}
)
MEDIA_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES | AUDIO_SUFFIXES
CAPTION_SUFFIX = ".txt"
#: Lists of captions and the like; the trainer's own caches are JSON too.
METADATA_SUFFIXES = frozenset({".json", ".jsonl", ".csv", ".parquet"})
_KINDS = {
    **dict.fromkeys(IMAGE_SUFFIXES, Kind.IMAGE),
    **dict.fromkeys(VIDEO_SUFFIXES, Kind.VIDEO),
    **dict.fromkeys(AUDIO_SUFFIXES, Kind.AUDIO),
    **dict.fromkeys(METADATA_SUFFIXES, Kind.METADATA),
    CAPTION_SUFFIX: Kind.CAPTION,
}
_TEXT_METADATA = METADATA_SUFFIXES - {".parquet"}

#: Compared in lower case, files and folders alike.
_SECRETS = (
    ".env",
    ".env.*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.ppk",
    "*.kdbx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    "credentials*",
    ".netrc",
    ".ssh",
    ".aws",
)
_SECRET = re.compile("|".join(fnmatch.translate(pattern) for pattern in _SECRETS))
_JUNK = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "$recycle.bin", "icon\r", "__pycache__"})


def kind_of(suffix: str) -> Kind:
    """``suffix`` in lower case, with its dot."""
    return _KINDS.get(suffix, Kind.UNKNOWN)


def is_text(suffix: str) -> bool:
    """Whether a file of this suffix is searched for secrets: what is text, and what nobody knows."""
    return suffix == CAPTION_SUFFIX or suffix in _TEXT_METADATA or suffix not in _KINDS


def private_part(name: str) -> str | None:
    """Why a file or folder of this name (one part of a path) belongs to nobody else; None: it may be sent."""
    name = name.lower()
    if _SECRET.match(name):
        return "may hold secrets"
    if name in _JUNK:
        return "system file"
    if name.startswith("."):
        return "hidden"
    return None
