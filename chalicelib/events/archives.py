"""Step Functions tasks that unpack archives: a few lines around each workflow step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from chalice.app import Blueprint

from chalicelib.domain.ports import Ports
from chalicelib.wiring import get_services
from chalicelib.workflow.unpack_assemble import assemble_archive
from chalicelib.workflow.unpack_piece import unpack_piece
from chalicelib.workflow.unpack_plan import plan_archive

logger = logging.getLogger(__name__)
archives = Blueprint(__name__)


def run_step(step: Callable[[Mapping[str, Any], Ports], dict[str, Any]], event: Mapping[str, Any]) -> dict[str, Any]:
    """Runs ``step`` and returns the state machine's next input. Errors go up: the state machine tries again."""
    answer = step(event, get_services().ports)
    told = {name: answer[name] for name in ("next", "first", "count", "more") if name in answer}
    logger.info("archive %s attempt %s: %s -> %s", event["archive_id"], event["attempt"], step.__name__, told)
    return answer


@archives.lambda_function(name="archive_plan")
def archive_plan(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return run_step(plan_archive, event)


@archives.lambda_function(name="archive_unpack")
def archive_unpack(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return run_step(unpack_piece, event)


@archives.lambda_function(name="archive_assemble")
def archive_assemble(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    return run_step(assemble_archive, event)
