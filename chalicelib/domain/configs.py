"""Saved training configs: named, owned, with numbered versions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from chalicelib.domain.destinations import Destination


class TrainingConfig(BaseModel):
    """One version of a saved config. ``version`` starts at 1; saving makes the next one, old ones stay.

    ``destinations`` is where models trained with it go; None says nothing, an empty one nowhere."""

    model_config = ConfigDict(frozen=True)

    owner: str
    name: str
    version: int
    config: dict[str, Any]
    dataloader_config: list[dict[str, Any]] | None = None
    description: str | None = None
    destinations: tuple[Destination, ...] | None = None
    created_at: datetime
    modified_at: datetime
