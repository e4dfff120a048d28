"""Files that go up in parts, and what is confirmed at the end of a push."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.datasets import PART_BYTES
from chalicelib.domain.objects import composite_of
from chalicelib.errors import Conflict, NotFound
from chalicelib.services.dataset_uploads import UploadBatch
from tests.fakes.aws import UploadRefused
from tests.fakes.world import OWNER, World, manifest_file
from tests.unit.services.between import Between
from tests.unit.services.pushing import BIG, PHOTOS, batch, begin, paths, ready, service_with


@pytest.fixture
def world() -> World:
    return World()


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
    assert removed.call == removed.in_all
    assert (removed.call.objects, removed.call.bytes) == (3, 3 + 2 + manifest.size)
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
