"""``DatasetStore``: datasets, their versions, and the way back from a path."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.datasets import Dataset, DatasetVersion, VersionStatus
from chalicelib.domain.ports import DatasetStore, InvalidCursorError, StaleRecordError
from tests.support.jobs import NOW, OWNER, together

READY, UPLOADING = VersionStatus.READY, VersionStatus.UPLOADING


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
def test_a_dataset_is_created_replaced_and_deleted(dataset_store: DatasetStore) -> None:
    assert dataset_store.get_dataset(OWNER, "photos") is None
    dataset_store.put_dataset(a_dataset())
    assert dataset_store.get_dataset(OWNER, "photos") == a_dataset()
    second = a_dataset(latest_version="v-1", source_path="/data/photos", updated_at=NOW + timedelta(seconds=1))
    dataset_store.put_dataset(second)
    assert dataset_store.get_dataset(OWNER, "photos") == second
    assert dataset_store.get_dataset("other", "photos") is None
    dataset_store.delete_dataset(OWNER, "photos")
    assert dataset_store.get_dataset(OWNER, "photos") is None
    assert dataset_store.find_by_source(OWNER, "/data/photos") is None
    dataset_store.delete_dataset(OWNER, "photos")


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
    dataset_store.delete_dataset(OWNER, odd)
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
    def named(name: str, seconds: int) -> Dataset:
        return a_dataset(name, source_path="/p", updated_at=NOW + timedelta(seconds=seconds))

    dataset_store.put_dataset(named("a", 3))
    dataset_store.put_dataset(named("b", 1))
    assert dataset_store.find_by_source(OWNER, "/p") == named("a", 3)
    dataset_store.put_dataset(named("b", 5))
    assert dataset_store.find_by_source(OWNER, "/p") == named("b", 5)
    dataset_store.put_dataset(a_dataset("b", source_path="/q", updated_at=NOW + timedelta(seconds=6)))
    assert dataset_store.find_by_source(OWNER, "/p") == named("a", 3)
    dataset_store.delete_dataset(OWNER, "a")
    assert dataset_store.find_by_source(OWNER, "/p") is None
    dataset_store.put_dataset(a_dataset("b", source_path=None, updated_at=NOW + timedelta(seconds=7)))
    assert dataset_store.find_by_source(OWNER, "/q") is None


def test_parallel_pushes_from_different_paths_leave_one_way_back(dataset_store: DatasetStore) -> None:
    paths = [f"/p{i}" for i in range(6)]
    results = together(6, lambda i: dataset_store.put_dataset(a_dataset(source_path=paths[i])))
    assert results == [None] * 6
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
    half = a_version(checked=2)
    dataset_store.update_version(half)
    assert dataset_store.get_version(OWNER, "photos", "v-1") == half
    ready = a_version(checked=3, status=READY, completed_at=NOW)
    dataset_store.update_version(ready)
    assert dataset_store.get_version(OWNER, "photos", "v-1") == ready
    assert list(dataset_store.list_versions(OWNER, "photos")) == [ready]
    again = ready.model_copy(update={"completed_at": NOW + timedelta(seconds=1)})
    dataset_store.update_version(again)
    assert dataset_store.get_version(OWNER, "photos", "v-1") == again


def test_ready_never_becomes_uploading_again(dataset_store: DatasetStore) -> None:
    dataset_store.create_version(a_version())
    ready = a_version(checked=3, status=READY)
    dataset_store.update_version(ready)
    with pytest.raises(StaleRecordError):
        dataset_store.update_version(a_version(checked=1))
    assert dataset_store.get_version(OWNER, "photos", "v-1") == ready
    assert list(dataset_store.list_versions(OWNER, "photos")) == [ready]


def test_a_version_that_was_deleted_meanwhile_is_not_brought_back(dataset_store: DatasetStore) -> None:
    dataset_store.create_version(a_version())
    dataset_store.delete_version(OWNER, "photos", "v-1")
    for status in (READY, UPLOADING):
        with pytest.raises(StaleRecordError):
            dataset_store.update_version(a_version(status=status))
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
    dataset_store.delete_dataset(OWNER, "photos")
    assert dataset_store.get_version(OWNER, "photos", "v-1") == a_version()
    dataset_store.put_dataset(a_dataset())
    dataset_store.delete_version(OWNER, "photos", "v-1")
    assert dataset_store.get_dataset(OWNER, "photos") == a_dataset()
