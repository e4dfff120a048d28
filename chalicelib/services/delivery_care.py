"""Deliveries that nobody goes on with: not started, died, at rest until their time came. For the sweeper, at every run.

No delivery's wish is lost as long as this runs: whatever is not settled is found here.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from chalicelib.domain.deliveries import Delivery, DeliveryProblem, DeliveryState
from chalicelib.domain.lifecycle import ContendedError
from chalicelib.domain.ports import ExecutionState, Ports, StaleRecordError
from chalicelib.errors import AppError
from chalicelib.services.delivery_records import change_delivery, tell

logger = logging.getLogger(__name__)

#: An execution that does not show yet may be starting.
STARTING = timedelta(minutes=1)
#: Executions that die are started again after as many minutes as there were, this many at most.
LONGEST_PAUSE = 15
#: Executions of one delivery. Those that rest are few: at most one a try, see PAUSES.
MAX_ATTEMPTS = 400
PAGE = 100
MAX_LOOKED_AT = 1_000


@dataclass
class DeliveryCareReport:
    """What one run did; ``unfinished`` when its time was up. ``open`` are those that were looked at."""

    open: int = 0
    started: int = 0
    told: int = 0
    given_up: int = 0
    failed: int = 0
    unfinished: bool = False

    def as_dict(self) -> dict[str, int | bool]:
        return asdict(self)


def tend_deliveries(ports: Ports, stop_at: datetime) -> DeliveryCareReport:
    """Safe to repeat and to run twice at once. Starts nothing after ``stop_at``. One failure does not keep the
    others."""
    report = DeliveryCareReport()
    after: str | None = None
    while report.open < MAX_LOOKED_AT:
        page = ports.deliveries.list_open(limit=PAGE, after=after)
        for delivery in page:
            if ports.clock.now() > stop_at:
                report.unfinished = True
                return report
            report.open += 1
            try:
                # Somebody else is at it.
                with suppress(StaleRecordError, ContendedError):
                    _tend(ports, delivery, report)
            except AppError:
                logger.exception("delivery %s could not be looked after", delivery.delivery_id)
                report.failed += 1
        if len(page) < PAGE:
            return report
        after = page[-1].delivery_id
    report.unfinished = True
    return report


def _tend(ports: Ports, delivery: Delivery, report: DeliveryCareReport) -> None:
    now = ports.clock.now()
    if delivery.is_over:
        tell(ports, delivery)
        report.told += 1
        return
    if now - (delivery.attempt_at or delivery.created_at) < STARTING:
        return
    if delivery.next_try_at is not None and now < delivery.next_try_at and delivery.cancel_requested_at is None:
        return
    job = ports.jobs.get(delivery.job_id)
    if job is None:
        ports.deliveries.delete_of(delivery.job_id)
        return
    if job.is_active:
        return
    state = ports.delivery_runner.state(delivery)
    if state is ExecutionState.UNKNOWN:
        # It never started. Should it only not show yet, starting it again is a no-op.
        ports.delivery_runner.start(delivery)
        report.started += 1
    elif state is ExecutionState.OVER and _due(delivery, now):
        if delivery.attempt >= MAX_ATTEMPTS:
            _give_up(ports, delivery, now)
            report.given_up += 1
        else:
            start_next(ports, delivery)
            report.started += 1


def _due(delivery: Delivery, now: datetime) -> bool:
    """One that rests is started when its time comes; one whose execution died, the later the more often that was."""
    if delivery.next_try_at is not None or delivery.cancel_requested_at is not None:
        return True
    pause = timedelta(minutes=min(delivery.attempt, LONGEST_PAUSE))
    return now - (delivery.attempt_at or delivery.created_at) >= pause


def start_next(ports: Ports, delivery: Delivery) -> Delivery | None:
    """Starts the attempt after the one of ``delivery``; the one before ends itself at its next step. No effect when
    somebody else did, or it is over. Returns the record as it is then. Raises Unavailable."""
    now = ports.clock.now()

    def decide(current: Delivery) -> Delivery | None:
        if current.is_over or current.attempt != delivery.attempt:
            return None
        return current.moved(now, attempt=current.attempt + 1, attempt_at=now)

    # Noted first: an attempt that is not noted would not be looked after.
    changed = change_delivery(ports, delivery.job_id, delivery.delivery_id, decide)
    if changed is not None and not changed.is_over and changed.attempt == delivery.attempt + 1:
        ports.delivery_runner.start(changed)
    return changed


def _give_up(ports: Ports, delivery: Delivery, now: datetime) -> None:
    problem = DeliveryProblem(
        code="unavailable",
        message=f"The workflow of this delivery died {delivery.attempt} times.",
        advice="Whoever runs this stack finds the reason in the log of deliver_model. Then deliver again.",
        at=now,
        will_retry=False,
    )
    changed = change_delivery(
        ports,
        delivery.job_id,
        delivery.delivery_id,
        lambda d: None if d.is_over else d.moved(now, DeliveryState.FAILED, problem=problem),
    )
    if changed is not None and changed.is_over:
        tell(ports, changed)
