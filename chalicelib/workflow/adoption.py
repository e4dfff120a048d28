"""Finding a job's prediction at the provider, and making it the job's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.jobs import Job, JobStatus
from chalicelib.domain.lifecycle import Change, Note, change, mutate
from chalicelib.domain.ports import Ports, Provider
from chalicelib.domain.predictions import Prediction

#: Pages of the provider's list looked through for our tag; 100 predictions each.
MAX_PAGES = 30
#: Clocks differ; the provider's created_at may lie a little before our intent.
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class Search:
    """``certain`` is False when an entry could not be read or the list did not end: absence proves nothing then."""

    found: tuple[Prediction, ...]
    certain: bool


def find_tagged(provider: Provider, tag: str, since: datetime) -> Search:
    """The provider's predictions that carry ``tag``, newest first, created since then. Raises ProviderFault."""
    found: list[Prediction] = []
    unreadable = 0
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = provider.list(created_after=since, cursor=cursor)
        found += [p for p in page.predictions if tag in p.tags]
        unreadable += page.unreadable
        cursor = page.cursor
        oldest = page.predictions[-1].created_at if page.predictions else None
        if cursor is None or (oldest is not None and oldest < since):
            return Search(tuple(found), certain=not unreadable)
    return Search(tuple(found), certain=False)


def adopt(job: Job, search: Search, provider: Provider, ports: Ports) -> Job:
    """Records the one to keep of what was found, cancels the others first. Raises ProviderFault."""
    keep = choose(search.found)
    for other in search.found:
        if other.id != keep.id and not other.status.is_over:
            provider.cancel(other.id)
    return mutate(ports.jobs, job.job_id, lambda j: launched(j, keep, ports.clock.now(), adopted=True))


def choose(found: Sequence[Prediction]) -> Prediction:
    """The one to adopt: the oldest that still runs, else one that succeeded, else the newest."""
    alive = [p for p in found if not p.status.is_over]
    if alive:
        return alive[-1]
    succeeded = [p for p in found if p.status.value == "succeeded"]
    return succeeded[0] if succeeded else found[0]


def launched(job: Job, prediction: Prediction, now: datetime, *, adopted: bool) -> Change | None:
    """The job with its prediction; None when it is over or has one."""
    if job.is_terminal or job.prediction_id is not None:
        return None
    moved = job.moved(
        now=now,
        status=JobStatus.QUEUED,
        prediction_id=prediction.id,
        launched_at=prediction.created_at or now,
        deadline=prediction.deadline or now + timedelta(seconds=job.max_run_seconds),
        provider_status=None if prediction.status.is_over else prediction.raw_status,
    )
    if adopted:
        note = Note("job.adopted", "A prediction of an earlier try was adopted", {"prediction_id": prediction.id})
    else:
        note = Note("job.launched", "The provider took the training", {"prediction_id": prediction.id})
    return change(moved, now, note)
