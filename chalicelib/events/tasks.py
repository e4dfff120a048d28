"""Step Functions tasks: a few lines around each workflow step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from chalice.app import Blueprint

from chalicelib.domain.lifecycle import JobGoneError
from chalicelib.domain.ports import Ports
from chalicelib.providers.registry import PROVIDERS
from chalicelib.services.archive_care import tend_archives
from chalicelib.services.delivery_care import tend_deliveries
from chalicelib.wiring import Services, get_services
from chalicelib.workflow import steps, verification
from chalicelib.workflow.launch import launch as launch_step
from chalicelib.workflow.outcome import Next, Outcome
from chalicelib.workflow.sweep import sweep as sweep_step

logger = logging.getLogger(__name__)
tasks = Blueprint(__name__)

#: One sweep ends well within its Lambda's time limit.
SWEEP_BUDGET = timedelta(seconds=170)
#: Archives are looked after in this time.
ARCHIVE_BUDGET = timedelta(seconds=10)
#: Deliveries are.
DELIVERY_BUDGET = timedelta(seconds=15)
#: What is left of it for the audit.
SEAL_BUDGET = timedelta(seconds=20)


def run_step(step: Callable[[str, Ports], Outcome], event: Mapping[str, Any], ports: Ports) -> dict[str, Any]:
    """Runs ``step`` for the event's job and returns the state machine's next input.

    Errors go up: the state machine tries again, then its execution fails and the sweeper starts the next attempt.
    """
    job_id = event["job_id"]
    try:
        outcome = step(job_id, ports)
    except JobGoneError:
        outcome = Outcome(Next.DONE)
    logger.info("job %s attempt %s: %s -> %s", job_id, event.get("attempt"), step.__name__, outcome.next)
    return {
        "job_id": job_id,
        "attempt": event.get("attempt", 1),
        "next": outcome.next.value,
        "wakes_seen": outcome.wakes_seen,
    }


def run_sweep(services: Services) -> dict[str, int | bool]:
    """Sweeps the jobs, looks after archives and deliveries, then seals the audit. Jobs come first: a failure of what
    follows must not keep them waiting."""
    report = sweep_step(services.ports, PROVIDERS, SWEEP_BUDGET)
    logger.info("sweep: %s", report.as_dict())
    tended = tend_archives(services.ports, services.ports.clock.now() + ARCHIVE_BUDGET)
    if any(tended.as_dict().values()):
        logger.info("archives: %s", tended.as_dict())
    delivered = tend_deliveries(services.ports, services.ports.clock.now() + DELIVERY_BUDGET)
    if delivered.open:
        logger.info("deliveries: %s", delivered.as_dict())
    sealed = services.audit.seal(until=services.ports.clock.now() + SEAL_BUDGET)
    if sealed:
        logger.info("audit: sealed %s records", sealed)
    return {**report.as_dict(), "audit_sealed": sealed}


@tasks.lambda_function(name="prepare")
def prepare(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return run_step(steps.prepare, event, get_services().ports)


@tasks.lambda_function(name="launch")
def launch(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return run_step(launch_step, event, get_services().ports)


@tasks.lambda_function(name="await_change")
def await_change(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    waiting = Next(event["next"])
    seen = int(event.get("wakes_seen", 0))
    steps.await_change(event["job_id"], event["task_token"], waiting, seen, get_services().ports)
    logger.info("job %s attempt %s: waiting (%s)", event["job_id"], event.get("attempt"), waiting)
    return {}


@tasks.lambda_function(name="observe")
def observe(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return run_step(steps.observe, event, get_services().ports)


@tasks.lambda_function(name="deliver")
def deliver(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return run_step(verification.deliver, event, get_services().ports)


@tasks.lambda_function(name="verify")
def verify(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return run_step(verification.verify, event, get_services().ports)


@tasks.lambda_function(name="finish")
def finish(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return run_step(steps.finish, event, get_services().ports)


@tasks.lambda_function(name="sweep")
def sweep(_event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return run_sweep(get_services())
