"""The tasks of the state machine that inspects dataset versions: a few lines around each step."""

from __future__ import annotations

import logging
from typing import Any

from chalice.app import Blueprint

from chalicelib.wiring import get_services, image_probe
from chalicelib.workflow import inspection as steps
from chalicelib.workflow.inspection_files import batch

logger = logging.getLogger(__name__)
inspection_tasks = Blueprint(__name__)


@inspection_tasks.lambda_function(name="inspect_plan")
def inspect_plan(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    answer = steps.plan(event, get_services().ports)
    logger.info("inspection of %s: %s batches", event["version_id"], len(answer["batches"]))
    return answer


@inspection_tasks.lambda_function(name="inspect_batch")
def inspect_batch(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """A batch, or the contact sheet: both decode images, and this function alone has what that takes."""
    ports = get_services().ports
    if event.get("step") == "sheet":
        return steps.sheet(event, ports, image_probe())
    answer = batch(event, ports, image_probe())
    logger.info("inspection of %s, batch %s: at %s", event["version_id"], event["batch"], answer["at"])
    return answer


@inspection_tasks.lambda_function(name="inspect_report")
def inspect_report(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """The report, or the note that there is none."""
    ports = get_services().ports
    answer = steps.fail(event, ports) if event.get("step") == "fail" else steps.report(event, ports)
    logger.info("inspection of %s: %s", event["version_id"], answer.get("status", "not needed any more"))
    return answer
