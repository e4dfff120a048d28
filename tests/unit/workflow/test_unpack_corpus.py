"""Every archive of the corpus gets its stated verdict, and leaves nothing behind but what the verdict says."""

from __future__ import annotations

import pytest

from tests.corpus.archives import CASES, READY, Case
from tests.fakes.world import OWNER, World
from tests.support.unpacking import DATASET, unpack


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_it_gets_its_verdict(case: Case) -> None:
    world = World()
    found = unpack(world, case.make(), case.filename, **({"sha256": case.sha256} if case.sha256 else {}))
    assert found.code == case.verdict, (found.archive.failure, found.left_out)
    assert found.left_out == case.left_out
    if case.files is not None:
        assert found.files == case.files
        assert found.report.taken.files == len(case.files)
    if case.encoding is not None:
        assert found.report.encoding == case.encoding
    assert found.report.stripped_folder == case.stripped
    for note in case.notes:
        assert any(note in said for said in found.report.notes), found.report.notes
    assert all(entry.reason for entry in found.report.left_out)
    if case.verdict != READY:
        assert found.archive.failure is not None
        assert found.archive.failure.message.endswith(".")
        assert found.archive.failure.advice
        assert world.ports.datasets.get_dataset(OWNER, DATASET) is None
    keys = [info.key for info in world.dataset_files.list("")]
    kept = (f"_unpacked/{OWNER}/{DATASET}/a-", "_manifests/") if case.verdict == READY else ()
    assert [key for key in keys if not key.startswith(("_reports/", *kept))] == []


def test_there_are_enough_of_them_and_each_has_its_name() -> None:
    assert len(CASES) >= 45
    assert len({case.name for case in CASES}) == len(CASES)


def test_they_are_the_same_each_time() -> None:
    some = CASES[::7]
    assert [case.make() for case in some] == [case.make() for case in some]
