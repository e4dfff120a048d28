"""The ports of the database: what is kept, and what a write promises when others write at the same time.

Part of ``ports.py``, which names them all; see there for what holds for every port.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

from chalicelib.domain.budgets import BudgetHold
from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.datasets import AbandonedPrefix, Dataset, DatasetVersion
from chalicelib.domain.idempotency import IdempotencyRecord
from chalicelib.domain.jobs import Job, JobEvent, JobInput, JobStatus, JobType


class StaleRecordError(Exception):
    """Somebody else changed the record first; read it again and decide anew."""


class SlotsFullError(Exception):
    """The owner's concurrency slots are all taken."""


class DatasetGoneError(Exception):
    """A dataset version that a job wants is not there, or not READY."""


class QuotaExceededError(Exception):
    """The owner's datasets would take more than their quota. ``used`` is what they take now, in bytes."""

    def __init__(self, used: int) -> None:
        super().__init__(used)
        self.used = used


@dataclass(frozen=True)
class DatasetUsage:
    """``bytes`` and number of versions that count against an owner's quota."""

    bytes: int = 0
    versions: int = 0


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


@dataclass(frozen=True)
class DeletedJob:
    """A job whose record is gone while other things of it may still be there."""

    job_id: str
    owner: str


class JobStore(Protocol):
    """Job records, inputs, events, idempotency records, concurrency slots and what API keys have spent."""

    def submit(
        self,
        job: Job,
        job_input: JobInput,
        events: Sequence[JobEvent],
        idempotency: IdempotencyRecord | None,
        slot_limit: int,
        now: datetime,
        budget: BudgetHold | None = None,
    ) -> None:
        """All or nothing: the job, its input and first events, the idempotency record, one concurrency slot, the hold
        on the key's budget.

        Raises IdempotencyHitError when a record of the same owner and key exists that has not expired at ``now``
        (checked in the write's condition, TTL is only housekeeping), BudgetExceededError when ``job.budget_hold_usd``
        does not fit into the budget any more, SlotsFullError when ``slot_limit`` jobs of the owner hold a slot,
        DatasetGoneError when a version in ``job.datasets`` is not READY (checked in the same transaction, so a version
        is never deleted under a job that has just been taken); in this order when several hold. Nothing is written in
        any of these cases. Raises ValueError when ``budget`` is not what ``job.budget_id`` and ``job.budget_hold_usd``
        say.
        """

    def get(self, job_id: str) -> Job | None:
        """The record, strongly consistent, or None."""

    def get_input(self, job_id: str) -> JobInput | None: ...

    def save(self, job: Job, *, events: Sequence[JobEvent] = (), release_slot: bool = False) -> None:
        """Replaces the record whose version is ``job.version - 1``; appends ``events``; frees the job's slot if asked.

        Freeing the slot of a job that is over also settles its hold on a budget: ``job.budget_charge_usd`` counts from
        then on. One transaction. Raises StaleRecordError when the stored version is another (or the job is gone).
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
        """Removes the record, on condition that its version is ``job.version`` (or that it is gone already), and marks
        the job as deleted in the same write. Raises StaleRecordError otherwise, and then nothing is changed.

        What hangs on it (input, events, and its objects elsewhere) is left to whoever calls ``forget`` at last; until
        then ``list_deleted`` names it. The idempotency record stays for its time: a late repeat of the submit must not
        train again."""

    def list_deleted(self, *, limit: int = 100, after: str | None = None) -> Sequence[DeletedJob]:
        """Deleted jobs that have not been forgotten, by job id, from behind the id ``after``."""

    def forget(self, job_id: str) -> None:
        """Removes input and events of a deleted job, then its mark. Safe to repeat."""

    def slot_holders(self, owner: str) -> frozenset[str]:
        """Job ids that hold a slot of this owner."""

    def release_slot(self, owner: str, job_id: str) -> None:
        """Frees a slot; no effect when it is not held."""

    def budget_used(self, budget_id: str) -> Decimal:
        """US dollars counted against this budget: holds of running jobs and costs of ended ones. Strongly
        consistent."""


class DatasetStore(Protocol):
    def put_dataset(self, dataset: Dataset) -> None:
        """Creates the record (``revision`` 1) or replaces the one whose revision is ``dataset.revision - 1``.

        Raises StaleRecordError when the stored one is another."""

    def get_dataset(self, owner: str, dataset_id: str) -> Dataset | None: ...

    def list_datasets(
        self, owner: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[Dataset], str | None]:
        """By dataset_id; returns the next cursor. Raises InvalidCursorError."""

    def find_by_source(self, owner: str, source_path: str) -> Dataset | None:
        """The dataset last pushed from this path; when several, the one updated last."""

    def delete_dataset(self, dataset: Dataset) -> None:
        """Removes the record of this very revision. No effect when it is gone; raises StaleRecordError when the stored
        one is another. Its versions stay."""

    def list_retained(self, *, due_before: datetime, limit: int = 100) -> list[Dataset]:
        """Datasets of anybody whose ``retention_due`` is before that, earliest first."""

    def create_version(self, version: DatasetVersion, *, quota_bytes: int | None = None) -> DatasetVersion:
        """Stores the version (``revision`` 1) unless it exists; returns what is stored then.

        Its ``counted_bytes`` count against its owner from then on, in the same transaction, unless they are None.
        Raises QuotaExceededError, and stores nothing, when that makes more than ``quota_bytes``."""

    def usage(self, owner: str) -> DatasetUsage:
        """What the owner's versions take, strongly consistent."""

    def get_version(self, owner: str, dataset_id: str, version_id: str) -> DatasetVersion | None: ...

    def update_version(self, version: DatasetVersion, *, leaves: AbandonedPrefix | None = None) -> None:
        """Replaces the record whose revision is ``version.revision - 1``; ``created_at`` is the stored one. In the same
        write remembers the prefix that it ``leaves``. Raises StaleRecordError when the stored one is another, or
        gone."""

    def move_version(self, version: DatasetVersion, owner: str) -> None:
        """A READY version belongs to somebody else from now on, in one write; its files stay where they are. Raises
        StaleRecordError when they have this version already, or it has changed or is gone."""

    def list_versions(self, owner: str, dataset_id: str) -> list[DatasetVersion]:
        """Newest first, at most 1,000."""

    def delete_version(
        self,
        owner: str,
        dataset_id: str,
        version_id: str,
        *,
        revision: int | None = None,
        leaves: AbandonedPrefix | None = None,
    ) -> None:
        """Gives back what it takes of the quota, and remembers the prefix that it ``leaves`` in the same write. No
        effect when it is gone; StaleRecordError when a ``revision`` is given and the stored one is another."""

    def list_abandoned(self, *, due_before: datetime, limit: int = 100) -> list[AbandonedPrefix]:
        """Prefixes that versions of anybody have left, those due first."""

    def forget_abandoned(self, abandoned: AbandonedPrefix) -> None:
        """Of a prefix below which there is nothing any more. Safe to repeat."""

    def list_inspecting(self, *, asked_before: datetime, limit: int = 100) -> list[DatasetVersion]:
        """Versions of anybody whose inspection was asked for before that and is not over, oldest first."""

    def list_unfinished(self, *, created_before: datetime, limit: int = 100) -> list[DatasetVersion]:
        """Versions of anybody that are not READY, oldest first: uploads that go on, were given up, and deletions that
        were broken off."""


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
