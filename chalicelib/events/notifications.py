"""The Lambda that sends notifications: every minute, and when something has happened."""

from __future__ import annotations

import logging
from typing import Any

from chalice.app import Blueprint

from chalicelib.wiring import get_services
from chalicelib.workflow.notifying import send_notifications

logger = logging.getLogger(__name__)
notifications = Blueprint(__name__)


@notifications.lambda_function(name="notify")
def notify(_event: dict[str, Any], _context: Any) -> dict[str, int]:
    report = send_notifications(get_services().ports).as_dict()
    if any(report.values()):
        logger.info("notifications: %s", report)
    return report
