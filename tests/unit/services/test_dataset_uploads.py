"""What a push sends, what is copied inside S3 instead, and how far one call goes."""

from __future__ import annotations

import pytest

from chalicelib.domain.datasets import VersionStatus
from chalicelib.errors import NotFound
from chalicelib.services.dataset_uploads import BUDGET
from tests.fakes.world import OWNER, World
from tests.unit.services.between import Between
from tests.unit.services.pushing import PHOTOS, Slow, batch, begin, paths, ready, service_with


@pytest.fixture
def world() -> World:
    return World()


# --- copies ---------------------------------------------------------------------------------------------------
def test_a_second_push_sends_what_changed(world: World) -> None:
    world.push(PHOTOS)
    world.clock.advance(1)
    sent = world.dataset_files.sent_bytes
    second = {**PHOTOS, "07.jpg": b"another seven", "new.jpg": b"new"}
    version = begin(world, second)
    found = batch(world, version)
    assert paths(found) == ["07.jpg", "new.jpg"]
    assert (found.present, found.copied, found.next) == (19, 19, None)
    assert found.copied_bytes == sum(len(b) for p, b in PHOTOS.items() if p != "07.jpg")
    world.send(version.version_id, second)
    assert world.dataset_files.sent_bytes - sent == len(b"another seven") + len(b"new")
    ready(world, version)
    assert {p: world.dataset_files.get(version.prefix + p) for p in second} == second


def test_a_renamed_or_doubled_file_is_copied(world: World) -> None:
    world.push(PHOTOS)
    version = begin(world, {"sub/one.jpg": PHOTOS["01.jpg"], "sub/two.jpg": PHOTOS["01.jpg"]})
    found = batch(world, version)
    assert (paths(found), found.copied) == ([], 2)
    ready(world, version)


def test_another_dataset_of_the_owner_is_a_source(world: World) -> None:
    world.push(PHOTOS, dataset_id="others")
    version = begin(world, {"a.jpg": PHOTOS["03.jpg"]})
    assert paths(batch(world, version)) == []


def test_another_owners_file_is_never_a_source(world: World) -> None:
    """Whoever knows a hash could have the file otherwise."""
    world.push(PHOTOS)
    version = begin(world, PHOTOS, owner="mallory")
    found = batch(world, version)
    assert (len(found.uploads), found.copied) == (len(PHOTOS), 0)
    assert world.dataset_files.copied == []
    assert list(world.dataset_files.list("mallory/")) == []


def test_what_is_not_ready_is_no_source(world: World) -> None:
    uploading = begin(world, {"x.jpg": b"x"})
    batch(world, uploading)
    world.dataset_files.put(uploading.prefix + "x.jpg", b"x")
    world.push(PHOTOS, dataset_id="going")
    going = world.ports.datasets.list_versions(OWNER, "going")[0]
    world.ports.datasets.update_version(going.changed(status=VersionStatus.DELETING))
    version = begin(world, {"a.jpg": b"x", "b.jpg": PHOTOS["03.jpg"]}, dataset_id="new")
    assert paths(batch(world, version)) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("limit", [1, 2, 500])
def test_a_source_that_vanished_is_uploaded(world: World, limit: int) -> None:
    world.push(PHOTOS)
    first = world.ports.datasets.list_versions(OWNER, "photos")[0]
    world.dataset_files.delete([first.prefix + "01.jpg", first.prefix + "03.jpg"])
    world.dataset_files.put(first.prefix + "02.jpg", b"x" * len(PHOTOS["02.jpg"]))
    second = {**PHOTOS, "new.jpg": b"n"}
    version = begin(world, second)
    gone, after = [], None
    for _ in range(10):
        found = batch(world, version, after, limit)
        assert len(found.uploads) <= limit
        gone += paths(found)
        after = found.next
        if after is None:
            break
    assert gone == ["01.jpg", "02.jpg", "03.jpg", "new.jpg"]
    world.send(version.version_id, second)
    ready(world, version)


def test_copying_takes_no_longer_than_a_call_may(world: World) -> None:
    many = {f"{i:04d}.jpg": f"{i}".encode() for i in range(600)}
    world.push(many)
    version = begin(world, {**many, "0300.jpg": b"changed"})
    slow = Slow(world, BUDGET.total_seconds() / 100, "copy")
    service = service_with(world, slow)
    offered: list[str] = []
    calls, after, copied = 0, None, 0
    while True:
        before = world.clock.now()
        found = service.uploads(OWNER, "photos", version.version_id, after=after, limit=500)
        assert world.clock.now() - before < 3 * BUDGET
        offered += paths(found)
        copied += found.copied
        calls += 1
        after = found.next
        if after is None:
            break
    assert offered == ["0300.jpg"], "what the owner has is copied, however long it takes"
    assert (calls > 3, copied) == (True, 599)


def test_what_comes_behind_the_last_url_is_not_copied_yet(world: World) -> None:
    world.push(PHOTOS)
    version = begin(world, {**PHOTOS, "05.jpg": b"changed"})
    found = batch(world, version, limit=1)
    assert (paths(found), found.copied, found.next) == (["05.jpg"], 5, "05.jpg")


def test_a_deletion_during_the_copy_leaves_nothing(world: World) -> None:
    world.push(PHOTOS)
    version = begin(world, {**PHOTOS, "new.jpg": b"n"})
    delete = lambda: world.services.datasets.delete_version(OWNER, "photos", version.version_id)  # noqa: E731
    service = service_with(world, Between(world.dataset_files, "copy", delete))
    with pytest.raises(NotFound, match="deleted meanwhile"):
        service.uploads(OWNER, "photos", version.version_id, after=None, limit=500)
    assert list(world.dataset_files.list(version.prefix)) == []
    assert world.ports.datasets.get_version(OWNER, "photos", version.version_id) is None


def test_deleting_the_source_during_the_copy_changes_nothing_of_the_result(world: World) -> None:
    source = world.push(PHOTOS)
    second = {**PHOTOS, "new.jpg": b"n"}
    version = begin(world, second)
    delete = lambda: world.services.datasets.delete_version(OWNER, "photos", source)  # noqa: E731
    service = service_with(world, Between(world.dataset_files, "copy", delete))
    service.uploads(OWNER, "photos", version.version_id, after=None, limit=500)
    world.send(version.version_id, second)
    ready(world, version)


# --- how much is looked at --------------------------------------------------------------------------------------
def test_a_batch_lists_what_it_needs(world: World) -> None:
    many = {f"{i:05d}": b"" for i in range(5_000)}
    version = begin(world, many)
    for path in many:
        world.dataset_files.put(version.prefix + path, b"")
    world.dataset_files.delete([version.prefix + "04500"])
    slow = Slow(world, 0, "list")
    service = service_with(world, slow)
    found = service.uploads(OWNER, "photos", version.version_id, after=None, limit=100)
    assert (paths(found), found.present, found.next) == (["04500"], 4_999, None)
    assert [options["limit"] for _, options in slow.calls] == [1_000] * 5
    slow.calls.clear()
    service.uploads(OWNER, "photos", version.version_id, after="04999", limit=100)
    assert slow.calls == []
    service.uploads(OWNER, "photos", version.version_id, after="04899", limit=100)
    assert [(o["start_after"], o["limit"]) for _, o in slow.calls] == [(version.prefix + "04899", 100)]


def test_looking_takes_no_longer_than_a_call_may(world: World) -> None:
    many = {f"{i:05d}": b"" for i in range(4_000)}
    version = begin(world, many)
    for path in many:
        world.dataset_files.put(version.prefix + path, b"")
    service = service_with(world, Slow(world, BUDGET.total_seconds() * 0.6, "list"))
    first = service.uploads(OWNER, "photos", version.version_id, after=None, limit=100)
    assert (first.uploads, first.present, first.next) == ([], 2_000, "01999")
    second = service.uploads(OWNER, "photos", version.version_id, after=first.next, limit=100)
    assert (second.present, second.next) == (2_000, None)


@pytest.mark.parametrize(
    "after", ["zzz", "19.jpg", "19.jpg\n3", "zz\n1", "\n", "\nx", "00.jpg\nx", "00.jpg\n-1", "\ud800"]
)
def test_any_cursor_is_borne(world: World, after: str) -> None:
    version = begin(world, PHOTOS)
    found = batch(world, version, after)
    assert set(paths(found)) <= set(PHOTOS)
