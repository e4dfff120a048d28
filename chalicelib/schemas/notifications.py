"""Notifications on the wire, in SimpleTuner's names where it has some."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field

from chalicelib.domain.addresses import MAX_URL_CHARS
from chalicelib.domain.channels import Channel, ChannelState, ChannelType
from chalicelib.domain.messages import Message, MessageStatus
from chalicelib.domain.notification_events import ALL, EVENT_TYPES
from chalicelib.schemas.base import RequestModel, ResponseModel, StrictRequest

MAX_NAME = 100
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")


def _name(text: str) -> str:
    text = text.strip()
    if not text or not text.isprintable():
        raise ValueError("must be a line of text")
    return text


def _address(text: str) -> str:
    text = text.strip()
    if len(text) > 254 or not _EMAIL.fullmatch(text):
        raise ValueError("must be an e-mail address")
    return text


Name = Annotated[str, AfterValidator(_name), Field(max_length=MAX_NAME)]
Address = Annotated[str, AfterValidator(_address)]
Url = Annotated[str, Field(max_length=MAX_URL_CHARS)]
Events = Annotated[
    list[str],
    Field(
        min_length=1, max_length=50, description=f"Types of events, or `{ALL}` for all: see the list of event types."
    ),
]


class NewChannelBody(StrictRequest):
    """A webhook with `webhook_url`, or e-mail with `email`."""

    channel_type: ChannelType
    name: Name
    webhook_url: Url | None = None
    email: Address | None = None
    events: Events = Field([ALL])
    is_enabled: bool = True


class ChangeChannelBody(StrictRequest):
    """What is left out stays. Enabling a channel that was disabled forgets why."""

    name: Name | None = None
    webhook_url: Url | None = None
    events: Events | None = None
    is_enabled: bool | None = None


class HistoryQuery(RequestModel):
    channel_id: str | None = Field(None, max_length=100)
    event_type: str | None = Field(None, max_length=100)
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=2000, description="`next` of the page before.")


class ChannelView(ResponseModel):
    """A channel without its signing secret."""

    id: str
    channel_type: ChannelType
    name: str
    webhook_url: str | None
    email: str | None
    events: list[str]
    is_enabled: bool
    state: ChannelState = Field(
        description="`pending_confirmation`: the address's reader has not agreed yet; `failing`: the last try did not "
        "succeed."
    )
    disabled_reason: str | None = Field(description="Why it was disabled, when its owner did not do it.")
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime
    rotated_at: datetime | None
    previous_secret_until: datetime | None = Field(description="Until when the secret before signs too.")


class ChannelListResponse(ResponseModel):
    channels: list[ChannelView]


class ChannelCreatedResponse(ChannelView):
    secret: str | None = Field(description="Of a webhook: what its messages are signed with. It is never shown again.")


class SecretRotatedResponse(ResponseModel):
    secret: str = Field(description="It is never shown again.")
    previous_secret_until: datetime | None = Field(description="Until then messages carry two signatures.")
    channel: ChannelView


class ChannelDeletedResponse(ResponseModel):
    success: bool
    id: str


class ChannelTestedResponse(ResponseModel):
    success: bool
    error: str | None
    latency_ms: int
    status: int | None = Field(description="The HTTP status that the receiver answered.")
    id: str = Field(description="The message in the history.")


class EventTypeView(ResponseModel):
    id: str
    name: str
    category: str
    description: str


class EventTypesResponse(ResponseModel):
    event_types: list[EventTypeView]


class TryView(ResponseModel):
    at: datetime
    ms: int
    status: int | None
    error: str | None
    body: str | None = Field(description="The beginning of the answer, without what looks like a secret.")


class EntryView(ResponseModel):
    """One event on its way to one channel."""

    id: str = Field(description="The `webhook-id` of every try.")
    channel_id: str
    event_type: str
    recipient: str = Field(description="An e-mail address, or the host of a URL.")
    delivery_status: MessageStatus
    created_at: datetime
    sent_at: datetime | None = Field(description="The last try.")
    next_try_at: datetime | None
    note: str | None = Field(description="Why there is no other try.")
    tries: list[TryView]


class HistoryResponse(ResponseModel):
    entries: list[EntryView]
    has_more: bool
    next: str | None = Field(description="The cursor of the next page.")


class ChannelCounts(ResponseModel):
    total: int
    enabled: int
    by_type: dict[ChannelType, int]
    by_state: dict[ChannelState, int]


class HandlerCounts(ResponseModel):
    """There are none here: replies to e-mails are not read."""

    total: int = 0
    running: int = 0


class NotificationStats(ResponseModel):
    """Of the last hundred messages."""

    pending: int
    delivered: int
    failed: int


class NotificationStatusResponse(ResponseModel):
    initialized: bool
    channels: ChannelCounts
    response_handlers: HandlerCounts
    stats: NotificationStats


def channel_view(channel: Channel) -> ChannelView:
    return ChannelView(**_shown(channel))


def created_view(channel: Channel, secret: str | None) -> ChannelCreatedResponse:
    return ChannelCreatedResponse(**_shown(channel), secret=secret)


def _shown(channel: Channel) -> dict[str, object]:
    own = set(ChannelView.model_fields) - {"id", "state", "previous_secret_until"}
    return {
        **channel.model_dump(include=own),
        "events": list(channel.events),
        "id": channel.channel_id,
        "state": channel.state,
        "previous_secret_until": channel.previous_until,
    }


def entry_view(message: Message) -> EntryView:
    return EntryView(
        id=message.message_id,
        channel_id=message.channel_id,
        event_type=message.event_type,
        recipient=message.recipient,
        delivery_status=message.status,
        created_at=message.created_at,
        sent_at=message.tries[-1].at if message.tries else None,
        next_try_at=message.next_try_at,
        note=message.note,
        tries=[TryView(**t.model_dump()) for t in message.tries],
    )


def event_types() -> EventTypesResponse:
    return EventTypesResponse(
        event_types=[
            EventTypeView(id=e.id, name=e.name, category=e.category, description=e.description)
            for e in EVENT_TYPES.values()
        ]
    )


def status_view(channels: list[Channel], messages: Mapping[MessageStatus, int]) -> NotificationStatusResponse:
    return NotificationStatusResponse(
        initialized=True,
        channels=ChannelCounts(
            total=len(channels),
            enabled=sum(c.is_enabled for c in channels),
            by_type={kind: sum(c.channel_type is kind for c in channels) for kind in ChannelType},
            by_state={state: sum(c.state is state for c in channels) for state in ChannelState},
        ),
        response_handlers=HandlerCounts(),
        stats=NotificationStats(**{status.value: messages.get(status, 0) for status in MessageStatus}),
    )
