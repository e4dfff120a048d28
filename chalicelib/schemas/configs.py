"""Saved configs on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.datasets import NAME_PATTERN
from chalicelib.domain.destinations import MAX_DESTINATIONS, Destination
from chalicelib.schemas.base import RequestModel, ResponseModel

#: No version number is larger; an arbitrary one would not fit into a database key.
MAX_VERSION = 1_000_000_000


class ConfigBody(RequestModel):
    """A training config, as SimpleTuner writes it to ``config.json``, with its dataloader."""

    config: dict[str, Any] = Field(description="SimpleTuner's options, with or without leading dashes. No secrets.")
    dataloader_config: list[dict[str, Any]] | None = Field(None, description="SimpleTuner's multidatabackend entries.")
    description: str | None = Field(None, max_length=1000)
    destinations: list[Destination] | None = Field(
        None, max_length=MAX_DESTINATIONS, description="Where models trained with it go; your defaults when left out."
    )


class NamedConfigBody(ConfigBody):
    name: str = Field(pattern=NAME_PATTERN)


class ConfigQuery(RequestModel):
    version: int | None = Field(None, ge=1, le=MAX_VERSION, description="The latest version when left out.")


class ListQuery(RequestModel):
    limit: int = Field(100, ge=1, le=500)
    cursor: str | None = Field(None, max_length=2000, description="`next` of the page before.")


class ConfigSummary(ResponseModel):
    name: str
    version: int
    description: str | None
    model_family: str | None
    model_type: str | None
    created_at: datetime
    modified_at: datetime


class ConfigListResponse(ResponseModel):
    configs: list[ConfigSummary]
    next: str | None = None


class ConfigVersionRef(ResponseModel):
    version: int
    modified_at: datetime


class ConfigResponse(ResponseModel):
    name: str
    version: int
    config: dict[str, Any]
    dataloader_config: list[dict[str, Any]] | None
    destinations: list[Destination] | None
    metadata: ConfigSummary
    versions: list[ConfigVersionRef]


class ConfigSavedResponse(ResponseModel):
    success: Literal[True] = True
    name: str
    version: int
    message: str


class ConfigDeletedResponse(ResponseModel):
    success: Literal[True] = True
    name: str


def config_summary(config: TrainingConfig) -> ConfigSummary:
    plain = {key.lstrip("-"): value for key, value in config.config.items()}
    family, kind = plain.get("model_family"), plain.get("model_type")
    return ConfigSummary(
        name=config.name,
        version=config.version,
        description=config.description,
        model_family=family if isinstance(family, str) else None,
        model_type=kind if isinstance(kind, str) else None,
        created_at=config.created_at,
        modified_at=config.modified_at,
    )
