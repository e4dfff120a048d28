"""The ports of notifications: their records, e-mail, and HTTP to users' addresses. Part of ``ports.py``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from chalicelib.domain.channels import Channel
from chalicelib.domain.messages import Message
from chalicelib.domain.notification_events import OutboxItem


class AddressTakenError(Exception):
    """There is a channel for this e-mail address already, of whomever."""


@dataclass(frozen=True)
class Due:
    """A message whose time has come: since ``at``."""

    at: datetime
    owner: str
    channel_id: str
    message_id: str
    position: str


@dataclass(frozen=True)
class MessagePage:
    messages: tuple[Message, ...]
    cursor: str | None = None


class NotificationStore(Protocol):
    """Channels, the outbox (which ``JobStore`` writes too), and messages. Strongly consistent."""

    def create_channel(self, channel: Channel) -> None:
        """Raises StaleRecordError when there is one of this id, AddressTakenError, SlotsFullError when the owner has
        MAX_CHANNELS already."""

    def get_channel(self, owner: str, channel_id: str) -> Channel | None: ...

    def update_channel(self, channel: Channel, items: Sequence[OutboxItem] = ()) -> None:
        """Replaces the record whose revision is ``channel.revision - 1`` and puts ``items`` into the outbox, in one
        transaction. The e-mail address never changes. Raises StaleRecordError."""

    def list_channels(self, owner: str) -> Sequence[Channel]:
        """By id, that is in order of creation; at most MAX_CHANNELS."""

    def delete_channel(self, channel: Channel) -> None:
        """Removes this very revision. No effect when it is gone; raises StaleRecordError otherwise."""

    def outbox(self, *, limit: int = 100) -> Sequence[OutboxItem]:
        """The oldest events that have not been handed on."""

    def hand_on(self, item: OutboxItem, messages: Sequence[Message]) -> bool:
        """Stores the messages and removes the item, in one transaction. False, and nothing is done, when the item is
        gone: somebody else did it."""

    def add_message(self, message: Message) -> None:
        """Stores one that no event stands behind. Raises StaleRecordError when there is one of this id."""

    def get_message(self, owner: str, message_id: str) -> Message | None: ...

    def update_message(self, message: Message) -> None:
        """Replaces the record whose revision is ``message.revision - 1``; it is due at ``next_try_at`` from then on,
        and not at all without. Raises StaleRecordError."""

    def due(self, *, limit: int, after: str | None = None) -> Sequence[Due]:
        """Messages that are or will be due, the earliest first, from behind the ``position`` ``after``."""

    def forget_due(self, due: Due) -> None:
        """Removes what points to a message that is not there any more."""

    def history(
        self,
        owner: str,
        *,
        channel_id: str | None = None,
        event_type: str | None = None,
        limit: int,
        cursor: str | None = None,
    ) -> MessagePage:
        """Newest first. A page may be short, or empty, and still have a cursor. Raises InvalidCursorError."""


class Subscription(StrEnum):
    """How an address stands with the Mailer. ``gone``: never confirmed in time, or ended by its reader."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    GONE = "gone"


class Mailer(Protocol):
    """E-mail to people who agreed to get it. Raises Unavailable when it can't answer."""

    def subscribe(self, address: str) -> str:
        """Asks the address for its consent (again, when that is pending); returns the subscription's name."""

    def state(self, subscription: str) -> Subscription: ...

    def send(self, address: str, subject: str, text: str) -> None:
        """To the confirmed subscription of this address; nothing happens when there is none. May arrive twice.
        ``subject`` is ASCII, at most 100 characters, without control characters."""

    def unsubscribe(self, subscription: str) -> None:
        """No effect when it is gone. One that is pending ends by itself."""


class HookAnswer(Protocol):
    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> bytes: ...


class HookSender(Protocol):
    def send(self, method: str, url: str, *, headers: Mapping[str, str], content: bytes) -> HookAnswer:
        """One request, no redirects, within ten seconds, to an address that is allowed. Raises DeliveryFault."""
