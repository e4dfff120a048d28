"""The life of one delivery: a verified model on its way from escrow to one destination. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from chalicelib.domain.destinations import Destination

#: A delivery is tried again for this long after it began.
GIVE_UP_AFTER = timedelta(days=3)
#: Pauses between tries, in seconds; the last one repeats.
PAUSES = (10, 30, 60, 120, 300, 900, 1800, 3600)
#: Deliveries of one job, over ones included: their ids are numbered with three digits.
MAX_DELIVERIES = 100
#: No pause that a destination asks for is longer.
MAX_PAUSE = timedelta(hours=2)


class DeliveryState(StrEnum):
    """PENDING: waits for its turn or its next try. DELIVERING: bytes are on their way. DELIVERED: all are there, not
    yet read back. VERIFIED, FAILED, CANCELLED: over."""

    PENDING = "pending"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    VERIFIED = "verified"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        return self in {DeliveryState.VERIFIED, DeliveryState.FAILED, DeliveryState.CANCELLED}


_MOVES: Mapping[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset(
        {DeliveryState.DELIVERING, DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.CANCELLED}
    ),
    DeliveryState.DELIVERING: frozenset(
        {DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.CANCELLED}
    ),
    DeliveryState.DELIVERED: frozenset(
        {
            DeliveryState.PENDING,
            DeliveryState.DELIVERING,
            DeliveryState.VERIFIED,
            DeliveryState.FAILED,
            DeliveryState.CANCELLED,
        }
    ),
    DeliveryState.VERIFIED: frozenset(),
    DeliveryState.FAILED: frozenset(),
    DeliveryState.CANCELLED: frozenset(),
}


class IllegalDeliveryMoveError(Exception):
    """The table forbids this change; whoever asked saw a stale record."""


class Origin(StrEnum):
    """Where the wish came from."""

    SUBMIT = "submit"
    CONFIG = "config"
    DEFAULT = "default"
    REQUEST = "request"


class DeliveryProblem(BaseModel):
    """What stood in the way last. ``code`` is stable; neither text holds a secret."""

    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    advice: str
    at: datetime
    will_retry: bool


class Delivery(BaseModel):
    """One delivery. Times are aware UTC, sizes bytes.

    ``tries`` counts tries that failed in a row, ``attempt`` executions of the workflow from 1 (``attempt_at``: when the
    last one was asked for). Before ``next_try_at`` nothing is sent. ``result`` is what the destination says of it:
    commit, URLs. ``resolved_credential`` is the credential's name as it was found. ``revision`` grows by one with every
    write (compare-and-set).

    ``notes_key`` names the object that holds the target's own state. ``restarts`` counts how often that was of no more
    use and everything began anew. ``told``: the job's timeline and summary know of the end.
    """

    model_config = ConfigDict(frozen=True)

    delivery_id: str
    job_id: str
    owner: str
    destination: Destination
    origin: Origin
    state: DeliveryState = DeliveryState.PENDING
    resolved_credential: str | None = None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    give_up_at: datetime
    next_try_at: datetime | None = None
    tries: int = 0
    attempt: int = 1
    attempt_at: datetime | None = None
    files_total: int = 0
    files_done: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    problem: DeliveryProblem | None = None
    result: dict[str, JsonValue] = Field(default_factory=dict)
    cancel_requested_at: datetime | None = None
    notes_key: str | None = None
    restarts: int = 0
    told: bool = False
    revision: int = 1

    @property
    def is_over(self) -> bool:
        return self.state.is_over

    @property
    def settled(self) -> bool:
        """Over, and nothing of it is left to do."""
        return self.is_over and self.told

    def moved(self, now: datetime, state: DeliveryState | None = None, **changes: Any) -> Self:
        """The record after a change, ready to be stored. Raises IllegalDeliveryMoveError."""
        if self.is_over:
            raise IllegalDeliveryMoveError(f"delivery is {self.state}")
        if state is not None and state != self.state and state not in _MOVES[self.state]:
            raise IllegalDeliveryMoveError(f"{self.state} -> {state}")
        update: dict[str, Any] = {"updated_at": now, "revision": self.revision + 1, **changes}
        if state is not None:
            update["state"] = state
            if state.is_over:
                update |= {"finished_at": now, "next_try_at": None}
        return self.model_copy(update=update)

    def told_of(self, now: datetime) -> Self:
        """The record of a delivery that is over once its job knows that."""
        return self.model_copy(update={"told": True, "updated_at": now, "revision": self.revision + 1})


def pause_after(tries: int, asked: timedelta | None = None) -> timedelta:
    """How long to wait after ``tries`` failed tries in a row (from 1). What the destination asks for counts when it is
    longer, up to MAX_PAUSE."""
    own = timedelta(seconds=PAUSES[min(max(tries, 1), len(PAUSES)) - 1])
    return own if asked is None else max(own, min(asked, MAX_PAUSE))


def delivery_id(job_id: str, number: int) -> str:
    """``d-<job>-<number>``, counted from 1; sorts in order of creation."""
    return f"d-{job_id}-{number:03d}"


def job_id_of(delivery_id: str) -> str:
    """The job whose delivery it is; nonsense for nonsense."""
    return delivery_id.removeprefix("d-").rpartition("-")[0]


def state_prefix(owner: str, job_id: str, delivery_id: str) -> str:
    """Where a delivery keeps its notes, in the outputs bucket; beside the artifacts, never among them."""
    return f"{owner}/{job_id}/deliveries/{delivery_id}/"
