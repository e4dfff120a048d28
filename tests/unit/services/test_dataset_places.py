"""Where a version's files lie: what comes there after a deletion, and what a second push changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.datasets import DatasetVersion, ManifestFile, VersionStatus
from chalicelib.errors import Conflict, NotFound, Unavailable
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.services.dataset_removal import BUDGET, URLS_LIVE, Removed
from chalicelib.services.dataset_uploads import URL_LIFETIME
from chalicelib.services.datasets import DatasetService
from chalicelib.services.leftovers import LeftoversReport, remove_leftovers
from tests.fakes.world import OWNER, World, manifest_file
from tests.unit.services.between import Between
from tests.unit.services.pushing import BIG, PHOTOS, batch, begin, ready, service_with


@pytest.fixture
def world() -> World:
    return World()


def leftovers(world: World) -> LeftoversReport:
    return remove_leftovers(world.ports, world.clock.now() + timedelta(minutes=3))


def keys(world: World, prefix: str = "") -> list[str]:
    return [info.key for info in world.dataset_files.list(prefix)]


# --- URLs that outlive a deletion -----------------------------------------------------------------------------
def test_what_comes_by_a_url_after_the_deletion_goes_when_all_have_expired(world: World) -> None:
    version = begin(world, {"a.jpg": b"aaa", "big.bin": BIG})
    small, large = batch(world, version).uploads
    world.services.datasets.delete_version(OWNER, "photos", version.version_id)
    assert small.put is not None
    world.dataset_files.upload(small.put.url, small.put.headers, b"aaa", now=world.clock.now())
    # A call that was slow began a new upload in parts after the deletion had aborted the others.
    world.dataset_files.start_multipart(version.prefix + large.file.path)
    assert leftovers(world) == LeftoversReport()
    assert keys(world) == [version.prefix + "a.jpg"]
    assert URL_LIFETIME + timedelta(minutes=30) < URLS_LIVE, "a PUT that began in time may take a while"
    world.clock.advance(URLS_LIVE.total_seconds() + 1)
    assert world.sweep().leftovers_removed == 1
    assert (keys(world), world.dataset_files.multiparts("")) == ([], [])
    assert leftovers(world) == LeftoversReport()


def test_the_same_content_pushed_again_meanwhile_is_not_touched(world: World) -> None:
    files = {"a.jpg": b"aaa", "b.jpg": b"bbb"}
    version = begin(world, files)
    put = batch(world, version).uploads[0].put
    assert put is not None
    world.services.datasets.delete_version(OWNER, "photos", version.version_id)
    again = begin(world, files)
    assert again.version_id == version.version_id
    assert {again.prefix, again.manifest_key}.isdisjoint({version.prefix, version.manifest_key})
    world.dataset_files.upload(put.url, put.headers, b"aaa", now=world.clock.now())
    world.send(again.version_id, files)
    ready(world, again)
    world.clock.advance(URLS_LIVE.total_seconds() + 1)
    assert leftovers(world).prefixes_cleared == 1
    assert keys(world, f"{OWNER}/") == [again.prefix + path for path in files]


def test_a_deletion_and_a_new_push_during_the_copy_leave_nothing_behind(world: World) -> None:
    world.push(PHOTOS)
    files = {**PHOTOS, "new.jpg": b"n"}
    version = begin(world, files)

    def replaced() -> None:
        world.services.datasets.delete_version(OWNER, "photos", version.version_id)
        world.clock.advance(1)
        begin(world, files)

    service = service_with(world, Between(world.dataset_files, "copy", replaced))
    with pytest.raises(NotFound, match="deleted meanwhile"):
        service.uploads(OWNER, "photos", version.version_id, after=None, limit=500)
    assert keys(world, version.prefix) == []
    assert world.send(version.version_id, files) == 1
    ready(world, version)


def test_copies_for_a_version_that_an_archive_became_meanwhile_are_not_kept(world: World) -> None:
    world.push(PHOTOS)
    version = begin(world, {**PHOTOS, "new.jpg": b"n"})

    def taken_over() -> None:
        elsewhere = version.changed(status=VersionStatus.READY, prefix="_unpacked/local/photos/a-1/")
        world.ports.datasets.update_version(elsewhere)

    service = service_with(world, Between(world.dataset_files, "copy", taken_over))
    found = service.uploads(OWNER, "photos", version.version_id, after=None, limit=500)
    assert (found.uploads, found.present, found.next) == ([], version.files, None)
    assert keys(world, version.prefix) == []


# --- manifests ------------------------------------------------------------------------------------------------
def wrong_parts(of: ManifestFile) -> NewVersionBody:
    lie = of.model_copy(update={"parts": ("00" * 32,) * len(of.parts or ())})
    return NewVersionBody(dataset_id="photos", files=[lie])


def test_the_manifest_of_a_ready_version_is_never_written_again(world: World) -> None:
    version_id = world.push({"big.bin": BIG})
    version = world.ports.datasets.get_version(OWNER, "photos", version_id)
    assert version is not None
    before = world.dataset_files.get(version.manifest_key)
    same, created = world.services.datasets.create_version(OWNER, wrong_parts(manifest_file("big.bin", BIG)))
    assert (same.version_id, same.status, created) == (version_id, VersionStatus.READY, False)
    assert world.dataset_files.get(version.manifest_key) == before
    assert keys(world, "_manifests/") == [version.manifest_key]


def test_parts_that_disagree_with_an_upload_that_goes_on_are_refused(world: World) -> None:
    good = manifest_file("big.bin", BIG)
    version = begin(world, {"big.bin": BIG})
    before = world.dataset_files.get(version.manifest_key)
    with pytest.raises(Conflict, match="Hash the file again") as caught:
        world.services.datasets.create_version(OWNER, wrong_parts(good))
    assert (caught.value.code, caught.value.errors[0].field) == ("parts_differ", "big.bin")
    assert world.dataset_files.get(version.manifest_key) == before
    assert begin(world, {"big.bin": BIG}) == version
    assert keys(world) == [version.manifest_key]


def test_of_two_pushes_at_once_one_manifest_stays(world: World) -> None:
    first: list[DatasetVersion] = []
    other = lambda: first.append(begin(world, PHOTOS))  # noqa: E731
    ports = replace(world.ports, datasets=Between(world.ports.datasets, "create_version", other))
    body = NewVersionBody(dataset_id="photos", files=[manifest_file(p, b) for p, b in PHOTOS.items()])
    version, created = DatasetService(ports).create_version(OWNER, body)
    assert (version, created) == (first[0], False)
    assert keys(world) == [version.manifest_key]


# --- what a deletion of several calls says --------------------------------------------------------------------
@pytest.mark.parametrize("whole", [True, False], ids=["dataset", "version"])
def test_the_last_call_knows_what_all_of_them_removed(world: World, *, whole: bool) -> None:
    files = {f"{i:04d}.txt": b"x" for i in range(2_500)}
    version_id = world.push(files)
    objects = len(keys(world))
    size = sum(info.size for info in world.dataset_files.list(""))

    class SlowPages:
        def __getattr__(self, name: str) -> object:
            return getattr(world.dataset_files, name)

        def list(self, prefix: str, **options: object) -> object:
            for i, info in enumerate(world.dataset_files.list(prefix, **options)):  # type: ignore[arg-type]
                if i and i % 1000 == 0:
                    world.clock.advance(BUDGET.total_seconds() + 1)
                yield info

    service = service_with(world, SlowPages())
    calls = Removed()
    for _ in range(10):
        try:
            done = service.delete(OWNER, "photos") if whole else service.delete_version(OWNER, "photos", version_id)
            break
        except Unavailable as late:
            calls += Removed(late.extra["deleted_objects"], late.extra["deleted_bytes"])
    assert calls.objects == 2_000
    assert calls + done.call == done.in_all == Removed(objects, size)


# --- what a completion looks at -------------------------------------------------------------------------------
def test_every_file_in_parts_is_asked_for_its_checksum(world: World) -> None:
    files = {**{f"{i:04d}.txt": b"%d" % i for i in range(200)}, "0000b.bin": BIG}
    version = begin(world, files)
    world.send(version.version_id, files)
    world.dataset_files.put(version.prefix + "0000b.bin", bytes(len(BIG)))
    with pytest.raises(Conflict) as caught:
        world.services.datasets.complete(OWNER, "photos", version.version_id)
    assert [(e.field, e.code) for e in caught.value.errors] == [("0000b.bin", "differs")]
    assert world.send(version.version_id, files) == 1
    ready(world, version)


def test_every_file_has_the_size_that_the_manifest_says(world: World) -> None:
    files = {f"{i:04d}.txt": b"%d" % i for i in range(200)}
    version = begin(world, files)
    world.send(version.version_id, files)
    for path in files:
        world.dataset_files.put(version.prefix + path, files[path] + b"!")
    with pytest.raises(Conflict) as caught:
        world.services.datasets.complete(OWNER, "photos", version.version_id)
    assert caught.value.code == "upload_incomplete"
    assert keys(world, version.prefix) == [], "all of them get an upload URL again"
