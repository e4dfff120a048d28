"""Records to store, and a way to do things at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from chalicelib.domain.idempotency import LIFETIME, IdempotencyRecord
from chalicelib.domain.jobs import Job, JobEvent, JobInput, JobStatus, Phase
from chalicelib.domain.ports import JobStore

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
OWNER = "local"
ROOM = 1000
_T = TypeVar("_T")


def a_job(job_id: str = "job1", *, owner: str = OWNER, created_at: datetime = NOW, **changes: Any) -> Job:
    base = Job(
        job_id=job_id,
        owner=owner,
        provider="replicate",
        created_at=created_at,
        updated_at=created_at,
        hardware_profile="h100",
        hardware_type="H100",
        model="simpletuner/trainer",
        price_per_second=Decimal("0.001525"),
        max_run_seconds=3600,
    )
    return base.model_copy(update=changes)


def an_input(job_id: str = "job1", **config: Any) -> JobInput:
    return JobInput(job_id=job_id, config=config or {"--lora_rank": 4}, dataloader=[{"id": "photos"}])


def an_event(job_id: str, seq: int, **data: Any) -> JobEvent:
    return JobEvent(job_id=job_id, seq=seq, at=NOW, type="job.noted", message=f"number {seq}", data=data)


def a_key(
    job_id: str = "job1", *, owner: str = OWNER, key_hash: str = "k" * 64, at: datetime = NOW
) -> IdempotencyRecord:
    return IdempotencyRecord(
        owner=owner,
        key_hash=key_hash,
        job_id=job_id,
        field_hashes={"config": "c" * 64},
        created_at=at,
        expires_at=at + LIFETIME,
    )


def submit(
    store: JobStore,
    job: Job,
    *,
    events: Sequence[JobEvent] = (),
    key: IdempotencyRecord | None = None,
    slot_limit: int = ROOM,
    now: datetime = NOW,
) -> Job:
    store.submit(job, an_input(job.job_id), events, key, slot_limit, now)
    return job


def moved(job: Job, **changes: Any) -> Job:
    return job.moved(now=job.updated_at + timedelta(seconds=1), **changes)


def over(job: Job, status: JobStatus = JobStatus.FAILED) -> Job:
    return job.ended(now=job.updated_at + timedelta(seconds=1), status=status)


def trained(job: Job, prediction_id: str) -> Job:
    """Launched and training."""
    launching = moved(job, phase=Phase.LAUNCHING)
    return launching.model_copy(
        update={"version": job.version + 1, "phase": Phase.TRAINING, "prediction_id": prediction_id}
    )


def together(count: int, work: Callable[[int], _T]) -> list[_T | Exception]:
    """Runs ``work(0)`` … ``work(count - 1)`` in as many threads, all let go at once; gives results or exceptions."""
    start = threading.Barrier(count, timeout=60)

    def one(i: int) -> _T | Exception:
        start.wait()
        try:
            return work(i)
        except Exception as error:  # noqa: BLE001 - handed to the test, which expects some
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
