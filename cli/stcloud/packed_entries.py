"""The entries of a zip or tar on this disk, with their names read as the server reads them."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stcloud.errors import UsageError

GIB = 1024**3
#: What a compressed tar may unpack to beyond its own size before it is looked at no further.
BOMB_FREE_BYTES, BOMB_RATIO = GIB, 100
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA})
_AES = 99
_ENCRYPTED, _UTF8, _MASKED = 0x0001, 0x0800, 0x2000
_UNIX, _DARWIN = 3, 19
#: What a name that does not say its encoding is tried as, in this order. CP437 has a character for every byte.
_ENCODINGS = ("utf-8", "cp932", "cp437")
_NAMES = {"cp932": "Shift_JIS (CP932)", "cp437": "CP437"}
_AFTER_ACCENT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_")
_DAMAGED = "damaged_entry", "is damaged (its data can't be read)"
_UNREADABLE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)

Start = bytes | tuple[str, str]


class UnreadableArchiveError(UsageError):
    """The archive as a whole can't be read here."""


@dataclass(frozen=True)
class Packed:
    """An entry that is no folder. ``problem`` is a code and reason for which it is left out in any case. ``start``
    gives its first bytes, or why they can't be read; of a tar only until the next entry is asked for."""

    name: str
    size: int
    packed: int
    start: Callable[[int], Start]
    compressed: bool = False
    backslashes: bool = False
    problem: tuple[str, str] | None = None


@contextmanager
def entries(file: Path, notes: list[str]) -> Iterator[Iterator[Packed]]:
    """The entries, in the order of their data; how names were read is added to ``notes``.

    Raises OSError, UnreadableArchiveError.
    """
    try:
        if file.name.lower().endswith(".zip"):
            with zipfile.ZipFile(file) as opened:
                yield _of_zip(opened, notes)
        else:
            with tarfile.open(file, "r:*", encoding="utf-8", errors="surrogateescape") as opened_tar:
                yield _of_tar(opened_tar, file.stat().st_size, notes)
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error
    except OSError as error:
        # gzip and bz2 say it of data that is none; of the disk it comes with a number.
        if error.errno is not None:
            raise
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: Exception) -> UnreadableArchiveError:
    said = str(error).rstrip(".") or type(error).__name__
    return UnreadableArchiveError(f"'{file}' can't be read: {said}.", advice="Is it damaged? Pack it again.")


# --- zip ----------------------------------------------------------------------------------------------------------
def _of_zip(opened: zipfile.ZipFile, notes: list[str]) -> Iterator[Packed]:
    infos = sorted(opened.infolist(), key=lambda info: info.header_offset)
    names = [(info, _own_name(info)) for info in infos]
    raws = {_raw(info) for info, name in names if name is None}
    japanese = any(_is_japanese(raw) for raw in raws)
    possible = [e for e in _ENCODINGS if e != "cp932" or japanese]
    encoding = next(e for e in possible if all(_decodes(raw, e) for raw in raws))
    if encoding in _NAMES:
        notes.append(f"Names that do not say their encoding were read as {_NAMES[encoding]}.")
    backslashes = False
    for info, own in names:
        name = _raw(info).decode(encoding) if own is None else own
        problem = _zip_problem(info)
        if name.replace("\\", "/").endswith("/"):
            if not info.file_size:
                continue
            problem = "bad_name", "is a folder with content"
        if "\\" in name and not backslashes:
            backslashes = True
            notes.append("Backslashes in names were read as folders.")
        yield Packed(
            name,
            info.file_size,
            info.compress_size,
            lambda count, info=info: _zip_start(opened, info, count),  # type: ignore[misc]
            compressed=info.compress_type != zipfile.ZIP_STORED,
            backslashes="\\" in name,
            problem=problem,
        )


def _raw(info: zipfile.ZipInfo) -> bytes:
    # zipfile reads names without a mark of UTF-8 as CP437, which is the same way back for every byte.
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")


def _own_name(info: zipfile.ZipInfo) -> str | None:
    """The name where the entry says how it is to be read; None where it does not."""
    raw = _raw(info)
    extra = info.extra
    while len(extra) >= 4:
        kind, size = int.from_bytes(extra[:2], "little"), int.from_bytes(extra[2:4], "little")
        data, extra = extra[4 : 4 + size], extra[4 + size :]
        # APPNOTE 4.6.9: the Unicode path counts when it belongs to this very name.
        if kind == 0x7075 and len(data) == size >= 5 and data[0] == 1:
            if int.from_bytes(data[1:5], "little") == zlib.crc32(raw) and _decodes(data[5:], "utf-8"):
                return data[5:].decode()
            break
    return info.orig_filename if info.flag_bits & _UTF8 else None


def _decodes(raw: bytes, encoding: str) -> bool:
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError:
        return False
    # Python gives these bytes characters that no Japanese name has.
    return encoding != "cp932" or not any(c in "\x80\xa0\uf8f0\uf8f1\uf8f2\uf8f3" for c in text)


def _is_japanese(raw: bytes) -> bool:
    """Whether the bytes, read as CP932, have what Western names lack: two Japanese characters side by side, or one
    whose second byte is no letter. An accented letter of CP437 and the letter behind it are valid CP932 too."""
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


def _zip_problem(info: zipfile.ZipInfo) -> tuple[str, str] | None:
    if info.flag_bits & (_ENCRYPTED | _MASKED) or info.compress_type == _AES:
        return "encrypted", "is encrypted; pack it without a password"
    mode = info.external_attr >> 16 if info.create_system in {_UNIX, _DARWIN} else 0
    if stat.S_ISLNK(mode):
        return "link", "symbolic link"
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        return "special_file", "not a regular file"
    if info.compress_type not in _METHODS:
        return "unsupported_method", "is compressed in a way that can't be unpacked here; use Deflate"
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        return "size_lies", f"is stored with {info.compress_size:,} bytes and declares {info.file_size:,}"
    return None


def _zip_start(opened: zipfile.ZipFile, info: zipfile.ZipInfo, count: int) -> Start:
    try:
        with opened.open(info) as content:
            return content.read(count)
    except _UNREADABLE:
        return _DAMAGED
    except OSError as error:
        # bz2 says it of data that is none; of the disk it comes with a number.
        if error.errno is not None:
            raise
        return _DAMAGED


# --- tar ----------------------------------------------------------------------------------------------------------
def _of_tar(opened: tarfile.TarFile, size: int, notes: list[str]) -> Iterator[Packed]:
    total = 0
    seen: set[str] = set()
    for member in _members(opened):
        if member.isdir():
            continue
        total += member.size
        if total > max(BOMB_FREE_BYTES, BOMB_RATIO * size):
            raise tarfile.ReadError(f"{size:,} bytes would unpack to more than {total:,}, as in a bomb")
        raw = member.name.encode("utf-8", "surrogateescape")
        encoding = next(e for e in _ENCODINGS if _decodes(raw, e))
        if encoding in _NAMES and encoding not in seen:
            seen.add(encoding)
            notes.append(f"Names that are not UTF-8 were read as {_NAMES[encoding]}.")
        has_data = member.isreg()
        yield Packed(
            raw.decode(encoding),
            member.size if has_data else 0,
            member.size,
            lambda count, member=member: _tar_start(opened, member, count),  # type: ignore[misc]
            problem=_tar_problem(member),
        )


def _members(opened: tarfile.TarFile) -> Iterable[tarfile.TarInfo]:
    while (member := opened.next()) is not None:
        yield member
        # It would keep all of them.
        opened.members.clear()  # type: ignore[attr-defined]


def _tar_problem(member: tarfile.TarInfo) -> tuple[str, str] | None:
    if member.issym():
        return "link", "symbolic link"
    if member.islnk():
        return "link", "hard link"
    if member.issparse() or any(key.startswith("GNU.sparse.") for key in member.pax_headers):
        return "special_file", "sparse file"
    return None if member.isreg() else ("special_file", "not a regular file")


def _tar_start(opened: tarfile.TarFile, member: tarfile.TarInfo, count: int) -> Start:
    content = opened.extractfile(member)
    return b"" if content is None else content.read(count)
