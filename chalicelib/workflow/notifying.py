"""The sender of notifications: takes events out of the outbox, and makes the tries that are due.

Any number of senders may run at once, and each may die anywhere: an event leaves the outbox in the transaction that
makes its messages, and a try is leased before it is made. What arrives may arrive twice, and in another order.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from chalicelib.domain.channels import Channel
from chalicelib.domain.messages import PAUSES, Message, MessageStatus, message_for
from chalicelib.domain.notification_events import OutboxItem
from chalicelib.domain.notification_ports import Due
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.errors import Unavailable
from chalicelib.services.notification_sending import Outcome, confirmed, note_outcome, tell

logger = logging.getLogger(__name__)

#: No try begins later than this after the start; the last one takes some 15 seconds more.
BUDGET = timedelta(seconds=80)
#: A sender waits so long for what is due next: the first two pauses are shorter than a minute.
LINGER = timedelta(seconds=35)
WORKERS = 16
#: Of one channel in one round: tries, and the time in which they begin. It ends with the first that failed.
MAX_TRIES, SLICE = 20, timedelta(seconds=20)
#: Marks looked at in one round, in pages; events taken out of the outbox in one round; rounds of one run.
MAX_LOOKED, PAGE, MAX_ITEMS, MAX_ROUNDS = 5_000, 1_000, 500, 100
#: A channel that has failed for so long rests as after its third failure, which is for the rest of the run.
FAILS_FOR_LONG, LONG = timedelta(minutes=10), 2

Key = tuple[str, str]


@dataclass
class Report:
    """``handed_on`` events became ``messages``; ``delivered`` and ``failed`` count tries."""

    handed_on: int = 0
    messages: int = 0
    delivered: int = 0
    failed: int = 0

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


class _Resting:
    """Channels at which a try of this run failed: how often, and until when there is no other."""

    def __init__(self) -> None:
        self._failed: dict[Key, tuple[int, datetime]] = {}

    def until(self, key: Key, at: datetime) -> datetime:
        """When a try that is due ``at`` may be made."""
        return max(at, self._failed[key][1]) if key in self._failed else at

    def note(self, key: Key, channel: Channel | None, now: datetime) -> None:
        since = channel.failing_since if channel is not None else None
        first = LONG if since is not None and now - since > FAILS_FOR_LONG else 0
        count = max(first, self._failed[key][0] + 1 if key in self._failed else 0)
        self._failed[key] = (count, now + PAUSES[min(count, LONG)])


def send_notifications(
    ports: Ports, *, budget: timedelta = BUDGET, workers: int = WORKERS, sleep: Callable[[float], None] = time.sleep
) -> Report:
    """Does what is due, and waits a little for what is due soon. ``sleep`` takes seconds. Raises Unavailable when the
    database does not answer."""
    report, stop_at, resting = Report(), ports.clock.now() + budget, _Resting()
    for _ in range(MAX_ROUNDS):
        hand_on(ports, report, stop_at)
        _round(ports, report, stop_at, workers, resting)
        now = ports.clock.now()
        waiting = ports.notifications.due(limit=PAGE)
        soonest = min((resting.until(_key(due), due.at) for due in waiting), default=None)
        if now >= stop_at or soonest is None or soonest > min(now + LINGER, stop_at):
            break
        if soonest > now:
            sleep((soonest - now).total_seconds())
    return report


def hand_on(ports: Ports, report: Report, stop_at: datetime) -> None:
    """Makes the messages of every event in the outbox."""
    for item in ports.notifications.outbox(limit=MAX_ITEMS):
        if ports.clock.now() >= stop_at:
            return
        messages = _messages(ports, item)
        if ports.notifications.hand_on(item, messages):
            report.handed_on += 1
            report.messages += len(messages)


def _messages(ports: Ports, item: OutboxItem) -> list[Message]:
    now = ports.clock.now()
    # A channel is told of what comes after it was made.
    wanting = [
        c for c in ports.notifications.list_channels(item.owner) if c.wants(item.event_type) and c.created_at <= item.at
    ]
    return [message_for(item, c, now) for c in (confirmed(ports, c) for c in wanting) if c.is_ready]


def _round(ports: Ports, report: Report, stop_at: datetime, workers: int, resting: _Resting) -> None:
    """Tries what is due now, each channel's messages one after the other, channels side by side. Those that work come
    first, so that no number of dead ones keeps them waiting."""
    queues: dict[Key, list[Due]] = {}
    for due in _due(ports, resting):
        queue = queues.setdefault(_key(due), [])
        if len(queue) < MAX_TRIES:
            queue.append(due)
    if not queues:
        return
    channels = {key: ports.notifications.get_channel(*key) for key in queues}

    def is_dubious(key: Key) -> bool:
        channel = channels[key]
        return channel is not None and channel.failing_since is not None

    ordered = sorted(queues, key=is_dubious)
    with ThreadPoolExecutor(max_workers=workers) as pool:
        results = list(pool.map(lambda key: _queue(ports, queues[key], stop_at), ordered))
    for key, (delivered, failed, broken) in zip(ordered, results, strict=True):
        report.delivered += delivered
        report.failed += failed
        if failed or broken:
            resting.note(key, channels[key], ports.clock.now())


def _key(due: Due) -> Key:
    return due.owner, due.channel_id


def _due(ports: Ports, resting: _Resting) -> list[Due]:
    now, after = ports.clock.now(), None
    found: list[Due] = []
    for _ in range(MAX_LOOKED // PAGE):
        page = ports.notifications.due(limit=PAGE, after=after)
        ripe = [due for due in page if due.at <= now]
        found += [due for due in ripe if resting.until(_key(due), due.at) <= now]
        if len(page) < PAGE or len(ripe) < len(page):
            break
        after = page[-1].position
    return found


def _queue(ports: Ports, queue: Sequence[Due], stop_at: datetime) -> tuple[int, int, bool]:
    """Tries of one channel: how many arrived, how many did not, and whether something of ours broke. It ends with the
    first that did not arrive."""
    delivered, stop_at = 0, min(stop_at, ports.clock.now() + SLICE)
    for due in queue:
        if ports.clock.now() >= stop_at:
            break
        try:
            outcome = try_message(ports, due)
        except Unavailable:
            logger.warning("message %s waits: our own side does not answer", due.message_id)
            return delivered, 0, True
        except Exception:
            # One message that can't be handled must not keep those of other channels from being sent.
            logger.exception("message %s could not be tried", due.message_id)
            return delivered, 0, True
        if outcome is None:
            continue
        if not outcome.attempt.succeeded:
            return delivered, 1, False
        delivered += 1
    return delivered, 0, False


def try_message(ports: Ports, due: Due) -> Outcome | None:
    """Makes the try that is due, unless somebody else is at it or there is no sense in it: None then. Raises
    Unavailable; a try that was leased is made when the lease is over."""
    store, now = ports.notifications, ports.clock.now()
    message = store.get_message(due.owner, due.message_id)
    if message is None:
        store.forget_due(due)
        return None
    if message.next_try_at is None or message.next_try_at > now:
        return None
    channel = store.get_channel(due.owner, due.channel_id)
    senseless = _senseless(channel, message, now)
    try:
        if channel is None or senseless:
            store.update_message(message.ended(senseless))
            return None
        leased = message.leased(now)
        store.update_message(leased)
    except StaleRecordError:
        return None
    outcome = tell(ports, channel, leased)
    _settle(ports, leased, outcome)
    note_outcome(ports, channel, outcome)
    return outcome


def _senseless(channel: Channel | None, message: Message, now: datetime) -> str:
    if channel is None:
        return "The channel was deleted."
    if not channel.is_enabled:
        return "The channel is disabled."
    return "It could not be tried in time." if now >= message.give_up_at else ""


def _settle(ports: Ports, leased: Message, outcome: Outcome) -> None:
    """Notes what the try came to. Somebody may have sent the message anew meanwhile: then that goes on."""
    current: Message | None = leased
    for _ in range(8):
        if current is None or current.status is MessageStatus.DELIVERED:
            return
        try:
            ports.notifications.update_message(_after(current, outcome, ports.clock.now()))
        except StaleRecordError:
            current = ports.notifications.get_message(leased.owner, leased.message_id)
            continue
        return
    logger.warning("what came of message %s could not be noted", leased.message_id)


def _after(message: Message, outcome: Outcome, now: datetime) -> Message:
    if outcome.attempt.succeeded:
        return message.delivered(outcome.attempt)
    if outcome.over:
        return message.ended(outcome.why or "Another try can't help.", outcome.attempt)
    return message.failed(outcome.attempt, now, outcome.retry_after)
