"""Channels of notifications: keeping them, trying them, and looking at what was sent."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import SecretStr

from chalicelib.domain.addresses import AddressRefused, check_url
from chalicelib.domain.channels import MAX_CHANNELS, Channel, ChannelState, ChannelType, SigningSecrets, secret_folder
from chalicelib.domain.credential_secrets import new_signing_secret
from chalicelib.domain.messages import Message, MessageStatus, message_for
from chalicelib.domain.notification_events import ALL, EVENT_TYPES, TEST, OutboxItem, stamp_of
from chalicelib.domain.notification_ports import AddressTakenError, MessagePage, Subscription
from chalicelib.domain.ports import InvalidCursorError, Ports, SlotsFullError, StaleRecordError
from chalicelib.domain.simpletuner_options import closest
from chalicelib.errors import BadRequest, Conflict, FieldError, NotFound, Unavailable, ValidationFailed
from chalicelib.services.notification_sending import change_channel, confirmed, note_outcome, tell
from chalicelib.services.rates import RateRule, RateService

logger = logging.getLogger(__name__)

#: Each asks somebody else's server, or writes to somebody; nobody may use ours to knock at doors.
TESTS = RateRule("notification-tests", 30, timedelta(minutes=5))
RESENDS = RateRule("notification-resends", 100, timedelta(minutes=5))
#: SNS writes to an address when it is added: nobody may have many strangers written to.
ADDRESSES = RateRule("notification-addresses", 10, timedelta(hours=1))
#: Of what was sent lately ``status`` counts so many.
MAX_COUNTED = 100


@dataclass(frozen=True)
class Made:
    """``secret`` was made here and is shown this once; ``repr`` hides it."""

    channel: Channel
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Overview:
    """An owner's channels by type and state, and their last messages by what became of them."""

    channels: Sequence[Channel]
    messages: Mapping[MessageStatus, int]


def checked_events(events: Sequence[str]) -> tuple[str, ...]:
    """Without repetitions; ALL stands alone. Raises ValidationFailed, which says what was meant."""
    problems = []
    for i, name in enumerate(events):
        if name != ALL and name not in EVENT_TYPES:
            meant = closest(name, EVENT_TYPES)
            advice = f"did you mean {meant}?" if meant else f"use {ALL}, or: {', '.join(EVENT_TYPES)}"
            problems.append(FieldError(f"events[{i}]", f"there is no event '{name[:60]}'; {advice}", "unknown_event"))
    if problems:
        raise ValidationFailed(f"{problems[0].field}: {problems[0].message}", code="unknown_event", errors=problems)
    return (ALL,) if ALL in events else tuple(dict.fromkeys(events))


class ChannelService:
    """Every method with a channel's or message's id raises NotFound."""

    def __init__(self, ports: Ports, rates: RateService) -> None:
        self._ports = ports
        self._rates = rates

    # --- keeping ------------------------------------------------------------------------------------------------
    def list(self, owner: str) -> Sequence[Channel]:
        """In order of creation; what waits for confirmation is looked at anew."""
        return [confirmed(self._ports, c) for c in self._ports.notifications.list_channels(owner)]

    def get(self, owner: str, channel_id: str) -> Channel:
        return confirmed(self._ports, self._get(owner, channel_id))

    def create(
        self,
        owner: str,
        channel_type: ChannelType,
        name: str,
        *,
        webhook_url: str | None = None,
        email: str | None = None,
        events: Sequence[str] = (ALL,),
        is_enabled: bool = True,
    ) -> Made:
        """A webhook gets a signing secret, an address a message that asks for consent. Raises ValidationFailed,
        Conflict (``too_many_channels``, ``address_taken``), TooManyRequests, Unavailable."""
        wanted, other = (webhook_url, email) if channel_type is ChannelType.WEBHOOK else (email, webhook_url)
        needed = "webhook_url" if channel_type is ChannelType.WEBHOOK else "email"
        if wanted is None or other is not None:
            text = f"a channel of type {channel_type} has {needed}, and nothing else to send to"
            raise ValidationFailed(f"{needed}: {text}", errors=[FieldError(needed, text, "required")])
        now = self._ports.clock.now()
        channel = Channel(
            channel_id=self._ports.ids.job_id(),
            owner=owner,
            channel_type=channel_type,
            name=name,
            events=checked_events(events),
            is_enabled=is_enabled,
            created_at=now,
            updated_at=now,
        )
        if channel_type is ChannelType.EMAIL:
            return self._store(channel.model_copy(update={"email": email}))
        secret = new_signing_secret(self._ports.ids.token)
        channel = channel.model_copy(
            update={"webhook_url": self._checked_url(webhook_url or ""), "secret_id": self._secret_id(1)}
        )
        self._ports.secrets.put(owner, channel.secret_name, SigningSecrets(current=SecretStr(secret)).document())
        return self._store(channel, secret)

    def change(self, owner: str, channel_id: str, changes: Mapping[str, Any]) -> Channel:
        """``changes``: name, webhook_url, events, is_enabled. Enabling forgets why it was disabled. Raises
        ValidationFailed, Conflict (``changed_meanwhile``)."""
        current = self._get(owner, channel_id)
        wanted = dict(changes)
        if "webhook_url" in wanted:
            if current.channel_type is not ChannelType.WEBHOOK:
                text = "is of webhooks; add another channel for another address"
                raise ValidationFailed(f"webhook_url: {text}", errors=[FieldError("webhook_url", text)])
            wanted["webhook_url"] = self._checked_url(wanted["webhook_url"])
        if "events" in wanted:
            wanted["events"] = checked_events(wanted["events"])
        moved = wanted.get("webhook_url", current.webhook_url) != current.webhook_url
        if moved or wanted.get("is_enabled"):
            wanted |= {"failing_since": None, "disabled_reason": None}
        now = self._ports.clock.now()
        return self._changed(owner, channel_id, lambda c: c.changed(now, **wanted))

    def rotate(self, owner: str, channel_id: str) -> Made:
        """A new signing secret; the one before signs beside it for OVERLAP. Raises ValidationFailed (e-mail), Conflict
        (``changed_meanwhile``), Unavailable."""
        ports, old = self._ports, self._get(owner, channel_id)
        if old.channel_type is not ChannelType.WEBHOOK:
            raise ValidationFailed("Only webhooks have a signing secret.", code="no_secret")
        now, secret, version = ports.clock.now(), new_signing_secret(ports.ids.token), old.secret_version + 1
        before = SigningSecrets.read(ports.secrets.get(owner, old.secret_name))
        new = before.rotated(secret, now) if before is not None else SigningSecrets(current=SecretStr(secret))
        channel = old.changed(
            now,
            secret_id=self._secret_id(version),
            secret_version=version,
            rotated_at=now,
            previous_until=new.previous_until,
        )
        ports.secrets.put(owner, channel.secret_name, new.document())
        try:
            ports.notifications.update_channel(channel)
        except StaleRecordError:
            ports.secrets.delete(owner, channel.secret_name)
            raise _changed_meanwhile() from None
        self._forget_secrets(channel, below=version)
        return Made(channel, secret)

    def delete(self, owner: str, channel_id: str) -> Channel:
        """What is on its way to it is not sent any more; what was sent stays in the history."""
        channel = self._get(owner, channel_id)
        remove(self._ports, channel)
        return channel

    # --- trying -------------------------------------------------------------------------------------------------
    def test(self, owner: str, channel_id: str) -> Message:
        """Sends a test event once, now, and keeps what came of it. An address that has not agreed is asked again.
        Raises Conflict (``channel_disabled``, ``pending_confirmation``), TooManyRequests, Unavailable."""
        ports = self._ports
        channel = self.get(owner, channel_id)
        self._rates.require(TESTS, owner)
        if channel.state is ChannelState.DISABLED:
            raise Conflict("The channel is disabled. Enable it first: is_enabled=true", code="channel_disabled")
        if channel.state is ChannelState.PENDING_CONFIRMATION:
            self._subscribe(channel)
            raise Conflict(
                f"{channel.email} has not confirmed yet. A message with a link was sent there (again).",
                code="pending_confirmation",
            )
        now = ports.clock.now()
        item = OutboxItem(
            item_id=f"{stamp_of(now)}#test-{ports.ids.token()}",
            owner=owner,
            event_type=TEST,
            at=now,
            data={"message": "This is a test.", "channel": {"id": channel.channel_id, "name": channel.name}},
        )
        message = message_for(item, channel, now).model_copy(update={"next_try_at": None})
        outcome = tell(ports, channel, message)
        attempt = outcome.attempt
        tried = message.delivered(attempt) if attempt.succeeded else message.ended("Tests are sent once.", attempt)
        ports.notifications.add_message(tried)
        note_outcome(ports, channel, outcome)
        return tried

    # --- looking ------------------------------------------------------------------------------------------------
    def history(
        self, owner: str, *, channel_id: str | None, event_type: str | None, limit: int, cursor: str | None
    ) -> MessagePage:
        """Newest first; 30 days are kept. Raises BadRequest (cursor), ValidationFailed (event_type)."""
        if event_type is not None and event_type != TEST:
            checked_events([event_type])
        try:
            return self._ports.notifications.history(
                owner, channel_id=channel_id, event_type=event_type, limit=limit, cursor=cursor
            )
        except InvalidCursorError:
            raise BadRequest("The cursor is not one of this list.", code="invalid_cursor") from None

    def redeliver(self, owner: str, message_id: str) -> Message:
        """The same message again, under the same ``webhook-id``, for another day. Raises Conflict
        (``channel_disabled``, ``channel_deleted``, ``changed_meanwhile``), TooManyRequests."""
        ports = self._ports
        message = ports.notifications.get_message(owner, message_id)
        if message is None:
            raise NotFound(f"Message not found: {message_id}", code="message_not_found")
        channel = ports.notifications.get_channel(owner, message.channel_id)
        if channel is None:
            raise Conflict("The channel of this message was deleted.", code="channel_deleted")
        if not channel.is_enabled:
            raise Conflict("The channel is disabled. Enable it first: is_enabled=true", code="channel_disabled")
        self._rates.require(RESENDS, owner)
        resent = message.resent(ports.clock.now())
        try:
            ports.notifications.update_message(resent)
        except StaleRecordError:
            raise _changed_meanwhile() from None
        ports.nudge()
        return resent

    def overview(self, owner: str) -> Overview:
        lately = self._ports.notifications.history(owner, limit=MAX_COUNTED)
        return Overview(self.list(owner), Counter(m.status for m in lately.messages))

    # --- parts --------------------------------------------------------------------------------------------------
    def _get(self, owner: str, channel_id: str) -> Channel:
        found = self._ports.notifications.get_channel(owner, channel_id)
        if found is None:
            raise _not_found(channel_id)
        return found

    def _changed(self, owner: str, channel_id: str, decide: Callable[[Channel], Channel]) -> Channel:
        try:
            found = change_channel(self._ports, owner, channel_id, decide)
        except StaleRecordError:
            raise _changed_meanwhile() from None
        if found is None:
            raise _not_found(channel_id)
        return found

    def _checked_url(self, url: str) -> str:
        try:
            return check_url(url, allow_private=self._ports.limits.private_destinations).url
        except AddressRefused as refused:
            text = f"{refused.message} {refused.advice}"
            raise ValidationFailed(
                f"webhook_url: {text}",
                code="address_refused",
                errors=[FieldError("webhook_url", text, "address_refused")],
            ) from None

    def _secret_id(self, version: int) -> str:
        return f"{version:06d}-{self._ports.ids.token()}"

    def _store(self, channel: Channel, secret: str | None = None) -> Made:
        """The record; then, for e-mail, the question for consent. One whose question could not be sent is asked by the
        first test."""
        ports = self._ports
        if channel.email is not None:
            self._rates.require(ADDRESSES, channel.owner)
        try:
            ports.notifications.create_channel(channel)
        except (SlotsFullError, AddressTakenError, StaleRecordError) as refused:
            if channel.secret_id:
                ports.secrets.delete(channel.owner, channel.secret_name)
            if isinstance(refused, SlotsFullError):
                raise Conflict(
                    f"You have {MAX_CHANNELS} channels, which is the limit. Delete one you don't need: stcloud "
                    "notifications list",
                    code="too_many_channels",
                ) from None
            text = "There is a channel for this address already; an address belongs to one channel."
            raise Conflict(text, code="address_taken", errors=[FieldError("email", text, "address_taken")]) from None
        return Made(self._subscribe(channel) if channel.email is not None else channel, secret)

    def _subscribe(self, channel: Channel) -> Channel:
        ports, now = self._ports, self._ports.clock.now()
        try:
            name = ports.mailer.subscribe(channel.email or "")
            agreed = ports.mailer.state(name) is Subscription.CONFIRMED
        except Unavailable:
            logger.warning("an address could not be asked for its consent now")
            return channel
        return self._changed(
            channel.owner, channel.channel_id, lambda c: c.changed(now, subscription=name, confirmed=agreed)
        )

    def _forget_secrets(self, channel: Channel, *, below: int) -> None:
        """Removes earlier secrets. Later ones may be about to be named by somebody."""
        try:
            for name in self._ports.secrets.names(channel.owner, secret_folder(channel.channel_id)):
                if name.rpartition("/")[2] < f"{below:06d}":
                    self._ports.secrets.delete(channel.owner, name)
        except Unavailable:
            # Nothing names them; the next rotation or deletion removes them.
            logger.warning("earlier secrets of a channel were not removed")


def remove(ports: Ports, channel: Channel) -> None:
    """Removes a channel with its secrets and its subscription, the record last. Safe to repeat. Raises Unavailable,
    Conflict (``changed_meanwhile``)."""
    for _ in range(5):
        if channel.subscription is not None:
            ports.mailer.unsubscribe(channel.subscription)
        for name in ports.secrets.names(channel.owner, secret_folder(channel.channel_id)):
            ports.secrets.delete(channel.owner, name)
        try:
            ports.notifications.delete_channel(channel)
        except StaleRecordError:
            found = ports.notifications.get_channel(channel.owner, channel.channel_id)
            if found is None:
                return
            channel = found
            continue
        return
    raise _changed_meanwhile()


def forget_channels(ports: Ports, owner: str) -> None:
    """Removes all channels of somebody who is deleted. Safe to repeat."""
    for channel in ports.notifications.list_channels(owner):
        remove(ports, channel)


def _not_found(channel_id: str) -> NotFound:
    return NotFound(f"Channel not found: {channel_id}", code="channel_not_found")


def _changed_meanwhile() -> Conflict:
    return Conflict("It changed at this very moment. Look at it, and repeat if need be.", code="changed_meanwhile")
