"""``NotificationStore``: channels, the outbox that ``JobStore`` fills, and messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.channels import MAX_CHANNELS, Channel, ChannelType
from chalicelib.domain.jobs import JobEvent
from chalicelib.domain.messages import Message, message_for
from chalicelib.domain.notification_events import OutboxItem, disabled_item
from chalicelib.domain.ports import (
    AddressTakenError,
    InvalidCursorError,
    JobStore,
    NotificationStore,
    SlotsFullError,
    StaleRecordError,
)
from chalicelib.store import DynamoJobStore, DynamoNotificationStore
from tests.fakes.notifications import InMemoryNotificationStore
from tests.fakes.stores import InMemoryJobStore
from tests.support.jobs import NOW, OWNER, a_job, an_event, submit, together

SECOND = timedelta(seconds=1)


@dataclass
class Stores:
    jobs: JobStore
    notes: NotificationStore
    told: list[int]


@pytest.fixture(params=["memory", "dynamodb"])
def stores(request: pytest.FixtureRequest) -> Stores:
    told: list[int] = []
    if request.param == "memory":
        notes = InMemoryNotificationStore()
        return Stores(InMemoryJobStore(notifications=notes, told=lambda: told.append(1)), notes, told)
    table = request.getfixturevalue("jobs_table")
    return Stores(DynamoJobStore(table, told=lambda: told.append(1)), DynamoNotificationStore(table), told)


@pytest.fixture
def store(stores: Stores) -> NotificationStore:
    return stores.notes


def a_channel(channel_id: str = "c1", **changes: Any) -> Channel:
    base = Channel(
        channel_id=channel_id,
        owner=OWNER,
        channel_type=ChannelType.WEBHOOK,
        name="hook",
        webhook_url="https://hooks.example/in",
        created_at=NOW,
        updated_at=NOW,
    )
    return base.model_copy(update=changes)


def an_address(channel_id: str, email: str, **changes: Any) -> Channel:
    about = {"channel_type": ChannelType.EMAIL, "webhook_url": None, "email": email}
    return a_channel(channel_id, **about, **changes)


def an_item(number: int = 1) -> OutboxItem:
    return disabled_item(OWNER, f"c{number}", "hook", "It failed.", NOW + number * SECOND)


def put(store: NotificationStore, *items: OutboxItem) -> None:
    """Into the outbox, with a channel that is changed."""
    channel = store.get_channel(OWNER, "putting")
    if channel is None:
        channel = a_channel("putting")
        store.create_channel(channel)
    store.update_channel(channel.changed(NOW), items)


def a_message(number: int = 1, channel_id: str = "c1") -> Message:
    return message_for(an_item(number), a_channel(channel_id), NOW + number * SECOND)


def ids(messages: Any) -> list[str]:
    return [m.message_id for m in messages]


# --- channels -------------------------------------------------------------------------------------------------------
def test_a_channel_is_kept_changed_and_removed(store: NotificationStore) -> None:
    channel = a_channel()
    assert store.get_channel(OWNER, "c1") is None
    store.create_channel(channel)
    with pytest.raises(StaleRecordError):
        store.create_channel(channel)
    changed = channel.changed(NOW, name="new")
    store.update_channel(changed)
    assert store.get_channel(OWNER, "c1") == changed
    assert store.get_channel("other", "c1") is None
    for stale in (channel, changed):
        with pytest.raises(StaleRecordError):
            store.update_channel(stale)
    with pytest.raises(StaleRecordError):
        store.delete_channel(channel)
    store.delete_channel(changed)
    store.delete_channel(changed)
    assert store.list_channels(OWNER) == []
    with pytest.raises(StaleRecordError):
        store.update_channel(changed.changed(NOW))


def test_channels_are_listed_by_id_and_limited(store: NotificationStore) -> None:
    for number in reversed(range(MAX_CHANNELS)):
        store.create_channel(a_channel(f"c{number:02d}"))
    store.create_channel(a_channel("c00", owner="other"))
    assert [c.channel_id for c in store.list_channels(OWNER)] == [f"c{n:02d}" for n in range(MAX_CHANNELS)]
    with pytest.raises(SlotsFullError):
        store.create_channel(a_channel("one-more"))
    store.delete_channel(a_channel("c07"))
    store.create_channel(a_channel("one-more"))


def test_an_address_is_in_one_channel(store: NotificationStore) -> None:
    store.create_channel(an_address("c1", "rita@example.com"))
    with pytest.raises(AddressTakenError):
        store.create_channel(an_address("c2", "Rita@example.com", owner="other"))
    assert store.list_channels("other") == []
    store.delete_channel(an_address("c1", "rita@example.com"))
    store.create_channel(an_address("c2", "Rita@example.com", owner="other"))


# --- outbox ---------------------------------------------------------------------------------------------------------
def test_what_is_told_goes_into_the_outbox_with_its_event(stores: Stores) -> None:
    job = submit(
        stores.jobs, a_job(event_seq=1), events=[an_event("job1", 1).model_copy(update={"type": "job.submitted"})]
    )
    (item,) = stores.notes.outbox()
    assert (item.owner, item.event_type, item.data["job"]["job_id"]) == (OWNER, "job.submitted", "job1")
    running = JobEvent(job_id="job1", seq=2, at=NOW + SECOND, type="job.running", message="Training started")
    other = an_event("job1", 3)
    moved = job.annotated(now=NOW)
    stores.jobs.save(moved, events=[running, other])
    assert [i.event_type for i in stores.notes.outbox()] == ["job.submitted", "job.running"]
    assert [i.event_type for i in stores.notes.outbox(limit=1)] == ["job.submitted"]
    assert len(stores.told) == 2
    # Neither a write that loses nor one with nothing to tell puts anything there.
    with pytest.raises(StaleRecordError):
        stores.jobs.save(moved, events=[running])
    stores.jobs.save(moved.annotated(now=NOW), events=[an_event("job1", 4)])
    assert len(stores.notes.outbox()) == len(stores.told) == 2


def test_a_channel_and_its_item_are_written_together(store: NotificationStore) -> None:
    store.create_channel(a_channel())
    with pytest.raises(StaleRecordError):
        store.update_channel(a_channel(), [an_item()])
    assert store.outbox() == []
    store.update_channel(a_channel().changed(NOW), [an_item()])
    assert store.outbox() == [an_item()]


def test_an_item_is_handed_on_once(store: NotificationStore) -> None:
    put(store, an_item())
    messages = [a_message(1, f"c{n}") for n in range(MAX_CHANNELS)]
    results = together(4, lambda _: store.hand_on(an_item(), messages))
    assert sorted(map(str, results)) == ["False", "False", "False", "True"]
    assert store.outbox() == []
    assert sorted(ids(store.history(OWNER, limit=100).messages)) == sorted(ids(messages))
    assert len(store.due(limit=100)) == MAX_CHANNELS


# --- messages -------------------------------------------------------------------------------------------------------
def test_a_message_is_due_when_it_says(store: NotificationStore) -> None:
    messages = [a_message(n) for n in (3, 1, 2)]
    for message in messages:
        store.add_message(message)
    with pytest.raises(StaleRecordError):
        store.add_message(messages[0])
    due = store.due(limit=10)
    assert [(d.at, d.owner, d.channel_id) for d in due] == [(NOW + n * SECOND, OWNER, "c1") for n in (1, 2, 3)]
    assert store.due(limit=2) == due[:2]
    assert store.due(limit=2, after=due[1].position) == due[2:]
    first = a_message(1).leased(NOW)
    store.update_message(first)
    assert [d.message_id for d in store.due(limit=10)] == ids([messages[2], messages[0], first])
    store.update_message(first.ended("enough"))
    assert len(store.due(limit=10)) == 2
    assert store.get_message(OWNER, first.message_id) == first.ended("enough")
    store.update_message(first.ended("enough").resent(NOW))
    assert store.due(limit=1)[0].message_id == first.message_id


def test_one_of_many_leases_a_message(store: NotificationStore) -> None:
    store.add_message(a_message())

    def lease(_: int) -> bool:
        try:
            store.update_message(a_message().leased(NOW))
        except StaleRecordError:
            return False
        return True

    assert sorted(map(str, together(4, lease))) == ["False", "False", "False", "True"]
    assert len(store.due(limit=10)) == 1


def test_history_is_newest_first_in_pages(store: NotificationStore) -> None:
    messages = [a_message(n, f"c{n % 2}") for n in range(1, 8)]
    for message in messages:
        store.add_message(message)
    newest = ids(reversed(messages))
    found, cursor = [], None
    for _ in range(10):
        page = store.history(OWNER, limit=3, cursor=cursor)
        found += ids(page.messages)
        cursor = page.cursor
        if cursor is None:
            break
    assert found == newest
    assert ids(store.history(OWNER, channel_id="c0", limit=10).messages) == ids([messages[n] for n in (5, 3, 1)])
    assert store.history(OWNER, event_type="job.failed", limit=10).messages == ()
    assert store.history("other", limit=10).messages == ()
    page = store.history(OWNER, limit=3)
    with pytest.raises(InvalidCursorError):
        store.history("other", limit=3, cursor=page.cursor)
