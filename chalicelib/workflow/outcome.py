"""What a step tells the state machine."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Next(StrEnum):
    """The state machine's routes. The names are those of ``infra/state_machine.asl.json``."""

    LAUNCH = "launch"
    AWAIT_SHORT = "await_short"
    AWAIT_MEDIUM = "await_medium"
    AWAIT_LONG = "await_long"
    AWAIT_WEBHOOK = "await_webhook"
    AWAIT_INSPECTION = "await_inspection"
    OBSERVE = "observe"
    DELIVER = "deliver"
    VERIFY = "verify"
    FINISH = "finish"
    DONE = "done"


#: Seconds the state machine waits in each await state before it looks again: at the provider, or from AWAIT_INSPECTION
#: at the datasets (Prepare).
WAITS = {
    Next.AWAIT_SHORT: 30,
    Next.AWAIT_MEDIUM: 60,
    Next.AWAIT_LONG: 300,
    Next.AWAIT_WEBHOOK: 12 * 3600,
    # The end of an inspection wakes the job; this is for an end that nobody told of.
    Next.AWAIT_INSPECTION: 20,
}


@dataclass(frozen=True)
class Outcome:
    """The next state, and the count of wake-up hints this step had seen before it looked at the world.

    AwaitChange compares ``wakes_seen`` with the record: a hint that came in between must not be slept over.
    """

    next: Next
    wakes_seen: int = 0
