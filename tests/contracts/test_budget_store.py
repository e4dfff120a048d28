"""``JobStore``: what the jobs of an API key with a budget may cost."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.domain.budgets import BudgetExceededError, BudgetHold
from chalicelib.domain.jobs import Job, JobStatus
from chalicelib.domain.ports import IdempotencyHitError, JobStore, SlotsFullError, StaleRecordError
from chalicelib.store import DynamoJobStore
from tests.support.emulator import Emulator
from tests.support.jobs import NOW, OWNER, ROOM, a_job, a_key, an_event, an_input, moved, over, together
from tests.support.lossy import LoseAnswer, LossyProxy, lossy_proxy

BUDGET = BudgetHold("key1", Decimal("10"))


def held(job_id: str = "job1", hold: str = "4", **changes: Any) -> Job:
    return a_job(job_id, key_id="key1", budget_id="key1", budget_hold_usd=Decimal(hold), **changes)


def submit(store: JobStore, job: Job, *, budget: BudgetHold | None = BUDGET, slot_limit: int = ROOM) -> Job:
    store.submit(job, an_input(job.job_id), [], None, slot_limit, NOW, budget)
    return job


def test_what_fits_is_held_and_what_does_not_is_refused_with_what_is_left(job_store: JobStore) -> None:
    assert job_store.budget_used("key1") == 0
    submit(job_store, held("job1", "4"))
    submit(job_store, held("job2", "5.5"))
    with pytest.raises(BudgetExceededError) as refused:
        submit(job_store, held("job3", "0.500001"))
    assert refused.value.left == Decimal("0.5")
    assert job_store.get("job3") is None
    assert job_store.slot_holders(OWNER) == {"job1", "job2"}
    assert job_store.budget_used("key1") == Decimal("9.5")
    submit(job_store, held("job3", "0.5"))
    assert job_store.budget_used("key1") == 10
    assert job_store.get("job3") == held("job3", "0.5")


def test_a_first_job_beyond_the_budget_is_refused(job_store: JobStore) -> None:
    with pytest.raises(BudgetExceededError) as refused:
        submit(job_store, held(hold="10.000001"))
    assert refused.value.left == 10
    assert job_store.get("job1") is None
    assert job_store.budget_used("key1") == 0


def test_a_budget_that_was_lowered_below_what_is_used_leaves_nothing(job_store: JobStore) -> None:
    submit(job_store, held(hold="4"))
    with pytest.raises(BudgetExceededError) as refused:
        submit(job_store, held("job2", "1"), budget=BudgetHold("key1", Decimal("2")))
    assert refused.value.left == 0


def test_budgets_are_counted_apart(job_store: JobStore) -> None:
    submit(job_store, held(hold="10"))
    other = held("job2", "10").model_copy(update={"budget_id": "key2"})
    submit(job_store, other, budget=BudgetHold("key2", Decimal("10")))
    submit(job_store, a_job("job3"), budget=None)
    assert job_store.budget_used("key1") == 10
    assert job_store.budget_used("key2") == 10


def test_the_end_of_a_job_counts_its_cost_in_place_of_the_hold(job_store: JobStore) -> None:
    job = submit(job_store, held(hold="4"))
    ended = over(job).model_copy(update={"cost_usd": Decimal("1.234567"), "prediction_id": "p1"})
    job_store.save(ended, events=[an_event("job1", 1)], release_slot=True)
    assert job_store.budget_used("key1") == Decimal("1.234567")
    with pytest.raises(StaleRecordError):
        job_store.save(ended, release_slot=True)
    assert job_store.budget_used("key1") == Decimal("1.234567")
    job_store.delete(ended)
    assert job_store.budget_used("key1") == Decimal("1.234567"), "deleting a job gives no money back"


@pytest.mark.parametrize(
    ("facts", "counted"),
    [
        ({}, "0"),
        ({"prediction_id": "p1", "provider_status": "aborted"}, "0"),
        ({"prediction_id": "p1", "provider_status": "canceled"}, "0"),
        ({"prediction_id": "p1", "provider_status": "canceled", "started_at": NOW}, "4"),
        ({"prediction_id": "p1", "provider_status": "failed"}, "4"),
        ({"prediction_id": "p1", "cost_usd": Decimal("4.5")}, "4.5"),
        ({"prediction_id": "p1", "cost_usd": Decimal("4")}, "4"),
    ],
)
def test_a_cost_that_nobody_can_tell_counts_with_the_hold_unless_nothing_ran(
    job_store: JobStore, facts: dict[str, Any], counted: str
) -> None:
    job = submit(job_store, held(hold="4"))
    job_store.save(over(job, JobStatus.CANCELLED).model_copy(update=facts), release_slot=True)
    assert job_store.budget_used("key1") == Decimal(counted)
    assert job_store.slot_holders(OWNER) == frozenset()


def test_a_job_that_goes_on_keeps_its_hold(job_store: JobStore) -> None:
    job = submit(job_store, held(hold="4"))
    job_store.save(moved(job, cost_usd=Decimal("1")), events=[an_event("job1", 1)])
    assert job_store.budget_used("key1") == 4


def test_a_known_idempotency_key_wins_over_the_budget_and_the_budget_over_full_slots(job_store: JobStore) -> None:
    first = held(hold="10")
    job_store.submit(first, an_input("job1"), [], a_key("job1"), 1, NOW, BUDGET)
    with pytest.raises(IdempotencyHitError):
        job_store.submit(held("job2"), an_input("job2"), [], a_key("job2"), 1, NOW, BUDGET)
    with pytest.raises(BudgetExceededError):
        submit(job_store, held("job2"), slot_limit=1)
    with pytest.raises(SlotsFullError):
        submit(job_store, a_job("job2"), budget=None, slot_limit=1)
    assert job_store.budget_used("key1") == 10


@pytest.mark.parametrize(
    ("changes", "budget"),
    [
        ({"budget_id": None}, BUDGET),
        ({"budget_hold_usd": None}, BUDGET),
        ({"budget_hold_usd": Decimal("-1")}, BUDGET),
        ({"budget_hold_usd": Decimal("NaN")}, BUDGET),
        ({}, BudgetHold("key2", Decimal(1))),
        ({}, None),
    ],
)
def test_a_job_without_the_hold_of_its_budget_is_not_taken(
    job_store: JobStore, changes: dict[str, Any], budget: BudgetHold | None
) -> None:
    with pytest.raises(ValueError, match="budget"):
        submit(job_store, held().model_copy(update=changes), budget=budget)
    assert job_store.get("job1") is None


def test_parallel_submits_never_overdraw_a_budget(job_store: JobStore) -> None:
    results = together(16, lambda i: submit(job_store, held(f"job{i:02}", "3")).job_id)
    assert sum(isinstance(r, str) for r in results) == 3
    assert {r.left for r in results if isinstance(r, BudgetExceededError)} <= {Decimal(1), Decimal(4), Decimal(7)}
    assert sum(isinstance(r, BudgetExceededError) for r in results) == 13
    assert job_store.budget_used("key1") == 9


# --- lost answers -------------------------------------------------------------------------------------------------
@pytest.fixture
def proxy(emulator: Emulator, aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LossyProxy]:
    with lossy_proxy(emulator.port) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


def test_a_hold_and_a_settlement_whose_answers_are_lost_count_once(proxy: LossyProxy, jobs_table: str) -> None:
    store = DynamoJobStore(jobs_table)
    proxy.plan.append(LoseAnswer("TransactWriteItems"))
    job = submit(store, held(hold="4"))
    assert store.budget_used("key1") == 4
    proxy.plan.append(LoseAnswer("TransactWriteItems"))
    store.save(over(job).model_copy(update={"cost_usd": Decimal("1.5")}), release_slot=True)
    assert not proxy.plan
    assert store.budget_used("key1") == Decimal("1.5")
