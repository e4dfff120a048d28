"""What a push sends, what is copied inside S3 instead, and how far one call goes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.datasets import PART_BYTES, DatasetVersion, VersionStatus
from chalicelib.domain.objects import composite_of
from chalicelib.errors import Conflict, NotFound
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.services.dataset_uploads import BUDGET, UploadBatch
from chalicelib.services.datasets import DatasetService
from tests.fakes.aws import UploadRefused
from tests.fakes.world import OWNER, World, manifest_file
from tests.unit.services.between import Between

PHOTOS = {f"{i:02d}.jpg": f"picture {i}".encode() for i in range(20)}
#: Three parts; the last is short.
BIG = b"a" * PART_BYTES + b"b" * PART_BYTES + b"tail"


@pytest.fixture
def world() -> World:
    return World()


def begin(
    world: World, files: Mapping[str, bytes], *, dataset_id: str = "photos", owner: str = OWNER
) -> DatasetVersion:
    body = NewVersionBody(dataset_id=dataset_id, files=[manifest_file(p, b) for p, b in files.items()])
    return world.services.datasets.create_version(owner, body)[0]


def batch(world: World, version: DatasetVersion, after: str | None = None, limit: int = 500) -> UploadBatch:
    service = world.services.datasets
    return service.uploads(version.owner, version.dataset_id, version.version_id, after=after, limit=limit)


def paths(found: UploadBatch) -> list[str]:
    return [u.file.path for u in found.uploads]


def ready(world: World, version: DatasetVersion) -> DatasetVersion:
    done = world.services.datasets.complete(version.owner, version.dataset_id, version.version_id)
    assert done.status is VersionStatus.READY
    return done


class Slow:
    """The object store when each of some calls takes ``seconds``."""

    def __init__(self, world: World, seconds: float, *names: str) -> None:
        self._world, self._seconds, self._names = world, seconds, names
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._world.dataset_files, name)
        if name not in self._names:
            return real

        def slowly(*args: Any, **options: Any) -> Any:
            self.calls.append((name, options))
            self._world.clock.advance(self._seconds)
            return real(*args, **options)

        return slowly


def service_with(world: World, files: Any) -> DatasetService:
    return DatasetService(replace(world.ports, dataset_files=files))


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


# --- files in parts ---------------------------------------------------------------------------------------------
def send_part(world: World, found: UploadBatch, number: int, data: bytes = BIG) -> None:
    part = next(p for u in found.uploads for p in u.parts if p.number == number)
    piece = data[(number - 1) * PART_BYTES :][: part.size]
    world.dataset_files.upload(part.put.url, part.put.headers, piece, now=world.clock.now())


def numbers(found: UploadBatch) -> list[int]:
    return [p.number for u in found.uploads for p in u.parts]


def test_a_large_file_goes_up_in_parts_and_only_lost_ones_again(world: World) -> None:
    version = begin(world, {"big.bin": BIG, "a.txt": b"a"})
    found = batch(world, version)
    assert (paths(found), numbers(found)) == (["a.txt", "big.bin"], [1, 2, 3])
    assert [p.size for p in found.uploads[1].parts] == [PART_BYTES, PART_BYTES, 4]
    send_part(world, found, 1)
    send_part(world, found, 3)
    finish = lambda: world.services.datasets.finish_file(OWNER, "photos", version.version_id, "big.bin")  # noqa: E731
    with pytest.raises(Conflict, match="1 of 3 parts") as caught:
        finish()
    assert (caught.value.code, caught.value.extra["missing_parts"]) == ("upload_incomplete", [2])
    world.clock.advance(timedelta(hours=2))
    with pytest.raises(UploadRefused, match="expired"):
        send_part(world, found, 2)
    renewed = batch(world, version)
    assert numbers(renewed) == [2]
    send_part(world, renewed, 2)
    for _ in range(2):
        assert finish().size == len(BIG)
    info = world.dataset_files.head(version.prefix + "big.bin")
    assert info is not None
    assert info.composite_sha256 == composite_of(manifest_file("big.bin", BIG).parts or ())
    world.send(version.version_id, {"a.txt": b"a"})
    ready(world, version)
    assert world.dataset_files.multiparts("") == []


def test_parts_come_in_several_batches(world: World) -> None:
    version = begin(world, {"big.bin": BIG, "z.txt": b"z"})
    first = batch(world, version, limit=2)
    assert (numbers(first), first.uploads[0].more_parts) == ([1, 2], True)
    second = batch(world, version, first.next, limit=2)
    assert (numbers(second), paths(second), second.next) == ([3], ["big.bin", "z.txt"], None)
    assert not second.uploads[0].more_parts
    for number, found in ((1, first), (2, first), (3, second)):
        send_part(world, found, number)
    last = batch(world, version)
    assert (paths(last), last.present) == (["z.txt"], 1), "all parts were there: put together without being asked"


def test_a_part_takes_its_own_content_only(world: World) -> None:
    version = begin(world, {"big.bin": BIG})
    found = batch(world, version)
    with pytest.raises(UploadRefused):
        send_part(world, found, 1, b"x" * len(BIG))
    assert numbers(batch(world, version)) == [1, 2, 3]


def test_clients_that_begin_at_once_share_one_upload(world: World) -> None:
    version = begin(world, {"big.bin": BIG})
    other: list[UploadBatch] = []
    at_once = lambda: other.append(batch(world, version))  # noqa: E731
    service = service_with(world, Between(world.dataset_files, "start_multipart", at_once))
    mine = service.uploads(OWNER, "photos", version.version_id, after=None, limit=500)
    assert len(world.dataset_files.multiparts("")) == 1
    send_part(world, mine, 1)
    send_part(world, other[0], 2)
    send_part(world, mine, 3)
    world.services.datasets.finish_file(OWNER, "photos", version.version_id, "big.bin")
    ready(world, version)


def test_an_upload_that_expired_begins_anew(world: World) -> None:
    version = begin(world, {"big.bin": BIG})
    found = batch(world, version)
    send_part(world, found, 1)
    for upload in world.dataset_files.multiparts(""):
        world.dataset_files.abort_multipart(upload.key, upload.upload_id)
    assert numbers(batch(world, version)) == [1, 2, 3]


def test_an_upload_aborted_at_the_moment_begins_anew(world: World) -> None:
    version = begin(world, {"big.bin": BIG})
    batch(world, version)

    def abort() -> None:
        for upload in world.dataset_files.multiparts(""):
            world.dataset_files.abort_multipart(upload.key, upload.upload_id)

    service = service_with(world, Between(world.dataset_files, "list_parts", abort))
    found = service.uploads(OWNER, "photos", version.version_id, after=None, limit=500)
    assert numbers(found) == [1, 2, 3]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_large_file_is_copied_in_parts(world: World, streamed: bool) -> None:
    world.push({"big.bin": BIG})
    first = world.ports.datasets.list_versions(OWNER, "photos")[0]
    if streamed:  # as an archive's file is written: in other parts
        world.dataset_files.put_stream(first.prefix + "big.bin", [BIG])
    sent = world.dataset_files.sent_bytes
    version = begin(world, {"moved.bin": BIG, "a.txt": b"a"})
    found = batch(world, version)
    assert (paths(found), found.copied, found.copied_bytes) == (["a.txt"], 1, len(BIG))
    world.send(version.version_id, {"a.txt": b"a"})
    ready(world, version)
    assert world.dataset_files.sent_bytes == sent + 1
    assert world.dataset_files.get(version.prefix + "moved.bin") == BIG


def test_what_was_changed_in_a_large_file_is_all_sent(world: World) -> None:
    world.push({"big.bin": BIG})
    version = begin(world, {"big.bin": BIG + b"!"})
    assert numbers(batch(world, version)) == [1, 2, 3]


def test_a_large_source_that_vanished_is_uploaded(world: World) -> None:
    world.push({"big.bin": BIG})
    first = world.ports.datasets.list_versions(OWNER, "photos")[0]
    version = begin(world, {"moved.bin": BIG})
    gone = lambda: world.dataset_files.delete([first.prefix + "big.bin"])  # noqa: E731
    service = service_with(world, Between(world.dataset_files, "copy_part", gone))
    found = service.uploads(OWNER, "photos", version.version_id, after=None, limit=500)
    assert (numbers(found), found.copied) == ([1, 2, 3], 0)


def test_a_deletion_aborts_what_is_unfinished(world: World) -> None:
    version = begin(world, {"big.bin": BIG, "a.txt": b"abc"})
    found = batch(world, version)
    send_part(world, found, 1)
    world.dataset_files.put(version.prefix + "a.txt", b"abc")
    world.dataset_files.put(f"_reports/{OWNER}/photos/{version.version_id}/report.json", b"{}")
    world.dataset_files.put(f"_reports/{OWNER}/photos/{version.version_id}0/report.json", b"another version's")
    manifest = world.dataset_files.head(version.manifest_key)
    assert manifest is not None
    removed = world.services.datasets.delete_version(OWNER, "photos", version.version_id)
    assert (removed.objects, removed.bytes) == (3, 3 + 2 + manifest.size)
    assert world.dataset_files.multiparts("") == []
    assert [i.key for i in world.dataset_files.list("")] == [
        f"_reports/{OWNER}/photos/{version.version_id}0/report.json"
    ]


@pytest.mark.parametrize("path", ["none.bin", "a.txt"])
def test_only_files_with_parts_are_finished(world: World, path: str) -> None:
    version = begin(world, {"big.bin": BIG, "a.txt": b"abc"})
    expected: dict[str, tuple[type[Exception], str]] = {
        "none.bin": (NotFound, "file_not_found"),
        "a.txt": (Conflict, "file_has_no_parts"),
    }
    with pytest.raises(expected[path][0]) as caught:
        world.services.datasets.finish_file(OWNER, "photos", version.version_id, path)
    assert getattr(caught.value, "code", None) == expected[path][1]


# --- confirmation -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda files, key: files.put_stream(key, [BIG]), id="other parts"),
        pytest.param(lambda files, key: files.put(key, b"x" * len(BIG)), id="other content"),
        pytest.param(lambda files, key: files.put(key, b"x"), id="other size"),
    ],
)
def test_a_large_file_that_is_something_else_is_found_out_and_sent_again(
    world: World, spoil: Callable[[Any, str], object]
) -> None:
    version = begin(world, {"big.bin": BIG})
    spoil(world.dataset_files, version.prefix + "big.bin")
    with pytest.raises(Conflict) as caught:
        world.services.datasets.complete(OWNER, "photos", version.version_id)
    assert [(e.field, e.code) for e in caught.value.errors] == [("big.bin", "differs")]
    assert numbers(batch(world, version)) == [1, 2, 3]


def test_a_whole_copy_of_a_large_file_is_as_good(world: World) -> None:
    version = begin(world, {"big.bin": BIG})
    world.dataset_files.put(version.prefix + "big.bin", BIG)
    ready(world, version)


def test_a_small_file_that_is_something_else_gets_a_url_again(world: World) -> None:
    version = begin(world, {"a.txt": b"right"})
    world.dataset_files.put(version.prefix + "a.txt", b"wrong")
    with pytest.raises(Conflict):
        world.services.datasets.complete(OWNER, "photos", version.version_id)
    world.send(version.version_id, {"a.txt": b"right"})
    ready(world, version)


def test_a_ready_version_is_inspected_once(world: World) -> None:
    world.push(PHOTOS)
    version = world.ports.datasets.list_versions(OWNER, "photos")[0]
    assert version.inspection is not None
    world.services.datasets.complete(OWNER, "photos", version.version_id)
    assert len(world.dataset_runner.inspections) == 1


def test_an_inspection_that_does_not_start_keeps_nothing(world: World) -> None:
    world.dataset_runner.start_fails = 1
    version_id = world.push(PHOTOS)
    assert world.services.datasets.get(OWNER, "photos")[0].latest_version == version_id


def test_hash_of_parts_is_known() -> None:
    parts = manifest_file("x", BIG).parts
    assert parts is not None
    assert parts[0] == hashlib.sha256(b"a" * PART_BYTES).hexdigest()
