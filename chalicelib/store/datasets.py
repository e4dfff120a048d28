"""Datasets and their versions in DynamoDB."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from pydantic import BaseModel
from pynamodb.expressions.condition import Condition

from chalicelib.domain.datasets import (
    AbandonedPrefix,
    Dataset,
    DatasetVersion,
    InspectionSummary,
    VersionStatus,
)
from chalicelib.domain.ports import DatasetUsage, QuotaExceededError, StaleRecordError
from chalicelib.store.cursors import Position, decode, encode, list_kind
from chalicelib.store.faults import TransactionFailedError
from chalicelib.store.records import Record, digest, stamp, version_sk, versions_pk
from chalicelib.store.table import Delete, Put, Table, Update, Write

MAX_VERSIONS = 1000
#: Datasets pushed from one path that are looked at; more than anybody makes by hand.
MAX_SAME_SOURCE = 1000
#: Tries of removing a version that others change meanwhile.
MAX_TRIES = 20
_UNFINISHED = "unfinished"
_INSPECTING = "inspecting"
_RETENTION = "retention"
_ABANDONED = "abandoned-prefixes"
_USAGE = "datasets"

_Document = TypeVar("_Document", bound=BaseModel)


class DynamoDatasetStore:
    """``DatasetStore`` over the jobs table. Reads of one thing are strongly consistent, and so are lists. Besides what
    the port says, every method raises ``Unavailable`` when DynamoDB can't answer; repeating is safe then.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    def put_dataset(self, dataset: Dataset) -> None:
        """As the port says; the dataset and the way to find it by its source are one write."""
        pk, document = _datasets_pk(dataset.owner), dataset.model_dump_json()
        source = digest(dataset.source_path) if dataset.source_path is not None else None
        stored = self._table.get(pk, dataset.dataset_id) if dataset.revision > 1 else None
        record = self._table.new(pk, dataset.dataset_id, document=document, source=source, **_stamps(dataset))
        writes: list[Write] = [Put(record, _follows(dataset))]
        if source is not None:
            way_back = _source_pk(dataset.owner, source)
            writes.append(Put(self._table.new(way_back, dataset.dataset_id, document=document)))
        # The condition holds for the record that was read here, or for nothing.
        if stored is not None and stored.source is not None and stored.source != source:
            writes.append(Delete(self._table.new(_source_pk(dataset.owner, stored.source), dataset.dataset_id)))
        before = _parsed(Dataset, stored)
        if dataset.retention_due is not None:
            writes.append(Put(self._reminder(dataset, dataset.retention_due, document=document)))
        if before is not None and before.retention_due not in {None, dataset.retention_due}:
            writes.append(Delete(self._reminder(before, before.retention_due)))
        self._transact(writes, dataset.dataset_id)

    def get_dataset(self, owner: str, dataset_id: str) -> Dataset | None:
        return _parsed(Dataset, self._table.get(_datasets_pk(owner), dataset_id))

    def list_datasets(
        self, owner: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[Dataset], str | None]:
        kind = list_kind("datasets", owner)
        within = Record.sk > decode(kind, cursor).sort if cursor is not None else None
        found = self._table.query(_datasets_pk(owner), within=within, limit=limit + 1)
        rest = encode(kind, Position(found[limit - 1].sk)) if len(found) > limit else None
        return [Dataset.model_validate_json(record.document) for record in found[:limit]], rest

    def find_by_source(self, owner: str, source_path: str) -> Dataset | None:
        found = self._table.query(_source_pk(owner, digest(source_path)), limit=MAX_SAME_SOURCE)
        datasets = (Dataset.model_validate_json(record.document) for record in found)
        return max(datasets, key=lambda d: d.updated_at, default=None)

    def delete_dataset(self, dataset: Dataset) -> None:
        record = self._table.new(_datasets_pk(dataset.owner), dataset.dataset_id)
        writes: list[Write] = [Delete(record, Record.pk.does_not_exist() | _is(dataset, dataset.revision))]
        if dataset.source_path is not None:
            way_back = _source_pk(dataset.owner, digest(dataset.source_path))
            writes.append(Delete(self._table.new(way_back, dataset.dataset_id)))
        if dataset.retention_due is not None:
            writes.append(Delete(self._reminder(dataset, dataset.retention_due)))
        self._transact(writes, dataset.dataset_id)

    def list_retained(self, *, due_before: datetime, limit: int = 100) -> list[Dataset]:
        found = self._table.query(_RETENTION, within=Record.sk < stamp(due_before), limit=limit)
        return [Dataset.model_validate_json(record.document) for record in found]

    def create_version(self, version: DatasetVersion, *, quota_bytes: int | None = None) -> DatasetVersion:
        by_id, by_time = self._version_records(version)
        once = Put(by_id, Record.pk.does_not_exist(), show=True)
        writes: list[Write] = [once, Put(by_time)]
        if version.status is not VersionStatus.READY:
            writes.append(Put(self._marker(version)))
        writes += self._inspection_marks(version)
        size = version.counted_bytes
        if size is not None:
            fits = None if quota_bytes is None else Record.used.does_not_exist() | (Record.used <= quota_bytes - size)
            writes.append(Update(self._usage(version), [Record.used.add(size), Record.parts.add(1)], fits))
            if quota_bytes is not None and size > quota_bytes:
                return self._stored_or_too_large(version)
        try:
            self._table.transact(writes)
        except TransactionFailedError as error:
            stored = _parsed(DatasetVersion, error.failed.get(0))
            if stored is not None:
                return stored
            if set(error.failed) != {len(writes) - 1}:
                raise
            raise QuotaExceededError(self.usage(version.owner).bytes) from None
        return version

    def _stored_or_too_large(self, version: DatasetVersion) -> DatasetVersion:
        stored = self.get_version(version.owner, version.dataset_id, version.version_id)
        if stored is None:
            raise QuotaExceededError(self.usage(version.owner).bytes)
        return stored

    def usage(self, owner: str) -> DatasetUsage:
        found = self._table.get(_usage_pk(owner), _USAGE)
        if found is None:
            return DatasetUsage()
        return DatasetUsage(bytes=int(found.used or 0), versions=int(found.parts or 0))

    def get_version(self, owner: str, dataset_id: str, version_id: str) -> DatasetVersion | None:
        return _parsed(DatasetVersion, self._table.get(versions_pk(owner, dataset_id), version_sk(version_id)))

    def update_version(self, version: DatasetVersion, *, leaves: AbandonedPrefix | None = None) -> None:
        by_id, by_time = self._version_records(version)
        mark = self._marker(version)
        marked = Delete(mark) if version.status is VersionStatus.READY else Put(mark)
        writes = [Put(by_id, _follows(version)), Put(by_time), marked, *self._inspection_marks(version)]
        writes += self._left(leaves)
        self._transact(writes, version.version_id)

    def move_version(self, version: DatasetVersion, owner: str) -> None:
        moved = version.model_copy(update={"owner": owner, "revision": 1})
        by_id, by_time = self._version_records(version)
        new_by_id, new_by_time = self._version_records(moved)
        writes: list[Write] = [
            Delete(by_id, _is(version, version.revision)),
            Delete(by_time),
            Put(new_by_id, Record.pk.does_not_exist()),
            Put(new_by_time),
        ]
        if version.counted_bytes is not None:
            counted = version.counted_bytes
            writes.append(Update(self._usage(version), [Record.used.add(-counted), Record.parts.add(-1)]))
            writes.append(Update(self._usage(moved), [Record.used.add(counted), Record.parts.add(1)]))
        self._transact(writes, version.version_id)

    def list_versions(self, owner: str, dataset_id: str) -> list[DatasetVersion]:
        found = self._table.query(
            versions_pk(owner, dataset_id),
            within=Record.sk.startswith("at#"),
            newest_first=True,
            limit=MAX_VERSIONS,
        )
        return [DatasetVersion.model_validate_json(record.document) for record in found]

    def delete_version(
        self,
        owner: str,
        dataset_id: str,
        version_id: str,
        *,
        revision: int | None = None,
        leaves: AbandonedPrefix | None = None,
    ) -> None:
        for _ in range(MAX_TRIES):
            stored = self.get_version(owner, dataset_id, version_id)
            if stored is None:
                return
            if revision is not None and stored.revision != revision:
                raise StaleRecordError(version_id)
            with suppress(TransactionFailedError):
                self._table.transact([*self._removal_of(stored), *self._left(leaves)])
                return
        raise StaleRecordError(version_id)

    def _removal_of(self, stored: DatasetVersion) -> list[Write]:
        """Only of this very record: what it counts is given back once."""
        by_id, by_time = self._version_records(stored)
        gone: list[Write] = [Delete(by_id, _is(stored, stored.revision)), Delete(by_time), Delete(self._marker(stored))]
        if stored.inspection is not None:
            gone.append(Delete(self._inspection_mark(stored, stored.inspection)))
        if stored.counted_bytes is not None:
            gone.append(Update(self._usage(stored), [Record.used.add(-stored.counted_bytes), Record.parts.add(-1)]))
        return gone

    def list_abandoned(self, *, due_before: datetime, limit: int = 100) -> list[AbandonedPrefix]:
        found = self._table.query(_ABANDONED, within=Record.sk < stamp(due_before), limit=limit)
        return [AbandonedPrefix.model_validate_json(record.document) for record in found]

    def forget_abandoned(self, abandoned: AbandonedPrefix) -> None:
        self._transact([Delete(self._abandoned(abandoned))], abandoned.prefix)

    def _left(self, leaves: AbandonedPrefix | None) -> list[Write]:
        return [] if leaves is None else [Put(self._abandoned(leaves))]

    def _abandoned(self, abandoned: AbandonedPrefix) -> Record:
        sk = f"{stamp(abandoned.due_at)}#{digest(abandoned.prefix)}"
        return self._table.new(_ABANDONED, sk, document=abandoned.model_dump_json())

    def list_unfinished(self, *, created_before: datetime, limit: int = 100) -> list[DatasetVersion]:
        found = self._table.query(_UNFINISHED, within=Record.sk < stamp(created_before), limit=limit)
        return [DatasetVersion.model_validate_json(record.document) for record in found]

    def list_inspecting(self, *, asked_before: datetime, limit: int = 100) -> list[DatasetVersion]:
        found = self._table.query(_INSPECTING, within=Record.sk < stamp(asked_before), limit=limit)
        return [DatasetVersion.model_validate_json(record.document) for record in found]

    def _transact(self, writes: list[Write], what: str) -> None:
        try:
            self._table.transact(writes)
        except TransactionFailedError:
            raise StaleRecordError(what) from None

    def _version_records(self, version: DatasetVersion) -> tuple[Record, Record]:
        """The version by its id and in order of creation."""
        pk, document = versions_pk(version.owner, version.dataset_id), version.model_dump_json()
        time_sk = f"at#{stamp(version.created_at)}#{version.version_id}"
        return (
            self._table.new(
                pk,
                version_sk(version.version_id),
                document=document,
                status=version.status.value,
                **_stamps(version),
            ),
            self._table.new(pk, time_sk, document=document),
        )

    def _inspection_marks(self, version: DatasetVersion) -> list[Write]:
        """What names the version while its inspection is not over."""
        if version.inspection is None:
            return []
        mark = self._inspection_mark(version, version.inspection)
        return [Delete(mark) if version.inspection.status.is_over else Put(mark)]

    def _inspection_mark(self, version: DatasetVersion, inspection: InspectionSummary) -> Record:
        name = digest(f"{version.owner}#{version.dataset_id}#{version.version_id}")
        sk = f"{stamp(inspection.asked_at)}#{name}"
        return self._table.new(_INSPECTING, sk, document=version.model_dump_json())

    def _usage(self, version: DatasetVersion) -> Record:
        return self._table.new(_usage_pk(version.owner), _USAGE)

    def _reminder(self, dataset: Dataset, due: datetime, **attributes: Any) -> Record:
        """What names a dataset of which old versions end, in order of when to look."""
        sk = f"{stamp(due)}#{digest(f'{dataset.owner}#{dataset.dataset_id}')}"
        return self._table.new(_RETENTION, sk, **attributes)

    def _marker(self, version: DatasetVersion) -> Record:
        """What names the version while it is not ready."""
        name = digest(f"{version.owner}#{version.dataset_id}#{version.version_id}")
        sk = f"{stamp(version.created_at)}#{name}"
        return self._table.new(_UNFINISHED, sk, document=version.model_dump_json())


def _datasets_pk(owner: str) -> str:
    return f"datasets#{owner}"


def _usage_pk(owner: str) -> str:
    return f"usage#{owner}"


def _source_pk(owner: str, source: str) -> str:
    return f"source#{owner}#{source}"


def _stamps(thing: Dataset | DatasetVersion) -> dict[str, Any]:
    """What tells this very record: its revision, and when it was created, since what is deleted may be made anew."""
    return {"version": thing.revision, "write_id": stamp(thing.created_at)}


def _is(thing: Dataset | DatasetVersion, revision: int) -> Condition:
    """Holds for the stored record of ``thing`` in this revision. Those of the first release carry no stamps."""
    same: Condition = (Record.version == revision) & (Record.write_id == stamp(thing.created_at))
    return same | (Record.pk.exists() & Record.version.does_not_exist()) if revision == 1 else same


def _follows(thing: Dataset | DatasetVersion) -> Condition:
    """Holds for the record that this one may replace."""
    return _is(thing, thing.revision - 1) if thing.revision > 1 else Record.pk.does_not_exist()


def _parsed(model: type[_Document], record: Record | None) -> _Document | None:
    return model.model_validate_json(record.document) if record is not None else None
