"""Headers of a tar, one after the other: v7, ustar, pax and GNU. Goes on where it stopped, from its small state."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self

from chalicelib.domain.archive_entries import Found, Reader
from chalicelib.domain.archive_names import ENCODING_NAMES, ENCODINGS
from chalicelib.domain.archives import ArchiveRefusedError, damaged, not_an_archive, truncated

BLOCK = 512
#: A pax header or a long name is a few hundred bytes.
MAX_EXTENSION = 1024 * 1024
#: Blocks of zeros that archivers pad the end with.
_PADDING = 1024 * 1024
_REGULAR, _LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"0\x007", b"L", b"K", b"xX", b"g"
#: Kinds without data, whatever their size says.
_WITHOUT_DATA = {
    b"1": ("link", "hard link"),
    b"2": ("link", "symbolic link"),
    b"3": ("special_file", "not a regular file"),
    b"4": ("special_file", "not a regular file"),
    b"6": ("special_file", "not a regular file"),
}
_PAX_RECORD = re.compile(rb"(\d{1,7}) ([^=]+)=")


@dataclass
class TarState:
    """Where the next header is, and what the headers before it say of it."""

    offset: int = 0
    path: str | None = None
    size: int | None = None
    sparse: bool = False
    ended: bool = False
    encodings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def dump(self) -> dict[str, Any]:
        return vars(self).copy()

    @classmethod
    def load(cls, document: dict[str, Any]) -> Self:
        return cls(**document)


def scan_tar(reader: Reader, state: TarState, total: int | None) -> Iterator[Found]:
    """The entries from ``state`` on, folders left away; ``state`` is up to date whenever one is given out.

    ``total`` is the archive's size, None for a stream whose end is not known. Raises ArchiveRefusedError.
    """
    while not state.ended:
        start = state.offset
        reader.seek(start)
        header = _read(reader, BLOCK)
        if not header and start:
            state.ended = True
            state.notes.append("The tar has no end mark; if files are missing, it was cut off.")
            return
        if len(header) < BLOCK:
            raise truncated("The tar is cut off.") if start else not_an_archive("The file is no archive.")
        if not header.strip(b"\0"):
            _end(state, start, total)
            return
        if not _sums_up(header):
            if not start:
                raise not_an_archive("The file is no archive that can be unpacked here.")
            raise damaged(f"The tar is damaged: at byte {start:,} there is no header.")
        found = _next(reader, state, header, total)
        if found is not None:
            yield found


def is_tar(head: bytes) -> bool:
    """Whether a tar begins with these bytes, BLOCK or more of them; also an empty one."""
    return len(head) >= BLOCK and (not head[:BLOCK].strip(b"\0") or _sums_up(head[:BLOCK]))


def _end(state: TarState, start: int, total: int | None) -> None:
    state.ended = True
    behind = total - start if total is not None else 0
    if behind > _PADDING:
        state.notes.append(f"{behind:,} bytes behind the end mark were ignored (several tars in one file?).")


def _next(reader: Reader, state: TarState, header: bytes, total: int | None) -> Found | None:
    kind = header[156:157]
    size = _number(header[124:136]) if state.size is None or kind in b"LKxXg" else state.size
    data = state.offset + BLOCK
    if size < 0:
        raise damaged(f"The tar is damaged: an entry at byte {state.offset:,} has a negative size.")
    if kind in _WITHOUT_DATA or kind == b"5":
        size = 0
    if total is not None and data + size > total:
        raise truncated("The tar is cut off: its last entry is not whole.")
    state.offset = data + -(-size // BLOCK) * BLOCK
    if kind in _LONG_NAME + _LONG_LINK + _PAX + _PAX_GLOBAL:
        _extension(reader, state, kind, size)
        return None
    name = state.path if state.path is not None else _name(header, state)
    sparse, state.path, state.size, state.sparse = state.sparse, None, None, False
    if kind == b"M":
        raise ArchiveRefusedError(
            "multi_disk", "The file is one volume of a tar of several.", "Pack the files into one tar."
        )
    if kind in b"5VDN" or (kind in _REGULAR and name.endswith("/") and not size):
        return None  # folders, labels and lists of names
    problem = _WITHOUT_DATA.get(kind)
    if problem is None and (sparse or kind == b"S"):
        problem = ("special_file", "sparse file")
    elif problem is None and kind not in _REGULAR:
        problem = ("special_file", "not a regular file")
    return Found(name, offset=data, packed=size, size=size, problem=problem)


def _extension(reader: Reader, state: TarState, kind: bytes, size: int) -> None:
    if size > MAX_EXTENSION:
        raise damaged(f"The tar is damaged: a name has {size:,} bytes.")
    content = _read(reader, size)
    if len(content) < size:
        raise truncated("The tar is cut off.")
    if kind == b"L":
        state.path = _text(content.partition(b"\0")[0], state)
    elif kind in _PAX:
        _pax(content, state)


def _pax(content: bytes, state: TarState) -> None:
    at = 0
    while at < len(content):
        found = _PAX_RECORD.match(content, at)
        if found is None or not at + int(found[1]) > found.end():
            break
        key, value = found[2], content[found.end() : at + int(found[1]) - 1]
        at += int(found[1])
        if key == b"path":
            state.path = _text(value, state)
        elif key == b"size" and value.isdigit() and len(value) < 20:
            state.size = int(value)
        elif key.startswith(b"GNU.sparse."):
            state.sparse = True


def _name(header: bytes, state: TarState) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    return _text(name, state)


def _text(raw: bytes, state: TarState) -> str:
    """A tar never says the encoding of its names: the first in which this one can be read."""
    for encoding in ("ascii", *ENCODINGS):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding not in state.encodings:
            state.encodings.append(encoding)
            if encoding not in {"ascii", "utf-8"}:
                state.notes.append(f"Names that are not UTF-8 were read as {ENCODING_NAMES[encoding]}.")
        return text
    raise AssertionError("CP437 reads everything")


def _sums_up(header: bytes) -> bool:
    expected = _octal(header[148:156])
    if expected is None:
        return False
    rest = header[:148] + b" " * 8 + header[156:]
    # Some old ones took bytes for signed.
    return expected in {sum(rest), sum(byte - 256 if byte > 127 else byte for byte in rest)}


def _number(value: bytes) -> int:
    if value[0] in {0x80, 0xFF}:  # GNU: base 256
        number = int.from_bytes(value[1:], "big")
        return number - (1 << 8 * (len(value) - 1)) if value[0] == 0xFF else number
    octal = _octal(value)
    if octal is None:
        raise damaged("The tar is damaged: a size is no number.")
    return octal


def _octal(value: bytes) -> int | None:
    text = value.strip(b" \0").partition(b"\0")[0].strip()
    if not text:
        return 0
    return int(text, 8) if re.fullmatch(rb"[0-7]+", text) else None


def _read(reader: Reader, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        piece = reader.read(length - len(found))
        if not piece:
            break
        found += piece
    return bytes(found)
