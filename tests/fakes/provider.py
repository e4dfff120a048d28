"""A GPU provider in virtual time: predictions with scripted lives, and faults at every call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.ports import Clock
from chalicelib.domain.predictions import (
    AccountInfo,
    HardwareProfile,
    LaunchRequest,
    Prediction,
    PredictionPage,
    PredictionStatus,
)

SECRET = "whsec_dGVzdC1zZWNyZXQtdGVzdC1zZWNyZXQ="
PROFILES = {
    "h100": HardwareProfile("h100", "simpletuner/advanced-trainer-h100", "H100", "H100", Decimal("0.001525")),
    "l40s": HardwareProfile("l40s", "simpletuner/advanced-trainer-l40s", "L40S", "L40S", Decimal("0.000975")),
}
#: Faults a test may ask for, by name.
REFUSED = ProviderFault("500 before", kind=FaultKind.PROVIDER, code="provider_error", sent=False)
LOST = ProviderFault("no answer", kind=FaultKind.PROVIDER, code="no_answer", sent=True)


@dataclass(frozen=True)
class Life:
    """How a prediction goes: seconds in ``starting``, seconds of running, and its end."""

    start: float = 10
    run: float = 120
    end: PredictionStatus = PredictionStatus.SUCCEEDED
    steps: int = 200
    error: str | None = None
    log_tail: str = ""
    publish: bool = True
    raw_status: str | None = None


@dataclass
class Record:
    id: str
    request: LaunchRequest
    life: Life
    created_at: datetime
    ended_at: datetime | None = None
    ended: PredictionStatus | None = None
    published: bool = False


@dataclass
class FakeProvider:
    """Implements the Provider port. ``lives`` are taken in order by new predictions, then the default life.

    ``faults`` maps a call's name to faults raised one after the other; ``lost_answers`` counts creates that succeed and
    raise all the same. ``publish`` is called once when a prediction has succeeded.
    """

    clock: Clock
    lives: list[Life] = field(default_factory=list)
    default_life: Life = field(default_factory=Life)
    faults: dict[str, list[ProviderFault]] = field(default_factory=dict)
    lost_answers: int = 0
    publish: Callable[[LaunchRequest, Life], None] | None = None
    records: dict[str, Record] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    cancel_takes: float = 0
    page_size: int = 100
    max_live: dict[str, int] = field(default_factory=dict)
    name: str = "replicate"
    secret: str = SECRET
    shows_webhooks: bool = True

    @property
    def profiles(self) -> Mapping[str, HardwareProfile]:
        return PROFILES

    def _call(self, name: str) -> None:
        self.calls.append(name)
        waiting = self.faults.get(name)
        if waiting:
            raise waiting.pop(0)

    def validate(self) -> AccountInfo:
        self._call("validate")
        return AccountInfo(username="fake")

    def create(self, request: LaunchRequest) -> Prediction:
        self._call("create")
        life = self.lives.pop(0) if self.lives else self.default_life
        record = Record(f"pred{len(self.records) + 1}", request, life, self.clock.now())
        self.records[record.id] = record
        live = len([r for r in self.records.values() if r.request.tag == request.tag and not self._state(r).is_over])
        self.max_live[request.tag] = max(self.max_live.get(request.tag, 0), live)
        if self.lost_answers > 0:
            self.lost_answers -= 1
            raise LOST
        return self._view(record)

    def get(self, prediction_id: str) -> Prediction | None:
        self._call("get")
        record = self.records.get(prediction_id)
        return None if record is None else self._view(record)

    def cancel(self, prediction_id: str) -> Prediction | None:
        self._call("cancel")
        record = self.records.get(prediction_id)
        if record is None:
            return None
        if not self._state(record).is_over and record.ended_at is None:
            record.ended, record.ended_at = (
                PredictionStatus.CANCELED,
                self.clock.now() + timedelta(seconds=self.cancel_takes),
            )
        return self._view(record)

    def list(self, *, created_after: datetime | None = None, cursor: str | None = None) -> PredictionPage:
        self._call("list")
        found = [r for r in reversed(self.records.values()) if created_after is None or r.created_at > created_after]
        start = int(cursor or 0)
        rest = len(found) > start + self.page_size
        page = tuple(self._view(r) for r in found[start : start + self.page_size])
        return PredictionPage(page, str(start + self.page_size) if rest else None)

    def webhook_secret(self, *, refresh: bool = False) -> str:
        self._call("webhook_secret")
        return self.secret

    # --- what a test looks at ---------------------------------------------------------------------------------
    def live(self, tag: str | None = None) -> list[Record]:
        return [
            r for r in self.records.values() if (tag is None or r.request.tag == tag) and not self._state(r).is_over
        ]

    def _state(self, record: Record) -> PredictionStatus:
        now, life = self.clock.now(), record.life
        started = record.created_at + timedelta(seconds=life.start)
        deadline = record.created_at + timedelta(seconds=record.request.max_run_seconds)
        over = started + timedelta(seconds=life.run)
        if record.ended_at is not None and now >= record.ended_at:
            assert record.ended is not None
            return record.ended
        if record.ended_at is None and now >= min(over, deadline):
            if over <= deadline:
                record.ended, record.ended_at = life.end, over
            else:
                record.ended = PredictionStatus.CANCELED if started < deadline else PredictionStatus.ABORTED
                record.ended_at = deadline
            return record.ended
        return PredictionStatus.PROCESSING if now >= started else PredictionStatus.STARTING

    def _view(self, record: Record) -> Prediction:
        status, now, life = self._state(record), self.clock.now(), record.life
        started = record.created_at + timedelta(seconds=life.start)
        ran = min(now, record.ended_at or now) - started
        if status is PredictionStatus.SUCCEEDED and not record.published:
            record.published = True
            if self.publish is not None and life.publish:
                self.publish(record.request, life)
        url = record.request.webhook_url
        begun = status is not PredictionStatus.STARTING and status is not PredictionStatus.ABORTED
        raw = life.raw_status if status is PredictionStatus.PROCESSING and life.raw_status else status.value
        return Prediction(
            id=record.id,
            status=PredictionStatus.UNKNOWN if raw == life.raw_status else status,
            raw_status=raw,
            created_at=record.created_at,
            started_at=started if begun else None,
            completed_at=record.ended_at if status.is_over else None,
            run_seconds=max(0.0, ran.total_seconds()) if status.is_over and begun else None,
            logs=self._logs(record, max(0.0, ran.total_seconds())) if begun else "",
            error=life.error if status is PredictionStatus.FAILED else None,
            output="Training complete" if status is PredictionStatus.SUCCEEDED else None,
            deadline=record.created_at + timedelta(seconds=record.request.max_run_seconds),
            webhook_url=url if self.shows_webhooks else None,
            tags=frozenset(parse_qs(urlsplit(url).query).get("job", [])),
            buckets=frozenset(_buckets(record.request)),
        )

    @staticmethod
    def _logs(record: Record, ran: float) -> str:
        life = record.life
        step = min(life.steps, int(life.steps * ran / life.run)) if life.run else life.steps
        lines = ["[COG] Webhook receiver started", "[STAGE] ⏳ VAE caching (50.0%)"]
        lines += [
            f"Epoch 1/1 Steps: {100 * s // life.steps:3d}%|#   | {s}/{life.steps} "
            f"[00:10<00:30, 2.0it/s, lr=0.0001, step_loss={1 / (s + 1):.4f}]"
            for s in range(0, step + 1, max(1, life.steps // 20))
        ]
        if ran >= life.run:
            lines.append(life.log_tail or "[CHECKPOINT] Checkpoint saved")
        return "\n".join(lines) + "\n"


def _buckets(request: LaunchRequest) -> list[str]:
    config = json.loads(request.inputs.get("config_json", "{}"))
    return [target["bucket"] for target in config.get("publishing_config", [])]
