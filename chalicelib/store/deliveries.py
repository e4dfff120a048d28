"""Deliveries in DynamoDB: a record each, and a second one that names it until it is settled."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pynamodb.expressions.condition import Condition

from chalicelib.domain.deliveries import Delivery
from chalicelib.domain.ports import StaleRecordError
from chalicelib.store.faults import TransactionFailedError
from chalicelib.store.records import Record
from chalicelib.store.table import MAX_WRITES, Delete, Put, Table, Write

_OPEN = "open-deliveries"
#: Transactions that one removal takes at most: ten thousand deliveries of one job.
_MAX_REMOVALS = 200


class DynamoDeliveryStore:
    """``DeliveryStore`` over the jobs table, strongly consistent. Besides what the port says, every method raises
    ``Unavailable`` when DynamoDB can't answer; repeating is safe then.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    def create(self, delivery: Delivery) -> None:
        self._write(delivery, Record.pk.does_not_exist())

    def get(self, job_id: str, delivery_id: str) -> Delivery | None:
        record = self._table.get(_pk(job_id), delivery_id)
        return _delivery(record) if record is not None else None

    def update(self, delivery: Delivery) -> None:
        self._write(delivery, Record.version == delivery.revision - 1)

    def list_of(self, job_id: str, *, limit: int = 100) -> Sequence[Delivery]:
        return [_delivery(record) for record in self._table.query(_pk(job_id), limit=limit)]

    def list_open(self, *, limit: int = 100, after: str | None = None) -> Sequence[Delivery]:
        within = Record.sk > after if after is not None else None
        return [_delivery(record) for record in self._table.query(_OPEN, within=within, limit=limit)]

    def delete_of(self, job_id: str) -> None:
        for _ in range(_MAX_REMOVALS):
            page = self._table.page(_pk(job_id), size=MAX_WRITES // 2, keys_only=True)
            writes: list[Write] = []
            for record in page.records:
                writes += [Delete(record), Delete(self._table.new(_OPEN, record.sk))]
            if writes:
                self._table.transact(writes)
            if page.last is None:
                return

    def _write(self, delivery: Delivery, condition: Condition) -> None:
        document = delivery.model_dump_json()
        record = self._table.new(
            _pk(delivery.job_id),
            delivery.delivery_id,
            document=document,
            status=delivery.state.value,
            version=delivery.revision,
        )
        marker = self._table.new(_OPEN, delivery.delivery_id, document=document)
        marked: Write = Delete(marker) if delivery.settled else Put(marker)
        try:
            self._table.transact([Put(record, condition), marked])
        except TransactionFailedError:
            raise StaleRecordError(delivery.delivery_id) from None


def _delivery(record: Record) -> Delivery:
    return Delivery.model_validate_json(record.document)


def _pk(job_id: str) -> str:
    return f"deliveries#{job_id}"
