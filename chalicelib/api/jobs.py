"""Routes of jobs."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import job_parts as parts
from chalicelib.schemas import jobs as schema
from chalicelib.schemas import preflight as checks
from chalicelib.services.preflight import estimate_view

api = Api(tag="jobs")


@api.endpoint(
    "GET",
    "/cloud/jobs",
    permission=Permission.JOB_VIEW_OWN,
    query=schema.ListJobsQuery,
    response=schema.JobListResponse,
    statuses=(400, 409, 503),
)
def list_jobs(call: Call[None, schema.ListJobsQuery]) -> schema.JobListResponse:
    """List jobs, newest first.

    Page with `cursor` (from `next`) or, like SimpleTuner, with `offset`. `sync_active=true` asks the provider about the
    page's active jobs first.
    """
    page = call.services.jobs.list(call.who, call.query)
    views = [call.services.view(job) for job in page.jobs]
    return schema.JobListResponse(jobs=views, total=len(views), next=page.cursor)


@api.endpoint(
    "POST",
    "/cloud/jobs/submit",
    permission=Permission.JOB_SUBMIT,
    query=schema.SubmitQuery,
    body=schema.SubmitRequest,
    response=schema.SubmitResponse,
    statuses=(400, 404, 409, 429),
    submit_errors=True,
    headers=schema.SubmitHeaders,
    audited=Audited(AuditAction.JOB_SUBMIT, "job:new"),
    spends=True,
)
def submit_job(call: Call[schema.SubmitRequest, schema.SubmitQuery]) -> Reply:
    """Submit a training job.

    With an idempotency key (`Idempotency-Key` header or `idempotency_key`), repeating the same request within 24 hours
    returns the same job; another request under the same key is refused. The checks of preflight that ask nobody else
    are made first: errors are refused, warnings too unless `accept_warnings` is true.
    """
    done = call.services.submission.submit(
        call.who,
        call.body,
        provider_name=call.query.provider,
        idempotency_key=call.headers.get("idempotency-key"),
    )
    view = schema.SubmitResponse(
        job_id=done.job.job_id,
        status=done.job.status,
        data_uploaded=bool(done.job.datasets),
        idempotent_hit=done.idempotent_hit,
        adjustments=list(done.adjustments),
        warnings=[checks.finding_view(w) for w in done.warnings],
        job=call.services.view(done.job),
    )
    details = {"provider": done.job.provider, "hardware": done.job.hardware_type, "repeated": done.idempotent_hit}
    return Reply(view, noted=Noted(f"job:{done.job.job_id}", details=details))


@api.endpoint(
    "POST",
    "/cloud/jobs/preflight",
    permission=Permission.JOB_SUBMIT,
    query=schema.SubmitQuery,
    body=schema.SubmitRequest,
    response=checks.PreflightResponse,
    statuses=(404,),
)
def preflight_job(call: Call[schema.SubmitRequest, schema.SubmitQuery]) -> checks.PreflightResponse:
    """Check a submission without making anything.

    Takes the body of submit and answers with every check: options, datasets, provider, base model, budget, time. A
    check that can't be made is `skipped` and says why. What can't work is an `error`, what would waste money a
    `warning`. Submit refuses on errors, and on warnings unless `accept_warnings` is true.
    """
    done = call.services.preflight.check(call.who, call.body, call.query.provider)
    return checks.preflight_view(
        ok=done.ok,
        findings=done.findings,
        checks=done.checks,
        estimate=estimate_view(done.estimate) if done.estimate else None,
    )


@api.endpoint(
    "GET", "/cloud/jobs/{job_id}", permission=Permission.JOB_VIEW_OWN, response=schema.JobResponse, statuses=(404,)
)
def get_job(call: Call[None, None], job_id: str) -> schema.JobResponse:
    """Get one job."""
    return schema.JobResponse(job=call.services.view(call.services.jobs.get(call.who, job_id)))


@api.endpoint(
    "GET",
    "/cloud/jobs/{job_id}/logs",
    permission=Permission.JOB_VIEW_OWN,
    query=parts.LogsQuery,
    response=parts.LogsResponse,
    statuses=(400, 404, 409, 503),
)
def get_job_logs(call: Call[None, parts.LogsQuery], job_id: str) -> parts.LogsResponse:
    """Read a job's log: its end, or the bytes from `offset`."""
    part = call.services.jobs.logs(call.who, job_id, offset=call.query.offset, limit=call.query.limit)
    return parts.LogsResponse(
        job_id=job_id,
        logs=part.text,
        offset=part.offset,
        next_offset=part.next_offset,
        size=part.size,
        complete=part.complete,
        truncated=part.truncated,
    )


@api.endpoint(
    "GET",
    "/cloud/jobs/{job_id}/inline-progress",
    permission=Permission.JOB_VIEW_OWN,
    response=parts.InlineProgressResponse,
    statuses=(404, 409, 503),
)
def get_job_progress(call: Call[None, None], job_id: str) -> parts.InlineProgressResponse:
    """Read a job's progress, fresh from the provider when what is known is older than two seconds."""
    return parts.inline_progress(call.services.jobs.progress(call.who, job_id))


@api.endpoint(
    "GET",
    "/cloud/jobs/{job_id}/events",
    permission=Permission.JOB_VIEW_OWN,
    query=parts.EventsQuery,
    response=parts.EventsResponse,
    statuses=(404,),
)
def list_job_events(call: Call[None, parts.EventsQuery], job_id: str) -> parts.EventsResponse:
    """List a job's timeline, oldest first."""
    events = call.services.jobs.events(call.who, job_id, after=call.query.after, limit=call.query.limit)
    more = events[-1].seq if len(events) == call.query.limit else None
    return parts.EventsResponse(events=[parts.event_view(e) for e in events], next=more)


@api.endpoint(
    "GET",
    "/cloud/jobs/{job_id}/config",
    permission=Permission.JOB_VIEW_OWN,
    response=parts.JobConfigResponse,
    statuses=(404,),
)
def get_job_config(call: Call[None, None], job_id: str) -> parts.JobConfigResponse:
    """Get the config a job was launched with."""
    job, submitted = call.services.jobs.submitted(call.who, job_id)
    return parts.JobConfigResponse(
        job_id=job_id,
        config_name=job.config_name,
        config_version=job.config_version,
        config=submitted.config,
        dataloader_config=submitted.dataloader,
        adjustments=list(submitted.adjustments),
    )


@api.endpoint(
    "GET",
    "/cloud/jobs/{job_id}/outputs",
    permission=Permission.JOB_VIEW_OWN,
    query=parts.OutputsQuery,
    response=parts.OutputsResponse,
    statuses=(404,),
)
def list_job_outputs(call: Call[None, parts.OutputsQuery], job_id: str) -> parts.OutputsResponse:
    """List what a job has published, by path, with download links."""
    outputs = call.services.jobs.outputs(call.who, job_id, after=call.query.after, limit=call.query.limit)
    return parts.OutputsResponse(
        job_id=job_id,
        files=[parts.output_view(file, url) for file, url in outputs.files],
        total_bytes=outputs.total_bytes,
        verified=outputs.verified,
        manifest_url=outputs.manifest_url,
        complete=outputs.complete,
        next=outputs.next,
    )


@api.endpoint(
    "POST",
    "/cloud/jobs/{job_id}/cancel",
    permission=Permission.JOB_CANCEL_OWN,
    response=schema.CancelResponse,
    statuses=(404, 409, 503),
    audited=Audited(AuditAction.JOB_CANCEL, "job:{job_id}"),
)
def cancel_job(call: Call[None, None], job_id: str) -> Reply:
    """Cancel a job.

    Its status becomes `cancelled` when the provider has confirmed that nothing runs any more. Until then it is active,
    with `cancel_requested` true.
    """
    job = call.services.jobs.cancel(call.who, job_id)
    view = schema.CancelResponse(job_id=job_id, status=job.status, cancel_requested=True)
    return Reply(view, noted=Noted(owner=job.owner))


@api.endpoint(
    "DELETE",
    "/cloud/jobs/{job_id}",
    permission=Permission.JOB_DELETE_OWN,
    response=schema.DeleteJobResponse,
    statuses=(400, 404, 409),
    audited=Audited(AuditAction.JOB_DELETE, "job:{job_id}"),
)
def delete_job(call: Call[None, None], job_id: str) -> Reply:
    """Delete a finished job with its log and outputs."""
    job = call.services.jobs.delete(call.who, job_id)
    return Reply(schema.DeleteJobResponse(job_id=job_id), noted=Noted(owner=job.owner))
