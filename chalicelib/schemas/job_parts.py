"""What a job is looked at through, on the wire: its log, progress, timeline and outputs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from chalicelib.domain.escrow import FileKind, Manifest, OutputFile, TensorChecks
from chalicelib.domain.jobs import Job, JobEvent, JobStatus, Phase
from chalicelib.schemas.base import RequestModel, ResponseModel

MAX_LOG_CHUNK = 1024 * 1024
#: Offsets and sequence numbers beyond this are typing errors; a database number ends at 38 digits.
MAX_OFFSET = 2**53


class LogsQuery(RequestModel):
    offset: int | None = Field(None, ge=0, le=MAX_OFFSET, description="In bytes; `next_offset` of the part before.")
    limit: int = Field(MAX_LOG_CHUNK, ge=4, le=MAX_LOG_CHUNK, description="In bytes.")


class EventsQuery(RequestModel):
    after: int = Field(0, ge=0, le=MAX_OFFSET, description="The `seq` to go on behind.")
    limit: int = Field(100, ge=1, le=500)


class LogsResponse(ResponseModel):
    """``offset`` to ``next_offset`` is the byte range of ``logs`` in the kept log of ``size`` bytes.

    Without ``offset`` in the query: the last 1 MiB, with progress bars folded for reading (``truncated`` when there is
    more before). With it: the raw log from that byte; ask again from ``next_offset``. ``complete`` once nothing more
    will come.
    """

    job_id: str
    logs: str
    offset: int
    next_offset: int
    size: int
    complete: bool
    truncated: bool


class InlineProgressResponse(ResponseModel):
    job_id: str
    stage: str | None
    last_log: str | None
    progress: float | None
    status: JobStatus
    phase: Phase
    step: int | None
    total_steps: int | None
    loss: float | None
    learning_rate: float | None
    eta_seconds: int | None
    cost_usd: float | None
    cancel_requested: bool
    last_confirmed_at: datetime | None = Field(description="When the provider last confirmed the state.")
    updated_at: datetime


class EventView(ResponseModel):
    seq: int
    at: datetime
    type: str
    message: str
    data: dict[str, Any]


class EventsResponse(ResponseModel):
    """``next`` is the value for ``after`` when there may be more, else null."""

    events: list[EventView]
    next: int | None


def event_view(event: JobEvent) -> EventView:
    return EventView(seq=event.seq, at=event.at, type=event.type, message=event.message, data=event.data)


class OutputFileView(ResponseModel):
    path: str
    size: int
    sha256: str | None
    kind: FileKind
    url: str
    verified: bool
    problem: str | None = None


class OutputsQuery(RequestModel):
    after: str | None = Field(None, max_length=1024)
    limit: int = Field(1_000, ge=1, le=1_000)


class OutputsResponse(ResponseModel):
    """``url`` is a presigned GET, good for an hour. ``complete`` once nothing more will come.

    ``total_bytes`` counts all files of the job; ``next`` is the value for ``after`` when there are more, else null."""

    job_id: str
    files: list[OutputFileView]
    total_bytes: int
    verified: bool
    manifest_url: str | None
    complete: bool
    next: str | None = None


class ManifestFileView(ResponseModel):
    """``checks`` are of a safetensors file's data; ``problem`` says why a file is not sound, ``warnings`` what is
    strange about one that is."""

    path: str
    size: int
    kind: FileKind
    sha256: str | None
    verified: bool
    tensors: int | None
    parameters: int | None
    dtypes: list[str]
    rank: int | None
    checks: TensorChecks | None
    warnings: list[str]
    problem: str | None


class ManifestResponse(ResponseModel):
    """``complete``: every file was read back. ``total_files`` and ``total_bytes`` count all; ``next`` is the value for
    ``after`` when there are more, else null."""

    job_id: str
    created_at: datetime
    complete: bool
    files: list[ManifestFileView]
    total_files: int
    total_bytes: int
    next: str | None


def manifest_view(manifest: Manifest, after: str | None, limit: int) -> ManifestResponse:
    rest = sorted((f for f in manifest.files if after is None or f.path > after), key=lambda f: f.path)
    shown = rest[:limit]
    return ManifestResponse(
        job_id=manifest.job_id,
        created_at=datetime.fromisoformat(manifest.created_at),
        complete=manifest.complete,
        files=[
            ManifestFileView(
                **f.model_dump(exclude={"dtypes", "warnings", "checks"}),
                verified=f.verified,
                dtypes=list(f.dtypes),
                checks=f.checks,
                warnings=list(f.warnings),
            )
            for f in shown
        ],
        total_files=len(manifest.files),
        total_bytes=sum(f.size for f in manifest.files),
        next=shown[-1].path if len(rest) > limit else None,
    )


class JobConfigResponse(ResponseModel):
    """What the job was launched with: the config as adjusted, the dataloader as submitted. Holds no secrets."""

    job_id: str
    config_name: str | None
    config_version: int | None
    config: dict[str, Any]
    dataloader_config: list[dict[str, Any]]
    adjustments: list[str]


def inline_progress(job: Job) -> InlineProgressResponse:
    return InlineProgressResponse(
        job_id=job.job_id,
        stage=job.progress.stage,
        last_log=job.progress.last_line,
        progress=job.progress.percent,
        status=job.status,
        phase=job.phase,
        step=job.progress.step,
        total_steps=job.progress.total_steps,
        loss=job.progress.loss,
        learning_rate=job.progress.learning_rate,
        eta_seconds=job.progress.eta_seconds,
        cost_usd=None if job.cost_usd is None else float(job.cost_usd),
        cancel_requested=job.cancel_requested_at is not None,
        last_confirmed_at=job.last_confirmed_at,
        updated_at=job.updated_at,
    )


def output_view(file: OutputFile, url: str) -> OutputFileView:
    return OutputFileView(
        path=file.path,
        size=file.size,
        sha256=file.sha256,
        kind=file.kind,
        url=url,
        verified=file.verified,
        problem=file.problem,
    )
