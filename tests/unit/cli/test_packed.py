"""What of an archive the server would take: told here as the server tells it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from stcloud.listing import Flaw
from stcloud.packed import Contents, look
from stcloud.packed_entries import UnreadableArchiveError

from tests.corpus.archives import CASES, READY, Case
from tests.corpus.cases import GOOD, JPG
from tests.corpus.tars import entry, tarred
from tests.corpus.zips import ENCRYPTED, UNIX, Item, zipped

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
    assert seen["the same"] >= 25, seen
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
