"""Archives on their way: how many and how much there may be; and large files in them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.archives import MAX_OPEN_ARCHIVES, ArchiveRecord
from chalicelib.domain.ports import Limits
from chalicelib.errors import Conflict, PayloadTooLarge
from chalicelib.schemas.archives import NewArchiveBody
from chalicelib.services.archive_care import tend_archives
from chalicelib.workflow.unpack_piece import SMALL_BYTES
from tests.corpus.cases import GOOD, TAKEN
from tests.corpus.zips import STORED, Item, zipped
from tests.fakes.world import OWNER, World
from tests.support.unpacking import DATASET, unpack


def begun(world: World, size: int) -> ArchiveRecord:
    return world.services.archives.create(OWNER, DATASET, NewArchiveBody(filename="a.zip", size=size), limit=1)[0]


def test_archives_on_their_way_count_against_the_quota() -> None:
    world = World(limits=Limits(max_concurrent_jobs=5, dataset_quota_bytes=1_000))
    first = begun(world, 600)
    with pytest.raises(PayloadTooLarge) as caught:
        begun(world, 401)
    assert (caught.value.code, caught.value.extra["used_bytes"]) == ("quota_exceeded", 600)
    begun(world, 400)
    world.services.archives.delete(OWNER, DATASET, first.archive_id)
    begun(world, 600)


def test_an_owner_has_few_archives_on_their_way_at_once() -> None:
    world = World()
    open_ones = [begun(world, 100) for _ in range(MAX_OPEN_ARCHIVES)]
    with pytest.raises(Conflict, match=open_ones[0].archive_id) as caught:
        begun(world, 100)
    assert caught.value.code == "too_many_archives"
    world.services.archives.delete(OWNER, DATASET, open_ones[0].archive_id)
    begun(world, 100)
    world.clock.advance(timedelta(days=4).total_seconds())
    tend_archives(world.ports, world.clock.now() + timedelta(minutes=1))
    assert unpack(world, zipped(GOOD)).files == TAKEN


def test_a_large_file_that_is_no_picture_is_left_out_too() -> None:
    world = World()
    found = unpack(world, zipped([*GOOD, Item("large.jpg", b"no picture" * (SMALL_BYTES // 9), STORED)]))
    assert [(entry.path, entry.code) for entry in found.report.left_out] == [("large.jpg", "not_an_image")]
    assert found.files == TAKEN
    assert world.dataset_files.multiparts("") == []
