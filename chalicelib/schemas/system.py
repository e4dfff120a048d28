"""Health, providers and webhooks on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from chalicelib.schemas.base import ResponseModel


class ComponentHealth(ResponseModel):
    name: str
    status: Literal["healthy", "degraded", "unhealthy"]
    latency_ms: float | None
    message: str


class HealthResponse(ResponseModel):
    """``sandbox`` is true when trainings run in the local sandbox provider and not on a GPU."""

    status: Literal["healthy", "degraded", "unhealthy"]
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
    updates: dict[str, Any] = {}
