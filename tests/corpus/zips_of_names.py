"""Zips with odd methods, names and encodings."""

from __future__ import annotations

import stat
import struct
import unicodedata
import zlib

from tests.corpus import zips
from tests.corpus.cases import GOOD, JPG, PNG, TAKEN, TXT, beside, refused, taken
from tests.corpus.zips import Item, zipped


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
    refused(
        "nothing but deflate64",
        zipped([Item("b.jpg", JPG, 9)]),
        "nothing_taken",
        left_out={"b.jpg": "unsupported_method"},
    ),
    beside(
        "lzma that wants 1 GiB",
        Item("b.txt", TXT, zips.LZMA, packed=zips.lzma_packed(TXT, dictionary=1 << 30)),
        "unsupported_method",
    ),
    beside("encrypted", Item("b.jpg", JPG, flags=zips.ENCRYPTED), "encrypted"),
    beside("names masked", Item("b.jpg", JPG, flags=zips.MASKED | zips.ENCRYPTED), "encrypted"),
    beside("aes", Item("b.jpg", JPG, 99), "encrypted"),
    refused(
        "everything encrypted", zipped([Item("b.jpg", JPG, flags=1)]), "nothing_taken", left_out={"b.jpg": "encrypted"}
    ),
]

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
    taken(
        "dots and doubled slashes",
        zipped([Item("./a.jpg", JPG), Item("x//./a.txt", TXT)]),
        files={"a.jpg": JPG, "x/a.txt": TXT},
    ),
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
        notes=("1 name differs from another by case alone",),
    ),
    beside("a folder named like a file", Item("a.jpg/b.jpg", JPG), "name_conflict"),
    taken(
        "a file named like a folder",
        zipped([Item("x/a.jpg", JPG), Item("x", TXT), Item("a.txt", TXT)]),
        files={"x/a.jpg": JPG, "a.txt": TXT},
        left_out={"x": "name_conflict"},
    ),
    taken(
        "one folder around it",
        zipped([Item("photos/", b""), *(Item(f"photos/{i.name!s}", i.data) for i in GOOD)]),
        stripped="photos",
    ),
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
]

ENCODINGS = [
    taken(
        "Shift_JIS",
        zipped([Item(SJIS, JPG), Item("猫.txt".encode("cp932"), TXT)]),
        files={"写真/表紙ソ.jpg": JPG, "猫.txt": TXT},
        encoding="Shift_JIS (CP932)",
        notes=("Shift_JIS",),
    ),
    taken(
        "CP437",
        zipped([Item("Müller è.jpg".encode("cp437") + b"\xff", JPG), Item("a.txt", TXT)]),
        files={"Müller è.jpg\u00a0": JPG, "a.txt": TXT},
        encoding="CP437",
        notes=("CP437",),
    ),
    taken(
        "UTF-8 that does not say so",
        zipped([Item("写真.jpg".encode(), JPG)]),
        files={"写真.jpg": JPG},
        encoding="UTF-8",
    ),
    taken("UTF-8 that says so", zipped([Item("写真.jpg", JPG)]), files={"写真.jpg": JPG}, encoding="ASCII"),
    taken(
        "UTF-8 that says so and is none",
        zipped([Item(b"\x8e\x8a.jpg", JPG, flags=zips.UTF8)]),
        files={"至.jpg": JPG},
        encoding="Shift_JIS (CP932)",
        notes=("1 name says that it is UTF-8 and is not; read as Shift_JIS",),
    ),
    taken(
        "Shift_JIS that says it is UTF-8",
        zipped([Item(SJIS, JPG, flags=zips.UTF8), Item("猫.txt".encode("cp932"), TXT, flags=zips.UTF8)]),
        files={"写真/表紙ソ.jpg": JPG, "猫.txt": TXT},
        encoding="Shift_JIS (CP932)",
        notes=("2 names say UTF-8 and are not",),
    ),
    taken(
        "accents that Shift_JIS could mean too",
        zipped([Item(f"{n}.jpg".encode("cp437"), JPG) for n in ("façade", "año", "Zürich", "café_01")]),
        files={f"{n}.jpg": JPG for n in ("façade", "año", "Zürich", "café_01")},
        encoding="CP437",
        notes=("CP437",),
    ),
    taken(
        "katakana, half of it letters",
        zipped([Item("アイス.jpg".encode("cp932"), JPG)]),
        files={"アイス.jpg": JPG},
        encoding="Shift_JIS (CP932)",
    ),
    taken(
        "Unicode path beside",
        zipped([Item(SJIS, JPG, extra=unicode_path_field("写真/表紙.jpg", SJIS)), Item("a.txt", TXT)]),
        files={"写真/表紙.jpg": JPG, "a.txt": TXT},
        encoding="ASCII",
    ),
    taken(
        "Unicode path of another name",
        zipped([Item(SJIS, JPG, extra=unicode_path_field("evil.jpg", SJIS, right=False)), Item("a.txt", TXT)]),
        files={"写真/表紙ソ.jpg": JPG, "a.txt": TXT},
    ),
    beside(
        "Unicode path that leads out",
        Item(b"b.jpg", JPG, extra=unicode_path_field("../b.jpg", b"b.jpg")),
        "path_traversal",
        "../b.jpg",
    ),
    taken(
        "half a surrogate pair",
        zipped([Item(b"\xed\xa0\x80.jpg", JPG, flags=zips.UTF8)]),
        files={"φáÇ.jpg": JPG},
        notes=("read as CP437",),
    ),
]
