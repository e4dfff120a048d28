"""Names of entries: how they are read, and which files do not belong to a dataset.

The rules and their wording are those of ``stcloud datasets push``, so that both ways lead to the same version.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from chalicelib.domain.datasets import MAX_PATH_BYTES
from chalicelib.domain.media import SUFFIXES, Kind, is_secret_name, sniff

MAX_DEPTH = 64
#: What of a path a report shows.
MAX_SHOWN = 512

_IMAGES = frozenset(suffix for suffix, (kind, _) in SUFFIXES.items() if kind is Kind.IMAGE)
_MEDIA = frozenset(suffix for suffix, (kind, _) in SUFFIXES.items() if kind in {Kind.IMAGE, Kind.VIDEO, Kind.AUDIO})
_ARCHIVE_SUFFIXES = (
    ".zip", ".tar", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".7z", ".rar", ".zst", ".lz4", ".jar", ".cab",
    ".iso",
)  # fmt: skip
#: Compared in lower case, files and folders alike.
_JUNK = frozenset({"thumbs.db", "desktop.ini", "ehthumbs.db", "__macosx", "$recycle.bin", "icon\r", "__pycache__"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"^[A-Za-z]:")

EMPTY = "empty (0 bytes)"
NO_IMAGE = "not an image (its content is of no image format)"
#: As many bytes as the longest signature needs.
HEAD = 16


@dataclass(frozen=True, slots=True)
class Verdict:
    """``path`` is the file's in the dataset. With a ``code`` it is left out, for ``reason``."""

    path: str
    code: str | None = None
    reason: str = ""


def judge_name(name: str, *, backslashes: bool) -> Verdict:
    """What a name means. Slashes separate folders; with ``backslashes`` (zips made on Windows) those do too.

    ``.`` parts and doubled slashes go, accents are composed (NFC). A name is never bent into a harmless one: what
    leads out of the folder is left out.
    """
    text = unicodedata.normalize("NFC", name.replace("\\", "/") if backslashes else name)
    if text.startswith("/"):
        return Verdict(text, "absolute_path", "is absolute; use a path relative to the dataset's folder")
    parts = [part for part in text.split("/") if part not in {"", "."}]
    path = "/".join(parts)
    if ".." in parts:
        return Verdict(text, "path_traversal", "leads out of the folder ('..' in its path)")
    if any(_DRIVE.match(part) for part in parts):
        return Verdict(path, "absolute_path", "name looks like a drive")
    for part in parts:
        found = _judge_part(part.lower())
        if found is not None:
            return Verdict(path, *found)
    problem = _path_problem(path, parts)
    if problem:
        return Verdict(path, "bad_name", problem)
    if path.lower().endswith(_ARCHIVE_SUFFIXES):
        return Verdict(path, "nested_archive", "an archive inside the archive is not unpacked")
    return Verdict(path)


def _judge_part(part: str) -> tuple[str, str] | None:
    if is_secret_name(part):
        return "secret", "may hold secrets"
    if part in _JUNK:
        return "system_file", "system file"
    if part.startswith("."):
        return "hidden", "hidden"
    return None


def _path_problem(path: str, parts: list[str]) -> str | None:
    if not parts:
        return "has no name"
    if any(0xD800 <= ord(c) <= 0xDFFF for c in path):
        return "name is not valid Unicode"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"path is longer than {MAX_PATH_BYTES} bytes"
    if "\\" in path or _CONTROL.search(path):
        return "name holds a backslash or control character"
    if len(parts) > MAX_DEPTH + 1:
        return "is nested too deep"
    return None


def judge_content(path: str, size: int, head: bytes) -> tuple[str, str] | None:
    """Code and reason when the trainer could not read the file; one such file would end the training.

    ``head`` holds its first bytes, HEAD of them when there are as many.
    """
    suffix = PurePosixPath(path).suffix.lower()
    if size == 0:
        return ("empty", EMPTY) if suffix in _MEDIA else None
    # TGA has no signature.
    if suffix in _IMAGES and suffix != ".tga" and not _is_image(head):
        return "not_an_image", NO_IMAGE
    return None


def _is_image(head: bytes) -> bool:
    media = sniff(head)
    return media is not None and media.kind is Kind.IMAGE


def shown(path: str) -> str:
    """The path made readable for a report: no control characters, no half surrogates, not too long."""
    text = _CONTROL.sub("?", path).encode("utf-8", "replace").decode()
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


# --- encodings ----------------------------------------------------------------------------------------------------
#: What a name that does not say its encoding is tried as, in this order. CP437 has a character for every byte.
ENCODINGS = ("utf-8", "cp932", "cp437")
#: How they are called in a report.
ENCODING_NAMES = {"ascii": "ASCII", "utf-8": "UTF-8", "cp932": "Shift_JIS (CP932)", "cp437": "CP437"}


class EncodingVote:
    """Finds the one encoding in which all names of an archive that do not say theirs can be read.

    One for all: a few names alone are often valid in several. CP932 needs a sign of Japanese besides: nearly every
    accented letter of CP437 with the letter behind it is valid CP932 too (``façade`` would be ``fa㌢de``). Holds no
    names.
    """

    def __init__(self) -> None:
        self.left = list(ENCODINGS)
        self.needed = False
        self._japanese = False

    def see(self, raw: bytes) -> None:
        if raw.isascii():
            return
        self.needed = True
        self.left = [encoding for encoding in self.left if _decodes(raw, encoding)]
        self._japanese = self._japanese or _is_japanese(raw)

    @property
    def winner(self) -> str:
        if not self.needed:
            return "ascii"
        return next(e for e in self.left if e != "cp932" or self._japanese)


#: What a Western name has behind an accented letter, and CP932 takes for the second half of a character.
_AFTER_ACCENT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")


def _is_japanese(raw: bytes) -> bool:
    """Whether the bytes, read as CP932, have what Western names lack: two Japanese characters side by side, or one
    whose second byte is no letter."""
    at, follows = 0, False
    while at < len(raw):
        lead = raw[at]
        double = 0x81 <= lead <= 0x9F or 0xE0 <= lead <= 0xFC
        if double and at + 1 < len(raw) and raw[at + 1] not in _AFTER_ACCENT:
            return True
        if lead >= 0x80 and follows:
            return True
        follows = lead >= 0x80
        at += 2 if double else 1
    return False


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    # Python gives these bytes characters that no Japanese name has.
    return encoding != "cp932" or not any(c in "\x80\xa0\uf8f0\uf8f1\uf8f2\uf8f3" for c in text)


def decode(raw: bytes, encoding: str) -> str:
    """``ascii`` stands for names that are; what is not valid is shown as the replacement character."""
    return raw.decode("utf-8" if encoding == "ascii" else encoding, "replace")


def unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in a zip's Unicode Path extra field (0x7075), if there is one that belongs to this very name
    (APPNOTE 4.6.9: with the CRC-32 of the plain one)."""
    for kind, data in extra_fields(extra):
        if kind != 0x7075 or len(data) < 5 or data[0] != 1:
            continue
        if int.from_bytes(data[1:5], "little") != zlib.crc32(raw):
            return None
        try:
            return data[5:].decode()
        except UnicodeDecodeError:
            return None
    return None


def extra_fields(extra: bytes) -> Iterable[tuple[int, bytes]]:
    """Id and data of each field; ends where one is cut off."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = int.from_bytes(extra[at : at + 2], "little"), int.from_bytes(extra[at + 2 : at + 4], "little")
        if at + 4 + size > len(extra):
            return
        yield kind, extra[at + 4 : at + 4 + size]
        at += 4 + size
