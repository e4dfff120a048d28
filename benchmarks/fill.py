"""Many finished jobs, written straight into the table of a benchmark's own stack."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

from chalicelib.domain.jobs import Job, JobStatus, Phase
from chalicelib.store.records import job_attributes, job_pk, record_model

MOST_A_WRITE = 25


def finished_jobs(count: int, now: datetime) -> Iterator[Job]:
    """Of the local administrator, a second apart, the newest a minute old; all in the month of ``now`` as far as that
    is long enough."""
    for n in range(count):
        at = now - timedelta(seconds=60 + n)
        yield Job(
            job_id=f"bench{n:021d}", owner="local", provider="replicate", status=JobStatus.COMPLETED,
            phase=Phase.FINISHED, created_at=at, updated_at=at, started_at=at, completed_at=at, hardware_profile="h100",
            hardware_type="H100", model="simpletuner/advanced-trainer-h100", price_per_second=Decimal("0.001525"),
            max_run_seconds=3600, max_train_steps=1000, cost_usd=Decimal("1.23"), run_name=f"run {n}",
        )  # fmt: skip


def fill(dynamodb: Any, table: str, count: int) -> None:
    """``dynamodb`` is boto3's client. The list finds them only in months in which a job was submitted too."""
    record = record_model(table)
    waiting_jobs = finished_jobs(count, datetime.now(UTC))
    while jobs := list(islice(waiting_jobs, MOST_A_WRITE)):
        items = [record(job_pk(job.job_id), "record", **job_attributes(job)).serialize() for job in jobs]
        waiting = {table: [{"PutRequest": {"Item": item}} for item in items]}
        for _ in range(10):
            waiting = dynamodb.batch_write_item(RequestItems=waiting).get("UnprocessedItems") or {}
            if not waiting:
                break
        if waiting:
            raise RuntimeError(f"The table {table} does not take what is written")
