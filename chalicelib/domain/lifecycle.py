"""How a job record changes: decisions as pure functions, applied with compare-and-set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.domain.failures import Failure, FaultKind
from chalicelib.domain.jobs import Job, JobEvent, JobStatus
from chalicelib.domain.ports import JobStore, StaleRecordError
from chalicelib.domain.predictions import PredictionStatus

#: Tries of one compare-and-set. Writers of one job are few (workflow, webhook, user), so this is never reached in
#: practice; it only keeps the loop bounded.
MAX_TRIES = 12


class JobGoneError(Exception):
    """The job was deleted."""


class ContendedError(Exception):
    """The record changed under us MAX_TRIES times in a row."""


@dataclass(frozen=True)
class Change:
    """The next record with its events. ``release_slot`` frees the owner's concurrency slot in the same transaction."""

    job: Job
    events: tuple[JobEvent, ...] = ()
    release_slot: bool = False


@dataclass(frozen=True)
class Note:
    """An event that has no number yet."""

    type: str
    message: str
    data: dict[str, Any] | None = None


def change(job: Job, now: datetime, *notes: Note, release_slot: bool = False) -> Change:
    """``job`` (already moved to its next version) with ``notes`` numbered as its next events."""
    events = tuple(
        JobEvent(
            job_id=job.job_id, seq=job.event_seq + i, at=now, type=note.type, message=note.message, data=note.data or {}
        )
        for i, note in enumerate(notes, start=1)
    )
    if events:
        job = job.model_copy(update={"event_seq": events[-1].seq})
    return Change(job=job, events=events, release_slot=release_slot)


def mutate(store: JobStore, job_id: str, decide: Callable[[Job], Change | None]) -> Job:
    """Reads the job, lets ``decide`` choose the change, writes it; on a lost race reads and decides again.

    ``decide`` returns None to leave the record alone and must be free of side effects: it may run several times.
    Returns the record as it is then. Raises JobGoneError, ContendedError and whatever ``decide`` raises.
    """
    for _ in range(MAX_TRIES):
        job = store.get(job_id)
        if job is None:
            raise JobGoneError(job_id)
        decision = decide(job)
        if decision is None:
            return job
        try:
            store.save(decision.job, events=decision.events, release_slot=decision.release_slot)
        except StaleRecordError:
            continue
        return decision.job
    raise ContendedError(job_id)


def prediction_is_over(job: Job) -> bool:
    """True when no prediction of this job can be running: the provider said so, or none was ever created."""
    if job.prediction_id is None:
        return job.launch is None
    return job.provider_status in {status.value for status in PredictionStatus if status.is_over}


def verdict(job: Job) -> tuple[JobStatus, Failure | None]:
    """How a job whose prediction is over ends. A model that was not verified is never ``completed``.

    A model that arrived and was verified counts as completed even if the user asked to cancel too late.
    """
    if job.delivery.verified_at is not None and job.failure is None:
        return JobStatus.COMPLETED, None
    if job.cancel_requested_at is not None:
        return JobStatus.CANCELLED, None
    if job.failure is not None:
        return JobStatus.FAILED, job.failure
    if job.provider_status == PredictionStatus.CANCELED:
        return JobStatus.CANCELLED, None
    return JobStatus.FAILED, Failure(
        code="not_verified",
        kind=FaultKind.OURS,
        message="The training ended but its model was not verified.",
        advice="Look at the job's events and outputs; what was published is kept.",
    )
