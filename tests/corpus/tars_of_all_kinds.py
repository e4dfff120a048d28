"""Tars: of all kinds, compressed, broken, hostile."""

from __future__ import annotations

from tests.corpus import tars
from tests.corpus.cases import JPG, MIB, TAKEN, TAR_GOOD, refused, taken
from tests.corpus.tars import entry, tarred

TAR = tarred(TAR_GOOD)
LONG = b"long/" * 30 + b"b.jpg"
TARS = [
    taken("tar", TAR, filename="photos.tar"),
    taken("old tar", tarred([entry(n, d, magic=bytes(8)) for n, d in TAKEN.items()])),
    taken("tar with long names", tarred([*TAR_GOOD, tars.long_name(LONG, JPG)]), files={**TAKEN, LONG.decode(): JPG}),
    taken(
        "tar with a prefix", tarred([*TAR_GOOD, entry("b.jpg", JPG, prefix=b"x/y")]), files={**TAKEN, "x/y/b.jpg": JPG}
    ),
    taken(
        "pax",
        tarred(
            [
                tars.pax({"comment": "x"}, "g"),
                *TAR_GOOD,
                tars.pax({"path": "写真.jpg", "mtime": "1.5"}),
                entry("x", JPG),
            ]
        ),
        files={**TAKEN, "写真.jpg": JPG},
        encoding="UTF-8",
    ),
    taken("tar from ./", tarred([entry("./", kind="5"), *(entry(f"./{n}", d) for n, d in TAKEN.items())])),
    taken(
        "tar of a folder",
        tarred([entry("p/", kind="5"), *(entry(f"p/{n}", d) for n, d in TAKEN.items())]),
        stripped="p",
    ),
    taken(
        "tar in Shift_JIS",
        tarred([entry("猫.jpg".encode("cp932"), JPG)]),
        files={"猫.jpg": JPG},
        encoding="Shift_JIS (CP932)",
    ),
    taken(
        "tar with links",
        tarred([*TAR_GOOD, entry("b.jpg", kind="2", link=b"/etc/passwd"), entry("c.jpg", kind="1", link=b"a.jpg")]),
        left_out={"b.jpg": "link", "c.jpg": "link"},
    ),
    taken(
        "tar with devices",
        tarred([*TAR_GOOD, entry("n", kind="3"), entry("b", kind="4"), entry("f", kind="6")]),
        left_out=dict.fromkeys("nbf", "special_file"),
    ),
    taken(
        "tar that leads out",
        tarred([*TAR_GOOD, entry("../b.jpg", JPG), entry("/b.jpg", JPG)]),
        left_out={"../b.jpg": "path_traversal", "/b.jpg": "absolute_path"},
    ),
    taken("tar with a backslash", tarred([*TAR_GOOD, entry("x\\b.jpg", JPG)]), left_out={"x\\b.jpg": "bad_name"}),
    taken(
        "pax that leads out",
        tarred([*TAR_GOOD, tars.pax({"path": "../b.jpg"}), entry("b.jpg", JPG)]),
        left_out={"../b.jpg": "path_traversal"},
    ),
    taken(
        "sparse tar",
        tarred([*TAR_GOOD, entry("b.jpg", JPG, "S"), tars.pax({"GNU.sparse.major": "1"}), entry("c.jpg", JPG)]),
        left_out={"b.jpg": "special_file", "c.jpg": "special_file"},
    ),
    taken("tar without end", tarred(TAR_GOOD, end=b""), notes=("no end mark",)),
    refused("tar cut in a file", tarred([entry("a.jpg", JPG * 99)])[:900], "truncated_archive"),
    refused("tar cut in a header", tarred(TAR_GOOD)[:1300], "truncated_archive"),
    refused("tar with a damaged header", tarred([*TAR_GOOD, entry("b.jpg", JPG, checksum=1)]), "damaged_archive"),
    refused("tar with a size of no number", tarred([*TAR_GOOD, entry("b", size=b"99999999999\0")]), "damaged_archive"),
    refused("tar with a negative size", tarred([*TAR_GOOD, entry("b", size=b"\xff" * 12)]), "damaged_archive"),
    refused(
        "tar with an endless size", tarred([*TAR_GOOD, entry("b", size=b"\x80" + b"\xff" * 11)]), "truncated_archive"
    ),
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
]
