"""What of an archive the server would take: told here as the server tells it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from stcloud.listing import Flaw, Kind
from stcloud.packed import Contents, look
from stcloud.packed_entries import UnreadableArchiveError

from tests.corpus.archives import CASES, READY, Case
from tests.corpus.cases import GOOD, JPG
from tests.corpus.tars import entry, gz, tarred
from tests.corpus.zips import Item, zipped

#: What shows when an entry is unpacked whole, or is of a form that the standard library gives up on.
SHOWS_LATER = frozenset({"crc_mismatch", "size_lies", "damaged_entry", "unsupported_method"})
TOKEN = "hf_" + "a" * 34


def contents(tmp_path: Path, data: bytes, name: str = "photos.zip") -> Contents:
    file = tmp_path / name
    file.write_bytes(data)
    return look(file)


def test_the_corpus_gets_the_servers_verdicts(tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for number, case in enumerate(CASES):
        if case.verdict == READY and not SHOWS_LATER & set(case.left_out.values()):
            seen[_compared(case, tmp_path, number)] += 1
    assert seen["the same"] >= 75, seen
    assert seen["unreadable"] <= 6, seen


def _compared(case: Case, tmp_path: Path, number: int) -> str:
    data = case.make()
    suffix = ".zip" if b"PK\x05\x06" in data else ".tar"
    try:
        found = contents(tmp_path, data, f"{number}{suffix}")
    except UnreadableArchiveError:
        return "unreadable"
    assert {v.path: v.code for v in found.verdicts if v.code} == dict(case.left_out), case.name
    if case.files is not None:
        assert {v.path: v.size for v in found.taken} == {p: len(d) for p, d in case.files.items()}, case.name
    assert found.stripped == case.stripped, case.name
    return "the same"


def test_shift_jis_names_are_read_as_on_the_server(tmp_path: Path) -> None:
    items = [Item("猫/写真.jpg".encode("cp932"), JPG), Item("猫/写真.txt".encode("cp932"), b"a cat")]
    found = contents(tmp_path, zipped(items))
    assert [v.path for v in found.taken] == ["写真.jpg", "写真.txt"]
    assert found.stripped == "猫"
    assert any("Shift_JIS" in note for note in found.notes)


@pytest.mark.parametrize("pack", ["zip", "tar", "tar.gz"])
def test_texts_in_an_archive_are_looked_at(tmp_path: Path, pack: str) -> None:
    files = {"a.jpg": JPG, "a.txt": TOKEN.encode(), "b.txt": "猫".encode("cp932"), "c.txt": b" \n", "d.bin": b"x"}
    if pack == "zip":
        data = zipped([Item(name, content) for name, content in files.items()])
    else:
        data = tarred(entry(name, content) for name, content in files.items())
        data = gz(data) if pack == "tar.gz" else data
    found = contents(tmp_path, data, f"photos.{pack}")
    assert [(v.path, v.secret) for v in found.secrets] == [("a.txt", "holds what looks like a Hugging Face token")]
    assert found.flawed(Flaw.NOT_UTF8) == ["b.txt"]
    assert found.flawed(Flaw.EMPTY) == ["c.txt"]
    assert Counter(v.kind for v in found.taken) == {Kind.IMAGE: 1, Kind.CAPTION: 3, Kind.UNKNOWN: 1}


def test_texts_that_are_left_out_are_looked_at_too(tmp_path: Path) -> None:
    files = {
        "a.jpg": JPG,
        ".git/config": TOKEN.encode(),
        "../up.txt": TOKEN.encode(),
        "__MACOSX/b.txt": b"none",
        ".env": b"",
    }
    for name, data in {
        "a.zip": zipped([*(Item(n, d) for n, d in files.items()), Item("a.jpg", b"twice")]),
        "a.tar": tarred(entry(n, d) for n, d in files.items()),
    }.items():
        found = contents(tmp_path, data, name)
        assert [v.path for v in found.secrets] == [".git/config", "../up.txt"]
        assert found.paths("secret") == [".env"]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2"])
@pytest.mark.parametrize("data", [b"", b"PK nothing", b"BZh9" + bytes(50), zipped(GOOD)[:40]])
def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path, name: str, data: bytes) -> None:
    with pytest.raises(UnreadableArchiveError, match="can't be read"):
        contents(tmp_path, data, name)


def test_a_small_tar_that_unpacks_to_gigabytes_is_not_read_to_its_end(tmp_path: Path) -> None:
    claims = tarred([entry("a.txt", b"", size=2 * 1024**3)], end=b"")
    with pytest.raises(UnreadableArchiveError, match="bomb"):
        contents(tmp_path, claims, "a.tar")
