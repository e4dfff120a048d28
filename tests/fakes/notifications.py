"""Notifications in memory: their store, a mailer, receivers of webhooks; thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from chalicelib.domain.channels import MAX_CHANNELS, Channel
from chalicelib.domain.messages import Message
from chalicelib.domain.notification_events import OutboxItem, stamp_of
from chalicelib.domain.notification_ports import AddressTakenError, Due, MessagePage, Subscription
from chalicelib.domain.ports import InvalidCursorError, SlotsFullError, StaleRecordError


class InMemoryNotificationStore:
    """``items`` is the outbox, which the store of jobs fills too."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.items: dict[str, OutboxItem] = {}
        self._channels: dict[tuple[str, str], Channel] = {}
        self._messages: dict[tuple[str, str], Message] = {}

    def put_items(self, items: Sequence[OutboxItem]) -> None:
        with self._lock:
            self.items.update({item.item_id: item for item in items})

    def create_channel(self, channel: Channel) -> None:
        with self._lock:
            if (channel.owner, channel.channel_id) in self._channels:
                raise StaleRecordError(channel.channel_id)
            if len(self.list_channels(channel.owner)) >= MAX_CHANNELS:
                raise SlotsFullError(channel.owner)
            taken = {c.email.lower() for c in self._channels.values() if c.email}
            if channel.email is not None and channel.email.lower() in taken:
                raise AddressTakenError
            self._channels[channel.owner, channel.channel_id] = channel

    def get_channel(self, owner: str, channel_id: str) -> Channel | None:
        return self._channels.get((owner, channel_id))

    def update_channel(self, channel: Channel, items: Sequence[OutboxItem] = ()) -> None:
        with self._lock:
            stored = self.get_channel(channel.owner, channel.channel_id)
            if stored is None or stored.revision != channel.revision - 1:
                raise StaleRecordError(channel.channel_id)
            self._channels[channel.owner, channel.channel_id] = channel
            self.put_items(items)

    def list_channels(self, owner: str) -> Sequence[Channel]:
        with self._lock:
            return sorted((c for (o, _), c in self._channels.items() if o == owner), key=lambda c: c.channel_id)

    def delete_channel(self, channel: Channel) -> None:
        with self._lock:
            stored = self.get_channel(channel.owner, channel.channel_id)
            if stored is not None and stored.revision != channel.revision:
                raise StaleRecordError(channel.channel_id)
            self._channels.pop((channel.owner, channel.channel_id), None)

    def outbox(self, *, limit: int = 100) -> Sequence[OutboxItem]:
        with self._lock:
            return [self.items[key] for key in sorted(self.items)[:limit]]

    def hand_on(self, item: OutboxItem, messages: Sequence[Message]) -> bool:
        with self._lock:
            if self.items.pop(item.item_id, None) is None:
                return False
            self._messages.update({(m.owner, m.message_id): m for m in messages})
            return True

    def add_message(self, message: Message) -> None:
        with self._lock:
            if (message.owner, message.message_id) in self._messages:
                raise StaleRecordError(message.message_id)
            self._messages[message.owner, message.message_id] = message

    def get_message(self, owner: str, message_id: str) -> Message | None:
        return self._messages.get((owner, message_id))

    def update_message(self, message: Message) -> None:
        with self._lock:
            stored = self.get_message(message.owner, message.message_id)
            if stored is None or stored.revision != message.revision - 1:
                raise StaleRecordError(message.message_id)
            self._messages[message.owner, message.message_id] = message

    def due(self, *, limit: int, after: str | None = None) -> Sequence[Due]:
        with self._lock:
            found = [
                Due(m.next_try_at, m.owner, m.channel_id, m.message_id, f"{stamp_of(m.next_try_at)}#{m.message_id}")
                for m in self._messages.values()
                if m.next_try_at is not None
            ]
        found.sort(key=lambda due: due.position)
        return [due for due in found if after is None or due.position > after][:limit]

    def forget_due(self, due: Due) -> None:
        """There are no marks here that could outlive a message."""

    def history(
        self,
        owner: str,
        *,
        channel_id: str | None = None,
        event_type: str | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> MessagePage:
        kind = f"messages:{owner}:{channel_id}:{event_type}|"
        if cursor is not None and not cursor.startswith(kind):
            raise InvalidCursorError(cursor)
        before = cursor[len(kind) :] if cursor is not None else None
        with self._lock:
            found = [
                m
                for m in self._messages.values()
                if m.owner == owner
                and channel_id in {None, m.channel_id}
                and event_type in {None, m.event_type}
                and (before is None or m.message_id < before)
            ]
        found.sort(key=lambda m: m.message_id, reverse=True)
        more = len(found) > limit
        return MessagePage(tuple(found[:limit]), f"{kind}{found[limit - 1].message_id}" if more else None)


class FakeMailer:
    """Addresses that agreed, and what they got: (address, subject, text)."""

    def __init__(self) -> None:
        self.states: dict[str, Subscription] = {}
        self.asked: list[str] = []
        self.sent: list[tuple[str, str, str]] = []
        self.faults: list[Exception] = []

    def subscribe(self, address: str) -> str:
        self._raise()
        self.asked.append(address)
        if self.states.get(f"sub:{address}") is not Subscription.CONFIRMED:
            self.states[f"sub:{address}"] = Subscription.PENDING
        return f"sub:{address}"

    def confirm(self, address: str) -> None:
        self.states[f"sub:{address}"] = Subscription.CONFIRMED

    def state(self, subscription: str) -> Subscription:
        self._raise()
        return self.states.get(subscription, Subscription.GONE)

    def send(self, address: str, subject: str, text: str) -> None:
        self._raise()
        if self.states.get(f"sub:{address}") is Subscription.CONFIRMED:
            self.sent.append((address, subject, text))

    def unsubscribe(self, subscription: str) -> None:
        self.states.pop(subscription, None)

    def _raise(self) -> None:
        if self.faults:
            raise self.faults.pop(0)


@dataclass(frozen=True)
class FakeAnswer:
    status: int = 204
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Received:
    url: str
    headers: Mapping[str, str]
    body: bytes


class FakeHooks:
    """Receivers of webhooks. ``behave`` says what a URL answers (or raises); without it all is well."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.behave: Callable[[Received], FakeAnswer] = lambda _: FakeAnswer()
        self._lock = threading.Lock()

    def send(self, method: str, url: str, *, headers: Mapping[str, str], content: bytes) -> FakeAnswer:
        assert method == "POST"
        got = Received(url, dict(headers), content)
        with self._lock:
            self.received.append(got)
        return self.behave(got)
