"""``ArchiveStore``: records of archives, and those of them that are not settled."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.archive_ports import ArchiveStore
from chalicelib.domain.archives import ArchiveFailure, ArchiveRecord, ArchiveStatus
from chalicelib.domain.ports import InvalidCursorError, StaleRecordError
from chalicelib.store.archives import DynamoArchiveStore
from tests.fakes.archives import InMemoryArchiveStore
from tests.support.jobs import NOW, OWNER, together


@pytest.fixture(params=["memory", "dynamodb"])
def archive_store(request: pytest.FixtureRequest) -> ArchiveStore:
    if request.param == "memory":
        return InMemoryArchiveStore()
    return DynamoArchiveStore(request.getfixturevalue("jobs_table"))


def an_archive(archive_id: str = "a1", *, at: datetime = NOW, **changes: Any) -> ArchiveRecord:
    base = ArchiveRecord(
        owner=OWNER,
        dataset_id="photos",
        archive_id=archive_id,
        filename="写真.zip",
        size=123,
        upload_id="u",
        created_at=at,
        touched_at=at,
    )
    return base.model_copy(update=changes)


def test_an_archive_is_created_once_changed_and_deleted(archive_store: ArchiveStore) -> None:
    assert archive_store.get(OWNER, "photos", "a1") is None
    archive_store.create(an_archive())
    with pytest.raises(StaleRecordError):
        archive_store.create(an_archive(filename="other.zip"))
    assert archive_store.get(OWNER, "photos", "a1") == an_archive()
    failure = ArchiveFailure(code="truncated_archive", message="It is cut off.", advice="Upload it again.")
    ended = an_archive().changed(NOW + timedelta(seconds=1), status=ArchiveStatus.FAILED, failure=failure)
    archive_store.update(ended)
    assert archive_store.get(OWNER, "photos", "a1") == ended
    for owner, dataset in (("other", "photos"), (OWNER, "photos2")):
        assert archive_store.get(owner, dataset, "a1") is None
    with pytest.raises(StaleRecordError):
        archive_store.delete(an_archive())
    archive_store.delete(ended)
    assert archive_store.get(OWNER, "photos", "a1") is None
    archive_store.delete(ended)


def test_one_that_somebody_else_changed_is_not_overwritten(archive_store: ArchiveStore) -> None:
    archive_store.create(an_archive())
    news = [an_archive().changed(NOW, attempt=i) for i in range(6)]
    results = together(6, lambda i: archive_store.update(news[i]))
    assert results.count(None) == 1
    assert sum(isinstance(r, StaleRecordError) for r in results) == 5
    stored = archive_store.get(OWNER, "photos", "a1")
    assert stored == news[results.index(None)]
    archive_store.delete(stored)
    with pytest.raises(StaleRecordError):
        archive_store.update(stored.changed(NOW))
    assert archive_store.get(OWNER, "photos", "a1") is None


def test_an_owners_are_listed_while_they_are_not_over(archive_store: ArchiveStore) -> None:
    second, first = an_archive("a1", at=NOW + timedelta(seconds=1)), an_archive("a2", dataset_id="more")
    for archive in (second, first, an_archive("a3", owner="other")):
        archive_store.create(archive)
    assert archive_store.list_open(OWNER) == [first, second]
    assert archive_store.list_open(OWNER, limit=1) == [first]
    unpacking = first.changed(NOW, status=ArchiveStatus.UNPACKING)
    archive_store.update(unpacking)
    assert archive_store.list_open(OWNER) == [unpacking, second]
    archive_store.update(unpacking.changed(NOW, status=ArchiveStatus.READY))
    archive_store.delete(second)
    assert archive_store.list_open(OWNER) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_they_are_listed_newest_first(archive_store: ArchiveStore, limit: int) -> None:
    for i in (2, 5, 1, 3, 4):
        archive_store.create(an_archive(f"a{i}"))
    archive_store.create(an_archive("a9", dataset_id="others"))
    archive_store.create(an_archive("a8", owner="other"))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(7):
        found, cursor = archive_store.list_of(OWNER, "photos", limit=limit, cursor=cursor)
        seen += [a.archive_id for a in found]
        if cursor is None:
            break
    assert seen == ["a5", "a4", "a3", "a2", "a1"]
    _, cursor = archive_store.list_of(OWNER, "photos", limit=1)
    assert cursor is not None
    for owner, dataset, wrong in (("other", "photos", cursor), (OWNER, "others", cursor), (OWNER, "photos", "x")):
        with pytest.raises(InvalidCursorError):
            archive_store.list_of(owner, dataset, cursor=wrong)


def test_what_is_not_settled_is_listed_oldest_first(archive_store: ArchiveStore) -> None:
    def unsettled(before: int = 100, **options: Any) -> list[str]:
        found = archive_store.list_unsettled(created_before=NOW + timedelta(seconds=before), **options)
        return [f"{a.owner}/{a.archive_id}/{a.revision}" for a in found]

    second = an_archive("a2", at=NOW + timedelta(seconds=2))
    first = an_archive("a1", at=NOW + timedelta(seconds=1), owner="other")
    for archive in (second, first, an_archive("a3", at=NOW + timedelta(seconds=3))):
        archive_store.create(archive)
    assert unsettled() == ["other/a1/1", "local/a2/1", "local/a3/1"]
    assert unsettled(limit=1) == unsettled(before=2) == ["other/a1/1"]
    archive_store.update(second.changed(NOW, settled=True))
    archive_store.update(first.changed(NOW, status=ArchiveStatus.UNPACKING))
    assert unsettled() == ["other/a1/2", "local/a3/1"]
    archive_store.delete(an_archive("a3", at=NOW + timedelta(seconds=3)))
    assert unsettled() == ["other/a1/2"]


@pytest.mark.parametrize("odd", ["", "x" * 3000, "\ud800", "a1#"])
def test_any_id_may_be_asked_for(archive_store: ArchiveStore, odd: str) -> None:
    archive_store.create(an_archive())
    assert archive_store.get(OWNER, "photos", odd) is None
    assert archive_store.get(OWNER, odd, "a1") is None
    assert archive_store.list_of(OWNER, odd) == ([], None)
