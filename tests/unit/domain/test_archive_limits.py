"""What an archive may make us read and remember."""

from __future__ import annotations

import pytest

from chalicelib.domain.archive_entries import Found
from chalicelib.domain.archive_names import EncodingVote
from chalicelib.domain.archive_plan import Planner
from chalicelib.domain.archive_zip import MAX_CANDIDATES, read_zip
from chalicelib.domain.archives import ArchiveRefusedError
from tests.corpus.cases import GOOD
from tests.corpus.zips import zipped


class Counted:
    def __init__(self, data: bytes) -> None:
        self.data, self.reads = data, 0

    def __call__(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return self.data[offset : offset + length]


def end_record(comment: int, *, entries: int = 0, size: int = 0, offset: int = 0) -> bytes:
    numbers = (0, 0, entries, entries)
    head = b"PK\x05\x06" + b"".join(n.to_bytes(2, "little") for n in numbers)
    return head + size.to_bytes(4, "little") + offset.to_bytes(4, "little") + comment.to_bytes(2, "little")


@pytest.mark.parametrize(
    "data",
    [
        b"PK\x05\x06" * 33_000,
        # Each names a directory that is not there, outside of what was read already.
        bytes(300_000) + b"".join(end_record(0, entries=1, size=9, offset=i) for i in range(5_000)) + b"behind",
        bytes(300_000) + b"".join(end_record(22 * (1999 - i), entries=1, size=9, offset=i) for i in range(2_000)),
    ],
    ids=["signatures", "end records", "end records that end with the file"],
)
def test_places_that_look_like_the_end_are_looked_at_within_bounds(data: bytes) -> None:
    read = Counted(data)
    with pytest.raises(ArchiveRefusedError):
        read_zip(read, len(data))
    assert read.reads <= 5 * MAX_CANDIDATES


def test_a_zip_is_found_before_what_looks_like_many_ends() -> None:
    # A comment may hold end records; those behind the sixteenth are not looked at, and need not be.
    whole = zipped(GOOD, comment=b"PK\x05\x06" * 1_000)
    assert len(read_zip(Counted(whole), len(whole)).entries) == len(GOOD)


def test_folders_are_bounded() -> None:
    planner = Planner(10**9, lambda *_: None, max_folders=300)
    for i in range(50):
        planner.add(Found(f"a/b/c/{i}.txt", offset=i * 100, packed=1, size=1))
    found = [Found(f"{i}/a/b/c/f.txt", offset=i * 100, packed=1, size=1) for i in range(100)]
    with pytest.raises(ArchiveRefusedError, match="300 folders") as caught:
        list(map(planner.add, found))
    assert caught.value.code == "too_many_folders"
    assert planner.files < 50 + 80


@pytest.mark.parametrize(
    ("names", "winner"),
    [
        (["façade", "naïve", "Zürich", "Köln", "año", "café_01", "Ça"], "cp437"),
        (["写真", "façade".encode("cp437")], "cp932"),
        (["アイス"], "cp932"),
        (["表"], "cp932"),
        (["ｶﾅ"], "cp932"),
        (["plain"], "ascii"),
    ],
)
def test_accented_letters_are_no_japanese(names: list[str | bytes], winner: str) -> None:
    vote = EncodingVote()
    for name in names:
        vote.see(name if isinstance(name, bytes) else name.encode("cp437" if winner == "cp437" else "cp932"))
    assert vote.winner == winner
