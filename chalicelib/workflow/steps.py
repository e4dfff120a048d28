"""The other steps of a job's workflow: plain functions, each safe to run twice. Launch has its own module."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.failures import Failure
from chalicelib.domain.jobs import Job
from chalicelib.domain.lifecycle import Change, JobGoneError, Note, change, mutate
from chalicelib.domain.ports import Ports
from chalicelib.services.conclusion import ConclusionService
from chalicelib.services.observation import ObservationService
from chalicelib.workflow.gate import judge, waiting_note
from chalicelib.workflow.outcome import WAITS, Next, Outcome
from chalicelib.workflow.routing import route


def prepare(job_id: str, ports: Ports) -> Outcome:
    """Checks what may have changed since submit: that every dataset version is still there, ready, and not found broken
    by its inspection, which is waited for. There is nothing to check of a job that an earlier attempt launched."""
    job = _get(ports, job_id)
    now = ports.clock.now()
    if job.is_terminal or job.prediction_id is not None or job.launch is not None:
        return Outcome(_resumed(job, now), job.wakes)
    # Counted before the look: a hint that comes after it must not be slept over.
    seen = job.wakes
    verdict = judge(job, ports, now)
    if verdict.failure is not None:
        failure = verdict.failure
        job = mutate(ports.jobs, job_id, lambda j: record_failure(j, failure, ports))
    elif verdict.waiting and job.cancel_requested_at is None:
        if job.task_token is None:
            # The first look of this attempt; those after it have nothing new to tell.
            job = mutate(ports.jobs, job_id, lambda j: noted(j, now, waiting_note(verdict.waiting)))
        if not job.is_terminal and job.cancel_requested_at is None:
            return Outcome(Next.AWAIT_INSPECTION, seen)
    elif verdict.notes:
        job = mutate(ports.jobs, job_id, lambda j: noted(j, now, *verdict.notes))
    return Outcome(route(job, now), job.wakes)


def noted(job: Job, now: datetime, *notes: Note) -> Change | None:
    """The job with these events, unless it is over."""
    return None if job.is_terminal else change(job.moved(now=now), now, *notes)


def _resumed(job: Job, now: datetime) -> Next:
    """Where a new attempt goes on: what came while no workflow lived woke nobody, so it looks before it sleeps."""
    next_ = route(job, now)
    return Next.OBSERVE if next_ in WAITS else next_


def await_change(job_id: str, task_token: str, waiting: Next, wakes_seen: int, ports: Ports) -> None:
    """Leaves the task token in the record for whoever brings news; wakes at once when there are some already."""
    now = ports.clock.now()

    def decide(job: Job) -> Change | None:
        if job.is_terminal:
            return None
        wait_until = now + timedelta(seconds=WAITS[waiting])
        return change(job.moved(now=now, task_token=task_token, wait_until=wait_until), now)

    try:
        job = mutate(ports.jobs, job_id, decide)
    except JobGoneError:
        ports.runner.wake(task_token)
        return
    if job.is_terminal or job.wakes > wakes_seen:
        ports.runner.wake(task_token)


def observe(job_id: str, ports: Ports) -> Outcome:
    """Asks the provider and decides where to go. See ObservationService."""
    before = _get(ports, job_id)
    job = ObservationService(ports).observe(job_id)
    return Outcome(route(job, ports.clock.now()), before.wakes)


def finish(job_id: str, ports: Ports) -> Outcome:
    """Ends the job. A prediction that is not over after all (it was adopted meanwhile) is awaited first."""
    job = ConclusionService(ports).conclude(job_id)
    if job.is_terminal:
        return Outcome(Next.DONE)
    return Outcome(Next.AWAIT_SHORT, job.wakes)


def record_failure(job: Job, failure: Failure, ports: Ports) -> Change | None:
    """Notes why the job will fail; Finish makes it so. The first reason stands."""
    if job.is_terminal or job.failure is not None:
        return None
    now = ports.clock.now()
    return change(
        job.moved(now=now, failure=failure), now, Note("job.problem", failure.message, {"code": failure.code})
    )


def _get(ports: Ports, job_id: str) -> Job:
    job = ports.jobs.get(job_id)
    if job is None:
        raise JobGoneError(job_id)
    return job
