"""Webhook ids that were seen, in DynamoDB."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from chalicelib.store.faults import ConditionFailedError
from chalicelib.store.records import Record, digest, microseconds, ttl_seconds
from chalicelib.store.table import Table

_SK = "webhook"


class DynamoWebhookLog:
    """``WebhookLog`` over the jobs table. Besides what the port says, every method raises ``Unavailable`` when DynamoDB
    can't answer.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    def seen(self, provider: str, webhook_id: str, *, now: datetime) -> bool:
        record = self._table.get(_pk(provider, webhook_id), _SK)
        return record is not None and record.valid_until > microseconds(now)

    def remember(self, provider: str, webhook_id: str, *, now: datetime, keep: timedelta) -> bool:
        until = now + keep
        record = self._table.new(
            _pk(provider, webhook_id), _SK, valid_until=microseconds(until), expires_at=ttl_seconds(until)
        )
        try:
            self._table.put(record, Record.pk.does_not_exist() | (Record.valid_until <= microseconds(now)))
        except ConditionFailedError:
            return False
        return True


def _pk(provider: str, webhook_id: str) -> str:
    return f"webhook#{provider}#{digest(webhook_id)}"
