"""Unpacking that is killed, repeated, out of time, raced or too large."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.archives import UNPACKED, ArchiveStatus
from chalicelib.domain.datasets import DatasetVersion, ManifestFile, VersionStatus
from chalicelib.domain.ports import ObjectInfo, Ports
from chalicelib.errors import Conflict
from chalicelib.schemas.archives import NewArchiveBody
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.services.archive_care import MAX_ATTEMPTS, tend_archives
from chalicelib.services.archive_ending import ZOMBIES_LIVE
from chalicelib.services.dataset_removal import URLS_LIVE
from chalicelib.services.manifests import decode
from chalicelib.workflow.unpack_assemble import assemble_archive
from chalicelib.workflow.unpack_piece import unpack_piece
from chalicelib.workflow.unpack_plan import MAX_ITEMS, _items, plan_archive
from tests.corpus import tars
from tests.corpus.cases import GOOD, JPG, TAKEN
from tests.corpus.tars import entry, tarred
from tests.corpus.zips import STORED, Item, zipped
from tests.fakes.aws import InMemoryObjectStore
from tests.fakes.world import OWNER, World
from tests.support.unpacking import DATASET, event_of, result, run_steps, unpack, upload

MANY = {f"{i:04d}.txt": b"caption %d" % i for i in range(5_000)}
MIB = 1024**2


@dataclass
class Killed(Exception):
    """What a function's end looks like from inside."""


class MortalStore:
    """The store of a function that is killed at its n-th write (``left``); counts the files written."""

    def __init__(self, store: InMemoryObjectStore, left: int) -> None:
        self._store, self.left = store, left
        self.files: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, data: bytes, **options: Any) -> None:
        self._spend(key)
        self._store.put(key, data, **options)

    def put_stream(self, key: str, chunks: Iterable[bytes], **options: Any) -> ObjectInfo:
        self._spend(key)
        return self._store.put_stream(key, chunks, **options)

    def _spend(self, key: str) -> None:
        if self.left <= 0:
            raise Killed
        self.left -= 1
        if key.startswith(UNPACKED):
            self.files.append(key)


def mortal(world: World, left: int) -> tuple[Ports, MortalStore]:
    store = MortalStore(world.dataset_files, left)
    return replace(world.ports, dataset_files=store), store  # type: ignore[arg-type]


def keys_left(world: World, pushed: DatasetVersion) -> list[str]:
    """What is there of a push that an archive has become, once no URL of it is good any more."""
    world.clock.advance(URLS_LIVE.total_seconds() + 1)
    world.sweep()
    at_all = [*world.dataset_files.list(pushed.prefix), *world.dataset_files.list(pushed.manifest_key)]
    return [info.key for info in at_all]


def zip_of(files: dict[str, bytes]) -> bytes:
    return zipped([Item(name, data) for name, data in files.items()])


# --- killed and repeated ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [zip_of, lambda files: tars.gz(tarred(entry(n, d) for n, d in files.items()))])
def test_a_killed_worker_goes_on_where_it_was(make: Any) -> None:
    world = World()
    archive = upload(world, make(MANY))
    written = 0
    for _ in range(30):
        ports, store = mortal(world, 600)
        try:
            run_steps(archive, ports)
        except Killed:
            written += len(store.files)
            continue
        written += len(store.files)
        break
    else:
        raise AssertionError("it never came to an end")
    assert result(world, archive).files == MANY
    # At most what one save and the files on their way are apart is written twice at each death.
    assert written < len(MANY) + 12 * 400


@pytest.mark.parametrize("seed", range(6))
def test_deaths_at_any_moment_lose_and_change_nothing(seed: int) -> None:
    rng = random.Random(seed)
    files = {f"x/{i:03d}.txt": rng.randbytes(rng.randrange(3_000)) for i in range(80)} | {"x/large.bin": bytes(9 * MIB)}
    world = World()
    archive = upload(world, zip_of(files))
    for _ in range(400):
        ports, _ = mortal(world, rng.randrange(1, 140))
        try:
            run_steps(archive, ports)
        except Killed:
            continue
        if world.services.archives.get(OWNER, DATASET, archive.archive_id).status.is_over:
            break
    found = result(world, archive)
    assert found.files == {name.removeprefix("x/"): data for name, data in files.items()}
    assert world.ports.datasets.usage(OWNER).bytes == sum(len(d) for d in files.values())


def test_every_step_may_be_repeated() -> None:
    world = World()
    archive = upload(world, zip_of(MANY))
    event = event_of(archive)
    planned = plan_archive(event, world.ports)
    assert plan_archive(event, world.ports) == planned
    assert len(planned["items"]) == 5
    assert unpack_piece({**event, **planned["items"][0]}, world.ports)["more"] is False
    with pytest.raises(AssertionError):
        result(world, archive)
    for _ in range(2):
        run_steps(archive, world.ports)
        assert assemble_archive(event, world.ports)["next"] == "done"
    assert plan_archive(event, world.ports)["next"] == "done"
    assert result(world, archive).files == MANY


def test_a_version_made_of_an_archive_is_ready_latest_counted_and_inspected() -> None:
    world = World()
    found = unpack(world, zipped(GOOD), source_path="/data/photos/")
    version = world.ports.datasets.get_version(OWNER, DATASET, found.archive.version_id or "")
    dataset = world.ports.datasets.get_dataset(OWNER, DATASET)
    assert version is not None
    assert dataset is not None
    assert (version.status, version.archive_id) == (VersionStatus.READY, found.archive.archive_id)
    assert version.prefix == f"_unpacked/{OWNER}/{DATASET}/a-{found.archive.archive_id}/"
    assert (dataset.latest_version, dataset.source_path) == (version.version_id, "/data/photos")
    assert world.ports.datasets.usage(OWNER).bytes == sum(map(len, TAKEN.values()))
    assert len(world.dataset_runner.inspections) == 1
    assert found.archive.settled
    assert world.ports.datasets.list_unfinished(created_before=world.clock.now() + timedelta(days=1)) == []


# --- out of time --------------------------------------------------------------------------------------------------
def test_a_piece_that_is_out_of_time_goes_on_in_the_next_call() -> None:
    world = World()
    archive = upload(world, zip_of(MANY))
    event = event_of(archive)
    item = plan_archive(event, world.ports)["items"][0]
    slow = replace(world.ports, clock=TickingClock(world, seconds=1))
    calls = 0
    while unpack_piece({**event, **item}, slow, budget=timedelta(seconds=300))["more"]:
        calls += 1
    assert 1 < calls < 30
    run_steps(archive, world.ports)
    assert result(world, archive).files == MANY


class TickingClock:
    """Each look takes a while."""

    def __init__(self, world: World, seconds: float) -> None:
        self._world, self._seconds = world, seconds

    def now(self) -> Any:
        self._world.clock.advance(self._seconds)
        return self._world.clock.now()


def test_one_that_never_comes_further_is_refused() -> None:
    world = World()
    archive = upload(world, zipped([Item("a.bin", random.Random(1).randbytes(30 * MIB), STORED)]))
    event = event_of(archive)
    item = plan_archive(event, world.ports)["items"][0]
    slow = replace(world.ports, clock=TickingClock(world, seconds=60))
    assert unpack_piece({**event, **item}, slow)["more"] is False
    assert result(world, archive).code == "archive_too_slow"


def test_a_tar_is_planned_in_rounds() -> None:
    """State, duplicates and pieces carry over; the plan is that of one round."""
    files = {f"{i % 40}/{i:04d}.txt": b"x" * (i % 700) for i in range(4_500)}
    data = tarred([*(entry(n, d) for n, d in files.items()), entry("0/0000.txt", b"again")])
    world = World()
    archive = upload(world, data)
    event, rounds = event_of(archive), 1
    slow = replace(world.ports, clock=TickingClock(world, seconds=1))
    while plan_archive(event, slow, budget=timedelta(seconds=700))["next"] == "plan":
        rounds += 1
    assert 5 < rounds < 20
    run_steps(archive, world.ports)
    found = result(world, archive)
    assert found.files == files
    assert found.left_out == {"0/0000.txt": "duplicate_name"}


def test_a_tar_that_takes_too_many_rounds_is_refused() -> None:
    world = World()
    archive = upload(world, tarred([entry(f"{i}.txt", b"x") for i in range(99)]))
    slow = replace(world.ports, clock=TickingClock(world, seconds=1000))
    for _ in range(30):
        if plan_archive(event_of(archive), slow)["next"] == "done":
            break
    assert result(world, archive).code == "archive_too_slow"


def test_a_compressed_tar_that_takes_too_long_is_refused() -> None:
    world = World()
    archive = upload(world, tars.gz(tarred([entry("a.bin", random.Random(1).randbytes(4 * MIB))])))
    slow = replace(world.ports, clock=TickingClock(world, seconds=1000))
    assert plan_archive(event_of(archive), slow)["next"] == "done"
    assert result(world, archive).code == "archive_too_slow"


# --- what is there already ----------------------------------------------------------------------------------------
def test_the_same_content_again_points_to_the_version_that_is_there() -> None:
    world = World()
    first = unpack(world, zipped(GOOD))
    world.clock.advance(60)
    second = unpack(world, tarred(entry(f"p/{n}", d) for n, d in TAKEN.items()))
    assert second.archive.version_id == first.archive.version_id
    assert any("were there already" in note for note in second.report.notes)
    assert list(world.dataset_files.list(second.archive.prefix)) == []
    assert second.files == first.files == TAKEN
    assert world.ports.datasets.usage(OWNER).versions == 1
    assert not second.archive.settled, "a late function may still write"
    world.clock.advance(ZOMBIES_LIVE + timedelta(seconds=1))
    world.dataset_files.put(second.archive.prefix + "late.jpg", JPG)
    assert tend_archives(world.ports, world.clock.now()).settled == 1
    assert list(world.dataset_files.list(second.archive.prefix)) == []
    assert result(world, first.archive).files == TAKEN


def test_a_push_of_the_same_files_that_goes_on_need_not() -> None:
    world = World()
    lines = [ManifestFile(path=p, size=len(b), sha256=hashlib.sha256(b).hexdigest()) for p, b in TAKEN.items()]
    pushed, _ = world.services.datasets.create_version(OWNER, NewVersionBody(dataset_id=DATASET, files=lines))
    world.dataset_files.put(pushed.prefix + "a.jpg", JPG)
    found = unpack(world, zipped(GOOD))
    assert found.archive.version_id == pushed.version_id
    assert keys_left(world, pushed) == []
    assert world.services.datasets.complete(OWNER, DATASET, pushed.version_id).status is VersionStatus.READY
    assert world.ports.datasets.usage(OWNER).versions == 1


def test_the_same_files_being_deleted_are_waited_for() -> None:
    world = World()
    first = unpack(world, zipped(GOOD))
    version = world.ports.datasets.get_version(OWNER, DATASET, first.archive.version_id or "")
    assert version is not None
    world.ports.datasets.update_version(version.changed(status=VersionStatus.DELETING))
    archive = upload(world, zipped(GOOD, comment=b"again"))
    with pytest.raises(Conflict, match="being deleted"):
        run_steps(archive, world.ports)
    world.services.datasets.delete_version(OWNER, DATASET, version.version_id)
    run_steps(archive, world.ports)
    assert result(world, archive).files == TAKEN


def test_beyond_the_quota_nothing_is_unpacked() -> None:
    world = World()
    limits = replace(world.ports.limits, dataset_quota_bytes=1_000)
    ports = replace(world.ports, limits=limits)
    archive = upload(world, zip_of({"a.txt": b"x" * 2_000}))
    run_steps(archive, ports)
    found = result(world, archive)
    assert found.code == "quota_exceeded"
    assert list(world.dataset_files.list(f"{OWNER}/")) == []


def test_files_in_parts_are_listed_with_the_digests_of_their_parts() -> None:
    world = World()
    data = random.Random(3).randbytes(70 * MIB)
    found = unpack(world, zipped([Item("a.bin", data, STORED)]))
    version = world.ports.datasets.get_version(OWNER, DATASET, found.archive.version_id or "")
    assert version is not None
    (line,) = decode(world.dataset_files.get(version.manifest_key) or b"")
    parts = [data[: 64 * MIB], data[64 * MIB :]]
    assert line.parts == tuple(hashlib.sha256(part).hexdigest() for part in parts)
    assert line.sha256 == hashlib.sha256(data).hexdigest()


# --- given up and looked after ------------------------------------------------------------------------------------
def test_a_step_that_fails_for_good_is_recorded_and_everything_removed() -> None:
    world = World()
    archive = upload(world, zip_of(MANY))
    event = event_of(archive)
    unpack_piece({**event, **plan_archive(event, world.ports)["items"][0]}, world.ports)
    assert len(list(world.dataset_files.list(archive.prefix))) == 1_000
    assemble_archive({**event, "error": {"Error": "States.Timeout", "Cause": "r8_secret"}}, world.ports)
    found = result(world, archive)
    assert found.code == "unpack_failed"
    assert "secret" not in found.archive.model_dump_json()
    assert [i.key for i in world.dataset_files.list("")] == [archive.report_key]


def test_a_failure_after_the_version_was_made_does_not_take_its_files_away() -> None:
    world = World()
    archive = upload(world, zipped(GOOD))
    ports, store = mortal(world, 10_000)
    reports = []

    def dies_at_the_report(key: str, data: bytes, **options: Any) -> None:
        reports.extend([key] if key == archive.report_key else [])
        if len(reports) == 2:
            raise Killed
        world.dataset_files.put(key, data, **options)

    store.put = dies_at_the_report  # type: ignore[method-assign]
    with pytest.raises(Killed):
        run_steps(archive, ports)
    assemble_archive({**event_of(archive), "error": {}}, world.ports)
    found = result(world, archive)
    assert (found.code, found.files) == ("ready", TAKEN)


def test_the_sweeper_starts_what_died_and_gives_up_in_the_end() -> None:
    world = World()
    archive = upload(world, zipped(GOOD))
    key = (OWNER, DATASET, archive.archive_id)
    assert list(world.dataset_runner.unpacks) == [(*key, 1)]
    world.clock.advance(120)
    assert tend_archives(world.ports, world.clock.now()).restarted == 0, "it runs"
    for attempt in range(1, MAX_ATTEMPTS):
        world.dataset_runner.end_unpack(*key, attempt)
        assert tend_archives(world.ports, world.clock.now()).restarted == 1
        assert (*key, attempt + 1) in world.dataset_runner.unpacks
        assert tend_archives(world.ports, world.clock.now()).restarted == 0, "it has only just begun"
        world.clock.advance(120)
    world.dataset_runner.end_unpack(*key, MAX_ATTEMPTS)
    assert tend_archives(world.ports, world.clock.now()).given_up == 1
    assert result(world, archive).code == "unpack_failed"


def test_the_sweeper_starts_what_could_not_be_started_and_removes_what_was_given_up() -> None:
    world = World()
    world.dataset_runner.unpacks.clear()
    archive = upload(world, zipped(GOOD))
    world.dataset_runner.unpacks.clear()
    world.clock.advance(120)
    assert tend_archives(world.ports, world.clock.now()).restarted == 1
    assert len(world.dataset_runner.unpacks) == 1
    run_steps(archive, world.ports)
    world.services.archives.create(OWNER, DATASET, _wanted(9), limit=1)
    world.clock.advance(timedelta(days=4))
    assert tend_archives(world.ports, world.clock.now()).abandoned == 1
    assert len(world.services.archives.list_of(OWNER, DATASET, limit=9, cursor=None)[0]) == 1
    assert list(world.dataset_files.multiparts("_archives/")) == []


def _wanted(size: int) -> Any:
    return NewArchiveBody(filename="x.zip", size=size)


def test_an_archive_that_is_over_or_gone_is_left_alone_by_late_steps() -> None:
    world = World()
    archive = upload(world, zipped(GOOD))
    run_steps(archive, world.ports)
    event = event_of(archive)
    assert unpack_piece({**event, "first": 0, "count": 1}, world.ports)["more"] is False
    assert assemble_archive({**event, "error": "late"}, world.ports)["next"] == "done"
    assert world.services.archives.get(OWNER, DATASET, archive.archive_id).status is ArchiveStatus.READY
    gone = {**event, "archive_id": "nobody"}
    assert plan_archive(gone, world.ports)["next"] == "done"
    assert assemble_archive(gone, world.ports)["next"] == "done"


def test_many_pieces_are_shared_out_among_few_iterations() -> None:
    items = _items({"kind": "zip", "pieces": 1_001})
    assert len(items) <= MAX_ITEMS
    assert [i for item in items for i in range(item["first"], item["first"] + item["count"])] == list(range(1_001))
    assert _items({"kind": "tar.gz", "pieces": 7}) == [{"first": 0, "count": 7}]
