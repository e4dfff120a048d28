"""What a person has settled for everything of theirs."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from chalicelib.domain.destinations import Destination


class Consent(StrEnum):
    """Whether data may leave the person's machine: asked each time, always, never. SimpleTuner's words."""

    ASK = "ask"
    ALLOW = "allow"
    DENY = "deny"


class OwnerSettings(BaseModel):
    """``destinations``: where models go when a submission says nothing. ``escrow_days`` are what new jobs get that say
    nothing else; None keeps their models. ``revision`` grows by one with every write (compare-and-set); 0 was never
    stored."""

    model_config = ConfigDict(frozen=True)

    owner: str
    consent: Consent = Consent.ASK
    destinations: tuple[Destination, ...] = ()
    escrow_days: int | None = None
    updated_at: datetime | None = None
    revision: int = 0


class OwnerSettingsStore(Protocol):
    def get(self, owner: str) -> OwnerSettings:
        """Strongly consistent; the defaults when nothing was stored."""

    def put(self, settings: OwnerSettings) -> None:
        """Stores what follows the revision before it (``settings.revision - 1``). Raises StaleRecordError when another
        one is stored."""
