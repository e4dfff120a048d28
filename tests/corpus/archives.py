"""Hostile, broken and odd archives, each with what must become of it. Made anew each time, the same bytes always."""

from __future__ import annotations

import stat
import struct
import unicodedata
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.corpus import tars, zips
from tests.corpus.tars import entry, tarred
from tests.corpus.zips import Item, zipped

MIB = 1024**2
JPG = b"\xff\xd8\xff\xe0 as far as anybody looks, a picture"
PNG = b"\x89PNG\r\n\x1a\n another"
TXT = b"a cat on a mat"
GOOD = (Item("a.jpg", JPG), Item("a.txt", TXT))
TAKEN = {"a.jpg": JPG, "a.txt": TXT}
TAR_GOOD = (entry("a.jpg", JPG), entry("a.txt", TXT))
READY = "ready"


@dataclass(frozen=True)
class Case:
    """``verdict`` is ``ready`` or the code of the refusal. ``files`` are exactly those of the version, ``left_out`` the
    paths that are not in it, by code; None: not looked at. ``notes`` are parts of what the report must say."""

    name: str
    make: Callable[[], bytes]
    verdict: str = READY
    files: Mapping[str, bytes] | None = field(default_factory=lambda: dict(TAKEN))
    left_out: Mapping[str, str] = field(default_factory=dict)
    encoding: str | None = None
    stripped: str | None = None
    notes: tuple[str, ...] = ()
    filename: str = "photos.zip"
    sha256: str | None = None


def taken(name: str, data: bytes, **expected: object) -> Case:
    return Case(name, lambda: data, **expected)  # type: ignore[arg-type]


def refused(name: str, data: bytes | Callable[[], bytes], code: str, **expected: object) -> Case:
    make = data if callable(data) else lambda: data
    return Case(name, make, code, files=None, **expected)  # type: ignore[arg-type]


def beside(name: str, item: Item, code: str, path: str | None = None) -> Case:
    """One bad entry among good ones: it is left out, the others are taken."""
    shown = path if path is not None else item.raw_name.decode()
    return Case(name, lambda: zipped([*GOOD, item]), left_out={shown: code})


def unicode_path_field(name: str, plain: bytes, *, right: bool = True) -> bytes:
    text = name.encode()
    return struct.pack("<HHBI", 0x7075, 5 + len(text), 1, zlib.crc32(plain) ^ (not right)) + text


SJIS = "写真/表紙ソ.jpg".encode("cp932")
METHODS = [
    taken("stored", zipped([Item(i.name, i.data, zips.STORED) for i in GOOD])),
    taken("deflated", zipped(GOOD), encoding="ASCII"),
    taken("bzip2", zipped([Item(i.name, i.data, zips.BZIP2) for i in GOOD])),
    taken("lzma", zipped([Item(i.name, i.data, zips.LZMA) for i in GOOD])),
    beside("deflate64", Item("b.jpg", JPG, 9), "unsupported_method"),
    beside("zstandard", Item("b.jpg", JPG, 93), "unsupported_method"),
    beside("ppmd", Item("b.jpg", JPG, 98), "unsupported_method"),
    beside("unknown method", Item("b.jpg", JPG, 777), "unsupported_method"),
    refused("nothing but deflate64", zipped([Item("b.jpg", JPG, 9)]), "nothing_taken", left_out={"b.jpg": "unsupported_method"}),
    beside(
        "lzma that wants 1 GiB",
        Item("b.txt", TXT, zips.LZMA, packed=zips.lzma_packed(TXT, dictionary=1 << 30)),
        "unsupported_method",
    ),
    beside("encrypted", Item("b.jpg", JPG, flags=zips.ENCRYPTED), "encrypted"),
    beside("names masked", Item("b.jpg", JPG, flags=zips.MASKED | zips.ENCRYPTED), "encrypted"),
    beside("aes", Item("b.jpg", JPG, 99), "encrypted"),
    refused("everything encrypted", zipped([Item("b.jpg", JPG, flags=1)]), "nothing_taken", left_out={"b.jpg": "encrypted"}),
]  # fmt: skip

NAMES = [
    beside("up and out", Item("../b.jpg", JPG), "path_traversal"),
    beside("down, up and out", Item("x/../../b.jpg", JPG), "path_traversal"),
    beside("up and out on Windows", Item("..\\b.jpg", JPG), "path_traversal", "../b.jpg"),
    beside("absolute", Item("/etc/b.jpg", JPG), "absolute_path"),
    beside("drive letter", Item("C:\\b.jpg", JPG), "absolute_path", "C:/b.jpg"),
    beside("share", Item("\\\\server\\b.jpg", JPG), "absolute_path", "//server/b.jpg"),
    beside("too long", Item("n" * 600 + ".jpg", JPG), "bad_name", "n" * 511 + "…"),
    beside("too deep", Item("d/" * 70 + "b.jpg", JPG), "bad_name"),
    beside("line break", Item("b\n.jpg", JPG), "bad_name", "b?.jpg"),
    beside("zero byte", Item(b"b.jpg\x00.txt", JPG), "bad_name", "b.jpg?.txt"),
    beside("no name", Item("", JPG), "bad_name", ""),
    beside("nothing but a dot", Item("./.", JPG), "bad_name", ""),
    beside("folder with content", Item("d/", JPG), "bad_name", "d"),
    taken(
        "made on Windows",
        zipped([Item("one\\a.jpg", JPG), Item("two\\a.txt", TXT)]),
        files={"one/a.jpg": JPG, "two/a.txt": TXT},
        notes=("Backslashes",),
    ),
    taken("dots and doubled slashes", zipped([Item("./a.jpg", JPG), Item("x//./a.txt", TXT)]), files={"a.jpg": JPG, "x/a.txt": TXT}),
    taken(
        "what no dataset wants",
        zipped(
            [
                *GOOD,
                Item(".DS_Store", TXT),
                Item("__MACOSX/._a.jpg", JPG),
                Item("x/Thumbs.db", TXT),
                Item(".env", TXT),
                Item("keys/server.PEM", TXT),
                Item(".ssh/known_hosts", TXT),
            ]
        ),
        left_out={
            ".DS_Store": "hidden",
            "__MACOSX/._a.jpg": "system_file",
            "x/Thumbs.db": "system_file",
            ".env": "secret",
            "keys/server.PEM": "secret",
            ".ssh/known_hosts": "secret",
        },
    ),
    beside("archive inside", Item("more.zip", zipped(GOOD)), "nested_archive"),
    beside("the same name twice", Item("a.jpg", PNG), "duplicate_name"),
    taken(
        "the same name in other Unicode",
        zipped([Item("é.jpg", JPG), Item(unicodedata.normalize("NFD", "é.jpg"), PNG)]),
        files={"é.jpg": JPG},
        left_out={"é.jpg": "duplicate_name"},
    ),
    taken(
        "the same name in capitals",
        zipped([*GOOD, Item("A.JPG", PNG)]),
        files={**TAKEN, "A.JPG": PNG},
        notes=("1 names differ from another by case alone",),
    ),
    beside("a folder named like a file", Item("a.jpg/b.jpg", JPG), "name_conflict"),
    taken(
        "a file named like a folder",
        zipped([Item("x/a.jpg", JPG), Item("x", TXT), Item("a.txt", TXT)]),
        files={"x/a.jpg": JPG, "a.txt": TXT},
        left_out={"x": "name_conflict"},
    ),
    taken("one folder around it", zipped([Item("photos/", b""), *(Item(f"photos/{i.name!s}", i.data) for i in GOOD)]), stripped="photos"),
    taken(
        "one folder, packed on a Mac",
        zipped([Item("写真/a.jpg", JPG), Item("写真/a.txt", TXT), Item("__MACOSX/写真/._a.jpg", TXT)]),
        left_out={"__MACOSX/写真/._a.jpg": "system_file"},
        stripped="写真",
    ),
    taken("two folders", zipped([Item("x/a.jpg", JPG), Item("y/a.txt", TXT)]), files={"x/a.jpg": JPG, "y/a.txt": TXT}),
    beside("symbolic link", Item("b.jpg", b"/etc/passwd", system=zips.UNIX, mode=stat.S_IFLNK | 0o777), "link"),
    beside("device", Item("b.jpg", JPG, system=zips.UNIX, mode=stat.S_IFCHR | 0o666), "special_file"),
    beside("pipe", Item("b.jpg", JPG, system=zips.UNIX, mode=stat.S_IFIFO | 0o666), "special_file"),
    beside("text named like a picture", Item("b.jpg", b"<html>404</html>"), "not_an_image"),
    beside("empty picture", Item("b.png", b""), "empty"),
    taken("empty caption", zipped([*GOOD, Item("b.txt", b"")]), files={**TAKEN, "b.txt": b""}),
]  # fmt: skip

ENCODINGS = [
    taken("Shift_JIS", zipped([Item(SJIS, JPG), Item("猫.txt".encode("cp932"), TXT)]), files={"写真/表紙ソ.jpg": JPG, "猫.txt": TXT}, encoding="Shift_JIS (CP932)", notes=("Shift_JIS",)),
    taken("CP437", zipped([Item("Müller è.jpg".encode("cp437") + b"\xff", JPG), Item("a.txt", TXT)]), files={"Müller è.jpg\u00a0": JPG, "a.txt": TXT}, encoding="CP437", notes=("CP437",)),
    taken("UTF-8 that does not say so", zipped([Item("写真.jpg".encode(), JPG)]), files={"写真.jpg": JPG}, encoding="UTF-8"),
    taken("UTF-8 that says so", zipped([Item("写真.jpg", JPG)]), files={"写真.jpg": JPG}, encoding="ASCII"),
    taken("UTF-8 that says so and is none", zipped([Item(b"\x8e\x8a.jpg", JPG, flags=zips.UTF8)]), files={"\ufffd\ufffd.jpg": JPG}),
    taken("Unicode path beside", zipped([Item(SJIS, JPG, extra=unicode_path_field("写真/表紙.jpg", SJIS)), Item("a.txt", TXT)]), files={"写真/表紙.jpg": JPG, "a.txt": TXT}, encoding="ASCII"),
    taken("Unicode path of another name", zipped([Item(SJIS, JPG, extra=unicode_path_field("evil.jpg", SJIS, right=False)), Item("a.txt", TXT)]), files={"写真/表紙ソ.jpg": JPG, "a.txt": TXT}),
    beside("Unicode path that leads out", Item(b"b.jpg", JPG, extra=unicode_path_field("../b.jpg", b"b.jpg")), "path_traversal", "../b.jpg"),
    taken("half a surrogate pair", zipped([Item(b"\xed\xa0\x80.jpg", JPG, flags=zips.UTF8)]), files={"\ufffd\ufffd\ufffd.jpg": JPG}),
]  # fmt: skip

WHOLE = zipped([Item("a.jpg", JPG, zips.STORED), Item("a.txt", TXT)])
INNER = zipped([Item("evil.jpg", JPG)])
STRUCTURE = [
    refused("cut in the middle", WHOLE[: len(WHOLE) // 2], "truncated_archive"),
    refused("cut before its end record", WHOLE[:-10], "truncated_archive"),
    refused("beginning cut off", WHOLE[40:], "truncated_archive"),
    beside("CRC does not match", Item("b.jpg", JPG, crc=1), "crc_mismatch"),
    beside("damaged data", Item("b.jpg", JPG, packed=b"\xff" * 20), "damaged_entry"),
    beside("damaged bzip2", Item("b.jpg", JPG, zips.BZIP2, packed=b"BZh9 no"), "damaged_entry"),
    beside("damaged lzma", Item("b.jpg", JPG, zips.LZMA, packed=b"\x09\x04\x05\x00\xff\xff\xff\xff\x00"), "damaged_entry"),
    beside("deflate that ends too early", Item("b.jpg", JPG * 9, packed=zips.deflated(JPG * 9)[:-6]), "damaged_entry"),
    beside("declares less than it is", Item("b.jpg", JPG, size=5), "size_lies"),
    beside("declares more than it is", Item("b.jpg", JPG, size=500), "size_lies"),
    beside("stored with two sizes", Item("b.jpg", JPG, zips.STORED, size=5), "size_lies"),
    taken("something before it", zipped(GOOD, before=b"MZ" + b"program" * 99), notes=("695 bytes before the archive",)),
    taken("something before it that it knows of", zipped(GOOD, before=b"MZ" + b"program" * 99, shifted=False)),
    taken("something behind it", zipped(GOOD, behind=b"trailing" * 9), notes=("72 bytes behind the archive",)),
    taken("comment", zipped(GOOD, comment=b"made by hand " * 99)),
    taken("comment with half an end record", zipped(GOOD, comment=b"PK\x05\x06 not really")),
    taken("comment like an end record", zipped(GOOD, comment=b"PK\x05\x06" + bytes([0] * 6 + [9] * 10) + b"\0\0")),
    refused("comment with a whole zip", zipped(GOOD, comment=INNER), "ambiguous_archive"),
    taken("a stored zip inside, last", zipped([*GOOD, Item("b.zip", INNER, zips.STORED)]), left_out={"b.zip": "nested_archive"}),
    refused("part of several disks", zipped(GOOD, disk=3), "multi_disk"),
    refused("entry on another disk", zipped([Item("a.jpg", JPG, disk=2)]), "multi_disk"),
    refused("first part of a split zip", b"PK\x07\x08" + WHOLE[:60], "multi_disk"),
    refused("entries that share their data", zipped([Item("a.jpg", JPG), Item("b.jpg", JPG, offset=0)]), "overlapping_entries"),
    refused("an entry inside another", zipped([Item("a.bin", WHOLE * 9, zips.STORED), Item("b.jpg", JPG, offset=40)]), "overlapping_entries"),
    beside("bomb", Item("b.txt", bytes(32 * MIB)), "bomb"),
    refused("bomb of many", lambda: zipped([Item(f"{i}.txt", packed=zips.deflated(bytes(MIB)), size=15 * MIB) for i in range(80)]), "archive_bomb"),
    taken("data before the directory that says more than there is", zipped([*GOOD, Item("b.txt", packed_size=5_000)]), left_out={"b.txt": "damaged_entry"}),
    beside("points behind the end", Item("b.jpg", JPG, offset=900_000), "damaged_entry"),
    beside("another name in its own header", Item("b.jpg", JPG, local_name=b"c.jpg"), "damaged_entry"),
    refused("directory says one entry more", zipped(GOOD, count=3), "damaged_archive"),
    refused("directory says billions", zipped(GOOD, wide=True, wide_count=4_000_000_000, count=zips.FULL16), "too_many_entries"),
    refused("directory is shorter than it says", zipped(GOOD, directory_size=60), "damaged_archive"),
    refused("directory behind the end", zipped(GOOD, directory_offset=900_000), "truncated_archive"),
    refused("directory damaged", zipped(GOOD).replace(b"PK\x01\x02", b"PK\x01\x03"), "damaged_archive"),
    refused("no entries", zipped([]), "empty_archive"),
    refused("nothing but folders", zipped([Item("x/"), Item("x/y/")]), "empty_archive"),
    taken("zip64", zipped([Item("a.jpg", JPG, zip64=True), Item("a.txt", TXT)], wide=True)),
    taken("zip64 behind something", zipped([Item("a.jpg", JPG, zip64=True), Item("a.txt", TXT)], wide=True, before=b"#!" * 50), notes=("100 bytes before",)),
    refused("zip64 that contradicts", zipped(GOOD, wide=True, wide_count=1), "ambiguous_archive"),
    refused("zip64 without its record", zipped(GOOD, wide=True, locator=False), "damaged_archive"),
    refused("text", b"not an archive at all\n" * 99, "not_an_archive"),
    refused("one byte", b"P", "not_an_archive"),
    refused("picture", JPG * 30, "not_an_archive"),
    refused("web page", b"<!DOCTYPE html><title>Sign in</title>", "not_an_archive", notes=()),
    refused("7-Zip", b"7z\xbc\xaf\x27\x1c" + bytes(600), "not_an_archive", filename="photos.7z"),
    refused("RAR", b"Rar!\x1a\x07\x01\x00" + bytes(600), "not_an_archive", filename="photos.rar"),
    refused("Zstandard", b"\x28\xb5\x2f\xfd" + bytes(600), "not_an_archive", filename="photos.tar.zst"),
    refused("another SHA-256 than announced", WHOLE, "wrong_sha256", sha256="0" * 64),
    taken("named like something else", zipped(GOOD), filename="photos.tar.gz"),
]  # fmt: skip

TAR = tarred(TAR_GOOD)
LONG = b"long/" * 30 + b"b.jpg"
TARS = [
    taken("tar", TAR, filename="photos.tar"),
    taken("old tar", tarred([entry(n, d, magic=bytes(8)) for n, d in TAKEN.items()])),
    taken("tar with long names", tarred([*TAR_GOOD, tars.long_name(LONG, JPG)]), files={**TAKEN, LONG.decode(): JPG}),
    taken("tar with a prefix", tarred([*TAR_GOOD, entry("b.jpg", JPG, prefix=b"x/y")]), files={**TAKEN, "x/y/b.jpg": JPG}),
    taken("pax", tarred([tars.pax({"comment": "x"}, "g"), *TAR_GOOD, tars.pax({"path": "写真.jpg", "mtime": "1.5"}), entry("x", JPG)]), files={**TAKEN, "写真.jpg": JPG}, encoding="UTF-8"),
    taken("tar from ./", tarred([entry("./", kind="5"), *(entry(f"./{n}", d) for n, d in TAKEN.items())])),
    taken("tar of a folder", tarred([entry("p/", kind="5"), *(entry(f"p/{n}", d) for n, d in TAKEN.items())]), stripped="p"),
    taken("tar in Shift_JIS", tarred([entry("猫.jpg".encode("cp932"), JPG)]), files={"猫.jpg": JPG}, encoding="Shift_JIS (CP932)"),
    taken("tar with links", tarred([*TAR_GOOD, entry("b.jpg", kind="2", link=b"/etc/passwd"), entry("c.jpg", kind="1", link=b"a.jpg")]), left_out={"b.jpg": "link", "c.jpg": "link"}),
    taken("tar with devices", tarred([*TAR_GOOD, entry("n", kind="3"), entry("b", kind="4"), entry("f", kind="6")]), left_out=dict.fromkeys("nbf", "special_file")),
    taken("tar that leads out", tarred([*TAR_GOOD, entry("../b.jpg", JPG), entry("/b.jpg", JPG)]), left_out={"../b.jpg": "path_traversal", "/b.jpg": "absolute_path"}),
    taken("tar with a backslash", tarred([*TAR_GOOD, entry("x\\b.jpg", JPG)]), left_out={"x\\b.jpg": "bad_name"}),
    taken("pax that leads out", tarred([*TAR_GOOD, tars.pax({"path": "../b.jpg"}), entry("b.jpg", JPG)]), left_out={"../b.jpg": "path_traversal"}),
    taken("sparse tar", tarred([*TAR_GOOD, entry("b.jpg", JPG, "S"), tars.pax({"GNU.sparse.major": "1"}), entry("c.jpg", JPG)]), left_out={"b.jpg": "special_file", "c.jpg": "special_file"}),
    taken("tar without end", tarred(TAR_GOOD, end=b""), notes=("no end mark",)),
    refused("tar cut in a file", tarred([entry("a.jpg", JPG * 99)])[:900], "truncated_archive"),
    refused("tar cut in a header", tarred(TAR_GOOD)[:1300], "truncated_archive"),
    refused("tar with a damaged header", tarred([*TAR_GOOD, entry("b.jpg", JPG, checksum=1)]), "damaged_archive"),
    refused("tar with a size of no number", tarred([*TAR_GOOD, entry("b", size=b"99999999999\0")]), "damaged_archive"),
    refused("tar with a negative size", tarred([*TAR_GOOD, entry("b", size=b"\xff" * 12)]), "damaged_archive"),
    refused("tar with an endless size", tarred([*TAR_GOOD, entry("b", size=b"\x80" + b"\xff" * 11)]), "truncated_archive"),
    refused("tar with an endless name", tarred([entry("x", b"n" * (2 * MIB), "L"), *TAR_GOOD]), "damaged_archive"),
    refused("empty tar", bytes(10_240), "empty_archive"),
    refused("one volume of a tar", tarred([entry("b.jpg", JPG, "M")]), "multi_disk"),
    taken("tar.gz", tars.gz(TAR), filename="photos.tar.gz"),
    taken("tar.bz2", tars.bz(TAR), filename="photos.tar.bz2"),
    taken("tar.xz", tars.xz(TAR), filename="photos.tar.xz"),
    taken("tar.gz in two streams", tars.gz(TAR[:700]) + tars.gz(TAR[700:])),
    taken("tar.bz2 in two streams", tars.bz(TAR[:700]) + tars.bz(TAR[700:])),
    taken("tar.xz in two streams", tars.xz(TAR[:700]) + bytes(4) + tars.xz(TAR[700:])),
    taken("tar.gz and something behind it", tars.gz(TAR) + b"trailing", notes=("behind the compressed data",)),
    taken("tar.gz padded with zeros", tars.gz(TAR) + bytes(512)),
    refused("tar.gz cut off", tars.gz(TAR)[:-9], "truncated_archive"),
    refused("tar.xz cut off", tars.xz(TAR)[:-9], "truncated_archive"),
    refused("tar.gz whose checksum does not match", tars.gz(TAR)[:-8] + bytes(8), "damaged_archive"),
    refused("tar.bz2 damaged", tars.bz(TAR)[:20] + b"\xff" * 40 + tars.bz(TAR)[60:], "damaged_archive"),
    refused("gzip of something else", tars.gz(b"just text " * 99), "not_an_archive"),
    refused("gzip of nothing", tars.gz(b""), "not_an_archive"),
    refused("xz that wants 4 GiB", tars.greedy_xz(TAR), "unsupported_method"),
    refused("tar.gz bomb", lambda: tars.gz_of_zeros(1100 * MIB), "archive_bomb"),
]  # fmt: skip

CASES = [*METHODS, *NAMES, *ENCODINGS, *STRUCTURE, *TARS]
