"""Messages: one event on its way to one channel, with every try. Pure.

A message is due at ``next_try_at``. Whoever begins a try moves that into the future first (a lease), so that two
senders never make the same try; what came of it sets it again. A sender that dies in between leaves a message that is
due once the lease is over.
"""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from chalicelib.domain.channels import Channel
from chalicelib.domain.notification_events import OutboxItem, body_of

#: Pauses after the first, second, … failed try; the last one repeats.
PAUSES = tuple(timedelta(seconds=s) for s in (5, 30, 120, 600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600))
GIVE_UP_AFTER = timedelta(hours=24)
#: Longer than a try can take, look-up of the name included.
LEASE = timedelta(seconds=60)
#: How long the log is kept.
KEPT = timedelta(days=30)
#: What a receiver asks for with Retry-After is done up to this.
LONGEST_ASKED = timedelta(hours=1)
MAX_EXCERPT = 1024
#: The tries that are kept: the first ones and the last. By itself a message has a dozen.
MAX_TRIES_KEPT = 40
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MessageStatus(StrEnum):
    """SimpleTuner's words for what became of it."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class Try(BaseModel):
    """``status`` is the receiver's HTTP status, None when none came. ``body`` is the beginning of what it answered,
    redacted."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    ms: int
    status: int | None = None
    error: str | None = None
    body: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.error is None


class Message(BaseModel):
    """``message_id`` is the ``webhook-id`` of every try, and sorts by the event's time. ``failures`` counts failed
    tries since it was (re)sent; ``note`` says why there won't be another."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    message_id: str
    owner: str
    channel_id: str
    channel_type: str
    recipient: str
    event_type: str
    created_at: datetime
    body: str
    status: MessageStatus = MessageStatus.PENDING
    next_try_at: datetime | None = None
    give_up_at: datetime
    failures: int = 0
    tries: tuple[Try, ...] = ()
    delivered_at: datetime | None = None
    note: str | None = None
    revision: int = 1

    @property
    def expires_at(self) -> datetime:
        return max(self.created_at, self.give_up_at) + KEPT

    def changed(self, **changes: Any) -> Self:
        return self.model_copy(update={**changes, "revision": self.revision + 1})

    def leased(self, now: datetime) -> Self:
        """Somebody tries it now."""
        return self.changed(next_try_at=now + LEASE)

    def delivered(self, attempt: Try) -> Self:
        return self.changed(
            status=MessageStatus.DELIVERED,
            next_try_at=None,
            delivered_at=attempt.at,
            note=None,
            tries=self._with(attempt),
        )

    def ended(self, note: str, attempt: Try | None = None) -> Self:
        """There won't be another try."""
        tries = self._with(attempt) if attempt is not None else self.tries
        return self.changed(status=MessageStatus.FAILED, next_try_at=None, note=note, tries=tries)

    def failed(self, attempt: Try, now: datetime, asked: timedelta | None = None) -> Self:
        """The next try comes after a pause, unless that would be too late. ``asked`` is the receiver's Retry-After."""
        pause = PAUSES[min(self.failures, len(PAUSES) - 1)]
        if asked is not None:
            pause = max(pause, min(asked, LONGEST_ASKED))
        if now + pause >= self.give_up_at:
            return self.ended("It was tried for a day.", attempt).model_copy(update={"failures": self.failures + 1})
        return self.changed(next_try_at=now + pause, failures=self.failures + 1, tries=self._with(attempt))

    def resent(self, now: datetime) -> Self:
        """It is due again, and tried for another day."""
        return self.changed(
            status=MessageStatus.PENDING, next_try_at=now, give_up_at=now + GIVE_UP_AFTER, failures=0, note=None
        )

    def _with(self, attempt: Try) -> tuple[Try, ...]:
        tries = (*self.tries, attempt)
        return tries if len(tries) <= MAX_TRIES_KEPT else (tries[0], *tries[-(MAX_TRIES_KEPT - 1) :])


def message_id(item_id: str, channel_id: str, at: datetime) -> str:
    """The same for the same event and channel, whoever makes it and how often; no full stop, as signatures need."""
    micros = (at - _EPOCH) // timedelta(microseconds=1)
    digest = hashlib.sha256(f"{item_id} {channel_id}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"msg_{micros:016d}{digest[:20]}"


def message_for(item: OutboxItem, channel: Channel, now: datetime) -> Message:
    """What tells ``channel`` of ``item``, due at once."""
    return Message(
        message_id=message_id(item.item_id, channel.channel_id, item.at),
        owner=item.owner,
        channel_id=channel.channel_id,
        channel_type=channel.channel_type.value,
        recipient=channel.recipient,
        event_type=item.event_type,
        created_at=item.at,
        body=body_of(item.event_type, item.at, item.data),
        next_try_at=now,
        give_up_at=now + GIVE_UP_AFTER,
    )
