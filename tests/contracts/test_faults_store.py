"""The DynamoDB stores when DynamoDB misbehaves: lost answers, collisions, throttling, no answer at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from pynamodb.exceptions import PynamoDBException

from chalicelib.domain.ports import IdempotencyHitError, JobFilter, StaleRecordError
from chalicelib.errors import Unavailable
from chalicelib.store import DynamoConfigStore, DynamoDatasetStore, DynamoJobStore, DynamoWebhookLog
from chalicelib.store.table import LONGEST_PAUSE, MAX_TRIES
from tests.contracts.test_config_store import a_config
from tests.contracts.test_dataset_store import a_dataset
from tests.support.emulator import Emulator, free_port
from tests.support.jobs import NOW, OWNER, a_job, a_key, an_event, moved, over, submit
from tests.support.lossy import Fail, LoseAnswer, LossyProxy, Meanwhile, Refuse, lossy_proxy

CANCELLED, CONFLICT = "TransactionCanceledException", "TransactionConflict"
#: One try and two repetitions by the SDK.
SDK_TRIES = 3


@pytest.fixture
def proxy(emulator: Emulator, aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LossyProxy]:
    """What the store of the test talks through; asked for before ``jobs_table`` connects."""
    with lossy_proxy(emulator.port) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


Sleeps = tuple[list[float], Callable[[float], None]]


@pytest.fixture
def store(proxy: LossyProxy, jobs_table: str, sleeps: Sleeps, monkeypatch: pytest.MonkeyPatch) -> DynamoJobStore:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    return DynamoJobStore(jobs_table, sleep=sleeps[1])


# --- lost answers -------------------------------------------------------------------------------------------------
def test_a_submit_whose_answer_is_lost_is_done_once_and_succeeds(store: DynamoJobStore, proxy: LossyProxy) -> None:
    proxy.plan.append(LoseAnswer("TransactWriteItems"))
    submit(store, a_job(), key=a_key(), slot_limit=1)
    assert proxy.calls.count("TransactWriteItems") == 2
    assert store.get("job1") == a_job()
    assert store.slot_holders(OWNER) == {"job1"}


def test_a_lost_answer_followed_by_a_collision_is_still_done_once(store: DynamoJobStore, proxy: LossyProxy) -> None:
    proxy.plan += [
        LoseAnswer("TransactWriteItems"),
        Fail("TransactWriteItems", CANCELLED, reasons=[CONFLICT, "None", "None"]),
    ]
    submit(store, a_job(), slot_limit=1)
    assert proxy.calls.count("TransactWriteItems") == 3
    assert store.get("job1") == a_job()


@pytest.mark.parametrize("with_events", [False, True])
def test_a_save_whose_answer_is_lost_succeeds(store: DynamoJobStore, proxy: LossyProxy, with_events: bool) -> None:
    job = submit(store, a_job())
    second = moved(job)
    proxy.plan.append(LoseAnswer("TransactWriteItems" if with_events else "PutItem"))
    store.save(second, events=[an_event("job1", 1)] if with_events else [])
    assert not proxy.plan
    assert store.get("job1") == second
    with pytest.raises(StaleRecordError):
        store.save(second)


def test_a_webhook_whose_answer_is_lost_counts(
    proxy: LossyProxy, jobs_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    log = DynamoWebhookLog(jobs_table)
    proxy.plan.append(LoseAnswer("PutItem"))
    assert log.remember("replicate", "msg_1", now=NOW, keep=timedelta(minutes=1))
    assert not log.remember("replicate", "msg_1", now=NOW, keep=timedelta(minutes=1))


# --- collisions ---------------------------------------------------------------------------------------------------
def test_collisions_are_tried_again_with_growing_pauses(
    store: DynamoJobStore, proxy: LossyProxy, sleeps: Sleeps
) -> None:
    proxy.plan += [Fail("TransactWriteItems", CANCELLED, reasons=["None", "None", CONFLICT])] * 4
    submit(store, a_job())
    assert store.get("job1") == a_job()
    asked = sleeps[0]
    assert len(asked) == 4
    for pause, longest in zip(asked, (0.02, 0.04, 0.08, 0.16), strict=True):
        assert longest / 2 <= pause <= longest


def test_a_single_write_that_meets_a_transaction_is_tried_again(
    store: DynamoJobStore, proxy: LossyProxy, sleeps: Sleeps
) -> None:
    job = submit(store, a_job())
    proxy.plan.append(Fail("PutItem", "TransactionConflictException"))
    store.save(moved(job))
    assert store.get("job1") == moved(job)
    assert len(sleeps[0]) == 1


def test_endless_collisions_end(store: DynamoJobStore, proxy: LossyProxy, sleeps: Sleeps) -> None:
    proxy.plan += [Fail("TransactWriteItems", CANCELLED, reasons=[CONFLICT, "None", "None"])] * MAX_TRIES
    with pytest.raises(Unavailable) as error:
        submit(store, a_job())
    assert error.value.retry_after == 1
    assert not proxy.plan
    assert sum(sleeps[0]) <= MAX_TRIES * LONGEST_PAUSE
    assert store.get("job1") is None


def test_a_collision_on_the_key_is_not_mistaken_for_full_slots(store: DynamoJobStore, proxy: LossyProxy) -> None:
    submit(store, a_job("job1"), key=a_key("job1"), slot_limit=1)
    reasons = ["None", "None", CONFLICT, "ConditionalCheckFailed"]
    proxy.plan.append(Fail("TransactWriteItems", CANCELLED, reasons=reasons))
    with pytest.raises(IdempotencyHitError) as hit:
        submit(store, a_job("job2"), key=a_key("job2"), slot_limit=1)
    assert hit.value.record == a_key("job1")
    assert not proxy.plan


def test_a_hit_wins_even_when_only_the_slots_are_reported(store: DynamoJobStore, proxy: LossyProxy) -> None:
    submit(store, a_job("job1"), key=a_key("job1"), slot_limit=1)
    reasons = ["None", "None", "None", "ConditionalCheckFailed"]
    proxy.plan.append(Fail("TransactWriteItems", CANCELLED, reasons=reasons))
    with pytest.raises(IdempotencyHitError):
        submit(store, a_job("job2"), key=a_key("job2"), slot_limit=1)


# --- no answer ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("operation", "code", "status"),
    [
        ("GetItem", "ThrottlingException", 400),
        ("GetItem", "ProvisionedThroughputExceededException", 400),
        ("GetItem", "InternalServerError", 500),
    ],
)
def test_what_passes_by_itself_is_unavailable(
    store: DynamoJobStore, proxy: LossyProxy, operation: str, code: str, status: int
) -> None:
    proxy.plan += [Fail(operation, code, status)] * SDK_TRIES
    with pytest.raises(Unavailable) as error:
        store.get("job1")
    assert "try again" in error.value.detail
    assert not proxy.plan
    assert store.get("job1") is None


def test_throttling_inside_a_transaction_is_unavailable(store: DynamoJobStore, proxy: LossyProxy) -> None:
    proxy.plan.append(Fail("TransactWriteItems", CANCELLED, reasons=["ThrottlingError", "None", "None"]))
    with pytest.raises(Unavailable):
        submit(store, a_job())


def test_nobody_there_is_unavailable(aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable):
        DynamoJobStore("nobody-there").get("job1")


def test_a_missing_table_is_no_passing_trouble(aws_environment: None) -> None:
    with pytest.raises(PynamoDBException):
        DynamoJobStore("never-made").get("job1")


# --- interrupted work ---------------------------------------------------------------------------------------------
def test_an_interrupted_removal_is_finished_by_repeating_it(store: DynamoJobStore, proxy: LossyProxy) -> None:
    job = submit(store, a_job(idempotency_hash="k" * 64), key=a_key(), events=[an_event("job1", 1)])
    done = over(job)
    store.save(done)
    store.delete(done)
    proxy.plan += [Refuse("TransactWriteItems")] * SDK_TRIES
    with pytest.raises(Unavailable):
        store.forget("job1")
    assert [deleted.job_id for deleted in store.list_deleted()] == ["job1"]
    assert store.get("job1") is None
    assert store.list(JobFilter(owner=OWNER), limit=10).jobs == ()
    with pytest.raises(StaleRecordError):
        store.save(moved(job, run_name="late"), events=[an_event("job1", 2)])
    store.forget("job1")
    assert store.get_input("job1") is None
    assert list(store.events("job1")) == []
    assert list(store.list_deleted()) == []


def test_a_dataset_and_its_way_back_are_one_write(
    proxy: LossyProxy, jobs_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    store = DynamoDatasetStore(jobs_table)
    store.put_dataset(a_dataset(source_path="/old"))
    proxy.plan += [Refuse("TransactWriteItems")] * SDK_TRIES
    with pytest.raises(Unavailable):
        store.put_dataset(a_dataset(source_path="/old").changed(NOW, source_path="/new"))
    assert store.get_dataset(OWNER, "photos") == a_dataset(source_path="/old")
    assert store.find_by_source(OWNER, "/old") == a_dataset(source_path="/old")
    assert store.find_by_source(OWNER, "/new") is None


def test_a_config_saved_in_the_middle_of_its_removal_is_removed_whole(
    proxy: LossyProxy, jobs_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    store = DynamoConfigStore(jobs_table)
    store.save(a_config(1))
    proxy.plan.append(Meanwhile("DeleteItem", lambda: store.save(a_config(2))))
    store.delete(OWNER, "flux")
    assert not proxy.plan
    assert store.get(OWNER, "flux") is None
    assert list(store.versions(OWNER, "flux")) == []
