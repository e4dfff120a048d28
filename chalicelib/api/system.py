"""Routes of health, providers, webhooks and the API's own description."""

from __future__ import annotations

from chalicelib.api.routing import Api, Call, Reply
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import system as schema
from chalicelib.services.system import ProviderInfo
from chalicelib.settings import VERSION

api = Api(tag="system")

_PROBE = "load balancers and people look at it before they have a key; it shows no data"


@api.endpoint("GET", "/cloud/health", permission=None, response=schema.HealthResponse, public_reason=_PROBE)
def get_health(call: Call[None, None]) -> schema.HealthResponse:
    """Look at every part of the stack."""
    health, settings = call.services.system.health(), call.services.settings
    return schema.HealthResponse(
        status=health.status,
        version=VERSION,
        uptime_seconds=health.uptime_seconds,
        components=[
            schema.ComponentHealth(name=c.name, status=c.status, latency_ms=c.latency_ms, message=c.message)
            for c in health.components
        ],
        timestamp=health.timestamp,
        stage=settings.stage,
        sandbox=settings.sandbox,
    )


@api.endpoint("GET", "/cloud/health/live", permission=None, response=schema.LiveResponse, public_reason=_PROBE)
def get_live(_: Call[None, None]) -> schema.LiveResponse:
    """Whether the API answers at all."""
    return schema.LiveResponse()


@api.endpoint(
    "GET",
    "/cloud/health/ready",
    permission=None,
    response=schema.ReadyResponse,
    statuses=(503,),
    public_reason=_PROBE,
)
def get_ready(call: Call[None, None]) -> schema.ReadyResponse:
    """Whether a submit could work now."""
    call.services.system.ready()
    return schema.ReadyResponse()


@api.endpoint("GET", "/cloud/providers", permission=Permission.PROVIDER_VIEW, response=schema.ProvidersResponse)
def list_providers(call: Call[None, None]) -> schema.ProvidersResponse:
    """List GPU providers with their hardware and prices."""
    sandbox = call.services.settings.sandbox
    return schema.ProvidersResponse(providers=[_view(p, sandbox=sandbox) for p in call.services.system.providers()])


@api.endpoint(
    "POST",
    "/webhooks/{provider}",
    permission=None,
    query=schema.WebhookQuery,
    response=schema.WebhookResponse,
    statuses=(400, 401, 404, 409, 413, 503),
    headers=schema.WebhookHeaders,
    raw_body="The provider's message, signed byte by byte.",
    public_reason="the provider has no key of ours; its signature is checked instead",
    from_machines=True,
)
def receive_webhook(call: Call[None, schema.WebhookQuery], provider: str) -> Reply:
    """Receive a provider's webhook (Standard Webhooks signature, five minutes of tolerance)."""
    received = call.services.webhooks.receive(provider, call.headers, call.raw_body, call.query.job)
    return Reply(
        schema.WebhookResponse(
            status=received.status, job_id=received.job_id, reason=received.reason, updates=received.updates
        )
    )


def _view(provider: ProviderInfo, *, sandbox: bool) -> schema.ProviderView:
    profiles = [
        schema.HardwareProfileView(
            id=p.id,
            model=p.model,
            label=p.label,
            hardware_type=p.hardware_type,
            cost_per_hour=float(p.price_per_hour),
            cost_per_second=float(p.price_per_second),
        )
        for p in provider.profiles.values()
    ]
    return schema.ProviderView(
        id=provider.name,
        name=provider.title,
        description="Local sandbox: a tiny CPU trainer, not a GPU" if sandbox else f"SimpleTuner on {provider.title}",
        configured=provider.configured,
        sandbox=sandbox,
        hardware_profile=profiles[0].id if profiles else "",
        hardware_profiles=profiles,
    )
