"""One try to tell one channel of something, and what it means for the channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.domain.channels import DISABLED_AFTER, Channel, ChannelType, SigningSecrets
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.messages import MAX_EXCERPT, Message, Try
from chalicelib.domain.notification_events import disabled_item, mail_of
from chalicelib.domain.notification_ports import Subscription
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.domain.redaction import redact
from chalicelib.domain.webhook_signing import WebhookRejected, sign
from chalicelib.errors import Unavailable

#: Tries of one compare-and-set. Writers of one channel are few.
MAX_WRITES = 8
_AGENT = "SimpleTuner-Cloud-Notifications/1"
_GONE = 410


@dataclass(frozen=True)
class Outcome:
    """``over``: another try can't help. ``gone``: the receiver wants nothing more, ever (``why``)."""

    attempt: Try
    over: bool = False
    gone: bool = False
    why: str = ""
    retry_after: timedelta | None = None


def tell(ports: Ports, channel: Channel, message: Message) -> Outcome:
    """Sends it once, for some ten seconds at most. Raises Unavailable when our own side is not ready: nothing was sent
    then, and it says nothing of the channel."""
    if channel.channel_type is ChannelType.EMAIL:
        return _mail(ports, channel, message)
    return _post(ports, channel, message)


def _post(ports: Ports, channel: Channel, message: Message) -> Outcome:
    secrets = SigningSecrets.read(ports.secrets.get(channel.owner, channel.secret_name))
    if secrets is None:
        raise Unavailable("The channel's signing secret can't be read now.", retry_after=60)
    at, body = ports.clock.now(), message.body.encode("utf-8", "replace")
    try:
        signed = sign(body, webhook_id=message.message_id, at=at, secrets=secrets.signing(at))
    except WebhookRejected as error:
        raise Unavailable(f"The channel's signing secret is unusable: {error.reason}", retry_after=60) from error
    headers = {"Content-Type": "application/json", "User-Agent": _AGENT, **signed}

    def spent() -> int:
        return round((ports.clock.now() - at) / timedelta(milliseconds=1))

    try:
        answer = ports.hooks.send("POST", channel.webhook_url or "", headers=headers, content=body)
    except DeliveryFault as fault:
        return Outcome(Try(at=at, ms=spent(), error=f"{fault.message} {fault.advice}"), over=not fault.retry)
    excerpt = redact(answer.body[: 4 * MAX_EXCERPT].decode("utf-8", "replace"))[:MAX_EXCERPT] or None
    if 200 <= answer.status < 300:
        return Outcome(Try(at=at, ms=spent(), status=answer.status, body=excerpt))
    attempt = Try(at=at, ms=spent(), status=answer.status, error=_meaning(answer.status), body=excerpt)
    gone = answer.status == _GONE
    why = "The receiver answered 410 Gone: it wants no more." if gone else ""
    return Outcome(attempt, over=gone, gone=gone, why=why, retry_after=_asked(answer.headers))


def _meaning(status: int) -> str:
    if 300 <= status < 400:
        return f"The receiver answered {status}, a redirect. These are not followed: give the address it leads to."
    if status in {401, 403}:
        return f"The receiver answered {status}. Does it verify with this channel's secret, over the raw body?"
    return f"The receiver answered {status}; 2xx was expected."


def _asked(headers: Mapping[str, str]) -> timedelta | None:
    text = headers.get("retry-after") or headers.get("Retry-After") or ""
    return timedelta(seconds=int(text)) if text.isascii() and text.isdigit() and len(text) < 8 else None


def _mail(ports: Ports, channel: Channel, message: Message) -> Outcome:
    at = ports.clock.now()
    state = ports.mailer.state(channel.subscription or "")
    if state is not Subscription.CONFIRMED:
        gone = state is Subscription.GONE
        text = "The address's reader unsubscribed." if gone else "The address was not confirmed."
        return Outcome(Try(at=at, ms=0, error=text), over=True, gone=gone, why=text if gone else "")
    subject, text = mail_of(message.body, public_url=_public_url(ports))
    ports.mailer.send(channel.email or "", subject, text)
    return Outcome(Try(at=at, ms=round((ports.clock.now() - at) / timedelta(milliseconds=1))))


def _public_url(ports: Ports) -> str:
    try:
        return ports.facts.public_url()
    except Unavailable:
        return ""


# --- channels ------------------------------------------------------------------------------------------------------
def change_channel(
    ports: Ports, owner: str, channel_id: str, decide: Callable[[Channel], Channel | None]
) -> Channel | None:
    """Reads the channel, lets ``decide`` say what it becomes, writes it; on a lost race reads and decides again. When
    that disables it with a reason, the owner's other channels are told. Returns it as it is then, None when there is
    none. Raises StaleRecordError when that never works, and whatever ``decide`` raises."""
    for _ in range(MAX_WRITES):
        current = ports.notifications.get_channel(owner, channel_id)
        if current is None:
            return None
        changed = decide(current)
        if changed is None:
            return current
        told = current.is_enabled and not changed.is_enabled and changed.disabled_reason is not None
        items = (
            [disabled_item(owner, channel_id, changed.name, changed.disabled_reason or "", changed.updated_at)]
            if told
            else []
        )
        try:
            ports.notifications.update_channel(changed, items)
        except StaleRecordError:
            continue
        return changed
    raise StaleRecordError(channel_id)


def note_outcome(ports: Ports, channel: Channel, outcome: Outcome) -> None:
    """What a try says of its channel: that it works, fails since when, or is disabled. A try at an address that was
    changed meanwhile says nothing."""
    now = ports.clock.now()

    def decide(current: Channel) -> Channel | None:
        if current.webhook_url != channel.webhook_url or not current.is_enabled:
            return None
        if outcome.attempt.succeeded:
            return None if current.failing_since is None else current.changed(now, failing_since=None)
        since = current.failing_since or outcome.attempt.at
        why = outcome.why
        if not outcome.gone and now - since >= DISABLED_AFTER:
            why = f"Nothing has arrived for a day. The last try: {outcome.attempt.error}"
        if why:
            return current.changed(now, is_enabled=False, disabled_reason=why, failing_since=since)
        return current.changed(now, failing_since=since) if current.failing_since is None else None

    change_channel(ports, channel.owner, channel.channel_id, decide)


def confirmed(ports: Ports, channel: Channel) -> Channel:
    """An e-mail channel that waits for its reader's consent, looked at anew; others as they are. What can't be asked
    now stays as it is."""
    if channel.channel_type is not ChannelType.EMAIL or channel.confirmed or channel.subscription is None:
        return channel
    try:
        if ports.mailer.state(channel.subscription) is not Subscription.CONFIRMED:
            return channel
    except Unavailable:
        return channel
    now = ports.clock.now()
    found = change_channel(
        ports,
        channel.owner,
        channel.channel_id,
        lambda c: None if c.confirmed else c.changed(now, confirmed=True),
    )
    return found or channel
