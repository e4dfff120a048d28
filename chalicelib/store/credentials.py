"""Named credentials in DynamoDB, without their secrets: an item each, and one that counts them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from chalicelib.domain.credentials import MAX_CREDENTIALS, Credential
from chalicelib.domain.ports import SlotsFullError, StaleRecordError
from chalicelib.store.faults import ConditionFailedError, TransactionFailedError
from chalicelib.store.records import Record
from chalicelib.store.table import Delete, Put, Table, Update

#: In order of text before every name, and no name itself.
_COUNT = "#count"
_FIRST_NAME = "0"


class DynamoCredentialStore:
    """``CredentialStore`` over the jobs table, strongly consistent. Besides what the port says, every method raises
    ``Unavailable`` when DynamoDB can't answer; after a failed write nobody knows whether it took place.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    def create(self, credential: Credential) -> None:
        room = Record.used.does_not_exist() | (Record.used < MAX_CREDENTIALS)
        count = Update(self._count(credential.owner), [Record.used.add(1)], room)
        try:
            self._table.transact([Put(self._record(credential), Record.pk.does_not_exist()), count])
        except TransactionFailedError as error:
            if 0 in error.failed:
                raise StaleRecordError(credential.name) from None
            raise SlotsFullError(credential.owner) from None

    def get(self, owner: str, name: str) -> Credential | None:
        if name < _FIRST_NAME:
            return None
        record = self._table.get(_pk(owner), name)
        return Credential.model_validate_json(record.document) if record is not None else None

    def update(self, credential: Credential) -> None:
        try:
            self._table.put(self._record(credential), Record.version == credential.revision - 1)
        except ConditionFailedError:
            raise StaleRecordError(credential.name) from None

    def list_of(self, owner: str) -> Sequence[Credential]:
        found = self._table.query(_pk(owner), within=Record.sk >= _FIRST_NAME, limit=MAX_CREDENTIALS)
        return [Credential.model_validate_json(record.document) for record in found]

    def delete(self, credential: Credential) -> None:
        unchanged = Record.version == credential.revision
        count = Update(self._count(credential.owner), [Record.used.add(-1)])
        try:
            self._table.transact([Delete(self._table.new(_pk(credential.owner), credential.name), unchanged), count])
        except TransactionFailedError:
            if self.get(credential.owner, credential.name) is not None:
                raise StaleRecordError(credential.name) from None

    def _record(self, credential: Credential) -> Record:
        return self._table.new(
            _pk(credential.owner), credential.name, document=credential.model_dump_json(), version=credential.revision
        )

    def _count(self, owner: str) -> Record:
        return self._table.new(_pk(owner), _COUNT)


def _pk(owner: str) -> str:
    return f"credentials#{owner}"
