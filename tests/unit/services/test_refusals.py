"""Refusals of strangers: none is lost without a trace, and none of them can fill the audit."""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

import pytest

from chalicelib.domain.audit import AuditAction
from chalicelib.errors import Unavailable
from chalicelib.services.audit import Actor
from chalicelib.services.refusals import WINDOW, Refusals, network_of
from tests.fakes.world import World


def refuse(world: World, address: str = "203.0.113.7", times: int = 1, counts: object = None) -> None:
    refusals = Refusals(world.services.audit, counts or world.rates, world.clock)  # type: ignore[arg-type]
    for _ in range(times):
        actor = Actor.nobody(source_ip=address, request_id="r")
        refusals.note(actor, AuditAction.SIGN_IN, target="name:x", code="invalid_credentials")


def counted(world: World) -> list[int | None]:
    return [record.details.get("refusals") for record in world.audit.records]


def test_the_first_is_noted_at_once_and_of_many_their_order_of_magnitude() -> None:
    world = World()
    refuse(world)
    (first,) = world.audit.records
    assert (first.result, first.code, first.source_ip) == ("denied", "invalid_credentials", "203.0.113.7")
    assert first.details == {"refusals": 1, "window_seconds": 300}
    refuse(world, times=1023)
    assert counted(world) == [2**n for n in range(11)]


def test_each_address_and_each_window_counts_for_itself() -> None:
    world = World()
    refuse(world, times=3)
    refuse(world, "203.0.113.8", times=3)
    world.clock.advance(WINDOW / timedelta(seconds=1))
    refuse(world, times=3)
    assert counted(world) == [1, 2, 1, 2, 1, 2]


def test_an_attacker_with_a_network_of_ipv6_is_one_address() -> None:
    world = World()
    for n in range(16):
        refuse(world, f"2001:db8:1:2::{n:x}")
    assert counted(world) == [1, 2, 4, 8, 16]
    assert network_of("2001:db8:1:3::1") != network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network_of("unknown") == "unknown"


def test_what_can_not_be_counted_is_noted() -> None:
    class Broken:
        def take(self, *_: object, **__: object) -> NoReturn:
            raise Unavailable("no")

    world = World()
    refuse(world, times=3, counts=Broken())
    assert counted(world) == [None, None, None]


@pytest.mark.parametrize("broken", [Unavailable("no"), RuntimeError("worse")])
def test_a_record_that_is_lost_is_no_error(broken: Exception) -> None:
    world = World()
    world.audit.broken = broken
    refuse(world)
