"""Step Functions tasks that deliver models: a few lines around each workflow step."""

from __future__ import annotations

import logging
from typing import Any

from chalice.app import Blueprint

from chalicelib.wiring import get_services
from chalicelib.workflow import delivering

logger = logging.getLogger(__name__)
deliveries = Blueprint(__name__)


@deliveries.lambda_function(name="deliver_model")
def deliver_model(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    """One step. Errors go up: the state machine tries again, and the sweeper starts the next attempt."""
    answer = delivering.deliver_step(event, get_services().ports)
    told = {"next": answer["next"], "seconds": answer.get("seconds"), "pieces": len(answer.get("items", ()))}
    logger.info("delivery %s attempt %s, step %s: %s", event["delivery_id"], event["attempt"], answer["steps"], told)
    return answer


@deliveries.lambda_function(name="deliver_piece")
def deliver_piece(event: dict[str, Any], _context: Any) -> dict[str, Any]:
    answer = delivering.deliver_piece(event, get_services().ports)
    code = answer["fault"]["code"] if answer else "done"
    logger.info("delivery %s attempt %s, a piece: %s", event["delivery_id"], event["attempt"], code)
    return answer
