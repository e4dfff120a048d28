"""Looking at a running job: the provider's answer is the truth; what it says is kept."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.classify import classify_failure
from chalicelib.domain.escrow import log_key
from chalicelib.domain.failures import Failure, FaultKind, ProviderFault
from chalicelib.domain.jobs import Job, JobStatus, Phase
from chalicelib.domain.lifecycle import Change, JobGoneError, Note, change, mutate, prediction_is_over
from chalicelib.domain.logs import extend_log
from chalicelib.domain.ports import ObjectStore, Ports, Provider
from chalicelib.domain.predictions import Prediction, PredictionStatus
from chalicelib.domain.pricing import cost
from chalicelib.domain.progress import parse_progress
from chalicelib.errors import Unavailable

#: A prediction the provider no longer knows is given up after this many answers and this long since launch.
LOST_AFTER_ANSWERS = 3
LOST_AFTER = timedelta(minutes=2)
#: How long after its deadline a job may stay unconfirmed when the provider can't be reached. The provider's own
#: deadline has ended the training long before.
UNREACHABLE_AFTER = timedelta(hours=24)
#: After the deadline the provider gets this long to act on its own before we cancel too.
DEADLINE_GRACE = timedelta(minutes=5)


class ObservationService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def observe(self, job_id: str) -> Job:
        """Asks the provider about the job's prediction and records status, progress, logs and cost.

        Never ends the job: it leaves the provider's verdict in the record (``provider_status``, ``failure``, phase
        ``collecting``) for the workflow's Finish. A provider that can't be asked is counted, not believed. A requested
        cancel, and a passed deadline, are sent to the provider. Safe to run at any time and concurrently.

        Raises JobGoneError, Unavailable (the job's provider is not configured any more).
        """
        job = self._ports.jobs.get(job_id)
        if job is None:
            raise JobGoneError(job_id)
        if job.prediction_id is None or not _watched(job):
            return job
        provider = self._ports.providers(job.provider)
        if provider is None:
            raise Unavailable(f"Provider '{job.provider}' is not configured.")
        now = self._ports.clock.now()
        try:
            prediction = provider.get(job.prediction_id)
            if prediction is not None and not prediction.status.is_over and self._must_stop(job, now):
                prediction = provider.cancel(job.prediction_id) or prediction
        except ProviderFault as fault:
            message = fault.message
            return mutate(self._ports.jobs, job_id, lambda j: _unreachable(j, message, now))
        if prediction is None:
            return self._unknown(job, provider, now)
        size = self._keep_logs(job, prediction)
        seen = mutate(self._ports.jobs, job_id, lambda j: _seen(j, prediction, size, now))
        self._drop_logs(seen, {job.log_bytes, size or 0})
        return seen

    def _unknown(self, job: Job, provider: Provider, now: datetime) -> Job:
        """Before a training is given up as lost it is cancelled, in case only the question went astray."""
        if _is_lost(job, now):
            try:
                provider.cancel(job.prediction_id or "")
            except ProviderFault as fault:
                message = fault.message
                return mutate(self._ports.jobs, job.job_id, lambda j: _unreachable(j, message, now))
        return mutate(self._ports.jobs, job.job_id, lambda j: _missing(j, now))

    @staticmethod
    def _must_stop(job: Job, now: datetime) -> bool:
        overdue = job.deadline is not None and now > job.deadline + DEADLINE_GRACE
        return job.cancel_requested_at is not None or overdue

    def _keep_logs(self, job: Job, prediction: Prediction) -> int | None:
        """Stores the log when it grew; returns its size, or None when there is nothing new."""
        if prediction.logs is None:
            return None
        seen = prediction.logs.encode("utf-8", "replace")
        kept = read_log(self._ports.outputs, job)
        lost = len(kept) != job.log_bytes
        if lost and self._replaced(job):
            return None  # a concurrent look has it; merging with nothing could lose its head
        merged = extend_log(kept, seen)
        if len(merged) < job.log_bytes or (len(merged) == job.log_bytes and not lost):
            return None
        self._ports.outputs.put(
            log_key(job.owner, job.job_id, len(merged)), merged, content_type="text/plain; charset=utf-8"
        )
        return len(merged)

    def _replaced(self, job: Job) -> bool:
        """Whether the record names another copy by now; otherwise the object itself is gone (a restored database)."""
        current = self._ports.jobs.get(job.job_id)
        return current is None or current.log_bytes != job.log_bytes

    def _drop_logs(self, job: Job, sizes: set[int]) -> None:
        """Deletes the copies that the record no longer names: a day's job would leave hundreds of growing ones."""
        stale = sizes - {0, job.log_bytes}
        if stale:
            self._ports.outputs.delete(log_key(job.owner, job.job_id, size) for size in sorted(stale))


def _watched(job: Job) -> bool:
    """Whether the provider may still have news: launched, and not yet seen to be over."""
    return job.is_active and job.phase in {Phase.LAUNCHING, Phase.TRAINING} and not prediction_is_over(job)


def read_log(outputs: ObjectStore, job: Job) -> bytes:
    """The whole kept log of a job; empty when there is none."""
    if not job.log_bytes:
        return b""
    return outputs.get(log_key(job.owner, job.job_id, job.log_bytes)) or b""


def _unreachable(job: Job, message: str, now: datetime) -> Change | None:
    if not _watched(job):
        return None
    errors = job.provider_errors + 1
    notes = [Note("provider.unreachable", f"The provider could not be asked: {message}")] if errors == 1 else []
    moved = job.moved(now=now, provider_errors=errors, last_asked_at=now)
    if job.deadline is not None and now > job.deadline + UNREACHABLE_AFTER:
        moved = moved.model_copy(
            update={
                "provider_status": PredictionStatus.FAILED.value,
                "failure": Failure(
                    code="provider_unreachable",
                    kind=FaultKind.PROVIDER,
                    message="The provider could not be asked about this job until a day after its deadline.",
                    advice="Check the provider's token and status page, then retry. The provider's own deadline has "
                    "ended the training.",
                ),
            }
        )
    return change(moved, now, *notes)


def _is_lost(job: Job, now: datetime) -> bool:
    """Whether one more answer "unknown" is the last: so many in a row, faults in between not counted, so long after
    the launch."""
    since = job.launched_at or job.created_at
    return job.missing_answers + 1 >= LOST_AFTER_ANSWERS and now - since >= LOST_AFTER


def _missing(job: Job, now: datetime) -> Change | None:
    if not _watched(job):
        return None
    moved = job.moved(now=now, missing_answers=job.missing_answers + 1, last_asked_at=now)
    if not _is_lost(job, now):
        return change(moved, now)
    failure = Failure(
        code="prediction_lost",
        kind=FaultKind.PROVIDER,
        message="The provider no longer knows this training.",
        advice="Submit the job again; if it happens twice, ask the provider's support.",
    )
    moved = moved.model_copy(update={"provider_status": PredictionStatus.FAILED.value, "failure": failure})
    return change(moved, now, Note("provider.lost", failure.message))


def _seen(job: Job, prediction: Prediction, log_bytes: int | None, now: datetime) -> Change | None:
    if not _watched(job):
        return None
    notes: list[Note] = []
    status, phase = job.status, job.phase
    started = job.started_at
    if prediction.status in {PredictionStatus.PROCESSING, PredictionStatus.SUCCEEDED}:
        started = started or prediction.started_at or now
        if job.status is not JobStatus.RUNNING:
            notes.append(Note("job.running", "Training started"))
        status = JobStatus.RUNNING
        phase = Phase.COLLECTING if prediction.status is PredictionStatus.SUCCEEDED else Phase.TRAINING
    elif prediction.status is PredictionStatus.UNKNOWN and job.provider_status != prediction.raw_status:
        notes.append(
            Note("provider.unknown_status", f"The provider reports an unknown status: {prediction.raw_status}")
        )
    progress = parse_progress(prediction.logs, job.progress) if prediction.logs else job.progress
    if progress.checkpoint_count > job.progress.checkpoint_count:
        notes.append(Note("job.checkpoint", "Checkpoint saved", {"step": progress.step}))
    failure = job.failure
    if prediction.status.is_over:
        notes.append(
            Note("provider.finished", f"The provider reports: {prediction.raw_status}", {"error": prediction.error})
        )
        if prediction.status is not PredictionStatus.SUCCEEDED and job.cancel_requested_at is None:
            failure = failure or classify_failure(prediction, now=now)
    run_seconds = _run_seconds(prediction, started, now)
    moved = job.moved(
        now=now,
        status=status,
        phase=phase,
        started_at=started,
        provider_status=prediction.raw_status,
        last_confirmed_at=now,
        last_asked_at=now,
        provider_errors=0,
        missing_answers=0,
        progress=progress,
        log_bytes=max(job.log_bytes, log_bytes or 0),
        run_seconds=run_seconds if run_seconds is not None else job.run_seconds,
        cost_usd=cost(run_seconds, job.price_per_second) if run_seconds is not None else job.cost_usd,
        failure=failure,
        output_url=prediction.output if isinstance(prediction.output, str) and "://" in prediction.output else None,
    )
    return change(moved, now, *notes)


def _run_seconds(prediction: Prediction, started: datetime | None, now: datetime) -> float | None:
    """Billed run time: the provider's own figure, else the wall time so far. None while nothing ran."""
    if prediction.run_seconds is not None:
        return prediction.run_seconds
    if started is None or prediction.status is PredictionStatus.ABORTED:
        return None
    return max(0.0, ((prediction.completed_at or now) - started).total_seconds())
