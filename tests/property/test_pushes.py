"""Pushes that are killed anywhere, repeated and changed: what is complete is right, and nothing is sent twice."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.domain.dataset_diff import Change, diff
from chalicelib.domain.datasets import VersionStatus, sorted_files
from chalicelib.errors import Conflict
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.services.manifests import decode, encode, parse_uploaded
from tests.fakes.world import OWNER, World, manifest_file

PATHS = ["a.jpg", "a.txt", "b/é.jpg", "b/写真.png", "c", "\U0001f431"]
CONTENTS = [b"", b"one", b"two", b"three", b"four", b"five"]
FOLDERS = st.dictionaries(st.sampled_from(PATHS), st.sampled_from(CONTENTS), min_size=1)
#: What is pushed where, how many requests the client lives (None: to the end), and how many URLs it asks for.
PUSHES = st.lists(
    st.tuples(FOLDERS, st.sampled_from(["one", "two"]), st.none() | st.integers(0, 8), st.integers(1, 4)),
    min_size=1,
    max_size=8,
)


class Client:
    """A push that dies after so many requests."""

    def __init__(self, world: World, requests: int | None) -> None:
        self._world, self._left = world, requests
        self.sent: list[bytes] = []

    def _alive(self) -> bool:
        if self._left is None:
            return True
        self._left -= 1
        return self._left >= 0

    def push(self, files: Mapping[str, bytes], dataset_id: str, limit: int) -> str | None:
        """The version when it is complete, None when the client died."""
        service, world = self._world.services.datasets, self._world
        body = NewVersionBody(dataset_id=dataset_id, files=[manifest_file(p, b) for p, b in files.items()])
        if not self._alive():
            return None
        version, _ = service.create_version(OWNER, body)
        after = None
        for _ in range(100):
            if not self._alive():
                return None
            batch = service.uploads(OWNER, dataset_id, version.version_id, after=after, limit=limit)
            for upload in batch.uploads:
                assert upload.put is not None
                if not self._alive():
                    return None
                data = files[upload.file.path]
                world.dataset_files.upload(upload.put.url, upload.put.headers, data, now=world.clock.now())
                self.sent.append(data)
            after = batch.next
            if after is None:
                break
        if not self._alive():
            return None
        done = service.complete(OWNER, dataset_id, version.version_id)
        assert done.status is VersionStatus.READY
        return done.version_id


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PUSHES)
def test_what_is_complete_is_right_and_nothing_the_owner_holds_is_sent(
    pushes: list[tuple[dict[str, bytes], str, int | None, int]],
) -> None:
    world = World()
    for files, dataset_id, requests, limit in pushes:
        held = ready_contents(world, dataset_id)
        client = Client(world, requests)
        version_id = client.push(files, dataset_id, limit)
        world.clock.advance(1)
        assert not held & set(client.sent), "a ready version has this content"
        if version_id is None:
            continue
        version = world.ports.datasets.get_version(OWNER, dataset_id, version_id)
        assert version is not None
        stored = {i.key.removeprefix(version.prefix): i.key for i in world.dataset_files.list(version.prefix)}
        assert {p: world.dataset_files.get(key) for p, key in stored.items()} == files
        again = Client(world, None)
        assert again.push(files, dataset_id, limit) == version_id
        assert again.sent == []


def ready_contents(world: World, dataset_id: str) -> set[bytes]:
    """Of the newest five versions of this dataset, and of the latest one of the other."""
    latest = {d.latest_version for d in world.ports.datasets.list_datasets(OWNER)[0] if d.dataset_id != dataset_id}
    other = "two" if dataset_id == "one" else "one"
    mine = [v for v in world.ports.datasets.list_versions(OWNER, dataset_id) if v.status is VersionStatus.READY]
    theirs = [v for v in world.ports.datasets.list_versions(OWNER, other) if v.version_id in latest]
    keys = [i.key for v in mine[:5] + theirs for i in world.dataset_files.list(v.prefix)]
    return {data for key in keys if (data := world.dataset_files.get(key)) is not None}


@settings(max_examples=60, deadline=None)
@given(FOLDERS, st.integers(0, 5))
def test_a_file_that_was_lost_is_found_out_and_sent_again(files: dict[str, bytes], which: int) -> None:
    world = World()
    body = NewVersionBody(dataset_id="one", files=[manifest_file(p, b) for p, b in files.items()])
    version, _ = world.services.datasets.create_version(OWNER, body)
    world.send(version.version_id, files, dataset_id="one")
    lost = sorted(files)[which % len(files)]
    world.dataset_files.delete([version.prefix + lost])
    with pytest.raises(Conflict) as caught:
        world.services.datasets.complete(OWNER, "one", version.version_id)
    assert [e.field for e in caught.value.errors] == [lost]
    assert world.send(version.version_id, files, dataset_id="one") == 1
    assert world.services.datasets.complete(OWNER, "one", version.version_id).status is VersionStatus.READY


@given(FOLDERS, FOLDERS)
def test_a_difference_leads_from_one_version_to_the_other(old: dict[str, bytes], new: dict[str, bytes]) -> None:
    base = sorted_files(manifest_file(p, b) for p, b in old.items())
    version = sorted_files(manifest_file(p, b) for p, b in new.items())
    found = diff(base, version)
    made = {f.path for f in base}
    for change in found.files:
        if change.change is Change.REMOVED:
            made.remove(change.path)
        elif change.change is Change.RENAMED:
            assert change.base_path is not None
            assert old[change.base_path] == new[change.path]
            made.remove(change.base_path)
        made |= {change.path} if change.change is not Change.REMOVED else set()
    assert made == set(new)
    changed = {c.path for c in found.files if c.change is Change.CHANGED}
    assert changed == {p for p in old.keys() & new.keys() if old[p] != new[p]}
    assert found.unchanged.files == sum(old[p] == new[p] for p in old.keys() & new.keys())
    assert {c.path for c in found.files if c.change is Change.RENAMED} <= new.keys() - old.keys()


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.binary(max_size=3), max_size=8))
def test_any_manifest_is_read_as_it_was_written(files: dict[str, bytes]) -> None:
    written = sorted_files(manifest_file(p, b) for p, b in files.items())
    assert list(decode(encode(written))) == written


@given(st.binary(max_size=200))
def test_no_upload_breaks_the_reading_of_manifests(data: bytes) -> None:
    files, problems = parse_uploaded(data, 10)
    assert files or problems
    assert hashlib.sha256(encode(files) if not problems else b"").hexdigest()
