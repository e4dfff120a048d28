"""Records of deliveries: made, changed, and told of to their jobs. Used by the workflow, the sweeper and the routes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from chalicelib.domain.deliveries import (
    GIVE_UP_AFTER,
    MAX_DELIVERIES,
    Delivery,
    Origin,
    delivery_id,
    state_prefix,
)
from chalicelib.domain.destinations import HubDestination, S3Destination, WebhookDestination, label
from chalicelib.domain.job_deliveries import RANK, Mark, mark_of
from chalicelib.domain.jobs import Job
from chalicelib.domain.lifecycle import Change, ContendedError, JobGoneError, Note, change, mutate
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.domain.shipping import MANIFEST_NAME

logger = logging.getLogger(__name__)

#: Tries of one compare-and-set, and of finding a free number. Writers of one delivery are few.
MAX_TRIES = 12


class TooManyDeliveriesError(Exception):
    """The job has MAX_DELIVERIES."""


def change_delivery(
    ports: Ports, job_id: str, delivery_id: str, decide: Callable[[Delivery], Delivery | None]
) -> Delivery | None:
    """Reads the delivery, lets ``decide`` say what it becomes, writes it; on a lost race reads and decides again.

    ``decide`` returns None to leave it alone and must be free of side effects. Returns the record as it is then, None
    when there is none. Raises ContendedError, and whatever ``decide`` raises.
    """
    for _ in range(MAX_TRIES):
        current = ports.deliveries.get(job_id, delivery_id)
        if current is None:
            return None
        changed = decide(current)
        if changed is None:
            return current
        try:
            ports.deliveries.update(changed)
        except StaleRecordError:
            continue
        return changed
    raise ContendedError(delivery_id)


def wished(ports: Ports, job: Job) -> list[Delivery]:
    """Makes the records of what was wished for at submit, if they are not there. Safe to repeat."""
    made = []
    for number, wish in enumerate(job.destinations, start=1):
        delivery = _new(ports, job, number, wish.destination, wish.origin)
        with suppress(StaleRecordError):
            ports.deliveries.create(delivery)
        made.append(delivery)
    return made


def make(
    ports: Ports,
    job: Job,
    destination: HubDestination | S3Destination | WebhookDestination,
    origin: Origin = Origin.REQUEST,
) -> Delivery:
    """A new delivery, whose job knows of it. Raises TooManyDeliveriesError, JobGoneError, ContendedError."""
    for _ in range(MAX_TRIES):
        known = ports.deliveries.list_of(job.job_id, limit=MAX_DELIVERIES)
        if len(known) >= MAX_DELIVERIES:
            raise TooManyDeliveriesError
        last = known[-1].delivery_id if known else ""
        number = max(int(last.rpartition("-")[2]) if last else 0, len(job.destinations)) + 1
        delivery = _new(ports, job, number, destination, origin)
        try:
            ports.deliveries.create(delivery)
        except StaleRecordError:
            continue
        if not _told(ports, delivery):
            ports.deliveries.delete_of(job.job_id)
            raise JobGoneError(job.job_id)
        return delivery
    raise ContendedError(job.job_id)


def _new(
    ports: Ports,
    job: Job,
    number: int,
    destination: HubDestination | S3Destination | WebhookDestination,
    origin: Origin,
) -> Delivery:
    now = ports.clock.now()
    return Delivery(
        delivery_id=delivery_id(job.job_id, number),
        job_id=job.job_id,
        owner=job.owner,
        destination=destination,
        origin=origin,
        created_at=now,
        updated_at=now,
        give_up_at=now + GIVE_UP_AFTER,
    )


def start(ports: Ports, delivery: Delivery) -> None:
    """Starts the workflow; what can't be started now the sweeper starts."""
    try:
        ports.delivery_runner.start(delivery)
    except Exception:
        # The record stands, and the sweeper looks after it. Whoever asked has nothing to repeat.
        logger.exception("delivery %s could not be started now; the sweeper will start it", delivery.delivery_id)


def tell(ports: Ports, delivery: Delivery) -> None:
    """Tells the job how far the delivery has come: its summary, and an event for each thing once. A delivery that is
    over is settled then. Safe to repeat. Raises ContendedError."""
    gone = not _told(ports, delivery)
    if gone:
        ports.deliveries.delete_of(delivery.job_id)
    elif delivery.is_over:
        forget_notes(ports, delivery)
        now = ports.clock.now()
        change_delivery(
            ports, delivery.job_id, delivery.delivery_id, lambda d: d.told_of(now) if d.is_over and not d.told else None
        )


def forget_notes(ports: Ports, delivery: Delivery, *, but: str | None = None) -> None:
    """Removes what the target noted for itself. The manifest stays: links to it may be out."""
    prefix = state_prefix(delivery.owner, delivery.job_id, delivery.delivery_id)
    kept = {f"{prefix}{MANIFEST_NAME}", but}
    ports.outputs.delete([info.key for info in ports.outputs.list(prefix) if info.key not in kept])


def _told(ports: Ports, delivery: Delivery) -> bool:
    """False when the job is gone."""
    now, mark = ports.clock.now(), mark_of(delivery)

    def decide(job: Job) -> Change | None:
        known = job.deliveries.marks.get(delivery.delivery_id)
        before = -1 if known is None else RANK[known.mark]
        if before >= RANK[mark.mark]:
            return None
        changes: dict[str, Any] = {"deliveries": job.deliveries.told(delivery.delivery_id, mark)}
        url = delivery.result.get("url")
        hub = isinstance(delivery.destination, HubDestination)
        if hub and mark.mark is Mark.VERIFIED and isinstance(url, str):
            changes["output_url"] = url
        return change(job.annotated(now=now, **changes), now, *_notes(delivery, mark.mark, before))

    try:
        mutate(ports.jobs, delivery.job_id, decide)
    except JobGoneError:
        return False
    return True


def _notes(delivery: Delivery, mark: Mark, before: int) -> list[Note]:
    where = label(delivery.destination)
    data = {"delivery_id": delivery.delivery_id, "destination": where}
    notes = []
    if before < RANK[Mark.STARTED] and delivery.started_at is not None:
        notes.append(Note("delivery.started", f"Delivery to {where} started", data))
    problem = delivery.problem
    if mark is Mark.VERIFIED:
        notes.append(Note("delivery.verified", f"Delivered to {where} and verified there", data))
    elif mark is Mark.FAILED:
        said = f": {problem.message}" if problem else ""
        code = {"code": problem.code} if problem else {}
        notes.append(Note("delivery.failed", f"Delivery to {where} failed{said}", data | code))
    elif mark is Mark.RETRYING and problem is not None:
        text = f"Delivery to {where} is tried again: {problem.message}"
        notes.append(Note("delivery.retrying", text, data | {"code": problem.code}))
    elif mark is Mark.CANCELLED:
        notes.append(Note("delivery.cancelled", f"Delivery to {where} was cancelled", data))
    return notes


def open_of(ports: Ports, job_id: str) -> list[Delivery]:
    """Those of a job that are not over."""
    return [d for d in ports.deliveries.list_of(job_id, limit=MAX_DELIVERIES) if not d.is_over]
