"""Worlds with channels, and senders in virtual time."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from chalicelib.domain.channels import Channel, ChannelType
from chalicelib.domain.messages import Message
from chalicelib.domain.webhook_signing import verify
from chalicelib.services.channels import Made
from chalicelib.workflow.notifying import Report, send_notifications
from tests.fakes.notifications import FakeAnswer, Received
from tests.fakes.world import OWNER, World

URL = "https://hooks.example/in"


def webhook(world: World, url: str = URL, **options: Any) -> Made:
    return world.services.channels.create(OWNER, ChannelType.WEBHOOK, "hook", webhook_url=url, **options)


def email(world: World, address: str = "rita@example.com", *, agreed: bool = True, **options: Any) -> Channel:
    channel = world.services.channels.create(OWNER, ChannelType.EMAIL, "mail", email=address, **options).channel
    if agreed:
        world.mailer.confirm(address)
    return channel


def send(world: World, **options: Any) -> Report:
    """One run of the sender; it waits in virtual time."""
    return send_notifications(world.ports, workers=1, sleep=world.clock.advance, **options)


def send_for(world: World, duration: timedelta) -> None:
    """A run every minute."""
    end = world.clock.now() + duration
    while world.clock.now() < end:
        begun = world.clock.now()
        send(world)
        left = timedelta(minutes=1) - (world.clock.now() - begun)
        world.clock.advance(max(timedelta(0), left))


def answering(world: World, *answers: int) -> None:
    """These statuses one after the other, the last one for ever."""
    rest = list(answers)
    world.hooks.behave = lambda _: FakeAnswer(rest.pop(0) if len(rest) > 1 else rest[0])


def types(world: World, url: str = URL) -> list[str]:
    return [json.loads(got.body)["type"] for got in world.hooks.received if got.url == url]


def history(world: World, **wanted: Any) -> list[Message]:
    query: dict[str, Any] = {"channel_id": None, "event_type": None, "limit": 100, "cursor": None, **wanted}
    return list(world.services.channels.history(OWNER, **query).messages)


def check_signature(world: World, got: Received, *secrets: str) -> str:
    return verify(got.body, got.headers, secrets, now=world.clock.now(), tolerance=timedelta(days=2))


def trained(world: World, **body: Any) -> str:
    """A job that was submitted and has completed."""
    job_id = world.submit(**body).job.job_id
    world.run(900, step=30)
    assert world.job(job_id).status == "completed"
    return job_id
