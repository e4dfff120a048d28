"""Waking the sender of notifications."""

from __future__ import annotations

import logging

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.clients import ClientSource

logger = logging.getLogger(__name__)


class LambdaNudge:
    """Starts the function without waiting for it. Never raises: a nudge that is lost costs a minute, until the
    function's schedule starts it. Needs lambda:InvokeFunction."""

    def __init__(self, function: str, client: ClientSource) -> None:
        self._function = function
        self._client = client

    def __call__(self) -> None:
        if not self._function:
            return
        try:
            self._client().invoke(FunctionName=self._function, InvocationType="Event", Payload=b"{}")
        except (ClientError, BotoCoreError) as error:
            logger.warning("the sender of notifications could not be woken: %s", error)
