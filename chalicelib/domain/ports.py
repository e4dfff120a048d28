"""The ports: what the product needs from the world, as Protocols.

Every port has an in-memory fake in ``tests/fakes`` and a real adapter in ``store``, ``aws`` or ``providers``; one
contract suite in ``tests/contracts`` runs against both. All calls are synchronous, safe to repeat unless said
otherwise, and bounded in time by their adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from chalicelib.domain.archive_ports import ArchiveStore
from chalicelib.domain.budgets import BudgetExceededError, BudgetHold
from chalicelib.domain.credentials import CredentialStore, SecretStore
from chalicelib.domain.datasets import DatasetVersion
from chalicelib.domain.delivery_ports import DeliveryRunner, DeliveryStore, TargetLookup
from chalicelib.domain.executions import ExecutionState
from chalicelib.domain.hub import ModelHub
from chalicelib.domain.notification_ports import (
    AddressTakenError,
    HookSender,
    Mailer,
    NotificationStore,
)
from chalicelib.domain.objects import (
    MAX_KEY_BYTES,
    MAX_PARTS,
    MultipartError,
    MultipartGoneError,
    MultipartInfo,
    ObjectInfo,
    ObjectStore,
    PartInfo,
    PartRefusedError,
    PresignedPut,
    composite_of,
)
from chalicelib.domain.owner_settings import OwnerSettingsStore
from chalicelib.domain.predictions import AccountInfo, HardwareProfile, LaunchRequest, Prediction, PredictionPage
from chalicelib.domain.stores import (
    ConfigStore,
    DatasetGoneError,
    DatasetStore,
    DatasetUsage,
    DeletedJob,
    EscrowMark,
    IdempotencyHitError,
    InvalidCursorError,
    JobFilter,
    JobPage,
    JobStore,
    QuotaExceededError,
    SlotsFullError,
    StaleRecordError,
    WebhookLog,
)

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_PARTS",
    "AddressTakenError",
    "ArchiveStore",
    "BudgetExceededError",
    "BudgetHold",
    "Clock",
    "ConfigStore",
    "CredentialStore",
    "CredentialsBroker",
    "DatasetGoneError",
    "DatasetRunner",
    "DatasetStore",
    "DatasetUsage",
    "DeletedJob",
    "DeliveryRunner",
    "DeliveryStore",
    "EscrowMark",
    "ExecutionState",
    "HookSender",
    "IdSource",
    "IdempotencyHitError",
    "InvalidCursorError",
    "JobFilter",
    "JobPage",
    "JobStore",
    "Limits",
    "Mailer",
    "ModelHub",
    "MultipartError",
    "MultipartGoneError",
    "MultipartInfo",
    "NotificationStore",
    "ObjectInfo",
    "ObjectStore",
    "OwnerSettingsStore",
    "PartInfo",
    "PartRefusedError",
    "Ports",
    "PresignedPut",
    "Provider",
    "ProviderLookup",
    "QuotaExceededError",
    "SecretStore",
    "SlotsFullError",
    "StackFacts",
    "StaleRecordError",
    "TargetLookup",
    "TemporaryCredentials",
    "TrainerStorage",
    "WebhookLog",
    "WorkflowRunner",
    "composite_of",
]


class WorkflowRunner(Protocol):
    def start(self, job_id: str, attempt: int) -> None:
        """Starts the execution ``<job_id>-<attempt>``; starting it twice is a no-op."""

    def state(self, job_id: str, attempt: int) -> ExecutionState:
        """Of that execution; eventually consistent."""

    def wake(self, task_token: str) -> bool:
        """Ends the wait behind the token; False when nobody waits there any more."""


class DatasetRunner(Protocol):
    """Background work on datasets. Starting the same attempt twice is a no-op; states are eventually consistent."""

    def start_inspection(self, version: DatasetVersion, attempt: int) -> None: ...

    def inspection_state(self, version: DatasetVersion, attempt: int) -> ExecutionState: ...

    def start_unpack(self, owner: str, dataset_id: str, archive_id: str, attempt: int) -> None: ...

    def unpack_state(self, owner: str, dataset_id: str, archive_id: str, attempt: int) -> ExecutionState: ...


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

    def check(self, *, read_prefixes: Sequence[str], scratch_prefix: str, write_prefix: str) -> None:
        """Raises the ProviderFault of kind USER that ``scoped`` would raise for the number and length of these
        prefixes, as far as that can be known without asking. Sends nothing."""


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
    dataset_quota_bytes: int = 1024**4
    private_destinations: bool = False


@dataclass(frozen=True)
class Ports:
    """Everything a service or workflow step may touch; built by ``wiring`` or by a test.

    ``nudge`` makes the sender of notifications look at once; it never raises, and nothing depends on it."""

    jobs: JobStore
    datasets: DatasetStore
    archives: ArchiveStore
    configs: ConfigStore
    owner_settings: OwnerSettingsStore
    webhooks: WebhookLog
    credentials: CredentialStore
    secrets: SecretStore
    dataset_files: ObjectStore
    outputs: ObjectStore
    runner: WorkflowRunner
    dataset_runner: DatasetRunner
    deliveries: DeliveryStore
    delivery_runner: DeliveryRunner
    targets: TargetLookup
    notifications: NotificationStore
    mailer: Mailer
    hooks: HookSender
    nudge: Callable[[], None]
    broker: CredentialsBroker
    providers: ProviderLookup
    hub: ModelHub
    facts: StackFacts
    clock: Clock
    ids: IdSource
    trainer_storage: TrainerStorage
    limits: Limits
