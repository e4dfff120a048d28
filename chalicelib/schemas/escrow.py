"""How long models stay in escrow, on the wire."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from chalicelib.domain.escrow import MAX_ESCROW_DAYS
from chalicelib.schemas.base import ResponseModel, StrictRequest


class EscrowSettings(StrictRequest):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"days": 90}, {"days": None}]})

    days: int | None = Field(
        ge=1, le=MAX_ESCROW_DAYS, description="Days after a job's end; null keeps its files without an end."
    )


class EscrowSettingsResponse(ResponseModel):
    """Holds for jobs that are submitted from now on."""

    days: int | None


class JobEscrowResponse(ResponseModel):
    job_id: str
    days: int | None
    expires_at: datetime | None
