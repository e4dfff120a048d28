"""Routes of escrow: how long models are kept, and what Verify found in them."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import escrow as schema
from chalicelib.schemas import job_parts as parts

api = Api(tag="jobs")


@api.endpoint(
    "GET",
    "/cloud/escrow/settings",
    permission=Permission.JOB_VIEW_OWN,
    response=schema.EscrowSettingsResponse,
)
def get_escrow_settings(call: Call[None, None]) -> schema.EscrowSettingsResponse:
    """Get how many days after a job's end its files leave this stack's bucket; null keeps them."""
    return schema.EscrowSettingsResponse(days=call.services.escrow.settings(call.who.owner))


@api.endpoint(
    "PUT",
    "/cloud/escrow/settings",
    permission=Permission.JOB_SUBMIT,
    body=schema.EscrowSettings,
    response=schema.EscrowSettingsResponse,
    statuses=(409,),
    audited=Audited(AuditAction.ESCROW_SETTINGS, "escrow:settings"),
)
def set_escrow_settings(call: Call[schema.EscrowSettings, None]) -> Reply:
    """Set how many days after a job's end its files leave this stack's bucket.

    Holds for the caller's jobs that are submitted from now on and don't say `escrow_days` themselves. Record, manifest
    and log of a job stay.
    """
    days = call.services.escrow.set(call.who.owner, call.body.days)
    return Reply(schema.EscrowSettingsResponse(days=days), noted=Noted(details={"days": days}))


@api.endpoint(
    "PUT",
    "/cloud/jobs/{job_id}/escrow",
    permission=Permission.JOB_DELETE_OWN,
    body=schema.EscrowSettings,
    response=schema.JobEscrowResponse,
    statuses=(404, 409),
    audited=Audited(AuditAction.JOB_ESCROW, "job:{job_id}"),
)
def set_job_escrow(call: Call[schema.EscrowSettings, None], job_id: str) -> Reply:
    """Set how many days after its end the files of one job leave this stack's bucket.

    A time that is over already takes effect within minutes, unless a delivery of the job is open: then when that is
    over.
    """
    job = call.services.escrow.keep(call.who, job_id, call.body.days)
    view = schema.JobEscrowResponse(job_id=job_id, days=job.escrow_days, expires_at=job.escrow_expires_at)
    return Reply(view, noted=Noted(owner=job.owner, details={"days": job.escrow_days}))


@api.endpoint(
    "GET",
    "/cloud/jobs/{job_id}/manifest",
    permission=Permission.JOB_VIEW_OWN,
    query=parts.OutputsQuery,
    response=parts.ManifestResponse,
    statuses=(404,),
)
def get_job_manifest(call: Call[None, parts.OutputsQuery], job_id: str) -> parts.ManifestResponse:
    """Get a job's manifest: size, SHA-256, tensors and checks of every file, by path.

    It stays when the files have left the bucket.
    """
    manifest = call.services.jobs.manifest(call.who, job_id)
    return parts.manifest_view(manifest, call.query.after, call.query.limit)
