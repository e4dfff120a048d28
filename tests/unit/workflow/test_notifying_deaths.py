"""Notifications in virtual time: senders that die or race, secrets that change, addresses that agree or leave."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.channels import ChannelState
from chalicelib.domain.credential_secrets import Given
from chalicelib.domain.credentials import CredentialKind
from chalicelib.domain.messages import MessageStatus
from chalicelib.domain.webhook_signing import WebhookRejected
from chalicelib.errors import Unavailable
from tests.fakes.notifications import FakeAnswer, Received
from tests.fakes.world import OWNER, World
from tests.support.notifying import (
    URL,
    answering,
    check_signature,
    email,
    history,
    send,
    send_for,
    trained,
    types,
    webhook,
)
from tests.unit.services.between import FailingOnce


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    return world


# --- deaths and races -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("after", [False, True], ids=["before the write", "after it"])
@pytest.mark.parametrize("write", ["hand_on", "update_message"])
def test_a_sender_that_dies_at_a_write_loses_nothing(world: World, write: str, after: bool) -> None:
    webhook(world, events=["job.submitted"])
    world.submit()
    dying = FailingOnce(world.notifications, write, KeyboardInterrupt(), after=after)
    whole, world.ports = world.ports, replace(world.ports, notifications=dying)
    with pytest.raises(KeyboardInterrupt):
        send(world)
    world.ports = whole
    world.clock.advance(60)
    send(world)
    assert types(world) == ["job.submitted"]
    assert history(world)[0].status is MessageStatus.DELIVERED


def test_a_sender_that_dies_after_a_try_makes_it_again_under_the_same_id(world: World) -> None:
    webhook(world, events=["job.submitted"])
    world.submit()

    def die(_: Received) -> FakeAnswer:
        raise KeyboardInterrupt

    world.hooks.behave = die
    with pytest.raises(KeyboardInterrupt):
        send(world)
    answering(world, 200)
    send(world, budget=timedelta(seconds=1))
    assert len(world.hooks.received) == 1  # The lease is not over.
    world.clock.advance(60)
    send(world)
    first, second = world.hooks.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_two_senders_at_once_never_make_the_same_try(world: World) -> None:
    webhook(world, events=["job.submitted"])
    world.submit()
    nested: list[int] = []

    def another_at_work(_: Received) -> FakeAnswer:
        if not nested:
            nested.append(1)
            send(world, budget=timedelta(seconds=1))
        return FakeAnswer()

    world.hooks.behave = another_at_work
    send(world)
    assert nested
    assert len(world.hooks.received) == 1


def test_two_senders_hand_an_event_on_once(world: World) -> None:
    webhook(world, events=["job.submitted"])
    world.submit()
    (item,) = world.notifications.outbox()
    send(world)
    assert world.notifications.hand_on(item, history(world)) is False
    send(world)
    assert len(world.hooks.received) == 1


def test_a_message_sent_anew_in_the_middle_of_its_try_ends_well(world: World) -> None:
    webhook(world, events=["job.submitted"])
    world.submit()
    once: list[int] = []

    def meanwhile(_: Received) -> FakeAnswer:
        if not once:
            once.append(1)
            world.services.channels.redeliver(OWNER, history(world)[0].message_id)
        return FakeAnswer()

    world.hooks.behave = meanwhile
    send(world)
    send(world)
    (message,) = history(world)
    assert message.status is MessageStatus.DELIVERED
    assert world.notifications.due(limit=5) == []


def test_a_channel_that_is_deleted_gets_nothing_more(world: World) -> None:
    channel = webhook(world).channel
    answering(world, 500)
    world.submit()
    send(world)
    world.services.channels.delete(OWNER, channel.channel_id)
    tried = len(world.hooks.received)
    send_for(world, timedelta(minutes=30))
    assert len(world.hooks.received) == tried
    assert history(world)[0].note == "The channel was deleted."
    assert world.notifications.due(limit=5) == []
    assert not world.credential_secrets.stored


def test_a_secret_that_is_not_there_yet_is_waited_for(world: World) -> None:
    channel = webhook(world, events=["job.submitted"]).channel
    kept = dict(world.credential_secrets.stored)
    world.credential_secrets.stored.clear()
    world.submit()
    send(world)
    assert world.hooks.received == []
    world.credential_secrets.stored.update(kept)
    world.clock.advance(61)
    send(world)
    assert types(world) == ["job.submitted"]
    assert world.services.channels.get(OWNER, channel.channel_id).failing_since is None


def test_one_broken_message_does_not_stop_the_others(world: World) -> None:
    bad = webhook(world, "https://bad.example/", events=["job.submitted"])
    webhook(world, events=["job.submitted"])

    def behave(got: Received) -> FakeAnswer:
        if "bad" in got.url:
            raise RuntimeError("a bug")
        return FakeAnswer()

    world.hooks.behave = behave
    world.submit()
    send(world)
    assert types(world) == ["job.submitted"]
    (waiting,) = history(world, channel_id=bad.channel.channel_id)
    assert waiting.status is MessageStatus.PENDING


# --- secrets --------------------------------------------------------------------------------------------------------
def test_both_secrets_sign_for_a_day_after_a_rotation(world: World) -> None:
    made = webhook(world, events=["job.submitted"])
    old = made.secret or ""
    new = world.services.channels.rotate(OWNER, made.channel.channel_id).secret or ""
    world.submit()
    send(world)
    assert check_signature(world, world.hooks.received[-1], old)
    assert check_signature(world, world.hooks.received[-1], new)
    world.clock.advance(timedelta(hours=24))
    world.submit()
    send(world)
    assert check_signature(world, world.hooks.received[-1], new)
    with pytest.raises(WebhookRejected):
        check_signature(world, world.hooks.received[-1], old)
    assert len(world.credential_secrets.stored) == 1


# --- e-mail ---------------------------------------------------------------------------------------------------------
def test_mail_comes_after_consent_and_only_then(world: World) -> None:
    channel = email(world, agreed=False)
    assert channel.state is ChannelState.PENDING_CONFIRMATION
    world.submit()
    send(world)
    assert (world.mailer.sent, history(world)) == ([], [])
    world.mailer.confirm("rita@example.com")
    world.submit(tracker_run_name="Kätzchen\n" + "x" * 150)
    send(world)
    ((to, subject, text),) = world.mailer.sent
    assert to == "rita@example.com"
    assert subject.startswith("SimpleTuner Cloud: Queued: K?tzchen x")
    assert (len(subject), subject.isascii(), subject.isprintable()) == (100, True, True)
    assert "stcloud jobs show" in text
    assert world.services.channels.get(OWNER, channel.channel_id).state is ChannelState.ACTIVE


def test_a_reader_who_unsubscribes_ends_the_channel(world: World) -> None:
    channel = email(world)
    world.submit()
    send(world)
    world.mailer.states.clear()
    world.submit()
    send(world)
    found = world.services.channels.get(OWNER, channel.channel_id)
    assert (found.is_enabled, found.disabled_reason) == (False, "The address's reader unsubscribed.")
    assert len(world.mailer.sent) == 1


def test_mail_waits_when_the_mail_service_does_not_answer(world: World) -> None:
    email(world, events=["job.submitted"])
    world.services.channels.list(OWNER)
    world.submit()
    world.mailer.faults = [Unavailable("busy")]
    send(world)
    assert world.mailer.sent == []
    world.clock.advance(61)
    send(world)
    assert len(world.mailer.sent) == 1


def test_a_delivery_is_told_of(world: World) -> None:
    webhook(world, URL, events=["delivery.verified", "delivery.failed"])
    world.services.credentials.create(OWNER, "hub", CredentialKind.HUGGINGFACE, Given(token="hf_" + "a" * 34))
    trained(world, destinations=[{"kind": "huggingface", "repo_id": "acme/cats"}])
    world.run(60)
    send(world)
    assert types(world) == ["delivery.verified"]
    delivery = json.loads(world.hooks.received[0].body)["data"]["delivery"]
    assert set(delivery) == {"delivery_id", "destination"}
    assert "acme/cats" in delivery["destination"]
