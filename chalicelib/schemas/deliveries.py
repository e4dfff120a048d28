"""Deliveries on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, JsonValue, model_validator

from chalicelib.domain.deliveries import Delivery, DeliveryState, Origin
from chalicelib.domain.destinations import (
    MAX_DESTINATIONS,
    Destination,
    HubDestination,
    Part,
    S3Destination,
    WebhookDestination,
    label,
)
from chalicelib.domain.job_deliveries import DeliveriesState, JobDeliveries, Wish
from chalicelib.domain.jobs import Job
from chalicelib.schemas.base import ResponseModel, StrictRequest


class DeliverBody(StrictRequest):
    """Either ``destination`` or ``destinations``. ``include`` replaces what each of them includes."""

    destination: Destination | None = None
    destinations: list[Destination] | None = Field(None, min_length=1, max_length=MAX_DESTINATIONS)
    include: list[Part] | None = Field(None, min_length=1, max_length=len(Part))

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.destination is None) == (self.destinations is None):
            raise ValueError("send either destination or destinations")
        return self

    def wanted(self) -> list[HubDestination | S3Destination | WebhookDestination]:
        return [self.destination] if self.destination is not None else self.destinations or []


class DefaultsBody(StrictRequest):
    destinations: list[Destination] = Field(
        max_length=MAX_DESTINATIONS, description="Where models go when a submission says nothing; may be empty."
    )


class DefaultsResponse(ResponseModel):
    destinations: list[DestinationView]


class DestinationView(ResponseModel):
    """A destination without what may be secret: of a URL neither query nor user. ``label`` is one line for people."""

    kind: Literal["escrow", "huggingface", "s3", "webhook"]
    label: str
    include: list[Part]
    credential: str | None = None
    repo_id: str | None = None
    private: bool | None = None
    revision: str | None = None
    license: str | None = None
    bucket: str | None = None
    prefix: str | None = None
    endpoint_url: str | None = None
    region: str | None = None
    path_style: bool | None = None
    url: str | None = None


class WishView(DestinationView):
    origin: Origin = Field(description="Who asked: the submission, its config, your defaults, or a later request.")


class DeliveryProblemView(ResponseModel):
    code: str
    message: str
    advice: str
    at: datetime
    will_retry: bool


class DeliveryJobView(ResponseModel):
    """One delivery. ``tries`` counts tries that failed in a row; before ``next_try_at`` nothing is sent. ``result`` is
    what the destination says: commit, URLs. Escrow is the first of every job: its ``delivery_id`` is ``escrow``."""

    delivery_id: str
    job_id: str
    kind: Literal["escrow", "huggingface", "s3", "webhook"]
    destination: DestinationView
    origin: Origin | None
    state: DeliveryState
    is_over: bool
    cancel_requested: bool
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_try_at: datetime | None
    give_up_at: datetime | None
    tries: int
    attempt: int
    files_total: int
    files_done: int
    bytes_total: int
    bytes_done: int
    percent: float | None
    credential: str | None
    problem: DeliveryProblemView | None
    result: dict[str, JsonValue]


class DeliveryResponse(ResponseModel):
    delivery: DeliveryJobView


class DeliverResponse(ResponseModel):
    """``deliveries`` are in the order of what was asked for; ``made`` counts those that are new."""

    job_id: str
    deliveries: list[DeliveryJobView]
    made: int


class DeliveriesSummary(ResponseModel):
    """Of several deliveries to the same place the last counts."""

    state: DeliveriesState
    verified: int
    open: int
    failed: int


class DeliveriesResponse(ResponseModel):
    """In order of creation, behind escrow."""

    job_id: str
    summary: DeliveriesSummary
    deliveries: list[DeliveryJobView]


def summary_view(deliveries: JobDeliveries) -> DeliveriesSummary:
    return DeliveriesSummary(
        state=deliveries.state, verified=deliveries.verified, open=deliveries.open, failed=deliveries.failed
    )


def destination_view(destination: HubDestination | S3Destination | WebhookDestination) -> DestinationView:
    return DestinationView(**_shown(destination))


def wish_view(wish: Wish) -> WishView:
    return WishView(**_shown(wish.destination), origin=wish.origin)


def _shown(destination: HubDestination | S3Destination | WebhookDestination) -> dict[str, object]:
    shown: dict[str, object] = {**destination.model_dump(), "label": label(destination)}
    for name in ("url", "endpoint_url"):
        if isinstance(shown.get(name), str):
            shown[name] = without_secrets(str(shown[name]))
    return shown


def without_secrets(url: str) -> str:
    """The address without user, query and fragment."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rsplit("@", 1)[-1], parts.path, "", ""))


def delivery_view(delivery: Delivery) -> DeliveryJobView:
    problem = delivery.problem
    percent = None
    if delivery.bytes_total:
        percent = round(min(100.0, 100.0 * delivery.bytes_done / delivery.bytes_total), 1)
    return DeliveryJobView(
        delivery_id=delivery.delivery_id,
        job_id=delivery.job_id,
        kind=delivery.destination.kind,
        destination=destination_view(delivery.destination),
        origin=delivery.origin,
        state=delivery.state,
        is_over=delivery.is_over,
        cancel_requested=delivery.cancel_requested_at is not None,
        created_at=delivery.created_at,
        updated_at=delivery.updated_at,
        started_at=delivery.started_at,
        finished_at=delivery.finished_at,
        next_try_at=delivery.next_try_at,
        give_up_at=None if delivery.is_over else delivery.give_up_at,
        tries=delivery.tries,
        attempt=delivery.attempt,
        files_total=delivery.files_total,
        files_done=delivery.files_done,
        bytes_total=delivery.bytes_total,
        bytes_done=delivery.bytes_done,
        percent=percent,
        credential=delivery.resolved_credential or delivery.destination.credential,
        problem=DeliveryProblemView(**problem.model_dump()) if problem else None,
        result=delivery.result,
    )


def escrow_delivery(job: Job) -> DeliveryJobView:
    """Escrow as the first delivery of every job: what the job's own record says of it."""
    verified = job.delivery.verified_at
    if verified is not None:
        state = DeliveryState.VERIFIED
    elif job.is_terminal:
        state = DeliveryState.FAILED
    else:
        state = DeliveryState.DELIVERING if job.delivery.files else DeliveryState.PENDING
    return DeliveryJobView(
        delivery_id="escrow",
        job_id=job.job_id,
        kind="escrow",
        destination=DestinationView(kind="escrow", label="escrow: this stack's own bucket", include=list(Part)),
        origin=None,
        state=state,
        is_over=state.is_over,
        cancel_requested=False,
        created_at=job.created_at,
        updated_at=job.updated_at,
        started_at=job.started_at,
        finished_at=verified or job.completed_at,
        next_try_at=None,
        give_up_at=None,
        tries=0,
        attempt=1,
        files_total=job.delivery.files,
        files_done=job.delivery.verified_files,
        bytes_total=job.delivery.bytes,
        bytes_done=job.delivery.bytes if verified else 0,
        percent=100.0 if verified else None,
        credential=None,
        problem=None,
        result={},
    )
