"""Zips byte by byte: whatever an archiver would not write can be written here. Deterministic."""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
UTF8, ENCRYPTED, MASKED = 0x800, 0x1, 0x2000
UNIX, DOS = 3, 0
FULL16, FULL32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True)
class Item:
    """An entry. What is None is as it should be. ``packed`` is the compressed data, ``mode`` Unix's (with a type)."""

    name: str | bytes
    data: bytes = b""
    method: int = DEFLATED
    flags: int = 0
    system: int = DOS
    mode: int = 0
    extra: bytes = b""
    packed: bytes | None = None
    size: int | None = None
    packed_size: int | None = None
    crc: int | None = None
    local_name: bytes | None = None
    offset: int | None = None
    disk: int = 0
    zip64: bool = False

    @property
    def raw_name(self) -> bytes:
        return self.name if isinstance(self.name, bytes) else self.name.encode()

    @property
    def all_flags(self) -> int:
        return self.flags if isinstance(self.name, bytes) or self.name.isascii() else self.flags | UTF8


def deflated(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return packer.compress(data) + packer.flush()


def lzma_packed(data: bytes, *, dictionary: int = 1 << 16) -> bytes:
    """With the header of APPNOTE 5.8.8; ``dictionary`` is only what it says."""
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 1 << 16, "lc": 3, "lp": 0, "pb": 2}]
    return struct.pack("<BBHBI", 9, 4, 5, 0x5D, dictionary) + lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def pack(item: Item) -> bytes:
    if item.packed is not None:
        return item.packed
    packers = {DEFLATED: deflated, BZIP2: bz2.compress, LZMA: lzma_packed}
    return packers.get(item.method, bytes)(item.data)


def zipped(
    items: Sequence[Item],
    *,
    before: bytes = b"",
    behind: bytes = b"",
    comment: bytes = b"",
    shifted: bool = True,
    count: int | None = None,
    directory_size: int | None = None,
    directory_offset: int | None = None,
    disk: int = 0,
    wide: bool = False,
    wide_count: int | None = None,
    locator: bool = True,
) -> bytes:
    """A zip. ``before`` and ``behind`` stand around it; with ``shifted`` its offsets don't know of ``before``. ``wide``
    writes ZIP64 end records, without ``locator`` only says that there are some."""
    body, central = bytearray(before), bytearray()
    base = len(before) if shifted else 0
    for item in items:
        packed = pack(item)
        offset = len(body) - base if item.offset is None else item.offset
        name = item.raw_name
        local_name = name if item.local_name is None else item.local_name
        crc = zlib.crc32(item.data) if item.crc is None else item.crc
        size = len(item.data) if item.size is None else item.size
        packed_size = len(packed) if item.packed_size is None else item.packed_size
        head = struct.pack("<HHHHHI", 20, item.all_flags, item.method, 0, 0x21, crc)
        fields = struct.pack("<II", min(packed_size, FULL32), min(size, FULL32))
        body += b"PK\x03\x04" + head + fields + struct.pack("<HH", len(local_name), 0) + local_name + packed
        extra, shown_offset = item.extra, offset
        if item.zip64:
            extra += struct.pack("<HHQQQ", 1, 24, size, packed_size, offset)
            fields, shown_offset = struct.pack("<II", FULL32, FULL32), FULL32
        central += b"PK\x01\x02" + struct.pack("<BB", 20, item.system) + head + fields
        central += struct.pack("<HHHHHII", len(name), len(extra), 0, item.disk, 0, item.mode << 16, shown_offset)
        central += name + extra
    start = len(body) - base if directory_offset is None else directory_offset
    length = len(central) if directory_size is None else directory_size
    total = len(items) if count is None else count
    body += central
    if wide:
        at = len(body) - base
        many = total if wide_count is None else wide_count
        record = struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, many, many, length, start)
        if locator:
            body += b"PK\x06\x06" + record + b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1)
        total, length, start = (total if wide_count is not None else FULL16), FULL32, FULL32
    body += b"PK\x05\x06" + struct.pack("<HHHHII", disk, disk, total, total, length, start)
    return bytes(body) + struct.pack("<H", len(comment)) + comment + behind
