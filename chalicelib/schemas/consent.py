"""Consent to data leaving a person's machine, on the wire; SimpleTuner's recorded fields."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, RootModel

from chalicelib.domain.owner_settings import Consent
from chalicelib.domain.trainer import MAX_DATALOADER_ENTRIES
from chalicelib.schemas.base import RequestModel, ResponseModel


class ConsentBody(RequestModel):
    model_config = ConfigDict(extra="ignore", json_schema_extra={"examples": [{"consent": "ask"}]})

    consent: str = Field(
        max_length=20, description="`ask` each time, always `allow`, or `deny`: then no data is taken."
    )


class ConsentResponse(ResponseModel):
    consent: Consent


class ConsentSavedResponse(ResponseModel):
    success: Literal[True] = True
    consent: Consent


class PreviewBody(RootModel[list[dict[str, Any]]]):
    """A dataloader."""

    root: list[dict[str, Any]] = Field(max_length=MAX_DATALOADER_ENTRIES)


class PreviewedDataset(ResponseModel):
    """``file_count`` and ``total_size_mb`` are those of the uploaded version, null when there is none: this service
    sees no disk of yours."""

    id: str
    type: str
    instance_data_dir: str
    uploaded: bool
    dataset_id: str | None
    version_id: str | None
    file_count: int | None
    total_size_mb: float | None


class PreviewResponse(ResponseModel):
    """``requires_upload``: at least one local dataset is not uploaded. The totals are those of what is."""

    requires_upload: bool
    consent_mode: Consent
    datasets: list[PreviewedDataset]
    total_files: int
    total_size_mb: float
    message: str
