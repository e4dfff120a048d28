"""In-memory stores with the exact semantics of the ports; thread-safe. The contract suite runs against them too."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from chalicelib.domain.budgets import BudgetExceededError, BudgetHold, checked_hold
from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.datasets import AbandonedPrefix, Dataset, DatasetVersion, VersionStatus
from chalicelib.domain.idempotency import IdempotencyRecord
from chalicelib.domain.jobs import Job, JobEvent, JobInput
from chalicelib.domain.notification_events import outbox_items
from chalicelib.domain.ports import (
    DatasetGoneError,
    DatasetUsage,
    DeletedJob,
    EscrowMark,
    IdempotencyHitError,
    InvalidCursorError,
    JobFilter,
    JobPage,
    QuotaExceededError,
    SlotsFullError,
    StaleRecordError,
)
from tests.fakes.notifications import InMemoryNotificationStore


def _after(cursor: str | None, kind: str) -> str | None:
    """The key behind which the list ``kind`` goes on."""
    if cursor is None:
        return None
    if not cursor.startswith(f"{kind}|"):
        raise InvalidCursorError(cursor)
    return cursor[len(kind) + 1 :]


def _sort_key(job: Job) -> str:
    return f"{job.created_at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}#{job.job_id}"


class InMemoryJobStore:
    """``datasets`` and ``notifications`` are the stores in the same database: a submit looks at versions of the first,
    and every write fills the outbox of the second. ``told`` is called then."""

    def __init__(
        self,
        datasets: InMemoryDatasetStore | None = None,
        notifications: InMemoryNotificationStore | None = None,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self._lock = threading.RLock()
        self._notifications = notifications or InMemoryNotificationStore()
        self._told = told
        self._datasets = datasets or InMemoryDatasetStore()
        self._deleted: dict[str, DeletedJob] = {}
        self._escrow_marks: set[EscrowMark] = set()
        self._jobs: dict[str, Job] = {}
        self._inputs: dict[str, JobInput] = {}
        self._events: dict[str, list[JobEvent]] = {}
        self._keys: dict[tuple[str, str], IdempotencyRecord] = {}
        self._slots: dict[str, set[str]] = {}
        self._budgets: dict[str, Decimal] = {}

    def backup(self) -> Callable[[], None]:
        """What is stored now; calling the answer brings it back, as a restored backup or a killed emulator does."""
        parts = ("_jobs", "_inputs", "_events", "_keys", "_slots", "_budgets", "_deleted", "_escrow_marks")
        with self._lock:
            kept = copy.deepcopy({name: getattr(self, name) for name in parts})

        def restore() -> None:
            with self._lock:
                vars(self).update(copy.deepcopy(kept))

        return restore

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
        hold = checked_hold(job, budget)
        # One lock for both stores, as one transaction covers both: versions don't change while this one is held.
        with self._lock, self._datasets.lock:
            if idempotency is not None:
                known = self.find_idempotency(idempotency.owner, idempotency.key_hash, now)
                if known is not None:
                    raise IdempotencyHitError(known)
            if budget is not None and hold > (left := budget.limit_usd - self.budget_used(budget.budget_id)):
                raise BudgetExceededError(max(Decimal(0), left))
            holders = self._slots.setdefault(job.owner, set())
            if len(holders) >= slot_limit:
                raise SlotsFullError(job.owner)
            for wanted in job.datasets:
                version = self._datasets.get_version(job.owner, wanted.dataset_id, wanted.version_id)
                if version is None or version.status is not VersionStatus.READY:
                    raise DatasetGoneError(job.job_id)
            if job.job_id in self._jobs:
                raise StaleRecordError(job.job_id)
            holders.add(job.job_id)
            if budget is not None:
                self._budgets[budget.budget_id] = self.budget_used(budget.budget_id) + hold
            self._jobs[job.job_id] = job
            self._inputs[job.job_id] = job_input
            self._events[job.job_id] = list(events)
            if idempotency is not None:
                self._keys[idempotency.owner, idempotency.key_hash] = idempotency
            self._tell(job, events)

    def _tell(self, job: Job, events: Sequence[JobEvent]) -> None:
        items = outbox_items(job, events)
        self._notifications.put_items(items)
        if items:
            self._told()

    def get(self, job_id: str) -> Job | None:
        with self._lock:
            return self._jobs.get(job_id)

    def get_input(self, job_id: str) -> JobInput | None:
        with self._lock:
            return self._inputs.get(job_id)

    def save(self, job: Job, *, events: Sequence[JobEvent] = (), release_slot: bool = False) -> None:
        with self._lock:
            current = self._jobs.get(job.job_id)
            if current is None or current.version != job.version - 1:
                raise StaleRecordError(job.job_id)
            self._jobs[job.job_id] = job
            self._events[job.job_id].extend(events)
            self._tell(job, events)
            if release_slot:
                self._slots.get(job.owner, set()).discard(job.job_id)
            if release_slot and job.is_terminal and job.budget_id is not None:
                change = (job.budget_charge_usd or Decimal(0)) - (job.budget_hold_usd or Decimal(0))
                self._budgets[job.budget_id] = self.budget_used(job.budget_id) + change

    def find_idempotency(self, owner: str, key_hash: str, now: datetime) -> IdempotencyRecord | None:
        with self._lock:
            record = self._keys.get((owner, key_hash))
            return record if record is not None and record.expires_at > now else None

    def list(self, query: JobFilter, *, limit: int, cursor: str | None = None, offset: int = 0) -> JobPage:
        kind = f"jobs:{query}"
        after = _after(cursor, kind)
        with self._lock:
            found = [
                job
                for job in self._jobs.values()
                if (query.owner is None or job.owner == query.owner)
                and (query.status is None or job.status == query.status)
                and (query.provider is None or job.provider == query.provider)
                and (query.job_type is None or job.job_type == query.job_type)
                and (after is None or _sort_key(job) < after)
            ]
        found = sorted(found, key=_sort_key, reverse=True)[offset:]
        more = len(found) > limit
        return JobPage(tuple(found[:limit]), f"{kind}|{_sort_key(found[limit - 1])}" if more else None)

    def list_active(self, *, limit: int = 100, cursor: str | None = None) -> JobPage:
        after = _after(cursor, "active")
        with self._lock:
            found = [j for j in self._jobs.values() if j.is_active and (after is None or _sort_key(j) > after)]
        found.sort(key=_sort_key)
        more = len(found) > limit
        return JobPage(tuple(found[:limit]), f"active|{_sort_key(found[limit - 1])}" if more else None)

    def find_by_prediction(self, provider: str, prediction_id: str) -> Job | None:
        with self._lock:
            for job in self._jobs.values():
                if (job.provider, job.prediction_id) == (provider, prediction_id):
                    return job
        return None

    def events(self, job_id: str, *, after: int = 0, limit: int = 100) -> Sequence[JobEvent]:
        with self._lock:
            return [e for e in self._events.get(job_id, []) if e.seq > after][:limit]

    def delete(self, job: Job) -> None:
        with self._lock:
            current = self._jobs.get(job.job_id)
            if current is not None and current.version != job.version:
                raise StaleRecordError(job.job_id)
            self._jobs.pop(job.job_id, None)
            self._deleted[job.job_id] = DeletedJob(job.job_id, job.owner)

    def list_deleted(self, *, limit: int = 100, after: str | None = None) -> Sequence[DeletedJob]:
        with self._lock:
            found = sorted(job_id for job_id in self._deleted if after is None or job_id > after)
            return [self._deleted[job_id] for job_id in found[:limit]]

    def forget(self, job_id: str) -> None:
        with self._lock:
            self._inputs.pop(job_id, None)
            self._events.pop(job_id, None)
            self._deleted.pop(job_id, None)

    def slot_holders(self, owner: str) -> frozenset[str]:
        with self._lock:
            return frozenset(self._slots.get(owner, set()))

    def release_slot(self, owner: str, job_id: str) -> None:
        with self._lock:
            self._slots.get(owner, set()).discard(job_id)

    def mark_escrow(self, mark: EscrowMark) -> None:
        with self._lock:
            self._escrow_marks.add(mark)

    def list_escrow_due(self, *, due_before: datetime, limit: int = 100) -> Sequence[EscrowMark]:
        with self._lock:
            found = sorted((m for m in self._escrow_marks if m.due < due_before), key=lambda m: (m.due, m.job_id))
            return found[:limit]

    def unmark_escrow(self, mark: EscrowMark) -> None:
        with self._lock:
            self._escrow_marks.discard(mark)

    def budget_used(self, budget_id: str) -> Decimal:
        with self._lock:
            return self._budgets.get(budget_id, Decimal(0))


class InMemoryDatasetStore:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._datasets: dict[tuple[str, str], Dataset] = {}
        self._versions: dict[tuple[str, str, str], DatasetVersion] = {}
        self._abandoned: set[AbandonedPrefix] = set()

    def put_dataset(self, dataset: Dataset) -> None:
        key = (dataset.owner, dataset.dataset_id)
        with self.lock:
            if not _follows(self._datasets.get(key), dataset):
                raise StaleRecordError(dataset.dataset_id)
            self._datasets[key] = dataset

    def get_dataset(self, owner: str, dataset_id: str) -> Dataset | None:
        return self._datasets.get((owner, dataset_id))

    def list_datasets(
        self, owner: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[Dataset], str | None]:
        kind = f"datasets:{owner}"
        after = _after(cursor, kind)
        datasets = list(self._datasets.values())
        mine = [d for d in datasets if d.owner == owner and (after is None or d.dataset_id > after)]
        found = sorted(mine, key=lambda d: d.dataset_id)
        return found[:limit], f"{kind}|{found[limit - 1].dataset_id}" if len(found) > limit else None

    def find_by_source(self, owner: str, source_path: str) -> Dataset | None:
        # A copy first: other threads may add datasets meanwhile.
        datasets = list(self._datasets.values())
        found = [d for d in datasets if (d.owner, d.source_path) == (owner, source_path)]
        return max(found, key=lambda d: d.updated_at, default=None)

    def delete_dataset(self, dataset: Dataset) -> None:
        key = (dataset.owner, dataset.dataset_id)
        with self.lock:
            current = self._datasets.get(key)
            if current is not None and (current.revision, current.created_at) != (dataset.revision, dataset.created_at):
                raise StaleRecordError(dataset.dataset_id)
            self._datasets.pop(key, None)

    def list_retained(self, *, due_before: datetime, limit: int = 100) -> list[Dataset]:
        due = [(d.retention_due, d) for d in list(self._datasets.values()) if d.retention_due is not None]
        return [d for at, d in sorted(due, key=lambda pair: pair[0]) if at < due_before][:limit]

    def create_version(self, version: DatasetVersion, *, quota_bytes: int | None = None) -> DatasetVersion:
        key = (version.owner, version.dataset_id, version.version_id)
        with self.lock:
            if key in self._versions:
                return self._versions[key]
            used = self.usage(version.owner).bytes
            if quota_bytes is not None and used + (version.counted_bytes or 0) > quota_bytes:
                raise QuotaExceededError(used)
            self._versions[key] = version
            return version

    def usage(self, owner: str) -> DatasetUsage:
        with self.lock:
            mine = [v.counted_bytes for v in self._versions.values() if v.owner == owner]
        counted = [size for size in mine if size is not None]
        return DatasetUsage(bytes=sum(counted), versions=len(counted))

    def get_version(self, owner: str, dataset_id: str, version_id: str) -> DatasetVersion | None:
        return self._versions.get((owner, dataset_id, version_id))

    def update_version(self, version: DatasetVersion, *, leaves: AbandonedPrefix | None = None) -> None:
        key = (version.owner, version.dataset_id, version.version_id)
        with self.lock:
            if key not in self._versions or not _follows(self._versions[key], version):
                raise StaleRecordError(version.version_id)
            self._versions[key] = version
            self._abandoned |= {leaves} if leaves is not None else set()

    def move_version(self, version: DatasetVersion, owner: str) -> None:
        old, new = ((o, version.dataset_id, version.version_id) for o in (version.owner, owner))
        with self.lock:
            current = self._versions.get(old)
            if current is None or current.revision != version.revision or new in self._versions:
                raise StaleRecordError(version.version_id)
            self._versions[new] = self._versions.pop(old).model_copy(update={"owner": owner, "revision": 1})

    def list_versions(self, owner: str, dataset_id: str) -> list[DatasetVersion]:
        versions = list(self._versions.values())
        found = [v for v in versions if (v.owner, v.dataset_id) == (owner, dataset_id)]
        return sorted(found, key=lambda v: (v.created_at, v.version_id), reverse=True)[:1000]

    def delete_version(
        self,
        owner: str,
        dataset_id: str,
        version_id: str,
        *,
        revision: int | None = None,
        leaves: AbandonedPrefix | None = None,
    ) -> None:
        with self.lock:
            current = self._versions.get((owner, dataset_id, version_id))
            if current is not None and revision is not None and current.revision != revision:
                raise StaleRecordError(version_id)
            gone = self._versions.pop((owner, dataset_id, version_id), None)
            self._abandoned |= {leaves} if leaves is not None and gone is not None else set()

    def list_abandoned(self, *, due_before: datetime, limit: int = 100) -> list[AbandonedPrefix]:
        due = [a for a in list(self._abandoned) if a.due_at < due_before]
        return sorted(due, key=lambda a: a.due_at)[:limit]

    def forget_abandoned(self, abandoned: AbandonedPrefix) -> None:
        with self.lock:
            self._abandoned.discard(abandoned)

    def list_unfinished(self, *, created_before: datetime, limit: int = 100) -> list[DatasetVersion]:
        versions = list(self._versions.values())
        found = [v for v in versions if v.status is not VersionStatus.READY and v.created_at < created_before]
        return sorted(found, key=lambda v: v.created_at)[:limit]

    def list_inspecting(self, *, asked_before: datetime, limit: int = 100) -> list[DatasetVersion]:
        waiting = [
            (v.inspection.asked_at, v)
            for v in self._versions.values()
            if v.inspection is not None and not v.inspection.status.is_over and v.inspection.asked_at < asked_before
        ]
        return [version for _, version in sorted(waiting, key=lambda pair: pair[0])][:limit]


def _follows(current: Dataset | DatasetVersion | None, new: Dataset | DatasetVersion) -> bool:
    if current is None:
        return new.revision == 1
    return (current.revision, current.created_at) == (new.revision - 1, new.created_at)


class InMemoryConfigStore:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._configs: dict[tuple[str, str], list[TrainingConfig]] = {}

    def save(self, config: TrainingConfig) -> None:
        with self._lock:
            versions = self._configs.get((config.owner, config.name), [])
            if config.version != len(versions) + 1:
                raise StaleRecordError(config.name)
            self._configs[config.owner, config.name] = [*versions, config]

    def get(self, owner: str, name: str, version: int | None = None) -> TrainingConfig | None:
        versions = self._configs.get((owner, name), [])
        if version is None:
            return versions[-1] if versions else None
        return next((c for c in versions if c.version == version), None)

    def list(
        self, owner: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[TrainingConfig], str | None]:
        kind = f"configs:{owner}"
        after = _after(cursor, kind)
        with self._lock:
            found = [self._configs[o, n][-1] for o, n in sorted(self._configs) if o == owner]
        found = [c for c in found if after is None or c.name > after]
        return found[:limit], f"{kind}|{found[limit - 1].name}" if len(found) > limit else None

    def versions(self, owner: str, name: str) -> Sequence[TrainingConfig]:
        return list(reversed(self._configs.get((owner, name), [])))[:1000]

    def delete(self, owner: str, name: str) -> None:
        self._configs.pop((owner, name), None)
