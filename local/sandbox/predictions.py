"""The life of a prediction: a record, its allowed transitions and its JSON form. Pure; time is passed in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qs, urlsplit

from local.sandbox.clock import iso, parse_iso
from local.sandbox.contract import redact
from local.sandbox.problems import invalid

EVENTS = ("start", "output", "logs", "completed")
DEFAULT_EVENTS = ("output", "completed")
MIN_CANCEL_AFTER = timedelta(seconds=5)
INTERRUPTED = "Prediction interrupted: the sandbox was stopped"
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)


class Status(StrEnum):
    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ABORTED = "aborted"

    @property
    def is_over(self) -> bool:
        return self not in (Status.STARTING, Status.PROCESSING)


#: A terminal status has no way out: a late answer of the trainer can't overwrite a cancellation.
ALLOWED: dict[Status, frozenset[Status]] = {
    Status.STARTING: frozenset({Status.PROCESSING, Status.CANCELED, Status.ABORTED, Status.FAILED}),
    Status.PROCESSING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
}


class TransitionError(Exception):
    """A change of status that the life cycle does not know."""


@dataclass
class Prediction:
    """One prediction as stored. ``ordinal`` counts from 1 in order of creation; ``terminal_webhook`` is ``none``,
    ``pending``, ``sent``, ``lost`` or ``gave_up``; ``input`` keeps secrets only until the trainer has them; ``faults``
    are the run's seeded faults, decided at creation, as ``{"kind", "options"}``."""

    id: str
    ordinal: int
    model: str
    version: str
    input: dict[str, Any]
    created_at: datetime
    webhook: str | None = None
    webhook_events_filter: list[str] | None = None
    deadline: datetime | None = None
    status: Status = Status.STARTING
    started_at: datetime | None = None
    completed_at: datetime | None = None
    output: Any = None
    error: str | None = None
    data_removed: bool = False
    terminal_webhook: str = "none"
    terminal_webhook_id: str | None = None
    faults: list[dict[str, Any]] = field(default_factory=list)

    @property
    def job(self) -> str | None:
        """The caller's tag: query parameter ``job`` of the webhook URL."""
        return self.job_of(self.webhook) if self.webhook else None

    @staticmethod
    def job_of(webhook: str) -> str | None:
        """Raises ValueError on an address that is none."""
        values = parse_qs(urlsplit(webhook).query).get("job")
        return values[0] if values else None

    @property
    def events(self) -> tuple[str, ...]:
        return tuple(self.webhook_events_filter) if self.webhook_events_filter else DEFAULT_EVENTS

    def fault(self, kind: str) -> dict[str, Any] | None:
        """The options of a seeded fault of this run, None when it has none of this kind."""
        return next((f["options"] for f in self.faults if f["kind"] == kind), None)

    def move(self, to: Status, now: datetime, *, error: str | None = None, output: Any = None) -> None:
        """Raises TransitionError when the life cycle forbids it; the record is then unchanged."""
        if to not in ALLOWED.get(self.status, frozenset()):
            raise TransitionError(f"{self.id}: {self.status} can't become {to}")
        self.status = to
        if to is Status.PROCESSING:
            self.started_at = now
        else:
            self.completed_at = now
            self.input = redact(self.input)
            self.terminal_webhook = "pending" if self.webhook and "completed" in self.events else "none"
        self.error = error
        self.output = output

    def sign_of_life(self, heartbeat: datetime | None) -> datetime:
        """When it surely ran last, of a run whose server died: the server's last heartbeat, at least its own start."""
        began = self.started_at or self.created_at
        return began if heartbeat is None else max(began, heartbeat)

    def remove_data(self) -> None:
        """Retention: input and output go, metrics and status stay. The log file is the store's to delete."""
        self.input, self.output, self.data_removed = {}, None, True

    def metrics(self) -> dict[str, float]:
        if self.completed_at is None:
            return {}
        times = {"total_time": round((self.completed_at - self.created_at).total_seconds(), 6)}
        if self.started_at is not None:
            times["predict_time"] = round((self.completed_at - self.started_at).total_seconds(), 6)
        return times

    def public(self, origin: str, logs: str | None) -> dict[str, Any]:
        """The API's JSON. Times that are not known yet are left out, ``logs`` too when None (lists, removed data)."""
        body: dict[str, Any] = {
            "id": self.id,
            "model": self.model,
            "version": self.version,
            "input": redact(self.input),
            "output": self.output,
            "data_removed": self.data_removed,
            "error": self.error,
            "status": self.status.value,
            "source": "api",
            "created_at": iso(self.created_at),
            "metrics": self.metrics(),
            "urls": {
                "web": f"{origin}/p/{self.id}",
                "get": f"{origin}/v1/predictions/{self.id}",
                "cancel": f"{origin}/v1/predictions/{self.id}/cancel",
            },
        }
        for name in ("started_at", "completed_at", "deadline"):
            moment = getattr(self, name)
            if moment is not None:
                body[name] = iso(moment)
        if self.webhook:
            body["webhook"] = self.webhook
            body["webhook_events_filter"] = list(self.events)
        if logs is not None and not self.data_removed:
            body["logs"] = logs
        return body

    def to_record(self) -> dict[str, Any]:
        return {k: iso(v) if isinstance(v, datetime) else v for k, v in asdict(self).items()}

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Prediction:
        """Raises KeyError, TypeError or ValueError on a record that is none."""
        known = {k: v for k, v in record.items() if k in {f.name for f in fields(cls)}}
        for name in ("created_at", "deadline", "started_at", "completed_at"):
            if known.get(name) is not None:
                known[name] = parse_iso(known[name])
        known["status"] = Status(known["status"])
        return cls(**known)


def parse_cancel_after(header: str) -> timedelta:
    """``30``, ``90s``, ``15m``, ``2h30m``, ``1h30m45s``; at least five seconds. Raises a 422 Problem."""
    text = header.strip()
    match = _DURATION.fullmatch(f"{text}s" if text.isdecimal() and text.isascii() else text)
    if not text or match is None or len(text) > 20:
        raise invalid(
            f"Cancel-After: '{header[:40]}' is no duration like 30, 90s, 15m or 2h30m", fields=["Cancel-After"]
        )
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    try:
        duration = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise invalid("Cancel-After: is too long", fields=["Cancel-After"]) from None
    if duration < MIN_CANCEL_AFTER:
        raise invalid("Cancel-After: must be at least 5 seconds", fields=["Cancel-After"])
    if duration > timedelta(days=366):
        raise invalid("Cancel-After: is too long", fields=["Cancel-After"])
    return duration


def most_at_once(spans: Iterable[tuple[datetime, datetime | None]]) -> int:
    """The largest number of spans open at one moment; an end of None is still open. One that begins where another ends
    does not overlap it; one without any length overlaps what is open at its moment."""
    edges: list[tuple[datetime, int, int]] = []
    for start, end in spans:
        edges.append((start, 1, 1))
        if end is not None:
            edges.append((end, 0 if end > start else 2, -1))
    most = current = 0
    for _, _, step in sorted(edges):
        current += step
        most = max(most, current)
    return most
