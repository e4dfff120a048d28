"""Manifests of any size, quota, retention, differences and downloads of datasets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.datasets import DatasetVersion, ManifestFile, VersionStatus, sorted_files
from chalicelib.errors import Conflict, NotFound, PayloadTooLarge, ValidationFailed
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.services.dataset_retention import remove_expired
from chalicelib.services.manifests import MAX_LISTED, MAX_REMEMBERED, Manifests, decode, encode, parse_uploaded
from tests.fakes.world import OWNER, World, manifest_file
from tests.unit.services.between import Between

SHA = "77af778b51abd4a3c51c5ddd97204a9c3ae614ebccb75a606c3b6865aed6744e"
DAY = timedelta(days=1)


@pytest.fixture
def world() -> World:
    return World()


def stage(world: World, data: bytes, *, owner: str = OWNER, dataset_id: str = "photos") -> str:
    """Uploads a manifest as a client does; returns its id."""
    service = world.services.datasets
    line = manifest_file("manifest", data)
    manifest_id, put = service.stage_manifest(owner, dataset_id, size=line.size, sha256=line.sha256)
    world.dataset_files.upload(put.url, put.headers, data, now=world.clock.now())
    return manifest_id


def create(world: World, manifest_id: str, *, owner: str = OWNER, dataset_id: str = "photos") -> DatasetVersion:
    body = NewVersionBody(dataset_id=dataset_id, manifest_id=manifest_id)
    return world.services.datasets.create_version(owner, body)[0]


def lines(*documents: Mapping[str, Any]) -> bytes:
    return "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in documents).encode()


def line(path: str, size: int = 3, **more: Any) -> dict[str, Any]:
    return {"path": path, "size": size, "sha256": SHA, **more}


# --- manifests --------------------------------------------------------------------------------------------------
def test_a_manifest_that_was_uploaded_makes_the_same_version(world: World) -> None:
    documents = [line(f"{i:05d}.txt") for i in range(500)]
    uploaded = create(world, stage(world, lines(*documents)))
    body = NewVersionBody(dataset_id="photos", files=[ManifestFile(**d) for d in reversed(documents)])
    world.clock.advance(1)
    sent, created = world.services.datasets.create_version(OWNER, body)
    assert (sent.version_id, created, sent.files) == (uploaded.version_id, False, 500)
    stored = world.dataset_files.get(uploaded.manifest_key)
    assert stored is not None
    assert [f.path for f in decode(stored)] == [d["path"] for d in documents]


@pytest.mark.parametrize(
    ("data", "where", "message"),
    [
        (b"", "lines", "no file"),
        (b"\n\n", "lines", "no file"),
        (b"not json\n", "lines.1", "JSON"),
        (b"[]\n", "lines.1", "object"),
        (lines(line("a"), {"path": "b"}), "lines.2", "size"),
        (lines(line("b"), line("a")), "lines.2", "not sorted by UTF-8 path"),
        (lines(line("\U0001f431"), line("\uff5e")), "lines.2", "not sorted"),
        (lines(line("a"), line("a")), "lines.2", "listed twice"),
        (lines(line("../a")), "lines.1", "'..'"),
        (lines(line("a", 70 * 1024**2)), "lines.1", "each of the 2 parts"),
        (lines(line("a", parts=[SHA])), "lines.1", "only"),
        (lines(line("a", 70 * 1024**2, parts=[SHA, "x"])), "lines.1", "64 lower-case hex"),
        (lines(line("a", 101 * 1024**3)), "lines.1", "size must be"),
        (b"\xff\xfe\n", "lines.1", "JSON"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_by_line(world: World, data: bytes, where: str, message: str) -> None:
    if not data:
        assert parse_uploaded(data, 10)[1][0].field == where
        return
    with pytest.raises(ValidationFailed) as caught:
        create(world, stage(world, data))
    assert caught.value.code == "invalid_manifest"
    assert caught.value.errors[0].field == where
    assert message in caught.value.errors[0].message


def test_problems_and_files_have_bounds() -> None:
    _, problems = parse_uploaded(lines(*[line(f"../{i:04d}") for i in range(500)]), 1_000)
    assert len(problems) == MAX_LISTED
    files, problems = parse_uploaded(lines(*[line(f"{i:04d}") for i in range(500)]), 20)
    assert (len(files), [p.code for p in problems]) == (21, ["too_many_files"])


@pytest.mark.parametrize(("owner", "dataset_id"), [("mallory", "photos"), (OWNER, "other")])
def test_a_manifest_is_its_owners_and_for_its_dataset(world: World, owner: str, dataset_id: str) -> None:
    manifest_id = stage(world, lines(line("a")))
    with pytest.raises(NotFound) as caught:
        create(world, manifest_id, owner=owner, dataset_id=dataset_id)
    assert caught.value.code == "manifest_not_found"
    assert world.ports.datasets.list_versions(owner, dataset_id) == []


@pytest.mark.parametrize("dataset_id", ["../x", "", "a/b", "usage"])
def test_a_manifest_needs_the_id_of_a_dataset(world: World, dataset_id: str) -> None:
    with pytest.raises(ValidationFailed):
        world.services.datasets.stage_manifest(OWNER, dataset_id, size=1, sha256=SHA)


@pytest.mark.parametrize("given", [{}, {"files": [line("a")], "manifest_id": "x"}, {"manifest_id": "../x"}])
def test_a_version_is_made_of_one_manifest(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        NewVersionBody(dataset_id="photos", **given)


def test_manifests_of_the_first_release_are_read() -> None:
    files = sorted_files([ManifestFile(**line(p)) for p in ("b", "a", "写真")])
    array = json.dumps([f.model_dump(exclude={"parts"}) for f in files]).encode()
    assert list(decode(array)) == files == list(decode(encode(files)))


def test_manifests_are_read_once_and_remembered_within_bounds(world: World) -> None:
    world.push()
    version = world.ports.datasets.list_versions(OWNER, "photos")[0]
    manifests = Manifests(world.ports)
    first = manifests.of(version)
    world.dataset_files.delete([version.manifest_key])
    assert manifests.of(version) is first
    half = [ManifestFile(**line(f"{i:06d}")) for i in range(MAX_REMEMBERED // 2 + 1)]
    world.dataset_files.put("m1", encode(half))
    manifests.of(version.model_copy(update={"manifest_key": "m1"}))
    manifests.of(version.model_copy(update={"manifest_key": "m1", "merkle_root": "0" * 64}))
    with pytest.raises(NotFound):
        manifests.of(version)


# --- quota ------------------------------------------------------------------------------------------------------
def test_a_quota_is_kept_and_given_back() -> None:
    base = World()
    world = World(limits=base.limits.__class__(dataset_quota_bytes=10))
    version_id = world.push({"a": b"123456"})
    with pytest.raises(PayloadTooLarge) as caught:
        world.push({"b": b"12345"}, dataset_id="other")
    assert caught.value.code == "quota_exceeded"
    assert caught.value.extra == {"used_bytes": 6, "quota_bytes": 10, "needed_bytes": 5}
    assert list(world.dataset_files.list("_manifests/local/other/")) == []
    assert world.ports.datasets.get_dataset(OWNER, "other") is None
    assert world.push({"a": b"123456"}) == version_id, "what is there needs no room"
    usage, datasets = world.services.datasets.usage(OWNER)
    assert (usage.bytes, usage.versions, datasets) == (6, 1, 1)
    world.services.datasets.delete(OWNER, "photos")
    world.push({"b": b"12345"}, dataset_id="other")


# --- retention --------------------------------------------------------------------------------------------------
def versions(world: World) -> list[str]:
    return [v.version_id for v in world.ports.datasets.list_versions(OWNER, "photos")]


def test_old_versions_end_and_the_latest_never(world: World) -> None:
    first = world.push({"a": b"1"})
    record = world.ports.datasets.get_version(OWNER, "photos", first)
    assert record is not None
    world.clock.advance(DAY)
    second = world.push({"a": b"2"})
    world.services.datasets.set_retention(OWNER, "photos", 3)
    world.clock.advance(1)
    assert world.sweep().versions_expired == 0
    world.clock.advance(2 * DAY)
    assert world.sweep().versions_expired == 1
    assert versions(world) == [second]
    assert [i.key for i in world.dataset_files.list(record.prefix)] == []
    for _ in range(20):
        world.clock.advance(DAY)
        assert world.sweep().versions_expired == 0
    assert versions(world) == [second]


def test_a_version_pushed_again_at_this_very_moment_is_kept(world: World) -> None:
    first = world.push({"a": b"1"})
    world.clock.advance(1)
    second = world.push({"a": b"2"})
    world.services.datasets.set_retention(OWNER, "photos", 1)
    world.clock.advance(2 * DAY)
    again = lambda: world.push({"a": b"1"})  # noqa: E731
    ports = replace(world.ports, datasets=Between(world.ports.datasets, "list_versions", again, after=True))
    assert remove_expired(ports, world.clock.now() + DAY).removed == 0
    assert set(versions(world)) == {first, second}
    assert world.ports.datasets.get_dataset(OWNER, "photos").latest_version == first  # type: ignore[union-attr]


def test_versions_are_kept_until_it_is_said_otherwise(world: World) -> None:
    world.push({"a": b"1"})
    world.clock.advance(1)
    world.push({"a": b"2"})
    world.services.datasets.set_retention(OWNER, "photos", 1)
    world.services.datasets.set_retention(OWNER, "photos", None)
    world.clock.advance(30 * DAY)
    assert world.sweep().versions_expired == 0
    assert len(versions(world)) == 2


def test_a_version_that_a_job_uses_stays_until_the_job_is_over(world: World) -> None:
    world.push({"a.png": b"1", "a.txt": b"x"}, source="/data/photos")
    world.clock.advance(1)
    job = world.submit().job.job_id
    old = world.job(job).datasets[0].version_id
    world.push({"a.png": b"2", "a.txt": b"x"})
    dataset = world.services.datasets.set_retention(OWNER, "photos", 1)
    assert (dataset.retention_days, dataset.latest_version) == (1, versions(world)[0])
    record = world.ports.datasets.get_version(OWNER, "photos", old)
    assert record is not None
    world.ports.datasets.update_version(record.changed(completed_at=world.clock.now() - 2 * DAY))
    world.clock.advance(1)
    report = world.sweep()
    assert (report.versions_expired, report.failed) == (0, 0)
    assert old in versions(world)
    world.run(900)
    assert world.job(job).is_terminal
    world.clock.advance(timedelta(hours=2))
    assert world.sweep().versions_expired == 1
    assert old not in versions(world)


def test_an_unfinished_upload_is_no_old_version(world: World) -> None:
    world.push({"a": b"1"})
    body = NewVersionBody(dataset_id="photos", files=[ManifestFile(**line("q"))])
    world.services.datasets.create_version(OWNER, body)
    world.services.datasets.set_retention(OWNER, "photos", 1)
    world.clock.advance(3 * DAY)
    assert world.sweep().versions_expired == 0
    assert {v.status for v in world.ports.datasets.list_versions(OWNER, "photos")} == {
        VersionStatus.READY,
        VersionStatus.UPLOADING,
    }


def test_retention_is_for_datasets_that_are_there(world: World) -> None:
    with pytest.raises(NotFound):
        world.services.datasets.set_retention(OWNER, "photos", 1)


# --- differences and downloads ----------------------------------------------------------------------------------
def test_two_versions_are_compared(world: World) -> None:
    first = world.push({"a": b"1", "b": b"22", "same": b"s", "old/name": b"moved"})
    world.clock.advance(1)
    second = world.push({"a": b"one", "c": b"4444", "same": b"s", "new/name": b"moved"})
    service = world.services.datasets
    version, base, found = service.diff(OWNER, "photos", second, None)
    assert (version.version_id, base and base.version_id) == (second, first)
    assert [(c.path, str(c.change), c.size, c.base_size, c.base_path) for c in found.files] == [
        ("a", "changed", 3, 1, None),
        ("b", "removed", None, 2, None),
        ("c", "added", 4, None, None),
        ("new/name", "renamed", 5, 5, "old/name"),
    ]
    assert {str(k): (s.files, s.bytes) for k, s in found.sums.items()} == {
        "added": (1, 4),
        "removed": (1, 2),
        "changed": (1, 3),
        "renamed": (1, 5),
    }
    assert (found.unchanged.files, found.unchanged.bytes) == (1, 1)
    _, none, everything = service.diff(OWNER, "photos", first, None)
    assert (none, len(everything.files)) == (None, 4)
    assert service.diff(OWNER, "photos", first, first)[2].files == []
    with pytest.raises(NotFound):
        service.diff(OWNER, "photos", first, "v-none")
    with pytest.raises(NotFound):
        service.diff("mallory", "photos", first, None)


def test_downloads_come_page_by_page(world: World) -> None:
    files = {f"{i:02d}": f"{i}".encode() for i in range(5)}
    version_id = world.push(files)
    service = world.services.datasets
    seen: list[str] = []
    after: str | None = None
    for expected in (2, 2, 1):
        links, after = service.downloads(OWNER, "photos", version_id, after=after, limit=2)
        assert len(links) == expected
        assert all(f"/{file.path}?" in url for file, url in links)
        seen += [file.path for file, _ in links]
    assert (seen, after) == (list(files), None)
    body = NewVersionBody(dataset_id="photos", files=[ManifestFile(**line("q"))])
    unfinished = service.create_version(OWNER, body)[0]
    with pytest.raises(Conflict) as caught:
        service.downloads(OWNER, "photos", unfinished.version_id, after=None, limit=2)
    assert caught.value.code == "version_not_ready"
