"""A table that can be added to and read, and in which nothing can be replaced: not even by its own writers."""

from __future__ import annotations

import uuid

from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import PutError

from chalicelib.store.faults import ConditionFailedError, code_of, translated
from chalicelib.store.records import Record
from chalicelib.store.table import Table


class AppendOnlyTable(Table):
    """Needs ``dynamodb:PartiQLInsert`` and ``dynamodb:Query``, and none of the rights of the other writing verbs.

    PutItem replaces an item unless its caller asks it not to, and IAM can't make them ask. An INSERT of PartiQL never
    does: of a key that is taken DynamoDB answers DuplicateItemException
    (https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-reference.insert.html).
    """

    def get(self, pk: str, sk: str) -> Record | None:
        found = self.page(pk, within=Record.sk == sk, size=1).records
        return found[0] if found else None

    def insert(self, record: Record) -> None:
        """Adds the item. Raises ConditionFailedError when its key is taken, but not by a write of ours whose answer got
        lost and that the SDK repeated."""
        record.write_id = uuid.uuid4().hex
        try:
            self._again(lambda: self._insert_once(record))
        except ConditionFailedError:
            stored = self.get(record.pk, record.sk)
            if stored is None or stored.write_id != record.write_id:
                raise

    def _insert_once(self, record: Record) -> None:
        item = record.serialize()
        names = ", ".join(f"'{name}': ?" for name in item)
        statement = f'INSERT INTO "{self._name}" VALUE {{{names}}}'
        arguments = {"Statement": statement, "Parameters": list(item.values())}
        try:
            with translated():
                try:
                    # pynamodb has no verb for it: https://github.com/pynamodb/PynamoDB/blob/6.1.0/pynamodb/connection/base.py
                    self._model._get_connection().connection.dispatch("ExecuteStatement", arguments)
                except (ClientError, BotoCoreError) as error:
                    raise PutError(f"Failed to insert: {error}", error) from error
        except PutError as error:
            if code_of(error) != "DuplicateItemException":
                raise
            raise ConditionFailedError from error
