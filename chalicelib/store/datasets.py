"""Datasets and their versions in DynamoDB."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel
from pynamodb.expressions.condition import Condition

from chalicelib.domain.datasets import Dataset, DatasetVersion, VersionStatus
from chalicelib.domain.ports import StaleRecordError
from chalicelib.errors import Unavailable
from chalicelib.store.cursors import Position, decode, encode, list_kind
from chalicelib.store.faults import ConditionFailedError, TransactionFailedError
from chalicelib.store.records import Record, digest, stamp
from chalicelib.store.table import Delete, Put, Table, Write

MAX_VERSIONS = 1000
#: Datasets pushed from one path that are looked at; more than anybody makes by hand.
MAX_SAME_SOURCE = 1000
#: Tries of a compare-and-set; writers of one dataset are few, so this only keeps the loop bounded.
MAX_TRIES = 10

_Document = TypeVar("_Document", bound=BaseModel)


class DynamoDatasetStore:
    """``DatasetStore`` over the jobs table. Reads of one thing are strongly consistent, and so are lists. Besides what
    the port says, every method raises ``Unavailable`` when DynamoDB can't answer; repeating is safe then.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    def put_dataset(self, dataset: Dataset) -> None:
        """Creates or replaces; the last writer wins. The dataset and the way to find it by its source are one write."""
        source = digest(dataset.source_path) if dataset.source_path is not None else None
        document = dataset.model_dump_json()
        for _ in range(MAX_TRIES):
            stored = self._table.get(_datasets_pk(dataset.owner), dataset.dataset_id)
            record = self._table.new(_datasets_pk(dataset.owner), dataset.dataset_id, document=document, source=source)
            writes: list[Write] = [Put(record, _same_source(stored))]
            if source is not None:
                pk = _source_pk(dataset.owner, source)
                writes.append(Put(self._table.new(pk, dataset.dataset_id, document=document)))
            if stored is not None and stored.source is not None and stored.source != source:
                writes.append(Delete(self._table.new(_source_pk(dataset.owner, stored.source), dataset.dataset_id)))
            if self._took_place(writes):
                return
        raise _contended(dataset.dataset_id)

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

    def delete_dataset(self, owner: str, dataset_id: str) -> None:
        """No effect when it does not exist. Its versions stay."""
        for _ in range(MAX_TRIES):
            stored = self._table.get(_datasets_pk(owner), dataset_id)
            if stored is None:
                return
            writes: list[Write] = [Delete(self._table.new(stored.pk, stored.sk), _same_source(stored))]
            if stored.source is not None:
                writes.append(Delete(self._table.new(_source_pk(owner, stored.source), dataset_id)))
            if self._took_place(writes):
                return
        raise _contended(dataset_id)

    def create_version(self, version: DatasetVersion) -> DatasetVersion:
        by_id, by_time = self._version_records(version)
        try:
            self._table.transact([Put(by_id, Record.pk.does_not_exist(), show=True), Put(by_time)])
        except TransactionFailedError as error:
            stored = _parsed(DatasetVersion, error.failed.get(0))
            if stored is None:
                raise
            return stored
        return version

    def get_version(self, owner: str, dataset_id: str, version_id: str) -> DatasetVersion | None:
        return _parsed(DatasetVersion, self._table.get(_versions_pk(owner, dataset_id), _id_sk(version_id)))

    def update_version(self, version: DatasetVersion) -> None:
        """As the port says; StaleRecordError also when the stored version is READY and this one is not. ``created_at``
        must be the stored one."""
        by_id, by_time = self._version_records(version)
        allowed: Condition = Record.pk.exists()
        if version.status is not VersionStatus.READY:
            allowed &= Record.status != VersionStatus.READY.value
        try:
            self._table.transact([Put(by_id, allowed), Put(by_time)])
        except TransactionFailedError:
            raise StaleRecordError(version.version_id) from None

    def list_versions(self, owner: str, dataset_id: str) -> list[DatasetVersion]:
        found = self._table.query(
            _versions_pk(owner, dataset_id),
            within=Record.sk.startswith("at#"),
            newest_first=True,
            limit=MAX_VERSIONS,
        )
        return [DatasetVersion.model_validate_json(record.document) for record in found]

    def delete_version(self, owner: str, dataset_id: str, version_id: str) -> None:
        """No effect when it does not exist."""
        stored = self.get_version(owner, dataset_id, version_id)
        if stored is not None:
            self._table.transact([Delete(record) for record in self._version_records(stored)])

    def _took_place(self, writes: list[Write]) -> bool:
        try:
            if len(writes) > 1:
                self._table.transact(writes)
            elif isinstance(writes[0], Put):
                self._table.put(writes[0].record, writes[0].condition)
            else:
                self._table.delete(writes[0].record.pk, writes[0].record.sk, writes[0].condition)
        except (ConditionFailedError, TransactionFailedError):
            return False
        return True

    def _version_records(self, version: DatasetVersion) -> tuple[Record, Record]:
        """The version by its id and in order of creation."""
        pk, document = _versions_pk(version.owner, version.dataset_id), version.model_dump_json()
        time_sk = f"at#{stamp(version.created_at)}#{version.version_id}"
        return (
            self._table.new(pk, _id_sk(version.version_id), document=document, status=version.status.value),
            self._table.new(pk, time_sk, document=document),
        )


def _datasets_pk(owner: str) -> str:
    return f"datasets#{owner}"


def _source_pk(owner: str, source: str) -> str:
    return f"source#{owner}#{source}"


def _versions_pk(owner: str, dataset_id: str) -> str:
    return f"versions#{owner}#{dataset_id}"


def _id_sk(version_id: str) -> str:
    return f"id#{version_id}"


def _same_source(stored: Record | None) -> Condition:
    """Holds while the dataset is found by the source that was read, so that its other item can't be left behind."""
    if stored is None:
        return Record.pk.does_not_exist()
    if stored.source is None:
        return Record.source.does_not_exist()
    return Record.source == stored.source


def _parsed(model: type[_Document], record: Record | None) -> _Document | None:
    return model.model_validate_json(record.document) if record is not None else None


def _contended(dataset_id: str) -> Unavailable:
    return Unavailable(f"Dataset '{dataset_id}' is being changed by several clients at once; try again.", retry_after=1)
