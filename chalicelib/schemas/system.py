"""Health, providers and webhooks on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from chalicelib.schemas.base import RequestModel, ResponseModel

Status = Literal["healthy", "degraded", "unhealthy"]


class ComponentHealth(ResponseModel):
    name: str
    status: Status
    latency_ms: float | None
    message: str


class HealthResponse(ResponseModel):
    """``sandbox`` is true when trainings run in the local sandbox provider and not on a GPU."""

    status: Status
    version: str
    uptime_seconds: float
    components: list[ComponentHealth]
    timestamp: datetime
    stage: str
    sandbox: bool


class LiveResponse(ResponseModel):
    status: Literal["ok"] = "ok"


class ReadyResponse(ResponseModel):
    status: Literal["ready"] = "ready"


class HardwareProfileView(ResponseModel):
    id: str
    model: str
    label: str
    hardware_type: str
    cost_per_hour: float
    cost_per_second: float


class ProviderView(ResponseModel):
    id: str
    name: str
    description: str
    configured: bool
    coming_soon: bool = False
    sandbox: bool
    hardware_profile: str
    hardware_profiles: list[HardwareProfileView]


class ProvidersResponse(ResponseModel):
    providers: list[ProviderView]


class WebhookResponse(ResponseModel):
    """What became of a webhook: ``received``, ``duplicate`` or ``ignored`` with a reason."""

    status: Literal["received", "duplicate", "ignored"]
    job_id: str | None = None
    reason: str | None = None
    updates: dict[str, Any] = Field(default_factory=dict)


class WebhookHeaders(RequestModel):
    """For the API's description; the signature check reads the headers."""

    id: str = Field(alias="webhook-id", description="Unique for each message; a second one is a replay.")
    timestamp: str = Field(alias="webhook-timestamp", description="Seconds since 1970; five minutes of tolerance.")
    signature: str = Field(alias="webhook-signature", description="`v1,<base64 of HMAC-SHA256>`, one or several.")


class WebhookQuery(RequestModel):
    """``job`` is the tag we put into the webhook URL at launch."""

    job: str | None = Field(None, max_length=64)
