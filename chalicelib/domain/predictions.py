"""What we know of GPU providers, whoever they are: profiles, launch requests, predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any


class PredictionStatus(StrEnum):
    """Replicate's statuses plus UNKNOWN for one we have never heard of (treated as still running, and reported)."""

    STARTING = "starting"
    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    ABORTED = "aborted"
    UNKNOWN = "unknown"

    @property
    def is_over(self) -> bool:
        return self in _OVER


_OVER = frozenset(
    {PredictionStatus.SUCCEEDED, PredictionStatus.FAILED, PredictionStatus.CANCELED, PredictionStatus.ABORTED}
)


@dataclass(frozen=True)
class HardwareProfile:
    """A machine one can ask for. ``model`` is the provider's trainer model, the price is US dollars a second."""

    id: str
    model: str
    label: str
    hardware_type: str
    price_per_second: Decimal

    @property
    def price_per_hour(self) -> Decimal:
        return (self.price_per_second * 3600).quantize(Decimal("0.01"))


@dataclass(frozen=True)
class LaunchRequest:
    """Everything a provider needs to start one training.

    ``tag`` is the job id; the provider must keep it findable (Replicate: in the webhook URL). ``inputs`` holds only
    what the trainer declares. ``max_run_seconds`` becomes the provider's own deadline.
    """

    tag: str
    profile: HardwareProfile
    inputs: Mapping[str, Any]
    webhook_url: str
    max_run_seconds: int


@dataclass(frozen=True)
class Prediction:
    """The provider's answer about one training. ``logs`` is None when the provider has removed or omits them.

    ``raw_status`` keeps the provider's own word, ``run_seconds`` the billed run time once known, ``tags`` the job ids
    found in it (webhook URL, output prefix), ``buckets`` those it publishes to.
    """

    id: str
    status: PredictionStatus
    raw_status: str
    created_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    run_seconds: float | None = None
    logs: str | None = None
    error: str | None = None
    output: Any = None
    data_removed: bool = False
    deadline: datetime | None = None
    webhook_url: str | None = None
    tags: frozenset[str] = frozenset()
    buckets: frozenset[str] = frozenset()


@dataclass(frozen=True)
class PredictionPage:
    """Newest first. ``cursor`` is None on the last page. ``unreadable`` counts entries that had no id or no status."""

    predictions: tuple[Prediction, ...]
    cursor: str | None = None
    unreadable: int = 0


@dataclass(frozen=True)
class AccountInfo:
    """Who the provider token belongs to."""

    username: str
    name: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
