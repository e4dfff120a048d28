"""Saved configs in DynamoDB: every version as an item of its own, the latest once more for lists."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence

from chalicelib.domain.configs import TrainingConfig
from chalicelib.domain.ports import StaleRecordError
from chalicelib.errors import Unavailable
from chalicelib.store.cursors import Position, decode, encode, list_kind
from chalicelib.store.faults import ConditionFailedError, TransactionFailedError
from chalicelib.store.records import Record
from chalicelib.store.table import MAX_WRITES, Delete, Put, Table

MAX_VERSIONS = 1000
#: How often a removal starts over because a version was saved meanwhile.
MAX_TRIES = 10
#: Transactions that remove versions: a hundred thousand of them.
MAX_REMOVALS = 1000


class DynamoConfigStore:
    """``ConfigStore`` over the jobs table, strongly consistent. Besides what the port says, every method raises
    ``Unavailable`` when DynamoDB can't answer; after a failed write nobody knows whether it took place.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    def save(self, config: TrainingConfig) -> None:
        """As the port says. Versions have no gaps: StaleRecordError also when the version before is missing."""
        document = config.model_dump_json()
        latest = self._table.new(
            _list_pk(config.owner),
            config.name,
            document=document,
            version=config.version,
            write_id=uuid.uuid4().hex,
        )
        version = self._table.new(_pk(config.owner, config.name), _sk(config.version), document=document)
        follows = Record.pk.does_not_exist() if config.version == 1 else Record.version == config.version - 1
        try:
            self._table.transact([Put(latest, follows), Put(version)])
        except TransactionFailedError:
            raise StaleRecordError(config.name) from None

    def get(self, owner: str, name: str, version: int | None = None) -> TrainingConfig | None:
        if version is None:
            record = self._table.get(_list_pk(owner), name)
        elif version < 1:
            return None
        else:
            record = self._table.get(_pk(owner, name), _sk(version))
        return TrainingConfig.model_validate_json(record.document) if record else None

    def list(
        self, owner: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[TrainingConfig], str | None]:
        kind = list_kind("configs", owner)
        within = Record.sk > decode(kind, cursor).sort if cursor is not None else None
        found = self._table.query(_list_pk(owner), within=within, limit=limit + 1)
        rest = encode(kind, Position(found[limit - 1].sk)) if len(found) > limit else None
        return [TrainingConfig.model_validate_json(record.document) for record in found[:limit]], rest

    def versions(self, owner: str, name: str) -> Sequence[TrainingConfig]:
        found = self._table.query(_pk(owner, name), newest_first=True, limit=MAX_VERSIONS)
        return [TrainingConfig.model_validate_json(record.document) for record in found]

    def delete(self, owner: str, name: str) -> None:
        """All versions; no effect when there are none. The latest goes last, so an interrupted removal can be seen and
        repeated."""
        for _ in range(MAX_TRIES):
            latest = self._table.get(_list_pk(owner), name)
            self._remove_versions(owner, name)
            unchanged = Record.pk.does_not_exist()
            if latest is not None:
                # Not its number: a config that was deleted and saved anew may have come to the same one.
                unchanged |= Record.write_id == latest.write_id
            try:
                self._table.delete(_list_pk(owner), name, unchanged)
            except ConditionFailedError:
                continue
            return
        raise Unavailable(f"Config '{name}' is being saved at the same time; try again.", retry_after=1)

    def _remove_versions(self, owner: str, name: str) -> None:
        for _ in range(MAX_REMOVALS):
            page = self._table.page(_pk(owner, name), size=MAX_WRITES, keys_only=True)
            if page.records:
                self._table.transact([Delete(record) for record in page.records])
            if page.last is None:
                return


def _list_pk(owner: str) -> str:
    return f"configs#{owner}"


def _pk(owner: str, name: str) -> str:
    return f"config#{owner}#{name}"


def _sk(version: int) -> str:
    return f"v#{version:010d}"
