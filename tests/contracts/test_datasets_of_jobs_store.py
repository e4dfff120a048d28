"""``JobStore.submit`` and the dataset versions of the job: both stores look at the same database."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.domain.datasets import DatasetVersion, VersionStatus
from chalicelib.domain.jobs import DatasetRef, Job
from chalicelib.domain.ports import (
    BudgetExceededError,
    BudgetHold,
    DatasetGoneError,
    DatasetStore,
    IdempotencyHitError,
    JobStore,
    SlotsFullError,
    StaleRecordError,
)
from chalicelib.store import DynamoDatasetStore, DynamoJobStore
from tests.contracts.conftest import DYNAMODB, MEMORY
from tests.contracts.test_dataset_store import a_version
from tests.fakes.stores import InMemoryDatasetStore, InMemoryJobStore
from tests.support.jobs import NOW, OWNER, ROOM, a_job, a_key, an_event, an_input, submit, together

READY, UPLOADING, DELETING = VersionStatus.READY, VersionStatus.UPLOADING, VersionStatus.DELETING


@dataclass
class Stores:
    jobs: JobStore
    datasets: DatasetStore

    def ready(self, version_id: str = "v-1", **changes: Any) -> DatasetVersion:
        version = self.datasets.create_version(a_version(version_id, **changes)).changed(status=READY)
        self.datasets.update_version(version)
        return version


@pytest.fixture(params=[MEMORY, DYNAMODB])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == MEMORY:
        datasets = InMemoryDatasetStore()
        return Stores(InMemoryJobStore(datasets), datasets)
    table = request.getfixturevalue("jobs_table")
    return Stores(DynamoJobStore(table), DynamoDatasetStore(table))


def a_job_of(*versions: DatasetVersion, job_id: str = "job1") -> Job:
    references = tuple(
        DatasetRef(
            entry_id=f"entry{i}",
            dataset_id=version.dataset_id,
            version_id=version.version_id,
            prefix=version.prefix,
            files=version.files,
            bytes=version.bytes,
        )
        for i, version in enumerate(versions)
    )
    return a_job(job_id, datasets=references)


def test_a_job_of_ready_versions_is_taken_also_when_it_names_one_twice(stores: Stores) -> None:
    one, two = stores.ready(), stores.ready("v-2", dataset_id="masks")
    job = submit(stores.jobs, a_job_of(one, two, one), key=a_key(), events=[an_event("job1", 1)])
    assert stores.jobs.get("job1") == job


@pytest.mark.parametrize("state", [UPLOADING, DELETING, None])
def test_a_job_of_a_version_that_is_not_ready_is_refused_and_nothing_is_written(
    stores: Stores, state: VersionStatus | None
) -> None:
    sound, other = stores.ready(), a_version("v-2")
    if state is not None:
        stores.datasets.create_version(other)
        stores.datasets.update_version(other.changed(status=state))
    with pytest.raises(DatasetGoneError):
        submit(stores.jobs, a_job_of(sound, other), key=a_key(), events=[an_event("job1", 1)])
    assert stores.jobs.get("job1") is None
    assert stores.jobs.get_input("job1") is None
    assert list(stores.jobs.events("job1")) == []
    assert stores.jobs.find_idempotency(OWNER, "k" * 64, NOW) is None
    assert stores.jobs.slot_holders(OWNER) == frozenset()


def test_a_version_of_another_owner_does_not_count(stores: Stores) -> None:
    with pytest.raises(DatasetGoneError):
        submit(stores.jobs, a_job_of(stores.ready(owner="other")))


def test_a_hit_a_used_budget_and_full_slots_win_over_a_dataset_that_is_gone(stores: Stores) -> None:
    budget = BudgetHold("key1", Decimal(10))
    costly = a_job_of(a_version()).model_copy(update={"budget_id": "key1", "budget_hold_usd": Decimal(11)})
    submit(stores.jobs, a_job("job0"), key=a_key("job0"))
    with pytest.raises(IdempotencyHitError):
        stores.jobs.submit(costly, an_input("job1"), [], a_key(), 1, NOW, budget)
    with pytest.raises(BudgetExceededError):
        stores.jobs.submit(costly, an_input("job1"), [], None, 1, NOW, budget)
    with pytest.raises(SlotsFullError):
        submit(stores.jobs, a_job_of(a_version()), slot_limit=1)


def test_a_job_with_a_budget_whose_dataset_is_gone_holds_nothing_of_it(stores: Stores) -> None:
    budget = BudgetHold("key1", Decimal(10))
    held = {"budget_id": "key1", "budget_hold_usd": Decimal(4)}
    with pytest.raises(DatasetGoneError):
        stores.jobs.submit(a_job_of(a_version()).model_copy(update=held), an_input("job1"), [], None, ROOM, NOW, budget)
    assert stores.jobs.budget_used("key1") == 0
    ready = stores.ready()
    stores.jobs.submit(a_job_of(ready).model_copy(update=held), an_input("job1"), [], a_key(), ROOM, NOW, budget)
    assert stores.jobs.budget_used("key1") == 4


def test_the_largest_transaction_is_taken(stores: Stores) -> None:
    """Record, input, slot, key, budget, one check, and the events that are left."""
    held = {"budget_id": "key1", "budget_hold_usd": Decimal(4)}
    job = a_job_of(stores.ready()).model_copy(update=held)
    events = [an_event("job1", n) for n in range(1, 95)]
    stores.jobs.submit(job, an_input("job1"), events, a_key(), ROOM, NOW, BudgetHold("key1", Decimal(10)))
    assert len(stores.jobs.events("job1", limit=100)) == 94


def test_a_submit_and_a_deletion_at_once_never_both_go_unseen(stores: Stores) -> None:
    """Either the submit is refused, or whoever marked the version finds the job when it looks afterwards."""
    version = stores.ready()
    found: list[frozenset[str]] = []

    def one(i: int) -> str:
        if i % 2:
            submit(stores.jobs, a_job_of(version, job_id=f"job{i}"))
            return f"job{i}"
        stores.datasets.update_version(version.changed(status=DELETING))
        found.append(stores.jobs.slot_holders(OWNER))
        return "marked"

    results = together(8, one)
    taken = {r for r in results if isinstance(r, str)} - {"marked"}
    refused = [r for r in results if isinstance(r, Exception)]
    assert results.count("marked") == 1
    assert len(found) == 1
    assert found[0] == taken
    assert {type(r) for r in refused} <= {DatasetGoneError, StaleRecordError}
