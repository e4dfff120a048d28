"""Where a job goes next, decided from its record alone: the same after a normal step, a retry, or a new attempt."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.jobs import Job, Phase
from chalicelib.domain.lifecycle import prediction_is_over
from chalicelib.workflow.outcome import Next

_SHORT_FOR = timedelta(minutes=3)
_MEDIUM_FOR = timedelta(minutes=15)


def route(job: Job, now: datetime) -> Next:
    """The next state for this record.

    Polling backs off from 30 s to 5 min with the age of the prediction. Once a webhook of this job has been verified,
    webhooks work, and the state machine sleeps until one comes; the sweeper still looks at the provider meanwhile, so a
    lost one costs minutes and no transitions.
    """
    if job.is_terminal:
        return Next.DONE
    if job.phase in _AFTER_TRAINING and job.failure is None:
        return _AFTER_TRAINING[job.phase]
    if prediction_is_over(job) and (job.prediction_id is not None or job.cancel_requested_at or job.failure):
        return Next.FINISH
    if job.prediction_id is None:
        return Next.LAUNCH
    if job.cancel_requested_at is not None or job.provider_errors or job.missing_answers:
        return Next.AWAIT_SHORT
    if job.webhook_seen_at is not None:
        return Next.AWAIT_WEBHOOK
    return back_off(now - (job.launched_at or job.created_at))


def back_off(age: timedelta) -> Next:
    """The wait before the next look at something that began ``age`` ago."""
    if age < _SHORT_FOR:
        return Next.AWAIT_SHORT
    return Next.AWAIT_MEDIUM if age < _MEDIUM_FOR else Next.AWAIT_LONG


_AFTER_TRAINING = {
    Phase.COLLECTING: Next.DELIVER,
    Phase.DELIVERING: Next.DELIVER,
    Phase.VERIFYING: Next.VERIFY,
}
