"""Notifications in virtual time: from the event to the receiver, through everything that may go wrong."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.channels import ChannelState
from chalicelib.domain.credential_secrets import Given
from chalicelib.domain.credentials import CredentialKind
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.messages import PAUSES, MessageStatus
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
    types,
    webhook,
)
from tests.unit.services.between import FailingOnce


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    return world


def trained(world: World, **body: Any) -> str:
    """A job that was submitted and has completed."""
    job_id = world.submit(**body).job.job_id
    world.run(900, step=30)
    assert world.job(job_id).status == "completed"
    return job_id


# --- what is told ---------------------------------------------------------------------------------------------------
def test_a_job_is_told_of_from_submit_to_end_signed_and_without_secrets(world: World) -> None:
    made = webhook(world)
    job_id = trained(world, tracker_run_name="cats")
    send(world)
    assert types(world) == ["job.submitted", "job.running", "job.completed"]
    last = world.hooks.received[-1]
    assert check_signature(world, last, made.secret or "") == history(world)[0].message_id
    document = json.loads(last.body)
    assert document["timestamp"].endswith("Z")
    job = document["data"]["job"]
    assert (job["job_id"], job["status"], job["tracker_run_name"]) == (job_id, "completed", "cats")
    assert job["cost_usd"] == pytest.approx(float(world.job(job_id).cost_usd or 0))
    text = b" ".join(got.body for got in world.hooks.received).decode().lower()
    for never in ("token", "secret", "x-amz", "prediction_id", "http"):
        assert never not in text
    assert {m.status for m in history(world)} == {MessageStatus.DELIVERED}
    assert world.notifications.outbox() == []
    assert world.notifications.due(limit=10) == []


def test_each_channel_gets_the_events_it_wants(world: World) -> None:
    webhook(world, "https://a.example/", events=["job.completed"])
    webhook(world, "https://b.example/", events=["job.failed"])
    webhook(world, "https://c.example/", is_enabled=False)
    trained(world)
    send(world)
    assert types(world, "https://a.example/") == ["job.completed"]
    assert types(world, "https://b.example/") == types(world, "https://c.example/") == []


def test_a_channel_is_not_told_of_what_was_before_it(world: World) -> None:
    trained(world)
    world.clock.advance(1)
    webhook(world)
    send(world)
    assert world.hooks.received == []
    assert world.notifications.outbox() == []


def test_what_is_told_wakes_the_sender(world: World) -> None:
    world.submit()
    assert world.nudges == 1
    world.run(900, step=30)
    assert world.nudges == 3


def test_a_failed_job_says_why(world: World) -> None:
    world.weights = None
    webhook(world, events=["job.failed"])
    job_id = world.submit().job.job_id
    world.run(900, step=30)
    send(world)
    told = json.loads(world.hooks.received[0].body)
    failure = world.job(job_id).failure
    assert failure is not None
    assert told["data"]["job"]["error"]["code"] == failure.code
    assert told["data"]["message"]


# --- tries ----------------------------------------------------------------------------------------------------------
def test_the_tries_of_a_day_of_500s(world: World) -> None:
    webhook(world, events=["job.submitted"])
    world.hooks.behave = lambda _: FakeAnswer(500, b'{"detail": "hf_' + b"a" * 30 + b'"}')
    world.submit()
    send_for(world, timedelta(hours=25))
    (message,) = history(world, event_type="job.submitted")
    assert message.status is MessageStatus.FAILED
    assert "a day" in (message.note or "")
    # Each try comes when its pause is over, or with the next run.
    pauses = [later.at - earlier.at for earlier, later in zip(message.tries, message.tries[1:], strict=False)]
    assert len(message.tries) == 11
    for pause, wanted in zip(pauses, [*PAUSES, PAUSES[-1]], strict=True):
        assert wanted <= pause < wanted + timedelta(minutes=1, seconds=5)
    assert {got.headers["webhook-id"] for got in world.hooks.received} == {message.message_id}
    assert len({got.body for got in world.hooks.received}) == 1
    assert len({got.headers["webhook-timestamp"] for got in world.hooks.received}) == 11
    first = message.tries[0]
    assert (first.status, first.body) == (500, '{"detail": "[redacted]"}')
    assert "500" in (first.error or "")


def test_a_channel_that_fails_for_a_day_is_disabled_and_its_owner_told_by_mail(world: World) -> None:
    channel = webhook(world).channel
    email(world, events=["job.failed"])
    answering(world, 503)
    world.submit()
    send(world)
    assert world.services.channels.get(OWNER, channel.channel_id).state is ChannelState.FAILING
    send_for(world, timedelta(hours=25))
    found = world.services.channels.get(OWNER, channel.channel_id)
    assert found.state is ChannelState.DISABLED
    assert "Nothing has arrived for a day" in (found.disabled_reason or "")
    ((to, subject, text),) = world.mailer.sent
    assert (to, subject) == ("rita@example.com", "SimpleTuner Cloud: Channel disabled: hook")
    assert "503" in text
    # What comes later is not sent there, and enabling it begins anew.
    before = len(world.hooks.received)
    world.submit()
    send(world)
    assert len(world.hooks.received) == before
    answering(world, 200)
    world.services.channels.change(OWNER, channel.channel_id, {"is_enabled": True})
    world.submit()
    send(world)
    assert types(world)[before:] == ["job.submitted"]


def test_one_success_makes_a_failing_channel_active_again(world: World) -> None:
    channel = webhook(world, events=["job.submitted"]).channel
    answering(world, 500, 500, 200)
    world.submit()
    report = send(world)
    # The pauses of 5 and 30 seconds are waited for in the same run.
    assert (report.failed, report.delivered) == (2, 1)
    assert world.services.channels.get(OWNER, channel.channel_id).state is ChannelState.ACTIVE
    assert [t.status for t in history(world)[0].tries] == [500, 500, 200]


def test_gone_disables_the_channel_at_once(world: World) -> None:
    channel = webhook(world).channel
    answering(world, 410)
    world.submit()
    world.submit()
    send(world)
    assert len(world.hooks.received) == 1
    found = world.services.channels.get(OWNER, channel.channel_id)
    assert (found.is_enabled, "410" in (found.disabled_reason or "")) == (False, True)
    assert {m.status for m in history(world)} == {MessageStatus.FAILED}


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 429, 500])
def test_what_is_not_2xx_is_tried_again(world: World, status: int) -> None:
    webhook(world, events=["job.submitted"])
    answering(world, status, 204)
    world.submit()
    send(world)
    assert [t.status for t in history(world)[0].tries] == [status, 204]


def test_a_receiver_may_ask_for_time(world: World) -> None:
    webhook(world, events=["job.submitted"])
    world.hooks.behave = lambda _: FakeAnswer(429, headers={"retry-after": "900"})
    world.submit()
    send(world)
    (message,) = history(world)
    assert message.next_try_at == message.tries[0].at + timedelta(seconds=900)


def test_a_refused_address_is_not_tried_again(world: World) -> None:
    def refuse(_: Received) -> FakeAnswer:
        raise DeliveryFault("address_refused", "It is at 10.0.0.1.", "Give a public one.", retry=False)

    webhook(world, events=["job.submitted"])
    world.hooks.behave = refuse
    world.submit()
    send(world)
    (message,) = history(world)
    assert (message.status, len(message.tries)) == (MessageStatus.FAILED, 1)
    assert message.tries[0].error == "It is at 10.0.0.1. Give a public one."


# --- fairness -------------------------------------------------------------------------------------------------------
def test_a_slow_endpoint_does_not_starve_the_others(world: World) -> None:
    webhook(world, "https://slow.example/", events=["job.submitted"])
    webhook(world, "https://good.example/", events=["job.submitted"])

    def behave(got: Received) -> FakeAnswer:
        if "slow" in got.url:
            world.clock.advance(10)
            raise DeliveryFault("timeout", "No answer came in time.", "Look.", retry=True)
        return FakeAnswer()

    world.hooks.behave = behave
    for _ in range(5):
        world.submit()
    begun = world.clock.now()
    send(world)
    assert types(world, "https://good.example/") == ["job.submitted"] * 5
    assert len(types(world, "https://slow.example/")) <= 5
    assert world.clock.now() - begun < timedelta(seconds=100)
    # Once it is known to be dead, it does not even go first.
    world.hooks.received.clear()
    world.clock.advance(3600)
    for job_id in world.jobs.slot_holders(OWNER):
        world.jobs.release_slot(OWNER, job_id)
    world.submit()
    send(world)
    assert "good" in world.hooks.received[0].url


def test_a_dead_endpoint_with_a_long_queue_costs_a_try_or_three_a_run(world: World) -> None:
    webhook(world, events=["job.submitted"])
    answering(world, 500)
    for _ in range(5):
        world.submit()
    send(world)
    assert len(world.hooks.received) <= 3
    world.hooks.received.clear()
    world.clock.advance(900)
    begun = world.clock.now()
    send(world)
    assert len(world.hooks.received) == 1
    assert world.clock.now() == begun


def test_a_run_ends_in_time_and_the_next_goes_on(world: World) -> None:
    for i in range(6):
        webhook(world, f"https://h{i}.example/", events=["job.submitted"])

    def slowly(_: Received) -> FakeAnswer:
        world.clock.advance(9)
        return FakeAnswer()

    world.hooks.behave = slowly
    for _ in range(5):
        world.submit()
    begun = world.clock.now()
    send(world)
    assert world.clock.now() - begun <= timedelta(seconds=90)
    assert len(world.hooks.received) < 30
    for _ in range(5):
        send(world)
    assert Counter(got.url for got in world.hooks.received) == {f"https://h{i}.example/": 5 for i in range(6)}


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
