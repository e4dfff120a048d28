"""What a job knows of its deliveries: what was wished for, and how far each has come. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.domain.deliveries import Delivery, DeliveryState, Origin
from chalicelib.domain.destinations import Destination, HubDestination, S3Destination, WebhookDestination


class Wish(BaseModel):
    """A destination as it was asked for, and where."""

    model_config = ConfigDict(frozen=True)

    destination: Destination
    origin: Origin


class Mark(StrEnum):
    """How far a delivery has come, as its job was told. Only onward: see ``RANK``."""

    OPEN = "open"
    STARTED = "started"
    RETRYING = "retrying"
    VERIFIED = "verified"
    FAILED = "failed"
    CANCELLED = "cancelled"


RANK: Mapping[Mark, int] = {
    Mark.OPEN: 0,
    Mark.STARTED: 1,
    Mark.RETRYING: 2,
    Mark.VERIFIED: 3,
    Mark.FAILED: 3,
    Mark.CANCELLED: 3,
}
_OVER = frozenset({Mark.VERIFIED, Mark.FAILED, Mark.CANCELLED})


class DeliveriesState(StrEnum):
    """DELIVERING: one at least is not over. VERIFIED: all arrived. FAILED: none did. PARTIAL: some did."""

    NONE = "none"
    DELIVERING = "delivering"
    VERIFIED = "verified"
    FAILED = "failed"
    PARTIAL = "partial"


class DeliveryMark(BaseModel):
    """``to`` tells destinations apart: of several deliveries to the same one the last counts."""

    model_config = ConfigDict(frozen=True)

    mark: Mark
    to: str


class JobDeliveries(BaseModel):
    """Part of the job's record: by delivery id."""

    model_config = ConfigDict(frozen=True)

    marks: dict[str, DeliveryMark] = Field(default_factory=dict)

    def told(self, delivery_id: str, mark: DeliveryMark) -> JobDeliveries:
        return JobDeliveries(marks={**self.marks, delivery_id: mark})

    @property
    def latest(self) -> list[Mark]:
        """Of the last delivery to each destination; cancelled ones say nothing."""
        by_destination = {known.to: known.mark for _, known in sorted(self.marks.items()) if known.mark != "cancelled"}
        return list(by_destination.values())

    @property
    def verified(self) -> int:
        return self.latest.count(Mark.VERIFIED)

    @property
    def failed(self) -> int:
        return self.latest.count(Mark.FAILED)

    @property
    def open(self) -> int:
        return sum(known.mark not in _OVER for known in self.marks.values())

    @property
    def state(self) -> DeliveriesState:
        if self.open:
            return DeliveriesState.DELIVERING
        if self.failed:
            return DeliveriesState.PARTIAL if self.verified else DeliveriesState.FAILED
        return DeliveriesState.VERIFIED if self.verified else DeliveriesState.NONE


def mark_of(delivery: Delivery) -> DeliveryMark:
    return DeliveryMark(mark=_mark(delivery), to=place_of(delivery.destination))


def _mark(delivery: Delivery) -> Mark:
    if delivery.is_over:
        return Mark(delivery.state.value)
    if delivery.problem is not None and delivery.state is DeliveryState.PENDING:
        return Mark.RETRYING
    return Mark.STARTED if delivery.started_at is not None else Mark.OPEN


def place_of(destination: HubDestination | S3Destination | WebhookDestination) -> str:
    """Equal for destinations that are the same place, however they were asked for; opaque."""
    if isinstance(destination, HubDestination):
        named = ["huggingface", destination.repo_id.lower(), destination.revision]
    elif isinstance(destination, S3Destination):
        endpoint = (destination.endpoint_url or "").rstrip("/").lower()
        named = ["s3", endpoint, destination.bucket, destination.prefix.strip("/")]
    else:
        named = ["webhook", destination.url]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()[:12]
