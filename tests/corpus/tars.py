"""Tars byte by byte, and what they are compressed with. Deterministic."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Iterable

END = bytes(1024)
REGULAR, HARD, SYMBOLIC, CHARACTER, BLOCK_DEVICE, FOLDER, FIFO = "0", "1", "2", "3", "4", "5", "6"


def entry(
    name: str | bytes,
    data: bytes = b"",
    kind: str = REGULAR,
    *,
    size: int | bytes | None = None,
    link: bytes = b"",
    magic: bytes = b"ustar\x0000",
    prefix: bytes = b"",
    checksum: int | None = None,
) -> bytes:
    """Header and data, padded. ``size`` and ``checksum`` are what the header says."""
    raw = name if isinstance(name, bytes) else name.encode()
    shown = len(data) if size is None else size
    header = bytearray(512)
    header[:100] = raw[:100].ljust(100, b"\0")
    header[100:124] = b"0000644\x000000000\x000000000\x00"
    header[124:136] = shown if isinstance(shown, bytes) else b"%011o\0" % shown
    header[136:148] = b"%011o\0" % 0
    header[156:157] = kind.encode()
    header[157:257] = link.ljust(100, b"\0")
    header[257:265] = magic
    header[345:500] = prefix.ljust(155, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % (sum(header) if checksum is None else checksum)
    return bytes(header) + data + bytes(-len(data) % 512)


def long_name(name: bytes, data: bytes) -> bytes:
    """GNU's way of a name above 100 bytes."""
    return entry("././@LongLink", name + b"\0", "L", magic=b"ustar  \0") + entry(name[:100], data, magic=b"ustar  \0")


def pax(records: dict[str, str], kind: str = "x") -> bytes:
    content = b""
    for key, value in records.items():
        line = f" {key}={value}\n".encode()
        length = len(line) + 1
        while len(str(length)) + len(line) != length:
            length = len(str(length)) + len(line)
        content += str(length).encode() + line
    return entry("PaxHeaders/x", content, kind)


def tarred(entries: Iterable[bytes], *, end: bytes = END) -> bytes:
    return b"".join(entries) + end


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def gz_of_zeros(size: int) -> bytes:
    """gzip of so many zeros, without ever holding them."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, 31), bytes(1 << 20)
    made = bytearray()
    for _ in range(size >> 20):
        made += packer.compress(block)
    return bytes(made + packer.flush())


def bz(data: bytes) -> bytes:
    return bz2.compress(data)


def xz(data: bytes) -> bytes:
    return lzma.compress(data)


def greedy_xz(data: bytes) -> bytes:
    """An xz that asks for a dictionary of 4 GiB."""
    packed = bytearray(lzma.compress(data, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 16}]))
    length = (packed[12] + 1) * 4
    header = packed[12 : 12 + length - 4]
    header[header.index(0x21) + 2] = 40
    packed[12 : 12 + length] = header + zlib.crc32(header).to_bytes(4, "little")
    return bytes(packed)
