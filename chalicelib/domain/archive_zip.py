"""The central directory of a zip, read from its end by ranges (APPNOTE 6.3.10); never the archive itself.

Whatever two programs could understand differently is refused: two directories, entries that overlap, sizes that
disagree. What is only untidy (something before or behind the archive) is taken with a note.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from chalicelib.domain.archive_entries import SUPPORTED, Found, Read, unsupported
from chalicelib.domain.archive_names import ENCODING_NAMES, EncodingVote, decode, extra_fields, unicode_path
from chalicelib.domain.archives import (
    MAX_DIRECTORY_BYTES,
    MAX_ENTRIES,
    ArchiveRefusedError,
    damaged,
    not_an_archive,
    too_many_entries,
    truncated,
)
from chalicelib.domain.wording import count_text

_EOCD, _EOCD64, _LOCATOR, _CENTRAL = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"PK\x01\x02"
_EOCD_BYTES, _EOCD64_BYTES, _LOCATOR_BYTES, _CENTRAL_BYTES, _LOCAL_BYTES = 22, 56, 20, 46, 30
#: The longest comment, and as much again for what was put behind the archive.
_TAIL = _EOCD_BYTES + 2 * 65_535
#: Places that may be the end record and are looked at: each takes up to five short reads.
MAX_CANDIDATES = 16
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_BLOCK = 1024 * 1024
_UNIX, _DARWIN = 3, 19
_ENCRYPTED, _UTF8, _MASKED = 0x0001, 0x0800, 0x2000


@dataclass(frozen=True)
class _Location:
    """``shift`` is how far everything lies behind where the archive says: bytes were put before it."""

    start: int
    size: int
    entries: int
    shift: int
    end: int


@dataclass(frozen=True, slots=True)
class _Raw:
    """An entry of the directory. ``text`` is its name where that is certain; ``lies``: it says UTF-8 and is none."""

    raw: bytes
    text: str | None
    lies: bool
    system: int
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    attributes: int


@dataclass
class ZipDirectory:
    """``encoding`` is how names that do not say it themselves were read; ``entries`` are in order of offset."""

    encoding: str
    notes: list[str] = field(default_factory=list)
    entries: list[Found] = field(default_factory=list)


def read_zip(read: Read, size: int) -> ZipDirectory:
    """The entries of the zip, folders left away. Raises ArchiveRefusedError."""
    location, notes = _locate(read, size)
    raws = list(_central(read, location))
    if len(raws) & _MAX16 != location.entries & _MAX16:
        raise damaged(
            f"The directory lists {count_text(len(raws), 'entry', 'entries')} and says it has {location.entries:,}."
        )
    vote = EncodingVote()
    for raw in raws:
        if raw.text is None:
            vote.see(raw.raw)
    directory = ZipDirectory(encoding=vote.winner, notes=notes)
    if vote.needed and vote.winner != "utf-8":
        notes.append(f"Names that do not say their encoding were read as {ENCODING_NAMES[vote.winner]}.")
    lying = sum(raw.lies for raw in raws)
    if lying:
        said = "1 name says that it is UTF-8 and is not" if lying == 1 else f"{lying:,} names say UTF-8 and are not"
        notes.append(f"{said}; read as {ENCODING_NAMES[vote.winner]}.")
    raws.sort(key=lambda r: r.offset)
    _refuse_overlaps(raws, location)
    directory.entries = [found for raw in raws if (found := _found(raw, vote.winner, location)) is not None]
    if any(found.backslashes for found in directory.entries):
        notes.append("Backslashes in names were read as folders.")
    return directory


# --- where the directory is ---------------------------------------------------------------------------------------
def _locate(read: Read, size: int) -> tuple[_Location, list[str]]:
    start = max(0, size - _TAIL)
    tail = read(start, size - start)

    def near(offset: int, length: int) -> bytes:
        """What is in the tail is not read again."""
        return tail[offset - start : offset - start + length] if offset >= start else read(offset, length)

    ends = _ends(tail)
    exact = [at for at, end in ends if end == len(tail)]
    if len(exact) > MAX_CANDIDATES:
        raise damaged(f"{len(exact):,} places look like the zip's end.")
    # What stands closest to the end is what the archive's maker meant.
    loose = [(at, end) for at, end in ends if end != len(tail)][: MAX_CANDIDATES - len(exact)]
    found: list[_Location] = []
    problems: dict[int, ArchiveRefusedError] = {}
    for candidates in ([(at, len(tail)) for at in exact], loose):
        for at, end in candidates if not found else ():
            try:
                found.append(_candidate(near, tail[at : at + _EOCD_BYTES], start + at, start + end))
            except ArchiveRefusedError as refused:
                problems[at] = refused
            if candidates is loose and found:
                break
    if len(set(found)) > 1:
        raise ArchiveRefusedError(
            "ambiguous_archive",
            "The archive has more than one directory: programs would unpack different files.",
            "Pack the files anew, without a comment.",
        )
    if not found:
        raise problems[max(problems)] if problems else _without_directory(read)
    location = found[0]
    notes = []
    if location.shift:
        notes.append(f"{location.shift:,} bytes before the archive were ignored (a self-extracting archive?).")
    if location.end < size:
        notes.append(f"{size - location.end:,} bytes behind the archive were ignored.")
    return location, notes


def _ends(tail: bytes) -> list[tuple[int, int]]:
    """Where an end record may stand, and where the archive would end then; the last one first."""
    ends: list[tuple[int, int]] = []
    at = tail.rfind(_EOCD)
    while at >= 0:
        end = at + _EOCD_BYTES + int.from_bytes(tail[at + 20 : at + 22], "little")
        if end <= len(tail):
            ends.append((at, end))
        at = tail.rfind(_EOCD, 0, at)
    return ends


def _without_directory(read: Read) -> ArchiveRefusedError:
    head = read(0, 4)
    if head == b"PK\x07\x08":
        return _multi_disk()
    if head == b"PK\x03\x04":
        return truncated("The zip has no directory at its end: it is cut off.")
    return not_an_archive("The file is no zip: it has no directory.")


def _multi_disk() -> ArchiveRefusedError:
    return ArchiveRefusedError(
        "multi_disk", "The file is one part of a split zip.", "Join it: zip -s 0 split.zip --out whole.zip"
    )


def _candidate(read: Read, eocd: bytes, position: int, end: int) -> _Location:
    """The directory that this end record names. Raises ArchiveRefusedError when there is none there."""
    disk, disk_of_directory = _u16(eocd, 4), _u16(eocd, 6)
    here, entries, size, offset = _u16(eocd, 8), _u16(eocd, 10), _u32(eocd, 12), _u32(eocd, 16)
    directory_end = position
    wide = _wide(read, position)
    if wide is not None:
        record_at, values = wide
        narrow = {"entries": (entries, _MAX16), "size": (size, _MAX32), "offset": (offset, _MAX32)}
        for name, (value, full) in narrow.items():
            if value not in {full, values[name]}:
                raise ArchiveRefusedError(
                    "ambiguous_archive",
                    f"The archive's two end records disagree about the directory's {name}.",
                    "Pack the files anew.",
                )
        here, entries, size, offset = values["here"], values["entries"], values["size"], values["offset"]
        disk, disk_of_directory, directory_end = values["disk"], values["directory_disk"], record_at
    elif _MAX16 in {disk, disk_of_directory, entries} or _MAX32 in {size, offset}:
        raise damaged("The zip's ZIP64 end record is missing.")
    if disk or disk_of_directory or here != entries:
        raise _multi_disk()
    if entries > MAX_ENTRIES:
        raise too_many_entries()
    if size > MAX_DIRECTORY_BYTES:
        raise damaged(f"The zip's directory has {size:,} bytes, more than any that is needed.")
    shift = directory_end - size - offset
    if shift < 0:
        raise truncated("The zip is cut off: its directory points behind its end.")
    start = offset + shift
    if size and read(start, 4) != _CENTRAL:
        # Something stands between directory and end record, such as a signature.
        start, shift = offset, 0
        if read(start, 4) != _CENTRAL:
            raise damaged("The zip's directory is not where its end says.")
    if not size and entries:
        raise damaged("The zip's directory is empty and says that it is not.")
    return _Location(start=start, size=size, entries=entries, shift=shift, end=end)


def _wide(read: Read, position: int) -> tuple[int, dict[str, int]] | None:
    """The ZIP64 end record before the end record at ``position``, and where it stands."""
    if position < _LOCATOR_BYTES:
        return None
    locator = read(position - _LOCATOR_BYTES, _LOCATOR_BYTES)
    if not locator.startswith(_LOCATOR):
        return None
    if _u32(locator, 16) > 1:
        raise _multi_disk()
    # Behind what was put before the archive it is not where the locator says but, in the common length, before it.
    for at in (_u64(locator, 8), position - _LOCATOR_BYTES - _EOCD64_BYTES):
        if not 0 <= at <= position - _LOCATOR_BYTES - _EOCD64_BYTES:
            continue
        record = read(at, _EOCD64_BYTES)
        if record.startswith(_EOCD64):
            return at, {
                "disk": _u32(record, 16),
                "directory_disk": _u32(record, 20),
                "here": _u64(record, 24),
                "entries": _u64(record, 32),
                "size": _u64(record, 40),
                "offset": _u64(record, 48),
            }
    raise damaged("The zip's ZIP64 end record is not where its locator says.")


# --- what is in it ------------------------------------------------------------------------------------------------
def _central(read: Read, location: _Location) -> Iterator[_Raw]:
    buffer, at, fetched = b"", 0, 0
    left = location.size
    count = 0
    while left > 0:
        need = _CENTRAL_BYTES
        if len(buffer) - at >= _CENTRAL_BYTES:
            need += _u16(buffer, at + 28) + _u16(buffer, at + 30) + _u16(buffer, at + 32)
        if len(buffer) - at < need:
            more = (
                read(location.start + fetched, min(_BLOCK, location.size - fetched)) if fetched < location.size else b""
            )
            if not more:
                raise damaged("The zip's directory is cut off.")
            buffer, at, fetched = buffer[at:] + more, 0, fetched + len(more)
            continue
        if buffer[at : at + 4] != _CENTRAL:
            if buffer[at : at + 4] == b"PK\x05\x05":
                return  # a digital signature ends the entries
            raise damaged("The zip's directory is damaged.")
        count += 1
        if count > MAX_ENTRIES:
            raise too_many_entries()
        yield _raw(buffer[at : at + need])
        at, left = at + need, left - need


def _raw(record: bytes) -> _Raw:
    name_end = _CENTRAL_BYTES + _u16(record, 28)
    extra_end = name_end + _u16(record, 30)
    raw, extra = record[_CENTRAL_BYTES:name_end], record[name_end:extra_end]
    flags = _u16(record, 8)
    packed, size, offset, disk = _u32(record, 20), _u32(record, 24), _u32(record, 42), _u16(record, 34)
    if _MAX32 in {packed, size, offset} or disk == _MAX16:
        size, packed, offset, disk = _widened(extra, size, packed, offset, disk)
    if disk:
        raise _multi_disk()
    text = unicode_path(extra, raw)
    lies = False
    if text is None and flags & _UTF8:
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            lies = True
    return _Raw(
        raw=raw,
        text=text,
        lies=lies,
        system=record[5],
        flags=flags,
        method=_u16(record, 10),
        crc=_u32(record, 16),
        packed=packed,
        size=size,
        offset=offset,
        attributes=_u32(record, 38),
    )


def _widened(extra: bytes, size: int, packed: int, offset: int, disk: int) -> tuple[int, int, int, int]:
    """The values with those of the ZIP64 field, which holds only what did not fit, in this order (APPNOTE 4.5.3)."""
    data = next((d for kind, d in extra_fields(extra) if kind == 0x0001), b"")
    at = 0
    values = [size, packed, offset]
    for i, value in enumerate(values):
        if value == _MAX32 and at + 8 <= len(data):
            values[i], at = _u64(data, at), at + 8
    if disk == _MAX16 and at + 4 <= len(data):
        disk = _u32(data, at)
    return values[0], values[1], values[2], disk


def _refuse_overlaps(raws: list[_Raw], location: _Location) -> None:
    """Entries that share data are how a small zip unpacks to petabytes (https://www.bamsoftware.com/hacks/zipbomb/)."""
    end = -1
    for raw in raws:
        if raw.offset + location.shift + _LOCAL_BYTES + len(raw.raw) + raw.packed > location.start:
            continue  # left out by itself
        if raw.offset < end:
            raise ArchiveRefusedError(
                "overlapping_entries",
                "Entries of the archive share the same data, as in a zip bomb.",
                "Pack the files anew.",
            )
        end = raw.offset + _LOCAL_BYTES + len(raw.raw) + raw.packed


def _found(raw: _Raw, encoding: str, location: _Location) -> Found | None:
    """None for a folder."""
    name = raw.text if raw.text is not None else decode(raw.raw, encoding)
    if name.replace("\\", "/").endswith("/"):
        if not raw.size:
            return None
        return Found(name, size=raw.size, backslashes="\\" in name, problem=("bad_name", "is a folder with content"))
    return Found(
        name=name,
        offset=raw.offset + location.shift,
        packed=raw.packed,
        size=raw.size,
        method=raw.method,
        crc=raw.crc,
        name_crc=zlib.crc32(raw.raw),
        backslashes="\\" in name,
        problem=_problem(raw, location),
    )


def _problem(raw: _Raw, location: _Location) -> tuple[str, str] | None:
    if raw.flags & (_ENCRYPTED | _MASKED) or raw.method == 99:
        return "encrypted", "is encrypted; pack it without a password"
    mode = raw.attributes >> 16 if raw.system in {_UNIX, _DARWIN} else 0
    if stat.S_ISLNK(mode):
        return "link", "symbolic link"
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "special_file", "not a regular file"
    if raw.method not in SUPPORTED:
        return "unsupported_method", unsupported(raw.method)
    if raw.offset + location.shift + _LOCAL_BYTES + len(raw.raw) + raw.packed > location.start:
        return "damaged_entry", "its data lies outside the archive"
    if raw.method == 0 and raw.packed != raw.size:
        return "size_lies", f"is stored with {raw.packed:,} bytes and declares {raw.size:,}"
    return None


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _u64(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")
