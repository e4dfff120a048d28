"""Zips that are broken, contradict themselves, or mean harm; and what is no zip at all."""

from __future__ import annotations

from tests.corpus import zips
from tests.corpus.cases import GOOD, JPG, MIB, TXT, beside, refused, taken
from tests.corpus.zips import Item, zipped

WHOLE = zipped([Item("a.jpg", JPG, zips.STORED), Item("a.txt", TXT)])
INNER = zipped([Item("evil.jpg", JPG)])
STRUCTURE = [
    refused("cut in the middle", WHOLE[: len(WHOLE) // 2], "truncated_archive"),
    refused("cut before its end record", WHOLE[:-10], "truncated_archive"),
    refused("beginning cut off", WHOLE[40:], "truncated_archive"),
    beside("CRC does not match", Item("b.jpg", JPG, crc=1), "crc_mismatch"),
    beside("damaged data", Item("b.jpg", JPG, packed=b"\xff" * 20), "damaged_entry"),
    beside("damaged bzip2", Item("b.jpg", JPG, zips.BZIP2, packed=b"BZh9 no"), "damaged_entry"),
    beside(
        "damaged lzma", Item("b.jpg", JPG, zips.LZMA, packed=b"\x09\x04\x05\x00\xff\xff\xff\xff\x00"), "damaged_entry"
    ),
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
    taken(
        "a stored zip inside, last",
        zipped([*GOOD, Item("b.zip", INNER, zips.STORED)]),
        left_out={"b.zip": "nested_archive"},
    ),
    refused("part of several disks", zipped(GOOD, disk=3), "multi_disk"),
    refused("entry on another disk", zipped([Item("a.jpg", JPG, disk=2)]), "multi_disk"),
    refused("first part of a split zip", b"PK\x07\x08" + WHOLE[:60], "multi_disk"),
    refused(
        "entries that share their data",
        zipped([Item("a.jpg", JPG), Item("b.jpg", JPG, offset=0)]),
        "overlapping_entries",
    ),
    refused(
        "an entry inside another",
        zipped([Item("a.bin", WHOLE * 9, zips.STORED), Item("b.jpg", JPG, offset=40)]),
        "overlapping_entries",
    ),
    beside("bomb", Item("b.txt", bytes(32 * MIB)), "bomb"),
    refused(
        "bomb of many",
        lambda: zipped([Item(f"{i}.txt", packed=zips.deflated(bytes(MIB)), size=15 * MIB) for i in range(80)]),
        "archive_bomb",
    ),
    taken(
        "data before the directory that says more than there is",
        zipped([*GOOD, Item("b.txt", packed_size=5_000)]),
        left_out={"b.txt": "damaged_entry"},
    ),
    beside("points behind the end", Item("b.jpg", JPG, offset=900_000), "damaged_entry"),
    beside("another name in its own header", Item("b.jpg", JPG, local_name=b"c.jpg"), "damaged_entry"),
    refused("directory says one entry more", zipped(GOOD, count=3), "damaged_archive"),
    refused(
        "directory says billions",
        zipped(GOOD, wide=True, wide_count=4_000_000_000, count=zips.FULL16),
        "too_many_entries",
    ),
    refused("directory is shorter than it says", zipped(GOOD, directory_size=60), "damaged_archive"),
    refused("directory behind the end", zipped(GOOD, directory_offset=900_000), "truncated_archive"),
    refused("directory damaged", zipped(GOOD).replace(b"PK\x01\x02", b"PK\x01\x03"), "damaged_archive"),
    refused("no entries", zipped([]), "empty_archive"),
    refused("nothing but folders", zipped([Item("x/"), Item("x/y/")]), "empty_archive"),
    taken("zip64", zipped([Item("a.jpg", JPG, zip64=True), Item("a.txt", TXT)], wide=True)),
    taken(
        "zip64 behind something",
        zipped([Item("a.jpg", JPG, zip64=True), Item("a.txt", TXT)], wide=True, before=b"#!" * 50),
        notes=("100 bytes before",),
    ),
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
]
