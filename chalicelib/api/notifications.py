"""Routes of notifications: channels, what may be told, and what was sent."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.channels import Channel
from chalicelib.domain.permissions import Permission
from chalicelib.errors import FieldError, ValidationFailed
from chalicelib.schemas import notifications as schema

api = Api(tag="notifications")

_VIEW, _EDIT = Permission.NOTIFICATION_VIEW, Permission.NOTIFICATION_EDIT
_CHANNEL = "channel:{channel_id}"


@api.endpoint(
    "POST",
    "/cloud/notifications/channels",
    permission=_EDIT,
    body=schema.NewChannelBody,
    response=schema.ChannelCreatedResponse,
    status=201,
    statuses=(409, 429),
    audited=Audited(AuditAction.NOTIFICATION_CREATE, "channel:new"),
)
def create_channel(call: Call[schema.NewChannelBody, None]) -> Reply:
    """Add a channel: a webhook, or an e-mail address.

    A webhook's signing secret is made here and shown in this answer alone. An address gets a message with a link, and
    is told of nothing until its reader has followed it.
    """
    body = call.body
    made = call.services.channels.create(
        call.who.owner,
        body.channel_type,
        body.name,
        webhook_url=body.webhook_url,
        email=body.email,
        events=body.events,
        is_enabled=body.is_enabled,
    )
    return Reply(schema.created_view(made.channel, made.secret), 201, noted=_noted(made.channel))


@api.endpoint("GET", "/cloud/notifications/channels", permission=_VIEW, response=schema.ChannelListResponse)
def list_channels(call: Call[None, None]) -> schema.ChannelListResponse:
    """List my channels, without their secrets."""
    found = call.services.channels.list(call.who.owner)
    return schema.ChannelListResponse(channels=[schema.channel_view(c) for c in found])


@api.endpoint(
    "GET",
    "/cloud/notifications/channels/{channel_id}",
    permission=_VIEW,
    response=schema.ChannelView,
    statuses=(404,),
)
def get_channel(call: Call[None, None], channel_id: str) -> schema.ChannelView:
    """Get a channel without its secret."""
    return schema.channel_view(call.services.channels.get(call.who.owner, channel_id))


@api.endpoint(
    "PATCH",
    "/cloud/notifications/channels/{channel_id}",
    permission=_EDIT,
    body=schema.ChangeChannelBody,
    response=schema.ChannelView,
    statuses=(404, 409),
    audited=Audited(AuditAction.NOTIFICATION_CHANGE, _CHANNEL),
)
def change_channel(call: Call[schema.ChangeChannelBody, None], channel_id: str) -> Reply:
    """Change a channel's name, events or URL, or switch it on and off."""
    changes = call.body.model_dump(exclude_none=True)
    if not changes:
        text = "give at least one of: name, webhook_url, events, is_enabled"
        raise ValidationFailed(text, errors=[FieldError("", text, "empty")])
    channel = call.services.channels.change(call.who.owner, channel_id, changes)
    return Reply(schema.channel_view(channel), noted=_noted(channel, changed=sorted(changes)))


@api.endpoint(
    "DELETE",
    "/cloud/notifications/channels/{channel_id}",
    permission=_EDIT,
    response=schema.ChannelDeletedResponse,
    statuses=(404, 409),
    audited=Audited(AuditAction.NOTIFICATION_DELETE, _CHANNEL),
)
def delete_channel(call: Call[None, None], channel_id: str) -> Reply:
    """Delete a channel with its secret. What was sent stays in the history."""
    channel = call.services.channels.delete(call.who.owner, channel_id)
    return Reply(schema.ChannelDeletedResponse(success=True, id=channel_id), noted=_noted(channel))


@api.endpoint(
    "POST",
    "/cloud/notifications/channels/{channel_id}/test",
    permission=_EDIT,
    response=schema.ChannelTestedResponse,
    statuses=(404, 409, 429),
    audited=Audited(AuditAction.NOTIFICATION_TEST, _CHANNEL),
)
def test_channel(call: Call[None, None], channel_id: str) -> Reply:
    """Send a test event, once, and say what the receiver answered.

    Takes ten seconds at most. An address whose reader has not agreed yet is asked again instead.
    """
    message = call.services.channels.test(call.who.owner, channel_id)
    attempt = message.tries[-1]
    view = schema.ChannelTestedResponse(
        success=attempt.succeeded,
        error=attempt.error,
        latency_ms=attempt.ms,
        status=attempt.status,
        id=message.message_id,
    )
    return Reply(view, noted=Noted(f"channel:{channel_id}", details={"success": view.success}))


@api.endpoint(
    "POST",
    "/cloud/notifications/channels/{channel_id}/rotate-secret",
    permission=_EDIT,
    response=schema.SecretRotatedResponse,
    statuses=(404, 409),
    audited=Audited(AuditAction.NOTIFICATION_ROTATE, _CHANNEL),
)
def rotate_channel_secret(call: Call[None, None], channel_id: str) -> Reply:
    """Make a new signing secret for a webhook. The old one signs beside it for 24 hours."""
    made = call.services.channels.rotate(call.who.owner, channel_id)
    view = schema.SecretRotatedResponse(
        secret=made.secret or "",
        previous_secret_until=made.channel.previous_until,
        channel=schema.channel_view(made.channel),
    )
    return Reply(view, noted=_noted(made.channel, secret_version=made.channel.secret_version))


@api.endpoint("GET", "/cloud/notifications/events", permission=_VIEW, response=schema.EventTypesResponse)
def list_event_types(_call: Call[None, None]) -> schema.EventTypesResponse:
    """List the types of events that a channel may subscribe to."""
    return schema.event_types()


@api.endpoint(
    "GET",
    "/cloud/notifications/history",
    permission=_VIEW,
    query=schema.HistoryQuery,
    response=schema.HistoryResponse,
    statuses=(400,),
)
def list_notification_history(call: Call[None, schema.HistoryQuery]) -> schema.HistoryResponse:
    """List what was sent in the last 30 days with every try, newest first.

    A page may be short, or empty, and still have a `next`.
    """
    query = call.query
    page = call.services.channels.history(
        call.who.owner,
        channel_id=query.channel_id,
        event_type=query.event_type,
        limit=query.limit,
        cursor=query.cursor,
    )
    return schema.HistoryResponse(
        entries=[schema.entry_view(m) for m in page.messages], has_more=page.cursor is not None, next=page.cursor
    )


@api.endpoint(
    "POST",
    "/cloud/notifications/history/{message_id}/redeliver",
    permission=_EDIT,
    response=schema.EntryView,
    status=202,
    statuses=(404, 409, 429),
    audited=Audited(AuditAction.NOTIFICATION_REDELIVER, "message:{message_id}"),
)
def redeliver_notification(call: Call[None, None], message_id: str) -> Reply:
    """Send a message again, under the same `webhook-id`, and try it for another day."""
    message = call.services.channels.redeliver(call.who.owner, message_id)
    details = {"channel_id": message.channel_id, "event_type": message.event_type}
    return Reply(schema.entry_view(message), 202, noted=Noted(f"message:{message_id}", details=details))


@api.endpoint("GET", "/cloud/notifications/status", permission=_VIEW, response=schema.NotificationStatusResponse)
def get_notification_status(call: Call[None, None]) -> schema.NotificationStatusResponse:
    """Count my channels, and my last messages by what became of them."""
    overview = call.services.channels.overview(call.who.owner)
    return schema.status_view(list(overview.channels), overview.messages)


def _noted(channel: Channel, **details: object) -> Noted:
    """For the audit: of a URL no more than its host."""
    kind = channel.channel_type.value
    return Noted(f"channel:{channel.channel_id}", details={"type": kind, "to": channel.recipient, **details})
