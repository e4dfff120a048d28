"""Jobs on the wire: SimpleTuner's recorded fields first, then ours."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from pydantic import ConfigDict, Field, JsonValue

from chalicelib.domain.destinations import MAX_DESTINATIONS, Destination
from chalicelib.domain.escrow import MAX_ESCROW_DAYS
from chalicelib.domain.failures import FaultKind
from chalicelib.domain.idempotency import MAX_KEY_LENGTH
from chalicelib.domain.jobs import Job, JobStatus, JobType, Phase
from chalicelib.schemas.base import RequestModel, ResponseModel
from chalicelib.schemas.configs import MAX_VERSION
from chalicelib.schemas.deliveries import DeliveriesSummary, WishView, summary_view, wish_view
from chalicelib.schemas.preflight import PreflightFinding

#: Shorter trainings are not worth a machine's start.
MIN_RUN_SECONDS = 300
_EXAMPLE: dict[str, JsonValue] = {
    "config": {
        "--model_family": "flux",
        "--model_type": "lora",
        "--pretrained_model_name_or_path": "black-forest-labs/FLUX.1-dev",
        "--output_dir": "/outputs/flux-lora",
        "--max_train_steps": 1000,
        "--lora_rank": 16,
    },
    "dataloader_config": [
        {
            "id": "training-images",
            "type": "local",
            "dataset_type": "image",
            "instance_data_dir": "/data/datasets/my-dataset",
            "caption_strategy": "textfile",
            "resolution": 1024,
        }
    ],
}


class SubmitRequest(RequestModel):
    """The body of submit. Either ``config`` or ``config_name_to_load``; other fields refine it.

    Unknown fields are ignored, so that SimpleTuner's clients keep working.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [_EXAMPLE, {"config_name_to_load": "my-config", "idempotency_key": "ci-build-1"}]
        }
    )

    config: dict[str, Any] | None = Field(
        None, description="SimpleTuner's options, with or without leading dashes. No secrets."
    )
    config_name_to_load: str | None = Field(None, max_length=100, description="The name of a saved config.")
    config_version: int | None = Field(
        None, ge=1, le=MAX_VERSION, description="Which version of the saved config; the latest when left out."
    )
    dataloader_config: list[dict[str, Any]] | None = Field(
        None,
        description="SimpleTuner's multidatabackend entries. A `local` entry stands for the uploaded dataset with its "
        "`id`, or the one that was pushed from its `instance_data_dir`.",
    )
    tracker_run_name: str | None = Field(None, max_length=200)
    idempotency_key: str | None = Field(
        None, min_length=1, max_length=MAX_KEY_LENGTH, description="The same as the Idempotency-Key header."
    )
    hardware_profile: str | None = Field(
        None, max_length=100, description="An id of the provider's hardware profiles; its first when left out."
    )
    max_run_seconds: int | None = Field(
        None,
        ge=MIN_RUN_SECONDS,
        le=34 * 3600,
        description="The provider ends the training after this time, whatever happens.",
    )
    accept_warnings: bool = Field(
        False, description="Train although the checks warn. Errors are never overridden; see preflight."
    )
    destinations: list[Destination] | None = Field(
        None,
        max_length=MAX_DESTINATIONS,
        description="Where the model goes besides escrow. Left out: the saved config's, else your defaults; an empty "
        "list: nowhere. What the config's push_to_hub and publishing_config ask for comes on top of any other.",
    )
    webhook_url: str | None = Field(
        None, max_length=2000, description="The same as one more destination of the kind webhook."
    )
    escrow_days: int | None = Field(
        None,
        ge=1,
        le=MAX_ESCROW_DAYS,
        description="Days after the job's end when its files leave this stack's bucket; null keeps them. What you set "
        "for all jobs when left out.",
    )
    upload_id: str | None = Field(None, max_length=200, description="Accepted and not used.")


class SubmitQuery(RequestModel):
    provider: str = Field("replicate", max_length=100)


class SubmitHeaders(RequestModel):
    """For the API's description; the service reads the header."""

    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY_LENGTH,
        description="Repeating the same request under the same key within 24 hours returns the same job. Send a new "
        "random one with every new submit, and the same one with every retry.",
    )


class ListJobsQuery(RequestModel):
    limit: int = Field(50, ge=1, le=500)
    offset: int = Field(0, ge=0, le=10_000)
    cursor: str | None = Field(None, max_length=2000, description="`next` of the page before.")
    status: str | None = Field(None, max_length=50, description="A job status; an unknown one matches nothing.")
    provider: str | None = Field(None, max_length=100)
    job_type: str | None = Field(None, max_length=50, description="`cloud` or `local`.")
    sync_active: bool = Field(False, description="Ask the provider about the page's active jobs first.")


class ProgressView(ResponseModel):
    step: int | None
    total_steps: int | None
    percent: float | None
    loss: float | None
    learning_rate: float | None
    eta_seconds: int | None
    stage: str | None
    last_line: str | None
    checkpoint_count: int


class DatasetUse(ResponseModel):
    entry_id: str
    dataset_id: str
    version_id: str
    files: int
    bytes: int


class FailureView(ResponseModel):
    code: str
    kind: FaultKind
    message: str
    advice: str


class DeliveryView(ResponseModel):
    files: int
    bytes: int
    weights: list[str]
    verified_files: int
    broken_files: int
    warnings: list[str]
    verified_at: datetime | None


class EscrowView(ResponseModel):
    """The job's files in this stack's own bucket. ``days`` after the end of the job they are removed (null: never),
    ``expires_at`` is when; manifest, log and record stay."""

    state: Literal["kept", "removed"]
    days: int | None
    expires_at: datetime | None
    removed_at: datetime | None


class JobView(ResponseModel):
    """One job. ``upload_token`` is always null: records show no secrets. ``queue_position`` is there while queued."""

    job_id: str
    job_type: JobType
    provider: str
    status: JobStatus
    phase: Phase
    config_name: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    cost_usd: float | None
    hardware_type: str | None
    error_message: str | None
    output_url: str | None
    upload_token: None = None
    user_id: str
    metadata: dict[str, Any]
    is_terminal: bool
    is_active: bool
    duration_seconds: float | None
    queue_position: int | None = None
    updated_at: datetime
    run_name: str | None
    config_version: int | None
    attempt: int
    sandbox: bool
    cancel_requested: bool
    last_confirmed_at: datetime | None
    max_run_seconds: int
    deadline: datetime | None
    price_per_hour: float
    progress: ProgressView
    datasets: list[DatasetUse]
    failure: FailureView | None
    delivery: DeliveryView
    escrow: EscrowView
    destinations: list[WishView]
    deliveries: DeliveriesSummary
    log_bytes: int
    logs_complete: bool


def _duration(job: Job, now: datetime) -> float | None:
    if job.started_at is None:
        return None
    return round(max(0.0, ((job.completed_at or now) - job.started_at).total_seconds()), 3)


def escrow_view(job: Job) -> EscrowView:
    removed = job.escrow_removed_at is not None
    return EscrowView(
        state="removed" if removed else "kept",
        days=job.escrow_days,
        expires_at=None if removed else job.escrow_expires_at,
        removed_at=job.escrow_removed_at,
    )


def job_view(job: Job, *, now: datetime, sandbox: bool) -> JobView:
    """The public face of a record. Task tokens, leases and idempotency hashes stay inside."""
    return JobView(
        job_id=job.job_id,
        job_type=job.job_type,
        provider=job.provider,
        status=job.status,
        phase=job.phase,
        config_name=job.config_name,
        created_at=job.created_at,
        started_at=job.started_at,
        completed_at=job.completed_at,
        cost_usd=None if job.cost_usd is None else float(job.cost_usd),
        hardware_type=job.hardware_type,
        error_message=job.failure.message if job.failure else None,
        output_url=job.output_url,
        user_id=job.owner,
        metadata={
            "prediction_id": job.prediction_id,
            "hardware_profile": job.hardware_profile,
            "model": job.model,
            "webhook_url": None,
            "tracker_run_name": job.run_name,
            **job.metadata,
        },
        is_terminal=job.is_terminal,
        is_active=job.is_active,
        duration_seconds=_duration(job, now),
        queue_position=0 if job.status in {JobStatus.PENDING, JobStatus.QUEUED} else None,
        updated_at=job.updated_at,
        run_name=job.run_name,
        config_version=job.config_version,
        attempt=job.attempt,
        sandbox=sandbox,
        cancel_requested=job.cancel_requested_at is not None,
        last_confirmed_at=job.last_confirmed_at,
        max_run_seconds=job.max_run_seconds,
        deadline=job.deadline,
        price_per_hour=float((job.price_per_second * 3600).quantize(Decimal("0.01"))),
        progress=ProgressView(percent=job.progress.percent, **job.progress.model_dump()),
        datasets=[DatasetUse(**d.model_dump(exclude={"prefix"})) for d in job.datasets],
        failure=FailureView(**job.failure.model_dump()) if job.failure else None,
        delivery=DeliveryView(
            files=job.delivery.files,
            bytes=job.delivery.bytes,
            weights=list(job.delivery.weights),
            verified_files=job.delivery.verified_files,
            broken_files=job.delivery.broken_files,
            warnings=list(job.delivery.warnings),
            verified_at=job.delivery.verified_at,
        ),
        escrow=escrow_view(job),
        destinations=[wish_view(wish) for wish in job.destinations],
        deliveries=summary_view(job.deliveries),
        log_bytes=job.log_bytes,
        logs_complete=job.logs_complete,
    )


class JobResponse(ResponseModel):
    job: JobView


class JobListResponse(ResponseModel):
    """``total`` counts the rows of this page, as SimpleTuner's does. ``next`` is the cursor of the next page."""

    jobs: list[JobView]
    total: int
    next: str | None = None


class SubmitResponse(ResponseModel):
    success: Literal[True] = True
    job_id: str
    status: JobStatus
    error: None = None
    data_uploaded: bool
    upload_id: str | None = None
    cost_limit_warning: str | None = None
    quota_warnings: list[str] = Field(default_factory=list)
    idempotent_hit: bool
    adjustments: list[str]
    warnings: list[PreflightFinding] = Field(
        default_factory=list, description="What was accepted with accept_warnings; empty for a job that was there."
    )
    job: JobView


class CancelResponse(ResponseModel):
    """``status`` is ``cancelled`` once the provider confirms; until then the present one."""

    success: Literal[True] = True
    job_id: str
    status: JobStatus
    cancel_requested: bool


class DeleteJobResponse(ResponseModel):
    success: Literal[True] = True
    job_id: str
