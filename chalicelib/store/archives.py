"""Archives in DynamoDB: a record each, and a second one that names it while it is not settled."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from pynamodb.expressions.condition import Condition

from chalicelib.domain.archives import ArchiveRecord
from chalicelib.domain.ports import StaleRecordError
from chalicelib.store.cursors import Position, decode, encode, list_kind
from chalicelib.store.faults import TransactionFailedError
from chalicelib.store.records import Record, digest, stamp
from chalicelib.store.table import Delete, Put, Table, Write

_UNSETTLED = "unsettled-archives"


class DynamoArchiveStore:
    """``ArchiveStore`` over the jobs table, strongly consistent. Besides what the port says, every method raises
    ``Unavailable`` when DynamoDB can't answer; repeating is safe then.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    def create(self, archive: ArchiveRecord) -> None:
        self._write(archive, Record.pk.does_not_exist())

    def get(self, owner: str, dataset_id: str, archive_id: str) -> ArchiveRecord | None:
        record = self._table.get(_pk(owner, dataset_id), archive_id)
        return ArchiveRecord.model_validate_json(record.document) if record is not None else None

    def update(self, archive: ArchiveRecord) -> None:
        self._write(archive, Record.version == archive.revision - 1)

    def list_of(
        self, owner: str, dataset_id: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[ArchiveRecord], str | None]:
        kind = list_kind("archives", owner, dataset_id)
        within = Record.sk < decode(kind, cursor).sort if cursor is not None else None
        found = self._table.query(_pk(owner, dataset_id), within=within, newest_first=True, limit=limit + 1)
        rest = encode(kind, Position(found[limit - 1].sk)) if len(found) > limit else None
        return [ArchiveRecord.model_validate_json(record.document) for record in found[:limit]], rest

    def delete(self, archive: ArchiveRecord) -> None:
        record = self._table.new(_pk(archive.owner, archive.dataset_id), archive.archive_id)
        unchanged = Record.pk.does_not_exist() | (Record.version == archive.revision)
        self._transact(
            [Delete(record, unchanged), Delete(self._marker(archive)), Delete(self._open(archive))], archive.archive_id
        )

    def list_open(self, owner: str, *, limit: int = 100) -> list[ArchiveRecord]:
        found = self._table.query(_open_pk(owner), limit=limit)
        return [ArchiveRecord.model_validate_json(record.document) for record in found]

    def list_unsettled(self, *, created_before: datetime, limit: int = 100) -> list[ArchiveRecord]:
        found = self._table.query(_UNSETTLED, within=Record.sk < stamp(created_before), limit=limit)
        return [ArchiveRecord.model_validate_json(record.document) for record in found]

    def _write(self, archive: ArchiveRecord, condition: Condition) -> None:
        record = self._table.new(
            _pk(archive.owner, archive.dataset_id),
            archive.archive_id,
            document=archive.model_dump_json(),
            status=archive.status.value,
            version=archive.revision,
        )
        marker = self._marker(archive)
        marked: Write = Delete(marker) if archive.settled else Put(marker)
        mine = self._open(archive)
        opened: Write = Delete(mine) if archive.status.is_over else Put(mine)
        self._transact([Put(record, condition), marked, opened], archive.archive_id)

    def _transact(self, writes: list[Write], what: str) -> None:
        try:
            self._table.transact(writes)
        except TransactionFailedError:
            raise StaleRecordError(what) from None

    def _marker(self, archive: ArchiveRecord) -> Record:
        name = digest(f"{archive.owner}#{archive.dataset_id}#{archive.archive_id}")
        return self._table.new(_UNSETTLED, f"{stamp(archive.created_at)}#{name}", document=archive.model_dump_json())

    def _open(self, archive: ArchiveRecord) -> Record:
        name = f"{stamp(archive.created_at)}#{archive.archive_id}"
        return self._table.new(_open_pk(archive.owner), name, document=archive.model_dump_json())


def _open_pk(owner: str) -> str:
    return f"open-archives#{owner}"


def _pk(owner: str, dataset_id: str) -> str:
    return f"archives#{owner}#{dataset_id}"
