"""The parts of the API's answers that the command line reads (see ``docs/openapi.json`` for all of them)."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

#: In the order a job passes them.
JOB_STATUSES = ("pending", "uploading", "queued", "running", "completed", "failed", "cancelled")


class DatasetUse(TypedDict):
    entry_id: str
    dataset_id: str
    version_id: str
    files: int
    bytes: int


class Progress(TypedDict):
    job_id: str
    status: str
    phase: str
    stage: str | None
    last_log: str | None
    progress: float | None
    step: int | None
    total_steps: int | None
    loss: float | None
    eta_seconds: int | None
    cost_usd: float | None


class Failure(TypedDict):
    code: str
    kind: str
    message: str
    advice: str


class _LaterDelivery(TypedDict, total=False):
    """What servers of the first release don't tell."""

    warnings: list[str]


class Delivery(_LaterDelivery):
    files: int
    bytes: int
    weights: list[str]
    verified_files: int
    verified_at: str | None


class JobProgress(TypedDict):
    step: int | None
    total_steps: int | None
    percent: float | None
    loss: float | None
    stage: str | None


class Escrow(TypedDict):
    """The job's files at the server; ``state`` is ``kept`` or ``removed``."""

    state: str
    days: int | None
    expires_at: str | None
    removed_at: str | None


# `NotRequired` is not seen at run time in a module whose annotations are strings, but `total` is.
class _LaterFields(TypedDict, total=False):
    """What servers of the first release don't tell."""

    escrow: Escrow
    destinations: list[dict[str, Any]]
    deliveries: dict[str, Any]


class Job(_LaterFields):
    user_id: str | None
    job_id: str
    status: str
    phase: str
    provider: str
    config_name: str | None
    run_name: str | None
    created_at: str
    started_at: str | None
    completed_at: str | None
    duration_seconds: float | None
    hardware_type: str | None
    price_per_hour: float
    cost_usd: float | None
    max_run_seconds: int
    is_terminal: bool
    sandbox: bool
    cancel_requested: bool
    attempt: int
    progress: JobProgress
    datasets: list[DatasetUse]
    failure: Failure | None
    delivery: Delivery


class Submitted(TypedDict):
    job_id: str
    job: Job
    idempotent_hit: bool
    adjustments: list[str]


class _Version(TypedDict):
    dataset_id: str
    version_id: str
    status: str
    files: int
    bytes: int
    checked: int
    source_path: str | None
    created_at: str


class Version(_Version, total=False):
    inspection: dict[str, Any] | None


class PartUpload(TypedDict):
    """A presigned PUT of one part; ``number`` counts from 1."""

    number: int
    size: int
    url: str
    headers: dict[str, str]


class Upload(TypedDict):
    """A presigned PUT, to be sent with exactly ``headers``; or the missing ``parts`` of a large file."""

    path: str
    size: int
    url: NotRequired[str]
    headers: NotRequired[dict[str, str]]
    parts: NotRequired[list[PartUpload]]
    more_parts: NotRequired[bool]


class UploadBatch(TypedDict):
    """``present`` and ``copied`` count files that need no upload: there already, copied inside S3 just now."""

    uploads: list[Upload]
    present: int
    copied: NotRequired[int]
    copied_bytes: NotRequired[int]
    next: str | None


class Staged(TypedDict):
    manifest_id: str
    url: str
    headers: dict[str, str]


class Download(TypedDict):
    """``sha256`` None: the server can't say."""

    path: str
    size: int
    sha256: str | None
    url: str


class OutputFile(Download):
    kind: str
    verified: bool
    problem: str | None


class Outputs(TypedDict):
    job_id: str
    files: list[OutputFile]
    verified: bool
    complete: bool
