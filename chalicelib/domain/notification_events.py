"""What is told of: types of events, and what is kept of one until it has been handed to the owner's channels. Pure.

An outbox item is written in the transaction that writes the event itself, so an event that took place is told of, and
one that did not is not. It holds what was true then; nothing is looked up when it is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.domain.jobs import Job, JobEvent
from chalicelib.domain.redaction import redact

#: Texts of others' making (a provider's error) are cut to so many characters.
MAX_TEXT = 500
MAX_SUBJECT = 100
ALL = "*"


@dataclass(frozen=True)
class EventType:
    """``subject`` begins the subject of an e-mail."""

    id: str
    name: str
    category: str
    description: str
    subject: str


_TYPES = (
    EventType("job.submitted", "Job submitted", "job", "A job was taken and waits to be launched.", "Queued"),
    EventType("job.running", "Job running", "job", "The training of a job started.", "Running"),
    EventType("job.completed", "Job completed", "job", "The model is in escrow and was verified there.", "Completed"),
    EventType("job.failed", "Job failed", "job", "A job ended without a model.", "Failed"),
    EventType("job.cancelled", "Job cancelled", "job", "A job was cancelled.", "Cancelled"),
    EventType(
        "delivery.verified",
        "Delivery verified",
        "delivery",
        "The model arrived at a destination and was verified there.",
        "Delivered",
    ),
    EventType(
        "delivery.failed",
        "Delivery failed",
        "delivery",
        "A delivery was given up. The model is still in escrow.",
        "Delivery failed",
    ),
    EventType(
        "channel.disabled",
        "Channel disabled",
        "notification",
        "A channel of yours was disabled, because what is sent to it does not arrive. E-mail channels always get this.",
        "Channel disabled",
    ),
)
#: What a channel may subscribe to. A new type needs a line above and an event of that type on a job's timeline.
EVENT_TYPES: Mapping[str, EventType] = {kind.id: kind for kind in _TYPES}
CHANNEL_DISABLED = "channel.disabled"
#: Sent by hand, to one channel; nobody subscribes to it.
TEST = "notification.test"


class OutboxItem(BaseModel):
    """An event that is to be told of. ``item_id`` sorts by time and is that of this event alone: an event that is
    written twice is one item. ``data`` holds no secrets and no links that open something."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    item_id: str
    owner: str
    event_type: str
    at: datetime
    data: dict[str, Any] = Field(default_factory=dict)


def stamp_of(moment: datetime) -> str:
    """UTC in fixed width, so that text order is time order."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def outbox_items(job: Job, events: Sequence[JobEvent]) -> list[OutboxItem]:
    """What of ``events``, written together with this record of the job, its owner may want to be told of."""
    return [
        OutboxItem(
            item_id=f"{stamp_of(event.at)}#{job.job_id}-{event.seq}",
            owner=job.owner,
            event_type=event.type,
            at=event.at,
            data=_data(job, event),
        )
        for event in events
        if event.type in EVENT_TYPES
    ]


def _data(job: Job, event: JobEvent) -> dict[str, Any]:
    data: dict[str, Any] = {"job": job_facts(job), "message": _text(event.message)}
    if event.type.startswith("delivery."):
        data["delivery"] = {
            name: _text(str(event.data[name])) for name in ("delivery_id", "destination", "code") if name in event.data
        }
    return data


def job_facts(job: Job) -> dict[str, Any]:
    """The small public view of a job: names as in the API, all JSON values."""
    failure = job.failure
    return {
        "job_id": job.job_id,
        "status": job.status.value,
        "provider": job.provider,
        "config_name": job.config_name,
        "tracker_run_name": job.run_name,
        "hardware_type": job.hardware_type,
        "created_at": _iso(job.created_at),
        "started_at": _iso(job.started_at),
        "completed_at": _iso(job.completed_at),
        "cost_usd": float(job.cost_usd) if job.cost_usd is not None else None,
        "error": {"code": failure.code, "message": _text(failure.message)} if failure else None,
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _text(text: str) -> str:
    return redact(text)[:MAX_TEXT]


def disabled_item(owner: str, channel_id: str, name: str, reason: str, at: datetime) -> OutboxItem:
    """That a channel was disabled by us."""
    data = {"channel": {"id": channel_id, "name": name}, "message": _text(reason)}
    return OutboxItem(
        item_id=f"{stamp_of(at)}#{channel_id}-disabled", owner=owner, event_type=CHANNEL_DISABLED, at=at, data=data
    )


def body_of(event_type: str, at: datetime, data: Mapping[str, Any]) -> str:
    """The body that is signed and sent, the same in every try (https://www.standardwebhooks.com, "Payload")."""
    return json.dumps(
        {"type": event_type, "timestamp": _iso(at), "data": dict(data)}, separators=(",", ":"), ensure_ascii=False
    )


def mail_of(body: str, *, public_url: str) -> tuple[str, str]:
    """Subject (ASCII without control characters, at most MAX_SUBJECT) and text of the e-mail for a body."""
    document = json.loads(body)
    kind, data = EVENT_TYPES.get(document["type"]), document["data"]
    job, delivery, channel = data.get("job") or {}, data.get("delivery") or {}, data.get("channel") or {}
    name = job.get("tracker_run_name") or job.get("config_name") or job.get("job_id") or channel.get("name") or ""
    start = kind.subject if kind is not None else "Test"
    subject = " ".join(f"SimpleTuner Cloud: {start}: {name}".encode("ascii", "replace").decode().split())
    lines = [data.get("message") or start, ""]
    facts = (
        ("Job", job.get("job_id")),
        ("Run", job.get("tracker_run_name")),
        ("Status", job.get("status")),
        ("Cost", None if job.get("cost_usd") is None else f"${job['cost_usd']:.2f}"),
        ("Destination", delivery.get("destination")),
        ("Channel", channel.get("name")),
        ("Time", document["timestamp"]),
    )
    lines += [f"{label}: {value}" for label, value in facts if value]
    if job.get("job_id"):
        lines += ["", f"See: stcloud jobs show {job['job_id']}", public_url]
    printable = "".join(c for c in subject if c.isprintable()).rstrip(": ")
    return printable[:MAX_SUBJECT], "\n".join(lines)
