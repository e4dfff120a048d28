"""What a file is, by its first bytes and by its name. Pure; knows signatures, decodes nothing."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

#: As many bytes as the longest look needs.
HEAD_BYTES = 4096


class Kind(StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    CAPTION = "caption"
    METADATA = "metadata"
    OTHER = "other"


@dataclass(frozen=True)
class Media:
    """``format`` is a short lower-case name, "png" or "matroska"."""

    kind: Kind
    format: str


#: Formats by suffix: what the name promises.
SUFFIXES: dict[str, tuple[Kind, frozenset[str]]] = {
    suffix: (kind, frozenset(formats.split()))
    for kind, table in {
        Kind.IMAGE: {
            ".jpg": "jpeg", ".jpeg": "jpeg", ".jfif": "jpeg", ".png": "png", ".apng": "png", ".webp": "webp",
            ".bmp": "bmp", ".tif": "tiff", ".tiff": "tiff", ".gif": "gif", ".avif": "avif", ".heic": "heif",
            ".heif": "heif", ".jxl": "jxl", ".jp2": "jpeg2000", ".j2k": "jpeg2000", ".ppm": "pnm", ".pgm": "pnm",
            ".tga": "tga", ".ico": "ico", ".psd": "psd",
        },
        Kind.VIDEO: {
            ".mp4": "mp4", ".m4v": "mp4", ".mov": "mp4", ".3gp": "mp4", ".mkv": "matroska", ".webm": "matroska",
            ".avi": "avi", ".ogv": "ogg", ".flv": "flv", ".wmv": "asf", ".mpg": "mpeg", ".mpeg": "mpeg",
        },
        Kind.AUDIO: {
            ".wav": "wave", ".wave": "wave", ".mp3": "mp3", ".flac": "flac", ".ogg": "ogg", ".oga": "ogg",
            ".opus": "ogg", ".m4a": "mp4", ".aac": "aac", ".aif": "aiff", ".aiff": "aiff", ".wma": "asf",
        },
        Kind.METADATA: {".json": "", ".jsonl": "", ".csv": "", ".parquet": ""},
        Kind.CAPTION: {".txt": ""},
    }.items()
    for suffix, formats in table.items()
}  # fmt: skip
CAPTION_SUFFIX = ".txt"
#: Files whose text is searched for secrets besides those that have no suffix we know.
TEXT_SUFFIXES = frozenset({".txt", ".json", ".jsonl", ".csv", ".md", ".yaml", ".yml", ".toml", ".ini", ".cfg", ".sh"})
#: What the trainer's image library opens without extras (SimpleTuner 4.10.1: Pillow >= 11.3, and pillow-jxl only with
#: its "jxl" extra).
TRAINER_IMAGES = frozenset(
    {"jpeg", "png", "webp", "bmp", "tiff", "gif", "avif", "jpeg2000", "pnm", "tga", "ico", "psd"}
)

_STARTS: tuple[tuple[bytes, Kind, str], ...] = (
    (b"\xff\xd8\xff", Kind.IMAGE, "jpeg"),
    (b"\x89PNG\r\n\x1a\n", Kind.IMAGE, "png"),
    (b"GIF87a", Kind.IMAGE, "gif"),
    (b"GIF89a", Kind.IMAGE, "gif"),
    (b"II*\x00", Kind.IMAGE, "tiff"),
    (b"MM\x00*", Kind.IMAGE, "tiff"),
    (b"II+\x00", Kind.IMAGE, "tiff"),
    (b"MM\x00+", Kind.IMAGE, "tiff"),
    (b"\xff\x0a", Kind.IMAGE, "jxl"),
    (b"\x00\x00\x00\x0cJXL ", Kind.IMAGE, "jxl"),
    (b"\x00\x00\x00\x0cjP  ", Kind.IMAGE, "jpeg2000"),
    (b"\xff\x4f\xff\x51", Kind.IMAGE, "jpeg2000"),
    (b"\x00\x00\x01\x00", Kind.IMAGE, "ico"),
    (b"8BPS", Kind.IMAGE, "psd"),
    (b"%PDF-", Kind.OTHER, "pdf"),
    (b"PK\x03\x04", Kind.OTHER, "zip"),
    (b"\x1f\x8b\x08", Kind.OTHER, "gzip"),
    (b"PAR1", Kind.METADATA, "parquet"),
    (b"fLaC", Kind.AUDIO, "flac"),
    (b"ID3", Kind.AUDIO, "mp3"),
    (b"FLV\x01", Kind.VIDEO, "flv"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Kind.VIDEO, "asf"),
    (b"\x00\x00\x01\xba", Kind.VIDEO, "mpeg"),
    (b"\x00\x00\x01\xb3", Kind.VIDEO, "mpeg"),
)
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})
_AUDIO_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "})
_PNM = re.compile(rb"P[1-6][ \t\r\n]")
_MARKUP = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|\?xml|svg|head|body)", re.IGNORECASE)

#: Names that may hold secrets, compared in lower case, of files and folders alike.
_SECRET_NAMES = (
    ".env", ".env.*", "*.env", "*.pem", "*.key", "*.p12", "*.pfx", "*.ppk", "*.kdbx", "id_rsa*", "id_dsa*",
    "id_ecdsa*", "id_ed25519*", "credentials*", ".netrc", ".ssh", ".aws",
)  # fmt: skip
_SECRET_CONTENT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"), "a private key"),
    (re.compile(r"(?<![A-Za-z0-9])(?:AKIA|ASIA)[0-9A-Z]{16}(?![A-Za-z0-9])"), "an AWS access key"),
    (re.compile(r"(?<![A-Za-z0-9_])hf_[A-Za-z0-9]{30,}(?![A-Za-z0-9])"), "a Hugging Face token"),
    (re.compile(r"(?<![A-Za-z0-9_])r8_[A-Za-z0-9]{30,}(?![A-Za-z0-9])"), "a Replicate token"),
    (re.compile(r"(?<![A-Za-z0-9_])gh[pousr]_[A-Za-z0-9]{30,}(?![A-Za-z0-9])"), "a GitHub token"),
)


def sniff(head: bytes) -> Media | None:
    """What the first HEAD_BYTES of a file say it is; None when they say nothing, as with plain text."""
    for start, kind, name in _STARTS:
        if head.startswith(start):
            return Media(kind, name)
    if head[:4] == b"RIFF" and len(head) >= 12:
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _iso_bmff(head)
    if head.startswith(b"\x1aE\xdf\xa3"):
        return Media(Kind.VIDEO, "matroska")
    if head.startswith(b"OggS"):
        return Media(Kind.VIDEO if b"\x80theora" in head[:256] else Kind.AUDIO, "ogg")
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return Media(Kind.AUDIO, "aiff")
    if head.startswith(b"BM") and head[6:10] == b"\x00\x00\x00\x00":
        return Media(Kind.IMAGE, "bmp")
    if _PNM.match(head):
        return Media(Kind.IMAGE, "pnm")
    if _MARKUP.match(head[:256]):
        return Media(Kind.OTHER, "markup")
    return _mpeg_audio(head)


_RIFF = {
    b"WEBP": Media(Kind.IMAGE, "webp"),
    b"AVI ": Media(Kind.VIDEO, "avi"),
    b"WAVE": Media(Kind.AUDIO, "wave"),
}


def _iso_bmff(head: bytes) -> Media:
    """By the brands of the ftyp box: the major one, then the compatible ones (ISO/IEC 14496-12, section 4.3)."""
    size = min(max(int.from_bytes(head[:4], "big"), 16), 256)
    brands = [head[8:12], *(head[i : i + 4] for i in range(16, size, 4))]
    if brands[0] in {b"avif", b"avis"} or (brands[0] in _HEIF_BRANDS and b"avif" in brands):
        return Media(Kind.IMAGE, "avif")
    if brands[0] in _HEIF_BRANDS:
        return Media(Kind.IMAGE, "heif")
    if brands[0] == b"jxl ":
        return Media(Kind.IMAGE, "jxl")
    return Media(Kind.AUDIO if brands[0] in _AUDIO_BRANDS else Kind.VIDEO, "mp4")


def _mpeg_audio(head: bytes) -> Media | None:
    """A bare frame header of MPEG audio (MP3) or ADTS (AAC); both begin with a run of ones."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return Media(Kind.AUDIO, "aac")
    layer, bitrate, rate = head[1] & 0x06, head[2] >> 4, (head[2] >> 2) & 3
    return Media(Kind.AUDIO, "mp3") if layer and bitrate != 15 and rate != 3 else None


def suffix_of(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def stem_of(path: str) -> str:
    """The path without its last suffix: an image and its caption share it."""
    return str(PurePosixPath(path).with_suffix(""))


def promised(path: str) -> tuple[Kind, frozenset[str]]:
    """What the name says: the kind, and the formats it may have (none: not known by signature)."""
    return SUFFIXES.get(suffix_of(path), (Kind.OTHER, frozenset()))


def is_caption_name(path: str) -> bool:
    """Whether the trainer takes the file for a caption: it looks for the suffix in lower case alone."""
    return path.endswith(CAPTION_SUFFIX)


def is_text_name(path: str) -> bool:
    """Whether the file's text is to be searched for secrets."""
    return suffix_of(path) in TEXT_SUFFIXES or suffix_of(path) not in SUFFIXES


def is_secret_name(path: str) -> bool:
    """Whether the file, or a folder it lies in, is named like one that holds secrets."""
    parts = path.lower().split("/")
    return any(fnmatch.fnmatchcase(part, pattern) for part in parts for pattern in _SECRET_NAMES)


def secret_in(text: str) -> str | None:
    """What secret the text seems to hold, in words; None for none. Never the secret itself."""
    return next((what for pattern, what in _SECRET_CONTENT if pattern.search(text)), None)
