"""What people have settled, in DynamoDB: one item a person."""

from __future__ import annotations

import time
from collections.abc import Callable

from chalicelib.domain.owner_settings import OwnerSettings
from chalicelib.domain.ports import StaleRecordError
from chalicelib.store.faults import ConditionFailedError
from chalicelib.store.records import Record
from chalicelib.store.table import Table

_SK = "settings"


class DynamoOwnerSettingsStore:
    """``OwnerSettingsStore`` over the jobs table. Besides what the port says, every method raises ``Unavailable`` when
    DynamoDB can't answer; after a failed write nobody knows whether it took place.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    def get(self, owner: str) -> OwnerSettings:
        record = self._table.get(_pk(owner), _SK)
        return OwnerSettings.model_validate_json(record.document) if record else OwnerSettings(owner=owner)

    def put(self, settings: OwnerSettings) -> None:
        record = self._table.new(
            _pk(settings.owner), _SK, document=settings.model_dump_json(), version=settings.revision
        )
        first = settings.revision == 1
        try:
            self._table.put(record, Record.pk.does_not_exist() if first else Record.version == settings.revision - 1)
        except ConditionFailedError:
            raise StaleRecordError(settings.owner) from None


def _pk(owner: str) -> str:
    return f"owner#{owner}"
