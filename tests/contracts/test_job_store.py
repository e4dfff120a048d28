"""``JobStore``: submitting, saving, events, slots and removal."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from chalicelib.domain.idempotency import LIFETIME
from chalicelib.domain.jobs import Progress
from chalicelib.domain.ports import (
    DeletedJob,
    EscrowMark,
    IdempotencyHitError,
    JobFilter,
    JobStore,
    SlotsFullError,
    StaleRecordError,
)
from tests.support.jobs import NOW, OWNER, a_job, a_key, an_event, an_input, moved, over, submit, together, trained

EVERYTHING = JobFilter(owner=None)
TICK = timedelta(microseconds=1)


# --- submit -------------------------------------------------------------------------------------------------------
def test_a_submit_stores_job_input_events_key_and_slot(job_store: JobStore) -> None:
    job = a_job(event_seq=2, idempotency_hash="k" * 64, metadata={"note": "été", "nested": {"deep": [1, 2.5, None]}})
    events = [an_event("job1", 1, provider="replicate"), an_event("job1", 2)]
    job_store.submit(job, an_input(), events, a_key(), 1, NOW)
    assert job_store.get("job1") == job
    assert job_store.get_input("job1") == an_input()
    assert list(job_store.events("job1")) == events
    assert job_store.find_idempotency(OWNER, "k" * 64, NOW) == a_key()
    assert job_store.slot_holders(OWNER) == {"job1"}


def test_what_was_never_stored_is_none(job_store: JobStore) -> None:
    assert job_store.get("nope") is None
    assert job_store.get_input("nope") is None
    assert job_store.find_idempotency(OWNER, "k" * 64, NOW) is None
    assert list(job_store.events("nope")) == []
    assert job_store.slot_holders("nobody") == frozenset()


@pytest.mark.parametrize("odd", ["", "x" * 5000, "\ud800", "a b", "\x00", "../job1", "job1#record"])
def test_any_id_may_be_asked_for(job_store: JobStore, odd: str) -> None:
    submit(job_store, a_job())
    assert job_store.get(odd) is None
    assert job_store.get_input(odd) is None
    assert list(job_store.events(odd)) == []
    assert job_store.find_by_prediction("replicate", odd) is None


def test_money_times_and_numbers_come_back_exactly(job_store: JobStore) -> None:
    job = a_job(
        price_per_second=Decimal("0.00152500000000000001"),
        cost_usd=Decimal("12345678901234567890.10"),
        run_seconds=0.1 + 0.2,
        progress=Progress(step=250, total_steps=1000, loss=1.234e-05, learning_rate=1e-4),
        deadline=NOW + TICK,
        max_train_steps=2**60,
    )
    submit(job_store, job)
    assert job_store.get("job1") == job
    assert str(job_store.get("job1").cost_usd) == "12345678901234567890.10"  # type: ignore[union-attr]


def test_an_input_of_a_hundred_kilobytes_is_kept(job_store: JobStore) -> None:
    job_input = an_input("job1", prompts=["ü" * 100] * 500)
    job_store.submit(a_job(), job_input, [], None, 1, NOW)
    assert job_store.get_input("job1") == job_input


def test_a_job_id_is_taken_once(job_store: JobStore) -> None:
    submit(job_store, a_job())
    with pytest.raises(StaleRecordError):
        submit(job_store, a_job(run_name="another"))
    assert job_store.get("job1") == a_job()


def test_a_live_key_refuses_a_second_job_and_nothing_is_written(job_store: JobStore) -> None:
    submit(job_store, a_job("job1"), key=a_key("job1"))
    with pytest.raises(IdempotencyHitError) as hit:
        submit(job_store, a_job("job2"), key=a_key("job2"), events=[an_event("job2", 1)])
    assert hit.value.record == a_key("job1")
    assert job_store.get("job2") is None
    assert job_store.get_input("job2") is None
    assert list(job_store.events("job2")) == []
    assert job_store.slot_holders(OWNER) == {"job1"}


def test_a_key_lives_for_exactly_its_time_whatever_housekeeping_does(job_store: JobStore) -> None:
    submit(job_store, a_job("job1"), key=a_key("job1"))
    end = NOW + LIFETIME
    assert job_store.find_idempotency(OWNER, "k" * 64, end - TICK) == a_key("job1")
    assert job_store.find_idempotency(OWNER, "k" * 64, end) is None
    with pytest.raises(IdempotencyHitError):
        submit(job_store, a_job("job2"), key=a_key("job2", at=end - TICK), now=end - TICK)
    submit(job_store, a_job("job3"), key=a_key("job3", at=end), now=end)
    assert job_store.find_idempotency(OWNER, "k" * 64, end) == a_key("job3", at=end)


def test_keys_belong_to_their_owner(job_store: JobStore) -> None:
    submit(job_store, a_job("job1"), key=a_key("job1"))
    submit(job_store, a_job("job2", owner="other"), key=a_key("job2", owner="other"))
    assert job_store.find_idempotency("other", "k" * 64, NOW) == a_key("job2", owner="other")
    assert job_store.find_idempotency("third", "k" * 64, NOW) is None


def test_full_slots_refuse_and_nothing_is_written(job_store: JobStore) -> None:
    submit(job_store, a_job("job1"), slot_limit=2)
    submit(job_store, a_job("job2"), slot_limit=2)
    with pytest.raises(SlotsFullError):
        submit(job_store, a_job("job3"), slot_limit=2, key=a_key("job3"), events=[an_event("job3", 1)])
    assert job_store.get("job3") is None
    assert job_store.get_input("job3") is None
    assert list(job_store.events("job3")) == []
    assert job_store.find_idempotency(OWNER, "k" * 64, NOW) is None
    assert job_store.slot_holders(OWNER) == {"job1", "job2"}
    submit(job_store, a_job("job3", owner="other"), slot_limit=2)


def test_no_slots_at_all_means_no_jobs(job_store: JobStore) -> None:
    with pytest.raises(SlotsFullError):
        submit(job_store, a_job(), slot_limit=0)


def test_a_hit_wins_over_full_slots(job_store: JobStore) -> None:
    submit(job_store, a_job("job1"), slot_limit=1, key=a_key("job1"))
    with pytest.raises(IdempotencyHitError) as hit:
        submit(job_store, a_job("job2"), slot_limit=1, key=a_key("job2"))
    assert hit.value.record.job_id == "job1"


def test_a_hundred_parallel_submits_with_one_key_make_one_job(job_store: JobStore) -> None:
    def one(i: int) -> str:
        return submit(job_store, a_job(f"job{i}"), key=a_key(f"job{i}"), events=[an_event(f"job{i}", 1)]).job_id

    results = together(100, one)
    winners = [r for r in results if isinstance(r, str)]
    hits = [r for r in results if isinstance(r, IdempotencyHitError)]
    assert len(winners) == 1
    assert len(hits) == 99
    assert {hit.record.job_id for hit in hits} == set(winners)
    assert [job.job_id for job in job_store.list(EVERYTHING, limit=200).jobs] == winners
    assert job_store.slot_holders(OWNER) == set(winners)


def test_parallel_submits_never_overfill_the_slots(job_store: JobStore) -> None:
    results = together(24, lambda i: submit(job_store, a_job(f"job{i:02}"), slot_limit=5).job_id)
    winners = {r for r in results if isinstance(r, str)}
    assert len(winners) == 5
    assert sum(isinstance(r, SlotsFullError) for r in results) == 19
    assert job_store.slot_holders(OWNER) == winners
    assert {job.job_id for job in job_store.list(EVERYTHING, limit=100).jobs} == winners


# --- save ---------------------------------------------------------------------------------------------------------
def test_a_save_replaces_the_version_before_and_appends_events(job_store: JobStore) -> None:
    job = submit(job_store, a_job(), events=[an_event("job1", 1)])
    second = moved(job, event_seq=2)
    job_store.save(second, events=[an_event("job1", 2)])
    assert job_store.get("job1") == second
    assert [e.seq for e in job_store.events("job1")] == [1, 2]
    assert job_store.slot_holders(OWNER) == {"job1"}


@pytest.mark.parametrize("with_events", [False, True])
@pytest.mark.parametrize("release", [False, True])
def test_a_stale_save_changes_nothing(job_store: JobStore, with_events: bool, release: bool) -> None:
    job = submit(job_store, a_job())
    second = moved(job, run_name="second")
    job_store.save(second)
    late = moved(job, run_name="late")
    ahead = moved(moved(second))
    for wrong in (late, ahead, second):
        with pytest.raises(StaleRecordError):
            job_store.save(wrong, events=[an_event("job1", 1)] if with_events else [], release_slot=release)
    assert job_store.get("job1") == second
    assert list(job_store.events("job1")) == []
    assert job_store.slot_holders(OWNER) == {"job1"}


@pytest.mark.parametrize("with_events", [False, True])
def test_a_job_that_is_gone_is_not_saved_again(job_store: JobStore, with_events: bool) -> None:
    job = submit(job_store, a_job())
    job_store.delete(job)
    with pytest.raises(StaleRecordError):
        job_store.save(moved(job), events=[an_event("job1", 1)] if with_events else [])
    job_store.forget("job1")
    assert job_store.get("job1") is None
    assert list(job_store.events("job1")) == []


@pytest.mark.parametrize("with_events", [False, True])
def test_of_parallel_saves_of_one_version_one_wins(job_store: JobStore, with_events: bool) -> None:
    job = submit(job_store, a_job())

    def one(i: int) -> int:
        events = [an_event("job1", 1, writer=i)] if with_events else []
        job_store.save(moved(job, run_name=str(i)), events=events)
        return i

    results = together(16, one)
    winners = [r for r in results if isinstance(r, int)]
    assert len(winners) == 1
    assert sum(isinstance(r, StaleRecordError) for r in results) == 15
    stored = job_store.get("job1")
    assert stored is not None
    assert stored.run_name == str(winners[0])
    assert [e.data["writer"] for e in job_store.events("job1")] == (winners if with_events else [])


def test_identical_parallel_saves_do_not_both_win(job_store: JobStore) -> None:
    job = submit(job_store, a_job())
    results = together(8, lambda _: job_store.save(moved(job)))
    assert results.count(None) == 1


def test_the_end_of_a_job_frees_its_slot_in_the_same_write(job_store: JobStore) -> None:
    job = submit(job_store, a_job(), slot_limit=1)
    submit(job_store, a_job("job2"), slot_limit=2)
    job_store.save(over(job), events=[an_event("job1", 1)], release_slot=True)
    assert job_store.slot_holders(OWNER) == {"job2"}
    job_store.release_slot(OWNER, "job2")
    assert job_store.slot_holders(OWNER) == frozenset()
    submit(job_store, a_job("job3"), slot_limit=1)
    assert job_store.slot_holders(OWNER) == {"job3"}


def test_freeing_a_slot_that_is_not_held_has_no_effect(job_store: JobStore) -> None:
    submit(job_store, a_job())
    job_store.release_slot(OWNER, "other")
    job_store.release_slot("nobody", "job1")
    assert job_store.slot_holders(OWNER) == {"job1"}
    assert job_store.slot_holders("nobody") == frozenset()


# --- events -------------------------------------------------------------------------------------------------------
def test_events_come_in_order_after_a_number_and_up_to_a_limit(job_store: JobStore) -> None:
    job = submit(job_store, a_job(), events=[an_event("job1", n) for n in range(1, 91)])
    submit(job_store, a_job("job10"), events=[an_event("job10", 1)])
    job_store.save(moved(job), events=[an_event("job1", n) for n in range(91, 121)])
    assert [e.seq for e in job_store.events("job1")] == list(range(1, 101))
    assert [e.seq for e in job_store.events("job1", limit=1000)] == list(range(1, 121))
    assert [e.seq for e in job_store.events("job1", after=9, limit=3)] == [10, 11, 12]
    assert [e.seq for e in job_store.events("job1", after=119)] == [120]
    assert list(job_store.events("job1", after=120)) == []
    assert list(job_store.events("job1", after=10**12)) == []


# --- find ---------------------------------------------------------------------------------------------------------
def test_a_job_is_found_by_its_prediction(job_store: JobStore) -> None:
    job = submit(job_store, a_job())
    submit(job_store, a_job("job2"))
    assert job_store.find_by_prediction("replicate", "p1") is None
    launched = trained(job, "p1")
    job_store.save(launched)
    assert job_store.find_by_prediction("replicate", "p1") == launched
    assert job_store.find_by_prediction("elsewhere", "p1") is None
    job_store.delete(launched)
    assert job_store.find_by_prediction("replicate", "p1") is None


# --- reminders of escrow ------------------------------------------------------------------------------------------
def test_reminders_are_listed_when_they_are_due_earliest_first(job_store: JobStore) -> None:
    marks = [EscrowMark(f"job{n}", NOW + timedelta(days=n, microseconds=n)) for n in (3, 1, 2)]
    for mark in [*marks, marks[0]]:
        job_store.mark_escrow(mark)
    again = EscrowMark("job1", NOW + timedelta(days=5))
    job_store.mark_escrow(again)
    soon, later = NOW + timedelta(days=2, seconds=1), NOW + timedelta(days=9)
    assert list(job_store.list_escrow_due(due_before=NOW)) == []
    assert list(job_store.list_escrow_due(due_before=marks[1].due)) == []
    assert list(job_store.list_escrow_due(due_before=soon)) == [marks[1], marks[2]]
    assert list(job_store.list_escrow_due(due_before=later)) == [marks[1], marks[2], marks[0], again]
    assert list(job_store.list_escrow_due(due_before=later, limit=1)) == [marks[1]]
    for mark in (marks[1], marks[1], EscrowMark("job2", NOW)):
        job_store.unmark_escrow(mark)
    assert list(job_store.list_escrow_due(due_before=later)) == [marks[2], marks[0], again]


# --- delete -------------------------------------------------------------------------------------------------------
def test_a_removal_leaves_nothing_but_the_key_that_a_late_repeat_would_use(job_store: JobStore) -> None:
    job = submit(
        job_store,
        a_job(idempotency_hash="k" * 64),
        key=a_key(),
        events=[an_event("job1", n) for n in range(1, 91)],
    )
    second = moved(job)
    job_store.save(second, events=[an_event("job1", n) for n in range(91, 171)])
    job_store.delete(second)
    assert job_store.get("job1") is None
    assert job_store.list(EVERYTHING, limit=10).jobs == ()
    assert job_store.list_active().jobs == ()
    assert list(job_store.list_deleted()) == [DeletedJob("job1", OWNER)]
    job_store.delete(second)
    job_store.forget("job1")
    assert job_store.get_input("job1") is None
    assert list(job_store.events("job1")) == []
    assert list(job_store.list_deleted()) == []
    job_store.forget("job1")
    assert job_store.find_idempotency(OWNER, "k" * 64, NOW) == a_key()
    with pytest.raises(IdempotencyHitError):
        submit(job_store, a_job("job2"), key=a_key("job2"))
    assert job_store.find_idempotency(OWNER, "k" * 64, NOW + LIFETIME) is None


def test_deleted_jobs_are_listed_by_id_until_they_are_forgotten(job_store: JobStore) -> None:
    for name in ("c", "a", "b"):
        job_store.delete(submit(job_store, a_job(name, owner=f"of-{name}")))
    assert [(d.job_id, d.owner) for d in job_store.list_deleted()] == [("a", "of-a"), ("b", "of-b"), ("c", "of-c")]
    assert [d.job_id for d in job_store.list_deleted(limit=1, after="a")] == ["b"]
    job_store.forget("b")
    assert [d.job_id for d in job_store.list_deleted()] == ["a", "c"]


def test_a_changed_job_is_not_removed(job_store: JobStore) -> None:
    job = submit(job_store, a_job(idempotency_hash="k" * 64), key=a_key(), events=[an_event("job1", 1)])
    second = moved(job)
    job_store.save(second)
    with pytest.raises(StaleRecordError):
        job_store.delete(job)
    assert job_store.get("job1") == second
    assert job_store.get_input("job1") is not None
    assert len(job_store.events("job1")) == 1
    assert list(job_store.list_deleted()) == []
    assert job_store.find_idempotency(OWNER, "k" * 64, NOW) is not None


def test_owners_with_strange_names_do_not_meet(job_store: JobStore) -> None:
    names = ["a", "a#2026-11", "A", "a ", "日本", "a/b", "owner#a", "é" * 200]
    for i, name in enumerate(names):
        submit(job_store, a_job(f"job{i}", owner=name), key=a_key(f"job{i}", owner=name), slot_limit=1)
    for i, name in enumerate(names):
        assert [j.job_id for j in job_store.list(JobFilter(owner=name), limit=10).jobs] == [f"job{i}"]
        assert job_store.slot_holders(name) == {f"job{i}"}
