"""Items of the outbox: written by whoever writes the event, taken out by ``DynamoNotificationStore``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from chalicelib.domain.notification_events import OutboxItem
from chalicelib.store.records import ttl_seconds
from chalicelib.store.table import Put, Table

OUTBOX = "outbox"
#: One that nobody took out in this time is old news.
KEPT = timedelta(days=7)


def outbox_puts(table: Table, items: Iterable[OutboxItem]) -> list[Put]:
    return [
        Put(table.new(OUTBOX, i.item_id, document=i.model_dump_json(), expires_at=ttl_seconds(i.at + KEPT)))
        for i in items
    ]
