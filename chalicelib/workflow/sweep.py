"""The sweeper: makes the records, the executions and the provider agree again, whatever died in between.

Runs on a schedule, and may run twice at once. It reconciles both ways: every active job has a running execution and is
looked at; every running prediction that carries our tag belongs to an active job that knows it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from chalicelib.domain.failures import Failure, FaultKind, ProviderFault
from chalicelib.domain.jobs import Job
from chalicelib.domain.lifecycle import Change, ContendedError, JobGoneError, Note, change, mutate, prediction_is_over
from chalicelib.domain.ports import ExecutionState, Ports, Provider
from chalicelib.domain.predictions import Prediction
from chalicelib.domain.wording import count_text
from chalicelib.services.conclusion import ConclusionService
from chalicelib.services.dataset_retention import remove_expired
from chalicelib.services.escrow_care import empty_escrow
from chalicelib.services.inspection import tend_inspections
from chalicelib.services.leftovers import remove_leftovers
from chalicelib.services.observation import ObservationService
from chalicelib.workflow.launch import is_surely_over, look_for_lost, never_launched

logger = logging.getLogger(__name__)

#: A job whose provider was asked within this time is not asked again by the sweeper.
LOOK_EVERY = timedelta(minutes=4)
#: One that shall be cancelled is.
LOOK_SOON = timedelta(seconds=30)
#: How far back the provider's list is searched for orphans: longer than any training may last.
ORPHAN_WINDOW = timedelta(hours=40)
MAX_PAGES = 100
#: A prediction this young may belong to a launch that has not recorded it yet.
ORPHAN_AGE = timedelta(seconds=90)


@dataclass
class SweepReport:
    """What one sweep found and did; logged, and the input of metrics."""

    active: int = 0
    restarted: int = 0
    woken: int = 0
    observed: int = 0
    given_up: int = 0
    orphans_found: int = 0
    orphans_cancelled: int = 0
    leftovers_removed: int = 0
    inspections_restarted: int = 0
    versions_expired: int = 0
    models_expired: int = 0
    provider_errors: int = 0
    failed: int = 0
    unfinished: bool = False

    def as_dict(self) -> dict[str, int | bool]:
        return asdict(self)


def sweep(ports: Ports, providers: Iterable[str], budget: timedelta) -> SweepReport:
    """One sweep, at most about ``budget`` long; what it does not reach comes next time (``unfinished``).

    First what needs no provider, for every active job; then the orphans, in half of the budget; then the provider is
    asked about the jobs that were not asked about for longest, so a slow provider delays looks and starves none. Last
    inspections that died, what is left of uploads and deletions that did, and dataset versions and models whose time is
    over.
    """
    report = SweepReport()
    started = ports.clock.now()
    stop_at = started + budget
    due = [job for job in _active(ports, report, stop_at) if _tended(job, ports, report)]
    for name in providers:
        provider = ports.providers(name)
        if provider is not None:
            _orphans(provider, ports, report, started + budget / 2)
    for job in sorted(due, key=_asked_at):
        if ports.clock.now() > stop_at:
            report.unfinished = True
            break
        with _alone(job.job_id, report):
            _look(job, ports, report)
    tended = tend_inspections(ports, stop_at)
    report.inspections_restarted = tended.restarted
    report.failed += tended.failed
    report.unfinished |= tended.unfinished
    left = remove_leftovers(ports, stop_at)
    report.leftovers_removed = (
        left.uploads_removed + left.deletions_finished + left.jobs_forgotten + left.prefixes_cleared
    )
    report.failed += left.failed
    report.unfinished |= left.unfinished
    expired = remove_expired(ports, stop_at)
    report.versions_expired = expired.removed
    report.failed += expired.failed
    report.unfinished |= expired.unfinished
    emptied = empty_escrow(ports, stop_at)
    report.models_expired = emptied.removed
    report.failed += emptied.failed
    report.unfinished |= emptied.unfinished
    return report


def _active(ports: Ports, report: SweepReport, stop_at: datetime) -> Iterator[Job]:
    cursor: str | None = None
    while True:
        page = ports.jobs.list_active(limit=100, cursor=cursor)
        for job in page.jobs:
            if ports.clock.now() > stop_at:
                report.unfinished = True
                return
            report.active += 1
            yield job
        cursor = page.cursor
        if cursor is None:
            return


@contextmanager
def _alone(job_id: str, report: SweepReport) -> Iterator[None]:
    """Whatever is wrong with one job must not keep the sweep from the others."""
    try:
        yield
    except (JobGoneError, ContendedError):
        return  # somebody else is at it
    except ProviderFault:
        report.provider_errors += 1
    except Exception:
        # Counted and logged; the next sweep looks at it again.
        logger.exception("sweep: job %s could not be looked after", job_id)
        report.failed += 1


def _tended(listed: Job, ports: Ports, report: SweepReport) -> bool:
    """Restarts or wakes the job's workflow when it needs that; True when the provider should be asked about it."""
    with _alone(listed.job_id, report):
        job = ports.jobs.get(listed.job_id)
        if job is None or job.is_terminal:
            return False
        now, grace = ports.clock.now(), timedelta(seconds=ports.limits.sweep_grace_seconds)
        if _is_dead(ports.runner.state(job.job_id, job.attempt), now - (job.attempt_at or job.created_at), grace):
            _restart(job, ports, report, now)
            return False
        if _wake(job, now, ports, report):
            return False
        return _due(job, now)
    return False


def _look(job: Job, ports: Ports, report: SweepReport) -> None:
    seen = ObservationService(ports).observe(job.job_id)
    report.observed += 1
    _wake(seen, ports.clock.now(), ports, report)


def _wake(job: Job, now: datetime, ports: Ports, report: SweepReport) -> bool:
    grace = timedelta(seconds=ports.limits.sweep_grace_seconds)
    if job.task_token is None or not _overslept(job, now, grace) or not ports.runner.wake(job.task_token):
        return False
    report.woken += 1
    return True


def _is_dead(state: ExecutionState, age: timedelta, grace: timedelta) -> bool:
    """Whether an active job has no workflow. One that does not show yet may be starting; one that is over never runs
    again."""
    return state is ExecutionState.OVER or (state is ExecutionState.UNKNOWN and age > grace)


def _overslept(job: Job, now: datetime, grace: timedelta) -> bool:
    """Whether the workflow waits for nothing: its time is up, or the end is known and whoever learned of it died before
    it could wake the workflow."""
    if job.prediction_id is not None and prediction_is_over(job):
        return True
    return job.wait_until is not None and now > job.wait_until + grace


def _due(job: Job, now: datetime) -> bool:
    if job.prediction_id is None or prediction_is_over(job):
        return False
    patience = LOOK_SOON if job.cancel_requested_at is not None else LOOK_EVERY
    return now - _asked_at(job) > patience


def _asked_at(job: Job) -> datetime:
    return job.last_asked_at or job.last_confirmed_at or job.launched_at or job.created_at


def _restart(job: Job, ports: Ports, report: SweepReport, now: datetime) -> None:
    """Starts the next attempt, which finds the recorded state and goes on from there."""
    attempt, limit = job.attempt, ports.limits.max_attempts

    def decide(current: Job) -> Change | None:
        if current.is_terminal or current.attempt != attempt:
            return None
        if attempt >= limit:
            if current.failure is not None:
                return None
            failure = Failure(
                code="workflow_exhausted",
                kind=FaultKind.OURS,
                message=f"The job's workflow died {count_text(attempt, 'time')}.",
                advice="Look at the logs of the step functions and submit again.",
            )
            stopped = current.moved(now=now, failure=failure)
            return change(stopped, now, Note("job.problem", failure.message, {"code": failure.code}))
        moved = current.moved(now=now, attempt=attempt + 1, attempt_at=now, task_token=None, wait_until=None)
        return change(
            moved, now, Note("workflow.restarted", "The workflow was started again", {"attempt": attempt + 1})
        )

    restarted = mutate(ports.jobs, job.job_id, decide)
    if restarted.is_terminal:
        return
    if restarted.attempt == attempt + 1:
        ports.runner.start(restarted.job_id, restarted.attempt)
        report.restarted += 1
    elif restarted.attempt == attempt:
        _stop(restarted, ports)
        report.given_up += 1


def _stop(job: Job, ports: Ports) -> None:
    """Ends a job without a workflow: its prediction first, the record when the provider has confirmed."""
    provider, now = ports.providers(job.provider), ports.clock.now()
    intent = job.launch
    if job.prediction_id is None and intent is not None:
        found: Job | None = job
        # By then it is too late to find out whether there was one.
        unknown = is_surely_over(job, now)
        if not unknown:
            if provider is None or now < intent.lease_until:
                return
            found = look_for_lost(job, intent, provider, ports, now)
        if found is None:
            return
        if found.prediction_id is None:
            found = mutate(ports.jobs, job.job_id, lambda j: never_launched(j, now, unknown=unknown))
        job = found
    if job.prediction_id is not None and not prediction_is_over(job) and provider is not None:
        provider.cancel(job.prediction_id)
        ObservationService(ports).observe(job.job_id)
    ConclusionService(ports).conclude(job.job_id)


def _orphans(provider: Provider, ports: Ports, report: SweepReport, stop_at: datetime) -> None:
    """Cancels running predictions of this stack that belong to no active job, or to one that has another."""
    since = ports.clock.now() - ORPHAN_WINDOW
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        try:
            page = provider.list(created_after=since, cursor=cursor)
        except ProviderFault:
            report.provider_errors += 1
            return
        for prediction in page.predictions:
            if (
                not prediction.status.is_over
                and _is_ours(prediction, provider, ports)
                and _is_orphan(prediction, ports)
            ):
                report.orphans_found += 1
                try:
                    provider.cancel(prediction.id)
                except ProviderFault:
                    report.provider_errors += 1
                    continue
                report.orphans_cancelled += 1
        cursor = page.cursor
        if cursor is None or ports.clock.now() > stop_at:
            return


def _is_ours(prediction: Prediction, provider: Provider, ports: Ports) -> bool:
    """By our webhook address or, since the provider need not show that, by our bucket among its inputs."""
    mine = f"{ports.facts.public_url()}/api/webhooks/{provider.name}?"
    if prediction.webhook_url is not None and prediction.webhook_url.startswith(mine):
        return True
    return ports.outputs.bucket in prediction.buckets


def _is_orphan(prediction: Prediction, ports: Ports) -> bool:
    age = ports.clock.now() - prediction.created_at if prediction.created_at else ORPHAN_AGE * 2
    for tag in prediction.tags:
        job = ports.jobs.get(tag)
        if job is None or job.is_terminal:
            continue
        if job.prediction_id == prediction.id:
            return False
        if job.prediction_id is None:
            return False  # Launch adopts it, also one whose intent a restored database has forgotten
    return age > ORPHAN_AGE
