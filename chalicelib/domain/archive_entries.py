"""Entries of an archive: as its directory lists them, and the bytes of one, unpacked as they are read."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

#: Bytes asked for at once, and given on at once at most.
BLOCK = 256 * 1024
#: A dictionary of LZMA is memory: archivers use 64 MiB at most unless told otherwise.
MAX_LZMA_DICTIONARY = 64 * 1024 * 1024
STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
SUPPORTED = frozenset({STORED, DEFLATED, BZIP2, LZMA})
#: APPNOTE 4.4.5, for the message of the refusal.
METHOD_NAMES = {
    1: "Shrink", 2: "Reduce", 3: "Reduce", 4: "Reduce", 5: "Reduce", 6: "Implode", 9: "Deflate64", 10: "PKWARE DCL",
    16: "IBM CMPSC", 18: "IBM TERSE", 19: "IBM LZ77", 20: "Zstandard", 93: "Zstandard", 94: "MP3", 95: "XZ",
    96: "JPEG", 97: "WavPack", 98: "PPMd", 99: "AES encryption",
}  # fmt: skip
_LOCAL = b"PK\x03\x04"
_LOCAL_BYTES = 30
_LZMA_PROPERTIES = 5

#: Bytes of the archive from an offset; fewer than asked for only at its end.
Read = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Found:
    """An entry as the directory lists it. ``problem`` is a code and reason for which it is left out in any case.

    ``offset`` is that of the local header in a zip (``name_crc`` then tells its name), of the data in a tar.
    """

    name: str
    offset: int = 0
    packed: int = 0
    size: int = 0
    method: int = STORED
    crc: int | None = None
    name_crc: int | None = None
    backslashes: bool = False
    problem: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that is to be taken, with its path in the dataset."""

    path: str
    offset: int
    packed: int
    size: int
    method: int = STORED
    crc: int | None = None
    name_crc: int | None = None


class EntryDamagedError(Exception):
    """This entry can't be unpacked; it is left out and the others are not affected."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class Reader(Protocol):
    """The archive's bytes from front to back."""

    def seek(self, offset: int) -> None:
        """Forward only, when the archive is a compressed stream."""

    def read(self, length: int) -> bytes:
        """The next bytes, ``length`` at most; empty at the end."""


def unpacked(entry: Entry, reader: Reader) -> Iterator[bytes]:
    """The content in chunks of BLOCK bytes at most, never more than ``entry.size`` in all.

    Raises EntryDamagedError, after any number of chunks, when it is not what the directory says.
    """
    reader.seek(entry.offset)
    if entry.name_crc is not None:
        _skip_local_header(entry, reader)
    total, crc = 0, 0
    for chunk in _inflated(entry, reader):
        total += len(chunk)
        if total > entry.size:
            raise EntryDamagedError("size_lies", f"unpacks to more than the {entry.size:,} bytes it declares")
        crc = zlib.crc32(chunk, crc)
        yield chunk
    if total != entry.size:
        raise EntryDamagedError("size_lies", f"unpacks to {total:,} bytes and declares {entry.size:,}")
    if entry.crc is not None and crc != entry.crc:
        raise EntryDamagedError("crc_mismatch", "is damaged (its CRC-32 does not match)")


def _skip_local_header(entry: Entry, reader: Reader) -> None:
    head = _exactly(reader, _LOCAL_BYTES)
    if not head.startswith(_LOCAL):
        raise EntryDamagedError("damaged_entry", "is not where the directory says")
    name_length, extra_length = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
    name = _exactly(reader, name_length)
    if zlib.crc32(name) != entry.name_crc:
        raise EntryDamagedError("damaged_entry", "has another name in its own header than in the directory")
    _exactly(reader, extra_length)


def _exactly(reader: Reader, length: int) -> bytes:
    found = bytearray()
    while len(found) < length:
        piece = reader.read(length - len(found))
        if not piece:
            raise EntryDamagedError("damaged_entry", "is cut off")
        found += piece
    return bytes(found)


def _packed(entry: Entry, reader: Reader, skip: int = 0) -> Iterator[bytes]:
    left = entry.packed - skip
    while left > 0:
        piece = reader.read(min(BLOCK, left))
        if not piece:
            raise EntryDamagedError("damaged_entry", "is cut off")
        left -= len(piece)
        yield piece


def _inflated(entry: Entry, reader: Reader) -> Iterator[bytes]:
    if entry.method == STORED:
        yield from _packed(entry, reader)
    elif entry.method == DEFLATED:
        yield from _deflated(entry, reader)
    elif entry.method == BZIP2:
        yield from _needing_input(bz2.BZ2Decompressor(), _packed(entry, reader))
    elif entry.method == LZMA:
        yield from _lzma(entry, reader)
    else:
        raise EntryDamagedError("unsupported_method", unsupported(entry.method))


def unsupported(method: int) -> str:
    name = METHOD_NAMES.get(method, f"method {method}")
    return f"is compressed with {name}, which can't be unpacked here; use Deflate"


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def _decompress(decompressor: _Decompressor, data: bytes) -> bytes:
    try:
        return decompressor.decompress(data, BLOCK)
    except (zlib.error, lzma.LZMAError, OSError, ValueError, EOFError) as error:
        # bz2 says OSError or ValueError for data that is none.
        raise EntryDamagedError("damaged_entry", "is damaged (its compressed data can't be read)") from error


def _deflated(entry: Entry, reader: Reader) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for piece in _packed(entry, reader):
        while piece and not inflater.eof:
            chunk = _decompress(inflater, piece)
            piece = inflater.unconsumed_tail
            if chunk:
                yield chunk
    # What was held back because of the limit of the last chunk.
    while not inflater.eof and (chunk := _decompress(inflater, b"")):
        yield chunk
    _check_end(inflater)


def _needing_input(
    decompressor: bz2.BZ2Decompressor | lzma.LZMADecompressor, pieces: Iterator[bytes], *, ends: bool = True
) -> Iterator[bytes]:
    """``ends`` False: the stream may lack its end mark."""
    for piece in pieces:
        data = piece
        while not decompressor.eof:
            chunk = _decompress(decompressor, data)
            data = b""
            if chunk:
                yield chunk
            if decompressor.needs_input:
                break
    if ends:
        _check_end(decompressor)


def _check_end(decompressor: _Decompressor) -> None:
    if not decompressor.eof:
        raise EntryDamagedError("damaged_entry", "is damaged (its compressed data ends too early)")


def _lzma(entry: Entry, reader: Reader) -> Iterator[bytes]:
    """APPNOTE 5.8.8: version, size of the properties, properties, then a raw stream that may lack its end mark."""
    head = _exactly(reader, 4)
    if int.from_bytes(head[2:4], "little") != _LZMA_PROPERTIES:
        raise EntryDamagedError("damaged_entry", "is damaged (its LZMA properties can't be read)")
    properties = _exactly(reader, _LZMA_PROPERTIES)
    rest, lc = divmod(properties[0], 9)
    pb, lp = divmod(rest, 5)
    dictionary = int.from_bytes(properties[1:5], "little")
    if dictionary > MAX_LZMA_DICTIONARY:
        raise EntryDamagedError("unsupported_method", "needs an LZMA dictionary of more than 64 MiB; use Deflate")
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": max(4096, dictionary), "lc": lc, "lp": lp, "pb": pb}]
    try:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
    except (lzma.LZMAError, ValueError) as error:
        raise EntryDamagedError("damaged_entry", "is damaged (its LZMA properties can't be read)") from error
    left = entry.size
    for chunk in _needing_input(decompressor, _packed(entry, reader, skip=4 + _LZMA_PROPERTIES), ends=False):
        # Without an end mark the last bits may mean more than was packed; the CRC tells whether too little is left.
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


class RangeReader:
    """A Reader over range reads: one block in memory, anywhere in the archive."""

    def __init__(self, read: Read, *, block: int = 4 * 1024 * 1024) -> None:
        self._read = read
        self._block_size = block
        self._block, self._start, self._at = b"", 0, 0

    def seek(self, offset: int) -> None:
        self._at = offset

    def read(self, length: int) -> bytes:
        inside = self._at - self._start
        if not 0 <= inside < len(self._block):
            self._block, self._start, inside = b"", self._at, 0
            self._block = self._read(self._at, self._block_size)
        piece = self._block[inside : inside + length]
        self._at += len(piece)
        return piece
