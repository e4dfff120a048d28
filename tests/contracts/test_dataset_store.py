"""``DatasetStore``: datasets, their versions, and the way back from a path."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.datasets import Dataset, DatasetVersion, VersionStatus
from chalicelib.domain.ports import (
    DatasetStore,
    DatasetUsage,
    InvalidCursorError,
    QuotaExceededError,
    StaleRecordError,
)
from tests.support.jobs import NOW, OWNER, together

READY, UPLOADING, DELETING = VersionStatus.READY, VersionStatus.UPLOADING, VersionStatus.DELETING


def a_dataset(dataset_id: str = "photos", *, owner: str = OWNER, at: datetime = NOW, **changes: Any) -> Dataset:
    base = Dataset(owner=owner, dataset_id=dataset_id, created_at=at, updated_at=at)
    return base.model_copy(update=changes)


def a_version(
    version_id: str = "v-1", *, dataset_id: str = "photos", owner: str = OWNER, **changes: Any
) -> DatasetVersion:
    base = DatasetVersion(
        owner=owner,
        dataset_id=dataset_id,
        version_id=version_id,
        status=UPLOADING,
        files=3,
        bytes=12345,
        merkle_root="m" * 64,
        prefix=f"{owner}/{dataset_id}/{version_id}/",
        manifest_key=f"_manifests/{owner}/{dataset_id}/{version_id}.json",
        created_at=NOW,
    )
    return base.model_copy(update=changes)


# --- datasets -----------------------------------------------------------------------------------------------------
def changed(dataset: Dataset, seconds: int = 1, **changes: Any) -> Dataset:
    return dataset.changed(NOW + timedelta(seconds=seconds), **changes)


def test_a_dataset_is_created_replaced_and_deleted(dataset_store: DatasetStore) -> None:
    assert dataset_store.get_dataset(OWNER, "photos") is None
    dataset_store.put_dataset(a_dataset())
    assert dataset_store.get_dataset(OWNER, "photos") == a_dataset()
    second = changed(a_dataset(), latest_version="v-1", source_path="/data/photos")
    dataset_store.put_dataset(second)
    assert dataset_store.get_dataset(OWNER, "photos") == second
    assert dataset_store.get_dataset("other", "photos") is None
    dataset_store.delete_dataset(second)
    assert dataset_store.get_dataset(OWNER, "photos") is None
    assert dataset_store.find_by_source(OWNER, "/data/photos") is None
    dataset_store.delete_dataset(second)


def test_a_dataset_that_somebody_else_changed_is_not_overwritten(dataset_store: DatasetStore) -> None:
    first = a_dataset(source_path="/p")
    dataset_store.put_dataset(first)
    second = changed(first, latest_version="v-1")
    dataset_store.put_dataset(second)
    again = a_dataset(latest_version="v-0")
    for late in (again, changed(first, latest_version="v-0"), changed(changed(second))):
        with pytest.raises(StaleRecordError):
            dataset_store.put_dataset(late)
    with pytest.raises(StaleRecordError):
        dataset_store.delete_dataset(first)
    assert dataset_store.get_dataset(OWNER, "photos") == dataset_store.find_by_source(OWNER, "/p") == second


def test_a_dataset_made_anew_is_not_taken_for_the_one_before(dataset_store: DatasetStore) -> None:
    old = a_dataset(source_path="/p")
    dataset_store.put_dataset(old)
    dataset_store.delete_dataset(old)
    with pytest.raises(StaleRecordError):
        dataset_store.put_dataset(changed(old))
    new = a_dataset(at=NOW + timedelta(seconds=1))
    dataset_store.put_dataset(new)
    with pytest.raises(StaleRecordError):
        dataset_store.put_dataset(changed(old))
    with pytest.raises(StaleRecordError):
        dataset_store.delete_dataset(old)
    assert dataset_store.get_dataset(OWNER, "photos") == new


@pytest.mark.parametrize("odd", ["", "x" * 5000, "\ud800", "a b", "photos#"])
def test_any_id_may_be_asked_for(dataset_store: DatasetStore, odd: str) -> None:
    dataset_store.put_dataset(a_dataset())
    dataset_store.create_version(a_version())
    assert dataset_store.get_dataset(OWNER, odd) is None
    assert dataset_store.find_by_source(OWNER, odd) is None
    assert dataset_store.get_version(OWNER, odd, "v-1") is None
    assert dataset_store.get_version(OWNER, "photos", odd) is None
    assert list(dataset_store.list_versions(OWNER, odd)) == []
    dataset_store.delete_version(OWNER, "photos", odd)
    assert dataset_store.get_dataset(OWNER, "photos") == a_dataset()


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_datasets_are_listed_by_id(dataset_store: DatasetStore, limit: int) -> None:
    for name in ("b", "a", "C", "a.2", "a-1"):
        dataset_store.put_dataset(a_dataset(name))
    dataset_store.put_dataset(a_dataset("a0", owner="other"))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(6):
        found, cursor = dataset_store.list_datasets(OWNER, limit=limit, cursor=cursor)
        assert len(found) == limit or cursor is None
        seen += [d.dataset_id for d in found]
        if cursor is None:
            break
    assert seen == ["C", "a", "a-1", "a.2", "b"]
    assert dataset_store.list_datasets("nobody") == ([], None)


def test_a_cursor_belongs_to_its_owner(dataset_store: DatasetStore) -> None:
    for name in ("a", "b"):
        dataset_store.put_dataset(a_dataset(name))
    _, cursor = dataset_store.list_datasets(OWNER, limit=1)
    assert cursor is not None
    for owner, wrong in (("other", cursor), (OWNER, "garbage"), (OWNER, "")):
        with pytest.raises(InvalidCursorError):
            dataset_store.list_datasets(owner, cursor=wrong)


def test_a_dataset_is_found_by_the_path_it_was_pushed_from(dataset_store: DatasetStore) -> None:
    path = "/home/jürgen/" + "very/long/" * 300 + "photos"
    dataset_store.put_dataset(a_dataset(source_path=path))
    dataset_store.put_dataset(a_dataset("others", source_path="/elsewhere"))
    assert dataset_store.find_by_source(OWNER, path) == a_dataset(source_path=path)
    assert dataset_store.find_by_source(OWNER, path + "/") is None
    assert dataset_store.find_by_source("other", path) is None


def test_of_several_from_one_path_the_one_updated_last_is_found(dataset_store: DatasetStore) -> None:
    a = a_dataset("a", source_path="/p", updated_at=NOW + timedelta(seconds=3))
    b = a_dataset("b", source_path="/p", updated_at=NOW + timedelta(seconds=1))
    dataset_store.put_dataset(a)
    dataset_store.put_dataset(b)
    assert dataset_store.find_by_source(OWNER, "/p") == a
    b = changed(b, 5)
    dataset_store.put_dataset(b)
    assert dataset_store.find_by_source(OWNER, "/p") == b
    b = changed(b, 6, source_path="/q")
    dataset_store.put_dataset(b)
    assert dataset_store.find_by_source(OWNER, "/p") == a
    dataset_store.delete_dataset(a)
    assert dataset_store.find_by_source(OWNER, "/p") is None
    dataset_store.put_dataset(changed(b, 7, source_path=None))
    assert dataset_store.find_by_source(OWNER, "/q") is None


def test_of_parallel_pushes_from_different_paths_one_wins_and_leaves_one_way_back(dataset_store: DatasetStore) -> None:
    paths = [f"/p{i}" for i in range(6)]
    results = together(6, lambda i: dataset_store.put_dataset(a_dataset(source_path=paths[i])))
    assert results.count(None) == 1
    assert sum(isinstance(r, StaleRecordError) for r in results) == 5
    stored = dataset_store.get_dataset(OWNER, "photos")
    assert stored is not None
    found = {path: dataset_store.find_by_source(OWNER, path) for path in paths}
    assert {path for path, dataset in found.items() if dataset} == {stored.source_path}


# --- versions -----------------------------------------------------------------------------------------------------
def test_a_version_is_created_once(dataset_store: DatasetStore) -> None:
    assert dataset_store.get_version(OWNER, "photos", "v-1") is None
    assert dataset_store.create_version(a_version()) == a_version()
    later = a_version(created_at=NOW + timedelta(days=1), source_path="/p")
    assert dataset_store.create_version(later) == a_version()
    assert dataset_store.get_version(OWNER, "photos", "v-1") == a_version()
    assert list(dataset_store.list_versions(OWNER, "photos")) == [a_version()]


def test_parallel_creations_agree_on_one_version(dataset_store: DatasetStore) -> None:
    made = together(12, lambda i: dataset_store.create_version(a_version(source_path=f"/p{i}")))
    stored = dataset_store.get_version(OWNER, "photos", "v-1")
    assert made == [stored] * 12


def test_a_version_is_updated(dataset_store: DatasetStore) -> None:
    dataset_store.create_version(a_version())
    half = a_version().changed(checked=2)
    dataset_store.update_version(half)
    assert dataset_store.get_version(OWNER, "photos", "v-1") == half
    ready = half.changed(checked=3, status=READY, completed_at=NOW)
    dataset_store.update_version(ready)
    assert dataset_store.get_version(OWNER, "photos", "v-1") == ready
    assert list(dataset_store.list_versions(OWNER, "photos")) == [ready]


def test_a_version_that_somebody_else_changed_is_not_overwritten(dataset_store: DatasetStore) -> None:
    dataset_store.create_version(a_version())
    doomed = a_version().changed(status=DELETING)
    dataset_store.update_version(doomed)
    for late in (a_version().changed(status=READY), a_version(status=READY), doomed.changed().changed()):
        with pytest.raises(StaleRecordError):
            dataset_store.update_version(late)
    with pytest.raises(StaleRecordError):
        dataset_store.delete_version(OWNER, "photos", "v-1", revision=1)
    assert dataset_store.get_version(OWNER, "photos", "v-1") == doomed
    assert list(dataset_store.list_versions(OWNER, "photos")) == [doomed]
    dataset_store.delete_version(OWNER, "photos", "v-1", revision=2)
    assert dataset_store.get_version(OWNER, "photos", "v-1") is None
    dataset_store.delete_version(OWNER, "photos", "v-1", revision=2)


def test_of_a_completion_and_a_deletion_at_once_one_wins(dataset_store: DatasetStore) -> None:
    dataset_store.create_version(a_version())
    news = [a_version().changed(status=status) for status in (READY, DELETING) * 4]
    results = together(8, lambda i: dataset_store.update_version(news[i]))
    assert results.count(None) == 1
    assert sum(isinstance(r, StaleRecordError) for r in results) == 7
    assert dataset_store.get_version(OWNER, "photos", "v-1") == news[results.index(None)]


def test_versions_that_are_not_ready_are_listed_oldest_first(dataset_store: DatasetStore) -> None:
    def unfinished(before: int = 100, **options: Any) -> list[str]:
        found = dataset_store.list_unfinished(created_before=NOW + timedelta(seconds=before), **options)
        return [f"{v.owner}/{v.dataset_id}/{v.version_id}/{v.status.value}/{v.revision}" for v in found]

    def at(seconds: int, **changes: Any) -> DatasetVersion:
        version = a_version(created_at=NOW + timedelta(seconds=seconds), **changes)
        return dataset_store.create_version(version)

    assert unfinished() == []
    b, a, c = at(2, version_id="v-b"), at(1, version_id="v-a", owner="other"), at(3, dataset_id="more")
    assert unfinished() == [
        "other/photos/v-a/uploading/1",
        "local/photos/v-b/uploading/1",
        "local/more/v-1/uploading/1",
    ]
    assert unfinished(limit=1) == ["other/photos/v-a/uploading/1"]
    assert unfinished(before=2) == ["other/photos/v-a/uploading/1"]
    b = b.changed(status=READY)
    dataset_store.update_version(b)
    dataset_store.update_version(a.changed(checked=1))
    dataset_store.delete_version(c.owner, c.dataset_id, c.version_id)
    assert unfinished() == ["other/photos/v-a/uploading/2"]
    dataset_store.update_version(b.changed(status=DELETING))
    assert unfinished() == ["other/photos/v-a/uploading/2", "local/photos/v-b/deleting/3"]
    dataset_store.delete_version(b.owner, b.dataset_id, b.version_id, revision=3)
    assert unfinished() == ["other/photos/v-a/uploading/2"]


def test_a_version_that_was_deleted_meanwhile_is_not_brought_back(dataset_store: DatasetStore) -> None:
    dataset_store.create_version(a_version())
    dataset_store.delete_version(OWNER, "photos", "v-1")
    for status in (READY, UPLOADING):
        with pytest.raises(StaleRecordError):
            dataset_store.update_version(a_version().changed(status=status))
    assert dataset_store.get_version(OWNER, "photos", "v-1") is None
    assert list(dataset_store.list_versions(OWNER, "photos")) == []
    dataset_store.delete_version(OWNER, "photos", "v-1")


def test_versions_are_listed_newest_first(dataset_store: DatasetStore) -> None:
    order = {"v-b": 0, "v-a": 2, "v-c": 1, "v-d": 2}
    for name, seconds in order.items():
        dataset_store.create_version(a_version(name, created_at=NOW + timedelta(seconds=seconds)))
    dataset_store.create_version(a_version("v-x", dataset_id="photos2"))
    dataset_store.create_version(a_version("v-y", owner="other"))
    assert [v.version_id for v in dataset_store.list_versions(OWNER, "photos")] == ["v-d", "v-a", "v-c", "v-b"]
    assert list(dataset_store.list_versions(OWNER, "none")) == []


def test_a_thousand_versions_at_most(dataset_store: DatasetStore) -> None:
    for n in range(1003):
        dataset_store.create_version(a_version(f"v-{n:04}", created_at=NOW + timedelta(seconds=n)))
    listed = [v.version_id for v in dataset_store.list_versions(OWNER, "photos")]
    assert listed == [f"v-{n:04}" for n in range(1002, 2, -1)]


def test_datasets_and_versions_live_apart(dataset_store: DatasetStore) -> None:
    dataset_store.put_dataset(a_dataset(latest_version="v-1"))
    dataset_store.create_version(a_version())
    dataset_store.delete_dataset(a_dataset())
    assert dataset_store.get_version(OWNER, "photos", "v-1") == a_version()
    dataset_store.put_dataset(a_dataset())
    dataset_store.delete_version(OWNER, "photos", "v-1")
    assert dataset_store.get_dataset(OWNER, "photos") == a_dataset()


# --- quota and retention ------------------------------------------------------------------------------------------
def test_what_versions_take_is_counted_once(dataset_store: DatasetStore) -> None:
    assert dataset_store.usage(OWNER) == DatasetUsage()
    first = a_version(counted_bytes=100)
    for _ in range(2):
        assert dataset_store.create_version(first, quota_bytes=150) == first
    dataset_store.create_version(a_version("v-2", counted_bytes=0), quota_bytes=150)
    dataset_store.create_version(a_version("v-old"), quota_bytes=150)
    assert dataset_store.usage(OWNER) == DatasetUsage(bytes=100, versions=2)
    assert dataset_store.usage("other") == DatasetUsage()
    dataset_store.update_version(first.changed(status=READY))
    for _ in range(2):
        dataset_store.delete_version(OWNER, "photos", "v-1")
        dataset_store.delete_version(OWNER, "photos", "v-old")
    assert dataset_store.usage(OWNER) == DatasetUsage(bytes=0, versions=1)


def test_a_quota_is_not_exceeded(dataset_store: DatasetStore) -> None:
    dataset_store.create_version(a_version(counted_bytes=100), quota_bytes=150)
    for size in (51, 151):
        with pytest.raises(QuotaExceededError) as caught:
            dataset_store.create_version(a_version("v-2", counted_bytes=size), quota_bytes=150)
        assert caught.value.used == 100
    assert dataset_store.get_version(OWNER, "photos", "v-2") is None
    assert dataset_store.list_unfinished(created_before=NOW + timedelta(days=1))[0].version_id == "v-1"
    assert dataset_store.create_version(a_version(counted_bytes=100), quota_bytes=1).version_id == "v-1", "it is there"
    dataset_store.create_version(a_version("v-2", counted_bytes=50), quota_bytes=150)
    assert dataset_store.usage(OWNER) == DatasetUsage(bytes=150, versions=2)


def test_a_quota_holds_when_many_push_at_once(dataset_store: DatasetStore) -> None:
    def push(i: int) -> bool:
        try:
            dataset_store.create_version(a_version(f"v-{i}", counted_bytes=10), quota_bytes=45)
        except QuotaExceededError:
            return False
        return True

    assert sum(together(10, push)) == 4
    assert dataset_store.usage(OWNER) == DatasetUsage(bytes=40, versions=4)
    together(8, lambda i: dataset_store.delete_version(OWNER, "photos", f"v-{i}"))
    rest = dataset_store.list_versions(OWNER, "photos")
    assert dataset_store.usage(OWNER) == DatasetUsage(bytes=10 * len(rest), versions=len(rest))


def test_datasets_with_retention_are_found_when_they_are_due(dataset_store: DatasetStore) -> None:
    def retained(by: timedelta) -> list[str]:
        return [d.dataset_id for d in dataset_store.list_retained(due_before=NOW + by)]

    first = a_dataset("a", retention_days=3, retention_due=NOW + timedelta(hours=2))
    second = a_dataset("b", owner="other", retention_days=3, retention_due=NOW + timedelta(hours=1))
    for dataset in (first, second, a_dataset("c")):
        dataset_store.put_dataset(dataset)
    assert retained(timedelta(hours=1)) == []
    assert retained(timedelta(hours=3)) == ["b", "a"]
    assert dataset_store.list_retained(due_before=NOW + timedelta(hours=3), limit=1) == [second]
    later = changed(second, retention_due=NOW + timedelta(hours=5))
    dataset_store.put_dataset(later)
    dataset_store.put_dataset(changed(later, latest_version="v-1"))
    dataset_store.put_dataset(changed(first, retention_due=None, retention_days=None))
    assert retained(timedelta(hours=3)) == []
    assert [d.latest_version for d in dataset_store.list_retained(due_before=NOW + timedelta(hours=6))] == ["v-1"]
    dataset_store.delete_dataset(changed(later))
    assert retained(timedelta(hours=6)) == []


# --- another owner ---
def test_a_ready_version_moves_to_another_owner_whole(dataset_store: DatasetStore) -> None:
    made = dataset_store.create_version(a_version(counted_bytes=100), quota_bytes=150)
    ready = made.changed(status=VersionStatus.READY)
    dataset_store.update_version(ready)
    dataset_store.move_version(ready, "sub-ada")
    moved = ready.model_copy(update={"owner": "sub-ada", "revision": 1})
    assert dataset_store.get_version("sub-ada", ready.dataset_id, ready.version_id) == moved
    assert dataset_store.list_versions("sub-ada", ready.dataset_id) == [moved]
    assert dataset_store.get_version(ready.owner, ready.dataset_id, ready.version_id) is None
    assert dataset_store.list_versions(ready.owner, ready.dataset_id) == []
    assert dataset_store.usage(ready.owner) == DatasetUsage()
    assert dataset_store.usage("sub-ada") == DatasetUsage(bytes=100, versions=1)
    assert dataset_store.list_unfinished(created_before=NOW + timedelta(days=1)) == []
    with pytest.raises(StaleRecordError):
        dataset_store.move_version(ready, "sub-bob")
    dataset_store.update_version(moved.changed(status=VersionStatus.DELETING))


def test_a_version_that_they_have_already_stays_where_it_is(dataset_store: DatasetStore) -> None:
    ready = a_version().changed(status=VersionStatus.READY)
    dataset_store.create_version(a_version())
    dataset_store.update_version(ready)
    theirs = dataset_store.create_version(a_version(owner="sub-ada"))
    with pytest.raises(StaleRecordError):
        dataset_store.move_version(ready, "sub-ada")
    with pytest.raises(StaleRecordError):
        dataset_store.move_version(a_version(), "sub-bob")
    assert dataset_store.get_version("sub-ada", ready.dataset_id, ready.version_id) == theirs
    assert dataset_store.get_version(ready.owner, ready.dataset_id, ready.version_id) == ready
