"""Channels, the outbox and messages in DynamoDB."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from chalicelib.domain.channels import MAX_CHANNELS, Channel
from chalicelib.domain.messages import Message
from chalicelib.domain.notification_events import OutboxItem
from chalicelib.domain.notification_ports import Due, MessagePage
from chalicelib.domain.ports import AddressTakenError, SlotsFullError, StaleRecordError
from chalicelib.store.cursors import Position, decode, encode, list_kind
from chalicelib.store.faults import ConditionFailedError, TransactionFailedError
from chalicelib.store.outbox import OUTBOX, outbox_puts
from chalicelib.store.records import Record, digest, microseconds, moment_of, stamp, ttl_seconds
from chalicelib.store.table import Delete, Put, Table, Update, Write

_COUNT, _FIRST_ID = "#count", "0"
_DUE = "due-messages"
#: Messages that one call of ``history`` looks at before it hands back what it has and a cursor.
MAX_EXAMINED = 1_000
_PAGE = 100


class DynamoNotificationStore:
    """``NotificationStore`` over the jobs table. Besides what the port says, every method raises ``Unavailable`` when
    DynamoDB can't answer; repeating is safe then.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    # --- channels -----------------------------------------------------------------------------------------------
    def create_channel(self, channel: Channel) -> None:
        room = Record.used.does_not_exist() | (Record.used < MAX_CHANNELS)
        writes: list[Write] = [
            Put(self._channel(channel), Record.pk.does_not_exist()),
            Update(self._count(channel.owner), [Record.used.add(1)], room),
        ]
        if channel.email is not None:
            writes.append(Put(self._address(channel.email, channel.channel_id), Record.pk.does_not_exist()))
        try:
            self._table.transact(writes)
        except TransactionFailedError as error:
            if 0 in error.failed:
                raise StaleRecordError(channel.channel_id) from None
            if 1 in error.failed:
                raise SlotsFullError(channel.owner) from None
            raise AddressTakenError from None

    def get_channel(self, owner: str, channel_id: str) -> Channel | None:
        record = self._table.get(_channels(owner), channel_id) if channel_id >= _FIRST_ID else None
        return Channel.model_validate_json(record.document) if record is not None else None

    def update_channel(self, channel: Channel, items: Sequence[OutboxItem] = ()) -> None:
        record, unchanged = self._channel(channel), Record.version == channel.revision - 1
        try:
            if items:
                self._table.transact([Put(record, unchanged), *outbox_puts(self._table, items)])
            else:
                self._table.put(record, unchanged)
        except (ConditionFailedError, TransactionFailedError):
            raise StaleRecordError(channel.channel_id) from None

    def list_channels(self, owner: str) -> Sequence[Channel]:
        found = self._table.query(_channels(owner), within=Record.sk >= _FIRST_ID, limit=MAX_CHANNELS)
        return [Channel.model_validate_json(record.document) for record in found]

    def delete_channel(self, channel: Channel) -> None:
        writes: list[Write] = [
            Delete(self._table.new(_channels(channel.owner), channel.channel_id), Record.version == channel.revision),
            Update(self._count(channel.owner), [Record.used.add(-1)]),
        ]
        if channel.email is not None:
            address = self._address(channel.email, channel.channel_id)
            writes.append(Delete(address, Record.document == channel.channel_id))
        try:
            self._table.transact(writes)
        except TransactionFailedError:
            if self.get_channel(channel.owner, channel.channel_id) is not None:
                raise StaleRecordError(channel.channel_id) from None

    # --- outbox -------------------------------------------------------------------------------------------------
    def outbox(self, *, limit: int = 100) -> Sequence[OutboxItem]:
        return [OutboxItem.model_validate_json(r.document) for r in self._table.query(OUTBOX, limit=limit)]

    def hand_on(self, item: OutboxItem, messages: Sequence[Message]) -> bool:
        writes: list[Write] = [Delete(self._table.new(OUTBOX, item.item_id), Record.pk.exists())]
        for message in messages:
            writes.append(Put(self._message(message)))
            writes += self._marks(message)
        try:
            self._table.transact(writes)
        except TransactionFailedError:
            return False
        return True

    # --- messages -----------------------------------------------------------------------------------------------
    def add_message(self, message: Message) -> None:
        try:
            self._table.transact([Put(self._message(message), Record.pk.does_not_exist()), *self._marks(message)])
        except TransactionFailedError:
            raise StaleRecordError(message.message_id) from None

    def get_message(self, owner: str, message_id: str) -> Message | None:
        record = self._table.get(_messages(owner), message_id)
        return Message.model_validate_json(record.document) if record is not None else None

    def update_message(self, message: Message) -> None:
        stored = self.get_message(message.owner, message.message_id)
        if stored is None or stored.revision != message.revision - 1:
            raise StaleRecordError(message.message_id)
        writes: list[Write] = [Put(self._message(message), Record.version == stored.revision), *self._marks(message)]
        if stored.next_try_at is not None and stored.next_try_at != message.next_try_at:
            writes.append(Delete(self._mark(stored)))
        try:
            self._table.transact(writes)
        except TransactionFailedError:
            raise StaleRecordError(message.message_id) from None

    def due(self, *, limit: int, after: str | None = None) -> Sequence[Due]:
        within = Record.sk > after if after is not None else None
        found = self._table.query(_DUE, within=within, limit=limit)
        return [
            Due(
                at=moment_of(int(record.valid_until)),
                owner=record.document,
                channel_id=record.source,
                message_id=record.sk.partition("#")[2],
                position=record.sk,
            )
            for record in found
        ]

    def forget_due(self, due: Due) -> None:
        self._table.delete(_DUE, due.position)

    def history(
        self,
        owner: str,
        *,
        channel_id: str | None = None,
        event_type: str | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> MessagePage:
        kind = list_kind("messages", owner, channel_id, event_type)
        before = decode(kind, cursor).sort if cursor is not None else None
        found: list[Message] = []
        for _ in range(MAX_EXAMINED // _PAGE):
            within = Record.sk < before if before is not None else None
            page = self._table.page(_messages(owner), within=within, newest_first=True, size=_PAGE)
            for record in page.records:
                if len(found) == limit:
                    return MessagePage(tuple(found), encode(kind, Position(found[-1].message_id)))
                message = Message.model_validate_json(record.document)
                if channel_id in {None, message.channel_id} and event_type in {None, message.event_type}:
                    found.append(message)
            if page.last is None:
                return MessagePage(tuple(found))
            before = str(page.last["sk"]["S"])
        return MessagePage(tuple(found), encode(kind, Position(before or "")))

    # --- records ------------------------------------------------------------------------------------------------
    def _channel(self, channel: Channel) -> Record:
        return self._table.new(
            _channels(channel.owner), channel.channel_id, document=channel.model_dump_json(), version=channel.revision
        )

    def _count(self, owner: str) -> Record:
        return self._table.new(_channels(owner), _COUNT)

    def _address(self, email: str, channel_id: str) -> Record:
        return self._table.new(f"mail-address#{digest(email.lower())}", "channel", document=channel_id)

    def _message(self, message: Message) -> Record:
        return self._table.new(
            _messages(message.owner),
            message.message_id,
            document=message.model_dump_json(),
            version=message.revision,
            expires_at=ttl_seconds(message.expires_at),
        )

    def _marks(self, message: Message) -> Sequence[Put]:
        if message.next_try_at is None:
            return []
        mark = self._mark(message)
        mark.document = message.owner
        mark.source = message.channel_id
        mark.valid_until = microseconds(message.next_try_at)
        mark.expires_at = ttl_seconds(message.expires_at)
        return [Put(mark)]

    def _mark(self, message: Message) -> Record:
        at = message.next_try_at
        if at is None:
            raise ValueError("not due at all")
        return self._table.new(_DUE, f"{stamp(at)}#{message.message_id}")


def _channels(owner: str) -> str:
    return f"channels#{owner}"


def _messages(owner: str) -> str:
    return f"messages#{owner}"
