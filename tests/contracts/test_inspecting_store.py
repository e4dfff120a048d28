"""``DatasetStore``: versions whose inspection is not over."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.datasets import InspectionStatus, InspectionSummary
from chalicelib.domain.ports import DatasetStore
from tests.contracts.test_dataset_store import READY, a_version
from tests.support.jobs import NOW, OWNER


def inspected(status: InspectionStatus, *, at: datetime = NOW) -> InspectionSummary:
    return InspectionSummary(status=status, asked_at=at, tried_at=at)


def test_an_inspection_is_listed_until_it_is_over(dataset_store: DatasetStore) -> None:
    def listed() -> list[str]:
        return [v.version_id for v in dataset_store.list_inspecting(asked_before=NOW + timedelta(minutes=1))]

    version = a_version()
    dataset_store.create_version(version)
    assert listed() == []
    pending = version.changed(status=READY, inspection=inspected(InspectionStatus.PENDING))
    dataset_store.update_version(pending)
    assert dataset_store.get_version(OWNER, "photos", "v-1") == pending
    assert listed() == ["v-1"]
    assert dataset_store.list_inspecting(asked_before=NOW) == []
    # Neither an upload nor a deletion: what cleans up after those must not see it.
    assert dataset_store.list_unfinished(created_before=NOW + timedelta(days=1)) == []
    running = pending.changed(inspection=inspected(InspectionStatus.RUNNING))
    dataset_store.update_version(running)
    assert dataset_store.list_inspecting(asked_before=NOW + timedelta(minutes=1)) == [running]
    for over in (InspectionStatus.DONE, InspectionStatus.FAILED):
        running = running.changed(inspection=inspected(over))
        dataset_store.update_version(running)
        assert listed() == []
    again = running.changed(inspection=inspected(InspectionStatus.PENDING, at=NOW + timedelta(seconds=5)))
    dataset_store.update_version(again)
    assert listed() == ["v-1"]


def test_inspections_are_listed_oldest_first_and_go_with_their_version(dataset_store: DatasetStore) -> None:
    for n in (2, 1, 3):
        version = a_version(f"v-{n}")
        dataset_store.create_version(version)
        asked = inspected(InspectionStatus.PENDING, at=NOW + timedelta(seconds=n))
        dataset_store.update_version(version.changed(status=READY, inspection=asked))
    later = NOW + timedelta(minutes=1)
    assert [v.version_id for v in dataset_store.list_inspecting(asked_before=later)] == ["v-1", "v-2", "v-3"]
    assert [v.version_id for v in dataset_store.list_inspecting(asked_before=later, limit=2)] == ["v-1", "v-2"]
    dataset_store.delete_version(OWNER, "photos", "v-1")
    assert [v.version_id for v in dataset_store.list_inspecting(asked_before=later)] == ["v-2", "v-3"]


def test_a_version_may_be_made_ready_and_to_be_inspected_at_once(dataset_store: DatasetStore) -> None:
    made = a_version(status=READY, inspection=inspected(InspectionStatus.PENDING), counted_bytes=5)
    assert dataset_store.create_version(made, quota_bytes=10) == made
    assert dataset_store.list_inspecting(asked_before=NOW + timedelta(seconds=1)) == [made]
