"""Models leave escrow when their time is over. For the sweeper, at every run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.deliveries import MAX_DELIVERIES
from chalicelib.domain.escrow import artifacts_prefix
from chalicelib.domain.jobs import Job
from chalicelib.domain.lifecycle import Change, ContendedError, JobGoneError, Note, change, mutate
from chalicelib.domain.ports import EscrowMark, Ports
from chalicelib.errors import AppError

logger = logging.getLogger(__name__)

#: Reminders looked at in one run.
MAX_MARKS = 100
#: A model that can't go yet (a delivery reads it, the job still trains) is looked at again after this.
LOOK_AGAIN = timedelta(hours=1)


@dataclass
class EscrowReport:
    removed: int = 0
    failed: int = 0
    unfinished: bool = False


def empty_escrow(ports: Ports, stop_at: datetime) -> EscrowReport:
    """Removes the published files of jobs whose time in escrow is over; record, manifest and log stay.

    Never of a job that is not over, nor while a delivery of it is open. Starts nothing after ``stop_at``; safe to
    repeat and to run twice at once.
    """
    report = EscrowReport()
    for mark in ports.jobs.list_escrow_due(due_before=ports.clock.now(), limit=MAX_MARKS):
        if ports.clock.now() > stop_at:
            report.unfinished = True
            break
        try:
            report.removed += _tend(ports, mark)
        except (JobGoneError, ContendedError):
            continue  # deleted, or somebody else is at it
        except AppError:
            logger.exception("the model of job %s could not be removed from escrow", mark.job_id)
            report.failed += 1
    return report


def _tend(ports: Ports, mark: EscrowMark) -> bool:
    """Does what the job's record says, then drops the reminder; True when the files were removed."""
    job, now = ports.jobs.get(mark.job_id), ports.clock.now()
    removed = False
    if job is not None and job.is_active:
        _again(ports, mark.job_id, now + LOOK_AGAIN)
    elif job is not None and job.escrow_removed_at is None and not _is_due(job, now):
        # A later time was set; keeping it without an end needs no reminder.
        if job.escrow_expires_at is not None:
            _again(ports, mark.job_id, job.escrow_expires_at)
    elif job is not None:
        files = _remove(ports, job, now)
        if files is None:
            _again(ports, mark.job_id, now + LOOK_AGAIN)
        removed = bool(files)
    ports.jobs.unmark_escrow(mark)
    return removed


def _remove(ports: Ports, job: Job, now: datetime) -> int | None:
    """How many files were removed; None when they must stay for now.

    The record says it first, and deliveries are looked at before and after: whoever begins one writes its record and
    then looks at the job's, so one of the two sees the other. What a run before this one began is ended."""
    if job.escrow_removed_at is None:
        if _has_open_delivery(ports, job.job_id):
            return None
        job = mutate(ports.jobs, job.job_id, lambda j: _begun(j, now))
        if job.escrow_removed_at is None:
            return None
        if _has_open_delivery(ports, job.job_id):
            mutate(ports.jobs, job.job_id, lambda j: _taken_back(j, now))
            return None
    return ports.outputs.delete_prefix(artifacts_prefix(job.owner, job.job_id))


def _begun(job: Job, now: datetime) -> Change | None:
    if job.escrow_removed_at is not None or not _is_due(job, now):
        return None
    said = f"The model left escrow {job.escrow_days} days after the job's end"
    return change(job.annotated(now=now, escrow_removed_at=now), now, Note("escrow.removed", said))


def _taken_back(job: Job, now: datetime) -> Change | None:
    if job.escrow_removed_at is None:
        return None
    note = Note("escrow.kept", "The model stays in escrow while it is being delivered")
    return change(job.annotated(now=now, escrow_removed_at=None), now, note)


def _is_due(job: Job, now: datetime) -> bool:
    return job.is_terminal and job.escrow_expires_at is not None and job.escrow_expires_at <= now


def _has_open_delivery(ports: Ports, job_id: str) -> bool:
    return any(not delivery.is_over for delivery in ports.deliveries.list_of(job_id, limit=MAX_DELIVERIES))


def _again(ports: Ports, job_id: str, at: datetime) -> None:
    ports.jobs.mark_escrow(EscrowMark(job_id, at))
