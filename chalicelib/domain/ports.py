"""The ports: what the product needs from the world, as Protocols.

Every port has an in-memory fake in ``tests/fakes`` and a real adapter in ``store``, ``aws`` or ``providers``; one
contract suite in ``tests/contracts`` runs against both. All calls are synchronous, safe to repeat unless said
otherwise, and bounded in time by their adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import BinaryIO, Protocol

from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.datasets import Dataset, DatasetVersion
from chalicelib.domain.idempotency import IdempotencyRecord
from chalicelib.domain.jobs import Job, JobEvent, JobInput, JobStatus, JobType
from chalicelib.domain.predictions import AccountInfo, HardwareProfile, LaunchRequest, Prediction, PredictionPage


class StaleRecordError(Exception):
    """Somebody else changed the record first; read it again and decide anew."""


class SlotsFullError(Exception):
    """The owner's concurrency slots are all taken."""


class IdempotencyHitError(Exception):
    """A live record exists for this key; ``record`` is it."""

    def __init__(self, record: IdempotencyRecord) -> None:
        super().__init__(record.job_id)
        self.record = record


class InvalidCursorError(Exception):
    """The cursor was not made by this store."""


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list. ``owner`` None means everybody's. A None field does not filter."""

    owner: str | None
    status: JobStatus | None = None
    provider: str | None = None
    job_type: JobType | None = None


@dataclass(frozen=True)
class JobPage:
    jobs: tuple[Job, ...]
    cursor: str | None = None


class JobStore(Protocol):
    """Job records, inputs, events, idempotency records and concurrency slots."""

    def submit(
        self,
        job: Job,
        job_input: JobInput,
        events: Sequence[JobEvent],
        idempotency: IdempotencyRecord | None,
        slot_limit: int,
        now: datetime,
    ) -> None:
        """All or nothing: the job, its input and first events, the idempotency record, one concurrency slot.

        Raises IdempotencyHitError when a record of the same owner and key exists that has not expired at ``now``
        (checked in the write's condition, TTL is only housekeeping), SlotsFullError when ``slot_limit`` jobs of the
        owner hold a slot. A hit wins over full slots. Nothing is written in either case.
        """

    def get(self, job_id: str) -> Job | None:
        """The record, strongly consistent, or None."""

    def get_input(self, job_id: str) -> JobInput | None: ...

    def save(self, job: Job, *, events: Sequence[JobEvent] = (), release_slot: bool = False) -> None:
        """Replaces the record whose version is ``job.version - 1``; appends ``events``; frees the job's slot if asked.

        One transaction. Raises StaleRecordError when the stored version is another (or the job is gone).
        """

    def find_idempotency(self, owner: str, key_hash: str, now: datetime) -> IdempotencyRecord | None:
        """The live record of this key, strongly consistent."""

    def list(self, query: JobFilter, *, limit: int, cursor: str | None = None, offset: int = 0) -> JobPage:
        """Newest first by created_at, then job_id. ``offset`` skips matches. Never scans the table.

        Raises InvalidCursorError.
        """

    def list_active(self, *, limit: int = 100, cursor: str | None = None) -> JobPage:
        """Every job that is not over, oldest first; eventually consistent."""

    def find_by_prediction(self, provider: str, prediction_id: str) -> Job | None:
        """The job that recorded this prediction; eventually consistent."""

    def events(self, job_id: str, *, after: int = 0, limit: int = 100) -> Sequence[JobEvent]:
        """Events with ``seq > after``, ascending."""

    def delete(self, job: Job) -> None:
        """Removes the record, its input, events and idempotency record. The record goes first, with the condition that
        its version is ``job.version``; raises StaleRecordError otherwise. Repeating finishes an interrupted removal."""

    def slot_holders(self, owner: str) -> frozenset[str]:
        """Job ids that hold a slot of this owner."""

    def release_slot(self, owner: str, job_id: str) -> None:
        """Frees a slot; no effect when it is not held."""


class DatasetStore(Protocol):
    def put_dataset(self, dataset: Dataset) -> None:
        """Creates or replaces."""

    def get_dataset(self, owner: str, dataset_id: str) -> Dataset | None: ...

    def list_datasets(
        self, owner: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[Dataset], str | None]:
        """By dataset_id; returns the next cursor. Raises InvalidCursorError."""

    def find_by_source(self, owner: str, source_path: str) -> Dataset | None:
        """The dataset last pushed from this path; when several, the one updated last."""

    def delete_dataset(self, owner: str, dataset_id: str) -> None: ...

    def create_version(self, version: DatasetVersion) -> DatasetVersion:
        """Stores the version unless it exists; returns what is stored then."""

    def get_version(self, owner: str, dataset_id: str, version_id: str) -> DatasetVersion | None: ...

    def update_version(self, version: DatasetVersion) -> None:
        """Replaces. Raises StaleRecordError when it was deleted meanwhile. READY never becomes UPLOADING again."""

    def list_versions(self, owner: str, dataset_id: str) -> list[DatasetVersion]:
        """Newest first, at most 1,000."""

    def delete_version(self, owner: str, dataset_id: str, version_id: str) -> None: ...


class ConfigStore(Protocol):
    def save(self, config: TrainingConfig) -> None:
        """Stores ``config`` as its version; raises StaleRecordError when that version exists already."""

    def get(self, owner: str, name: str, version: int | None = None) -> TrainingConfig | None:
        """The given version, or the latest."""

    def list(
        self, owner: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[TrainingConfig], str | None]:
        """Latest versions by name. Raises InvalidCursorError."""

    def versions(self, owner: str, name: str) -> Sequence[TrainingConfig]:
        """Newest first, at most 1,000."""

    def delete(self, owner: str, name: str) -> None:
        """All versions."""


class WebhookLog(Protocol):
    def seen(self, provider: str, webhook_id: str, *, now: datetime) -> bool:
        """Whether this id is remembered; strongly consistent."""

    def remember(self, provider: str, webhook_id: str, *, now: datetime, keep: timedelta) -> bool:
        """True the first time this id is seen within ``keep``; False on a replay."""


@dataclass(frozen=True)
class ObjectInfo:
    """``sha256`` is lower-case hex when the store keeps a full-object SHA-256, else None."""

    key: str
    size: int
    modified_at: datetime
    sha256: str | None = None


@dataclass(frozen=True)
class PresignedPut:
    """``headers`` must be sent exactly as given, or the store refuses the upload."""

    url: str
    headers: Mapping[str, str]
    expires_at: datetime


class ObjectStore(Protocol):
    """One bucket."""

    @property
    def bucket(self) -> str: ...

    def presign_put(self, key: str, *, size: int, sha256: str, now: datetime, expires: timedelta) -> PresignedPut:
        """A URL that accepts exactly this content: the checksum is signed."""

    def presign_get(self, key: str, *, expires: timedelta, filename: str | None = None) -> str: ...

    def head(self, key: str) -> ObjectInfo | None:
        """With checksum; None when missing."""

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        """Bytes of the object from ``start``, at most ``length``; None when missing, b"" past the end."""

    def open(self, key: str) -> BinaryIO | None:
        """A stream of the whole object with bounded memory; the caller closes it. None when missing."""

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None: ...

    def list(self, prefix: str, *, start_after: str | None = None, limit: int | None = None) -> Iterator[ObjectInfo]:
        """By key in UTF-8 byte order, paging as it goes; ``start_after`` is a full key, exclusive. No checksums."""

    def delete(self, keys: Iterable[str]) -> int:
        """Deletes the keys; returns how many were asked for."""

    def delete_prefix(self, prefix: str) -> int:
        """Deletes everything below; returns the count. ``prefix`` must end in a slash."""


class ExecutionState(StrEnum):
    """UNKNOWN: never started, or started so lately that it does not show yet. OVER: ended, in whatever way."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    OVER = "over"


class WorkflowRunner(Protocol):
    def start(self, job_id: str, attempt: int) -> None:
        """Starts the execution ``<job_id>-<attempt>``; starting it twice is a no-op."""

    def state(self, job_id: str, attempt: int) -> ExecutionState:
        """Of that execution; eventually consistent."""

    def wake(self, task_token: str) -> bool:
        """Ends the wait behind the token; False when nobody waits there any more."""


@dataclass(frozen=True)
class TemporaryCredentials:
    """``repr`` hides the secrets."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"TemporaryCredentials(expires_at={self.expires_at.isoformat()})"


class CredentialsBroker(Protocol):
    def scoped(
        self,
        *,
        name: str,
        read_prefixes: Sequence[str],
        scratch_prefix: str,
        write_prefix: str,
        duration: timedelta,
    ) -> TemporaryCredentials:
        """Credentials that can list and read ``read_prefixes`` of the datasets bucket, list, read, write and delete
        ``scratch_prefix`` of the same bucket, and list, read and write ``write_prefix`` of the outputs bucket; nothing
        else. AWS STS GetFederationToken with a session policy; 15 minutes to 36 hours. All prefixes end in a slash.

        The scratch prefix is there because SimpleTuner's S3 data backend writes its bucket indices beside the data
        unless told otherwise, and a dataset version must stay immutable.

        Raises ProviderFault with ``sent`` False: kind USER for more prefixes than a policy holds, OURS otherwise."""


class Provider(Protocol):
    """A GPU provider. Every call raises ProviderFault (domain.failures) on failure and is bounded in time."""

    @property
    def name(self) -> str: ...

    @property
    def profiles(self) -> Mapping[str, HardwareProfile]:
        """By id, in display order; the first is the default."""

    def validate(self) -> AccountInfo:
        """Checks the token."""

    def create(self, request: LaunchRequest) -> Prediction:
        """Starts a training. NOT safe to repeat: see ProviderFault.sent."""

    def get(self, prediction_id: str) -> Prediction | None:
        """None when the provider does not know it."""

    def cancel(self, prediction_id: str) -> Prediction | None:
        """Asks for the end; the answer may still say it runs. Safe to repeat, also on a finished one."""

    def list(self, *, created_after: datetime | None = None, cursor: str | None = None) -> PredictionPage:
        """One page, newest first."""

    def webhook_secret(self, *, refresh: bool = False) -> str:
        """The signing secret; cached, fetched again when ``refresh``."""


class Clock(Protocol):
    def now(self) -> datetime:
        """Aware UTC."""


class IdSource(Protocol):
    def job_id(self) -> str:
        """A new id: 26 lower-case letters and digits, sorting by time of creation, no collisions to fear."""

    def token(self) -> str:
        """An unguessable URL-safe token of at least 128 bits."""


class StackFacts(Protocol):
    """What is only known after the stack stands."""

    def public_url(self) -> str:
        """Origin under which the provider and the users reach us, without a trailing slash."""


ProviderLookup = Callable[[str], Provider | None]


@dataclass(frozen=True)
class TrainerStorage:
    """How the trainer reaches S3: ``endpoint_url`` is always explicit (the trainer's backend requires one)."""

    endpoint_url: str
    region: str


@dataclass(frozen=True)
class Limits:
    """Deployment settings the domain cares about; see settings.py for their sources."""

    max_concurrent_jobs: int = 5
    default_max_run_seconds: int = 24 * 3600
    launch_lease_seconds: int = 60
    adopt_settle_seconds: int = 30
    sweep_grace_seconds: int = 60
    max_attempts: int = 50


@dataclass(frozen=True)
class Ports:
    """Everything a service or workflow step may touch; built by ``wiring`` or by a test."""

    jobs: JobStore
    datasets: DatasetStore
    configs: ConfigStore
    webhooks: WebhookLog
    dataset_files: ObjectStore
    outputs: ObjectStore
    runner: WorkflowRunner
    broker: CredentialsBroker
    providers: ProviderLookup
    facts: StackFacts
    clock: Clock
    ids: IdSource
    trainer_storage: TrainerStorage
    limits: Limits
