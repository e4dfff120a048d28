"""Asks the stack's sweeper to run now: what an earlier stop interrupted ends at once, not with the next schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from local.stack.emulated import client
from local.stack.layout import STAGE, Ports

FUNCTION = f"stcloud-{STAGE}-sweep"


def sweep_soon(ports: Ports, connect: Callable[[str, str], Any] = client) -> str | None:
    """Returns when the sweep is asked for, not when it is done; a sentence when it could not be. Never raises what
    AWS's client raises: the scheduled sweep comes anyway, within two minutes."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        connect("lambda", ports.emulator_url).invoke(FunctionName=FUNCTION, InvocationType="Event", Payload=b"{}")
    except (BotoCoreError, ClientError) as error:
        return f"The sweeper could not be started at once ({error}); it runs within two minutes."
    return None
