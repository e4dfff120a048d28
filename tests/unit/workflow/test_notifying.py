"""Notifications in virtual time: from the event to the receiver, through everything that may go wrong."""

from __future__ import annotations

import json
from collections import Counter
from datetime import timedelta

import pytest

from chalicelib.domain.channels import ChannelState
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.messages import PAUSES, MessageStatus
from tests.fakes.notifications import FakeAnswer, Received
from tests.fakes.world import OWNER, World
from tests.support.notifying import (
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


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    return world


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
