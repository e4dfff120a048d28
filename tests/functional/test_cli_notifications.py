"""``stcloud notifications`` against the API, with a receiver on a port that gets what the real sender sends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chalicelib.delivery.hooks import Hooks
from chalicelib.domain.webhook_signing import verify
from chalicelib.wiring import build_services
from tests.fakes.notifications import FakeAnswer
from tests.fakes.world import World
from tests.functional.cli_server import CliServer, cli_server
from tests.functional.cli_tools import Cli
from tests.support.notifying import history, send, webhook
from tests.support.receiver import receiver


def private_world() -> World:
    world = World()
    world.limits = replace(world.limits, private_destinations=True)
    world.ports = replace(world.ports, limits=world.limits, hooks=Hooks(allow_private=True))
    world.services = build_services(world.ports, world.doors, world.services.settings)
    world.push(source="/data/photos")
    return world


def test_a_real_request_arrives_signed_and_is_tried_again() -> None:
    world = private_world()
    with receiver() as there:
        made = webhook(world, there.url, events=["job.submitted"])
        there.answers = [500, 302]
        world.submit()
        send(world)
    assert [t.status for t in history(world)[0].tries] == [500, 302, 204]
    headers, body = there.got[-1]
    assert verify(body, headers, [made.secret or ""], now=world.clock.now()) == history(world)[0].message_id
    assert len(there.got) == 3


@pytest.mark.parametrize("url", ["https://10.0.0.1/", "https://[::1]/"])
def test_a_hosted_stack_connects_to_no_private_address(url: str) -> None:
    world = World()
    world.push(source="/data/photos")
    channel = webhook(world, events=["job.submitted"]).channel
    # As when a name's address is changed after the channel was added: the record is what it was.
    world.notifications.update_channel(channel.changed(world.clock.now(), webhook_url=url))
    world.ports = replace(world.ports, hooks=Hooks(allow_private=False))
    world.submit()
    send(world)
    (message,) = history(world)
    assert message.status == "failed"
    assert "not public" in (message.tries[0].error or "")


# --- the command line -----------------------------------------------------------------------------------------------
@pytest.fixture
def server() -> Iterator[CliServer]:
    with cli_server() as running:
        yield running


@pytest.fixture
def cli(server: CliServer, tmp_path: Path) -> Cli:
    return Cli(server.url, tmp_path / "home", [])


def the_channel(server: CliServer) -> str:
    (channel,) = server.world.notifications.list_channels("local")
    return channel.channel_id


def test_a_webhook_from_the_first_to_the_last(server: CliServer, cli: Cli) -> None:
    url = "https://hooks.example/in"
    wrong = cli.run("notifications", "add", "--webhook", url, "--events", "job.complet")
    assert (wrong.code, "did you mean job.completed?" in wrong.err) == (4, True)
    added = cli.run("notifications", "add", "--webhook", url, "--events", "job.submitted, job.failed")
    assert added.code == 0
    secret = added.out.strip()
    assert secret.startswith("whsec_")
    channel = the_channel(server)
    listed = cli.run("notifications", "list").out
    assert channel in listed
    assert "whsec_" not in listed
    assert "arrived" in cli.run("notifications", "test", channel).out
    server.world.hooks.behave = lambda _: FakeAnswer(404)
    failed = cli.run("notifications", "test", channel)
    assert (failed.code, "404" in failed.out) == (4, True)
    history = cli.run("notifications", "history", "--event", "notification.test").out
    assert ("delivered" in history, "failed" in history) == (True, True)
    message = server.world.notifications.history("local", limit=1).messages[0].message_id
    assert "again" in cli.run("notifications", "redeliver", message).out
    rotated = cli.run("notifications", "rotate-secret", channel)
    assert rotated.out.strip().startswith("whsec_")
    assert rotated.out.strip() != secret
    assert "disabled" in cli.run("notifications", "update", channel, "--disable").out
    assert cli.run("notifications", "update", channel).code == 2
    assert cli.run("notifications", "delete", channel, "--yes").code == 0
    assert "No channels yet" in (gone := cli.run("notifications", "list")).out + gone.err


def test_an_address_and_what_there_is_to_be_told_of(server: CliServer, cli: Cli) -> None:
    added = cli.run("notifications", "add", "--email", "rita@example.com")
    assert added.code == 0
    assert "a message with a link" in added.err
    assert "waits for the link" in cli.run("notifications", "list").out
    assert "delivery.verified" in cli.run("notifications", "events").out
    assert cli.run("notifications", "add").code == 2
    assert cli.run("notifications", "add", "--email", "a@b.example", "--webhook", "https://x.example/").code == 2
