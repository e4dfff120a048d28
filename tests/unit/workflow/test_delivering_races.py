"""Deliveries while something dies between two writes, two work on the same one, or somebody cancels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from chalicelib.domain.deliveries import Delivery, DeliveryState
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.destinations import label
from chalicelib.services.delivery_records import change_delivery, tell
from chalicelib.workflow.delivering import deliver_piece, deliver_step
from tests.fakes.delivery_runner import Died
from tests.fakes.world import OWNER, World
from tests.support.deliveries import HUB, begin, completed_job, deliver, delivery_of, with_credentials

PLACE = label(HUB)
EVENT = {"job_id": "job1", "delivery_id": "d-job1-001", "attempt": 1}
DOWN = DeliveryFault("unavailable", "503", "Wait.", retry=True)
RESTART = DeliveryFault("corrupt_at_target", "It differs.", "Wait.", retry=True, restart=True)
DENIED = DeliveryFault("forbidden", "No.", "Rotate.", retry=False)
ONE_OF_EACH = {"delivery.started": 1, "delivery.verified": 1}


class DiesOnce:
    """Kills whoever makes the ``nth`` write of this world, before or after it took place."""

    def __init__(self, world: World, nth: int, *, late: bool) -> None:
        self._left, self._late = nth, late
        self.died = False
        for store, names in (
            (world.deliveries, ("create", "update")),
            (world.outputs, ("put", "delete")),
            (world.jobs, ("save",)),
            (world.delivery_runner, ("start",)),
        ):
            for name in names:
                setattr(store, name, self._wrapped(getattr(store, name)))

    def _wrapped(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if args and "/artifacts/" in str(args[0]):
                return write(*args, **kwargs)  # the trainer's
            now = self._left == 0
            self._left -= 1
            if now and not self._late:
                self.died = True
                raise Died
            answer = write(*args, **kwargs)
            if now:
                self.died = True
                raise Died
            return answer

        return call


def counts(world: World) -> dict[str, int]:
    types = world.event_types("job1")
    return {kind: types.count(kind) for kind in types}


def check_consistent(world: World) -> None:
    """The job knows what its deliveries are, nothing is open, no notes are left."""
    job = world.job("job1")
    assert world.deliveries.list_open() == []
    for delivery in world.deliveries.list_of("job1"):
        assert delivery.is_over
        assert job.deliveries.marks[delivery.delivery_id].mark == delivery.state.value
    left = {info.key.rsplit("/", 1)[-1] for info in world.outputs.list(f"{OWNER}/job1/deliveries/")}
    assert left <= {"manifest.json"}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("script", ["plain", "fan", "fault", "restart"])
def test_a_death_between_any_two_writes_costs_nothing(script: str, late: bool) -> None:
    for nth in range(200):
        world = with_credentials(World())
        job = completed_job(world)
        world.targets.fan = script == "fan"
        world.targets.faults["send"] = [None, DOWN] if script == "fault" else []
        world.targets.faults["confirm"] = [RESTART] if script == "restart" else []
        begin(world, job)
        died = DiesOnce(world, nth, late=late)
        deliver(world)
        assert delivery_of(world).state is DeliveryState.VERIFIED, (script, nth)
        known = counts(world)
        known.pop("delivery.retrying", None)
        assert known == ONE_OF_EACH, (script, nth)
        check_consistent(world)
        if not died.died:
            assert nth > 10
            return
    raise AssertionError("the delivery makes more writes than that")


@pytest.mark.parametrize("late", [False, True])
def test_a_death_while_failing_costs_nothing(late: bool) -> None:
    for nth in range(100):
        world = with_credentials(World())
        job = completed_job(world)
        world.targets.faults["send"] = [None, DENIED, DENIED, DENIED]
        begin(world, job)
        died = DiesOnce(world, nth, late=late)
        deliver(world)
        assert delivery_of(world).state is DeliveryState.FAILED
        assert counts(world) == {"delivery.started": 1, "delivery.failed": 1}, nth
        check_consistent(world)
        if not died.died:
            return
    raise AssertionError("the delivery makes more writes than that")


@pytest.mark.parametrize("late", [False, True])
def test_the_wishes_of_a_job_are_never_lost(late: bool) -> None:
    """From submit to the end of the deliveries, with a death at any write."""
    nth, misses = 0, 0
    while misses == 0:
        world = with_credentials(World())
        world.push(source="/data/photos")
        job_id = world.submit(destinations=[HUB.model_dump(mode="json")]).job.job_id
        died = DiesOnce(world, nth, late=late)
        for _ in range(120):
            with suppress(Died):  # the sweeper's own
                world.run(30, sweep_every=30, step=30)
        delivery = delivery_of(world, job_id)
        assert delivery.state is DeliveryState.VERIFIED, nth
        assert world.job(job_id).deliveries.state == "verified"
        assert world.event_types(job_id).count("delivery.verified") == 1
        misses += not died.died
        nth += 1
        assert nth < 200


@pytest.mark.parametrize("at", ["connect", "send", "confirm"])
@pytest.mark.parametrize("inner", ["one", "all"])
def test_two_steps_at_once_leave_one_result(at: str, inner: str) -> None:
    world = with_credentials(World())
    begin(world, completed_job(world))
    busy = False

    def meanwhile(call: str) -> None:
        nonlocal busy
        if call != at or busy:
            return
        busy = True
        for _ in range(1 if inner == "one" else 12):
            deliver_step(EVENT, world.ports)
        busy = False

    world.targets.meanwhile = meanwhile
    deliver(world)
    assert delivery_of(world).state is DeliveryState.VERIFIED
    assert counts(world) == ONE_OF_EACH
    check_consistent(world)


@pytest.mark.parametrize("fault", [DOWN, RESTART, DENIED])
def test_a_step_that_was_overtaken_says_nothing(fault: DeliveryFault) -> None:
    """Its fault is of a moment that is over."""
    world = with_credentials(World())
    begin(world, completed_job(world))
    deliver_step(EVENT, world.ports)
    overtaken = False

    def meanwhile(call: str) -> None:
        nonlocal overtaken
        if call == "send" and not overtaken:
            overtaken = True
            deliver_step(EVENT, world.ports)
            world.targets.faults["send"] = [fault]

    world.targets.meanwhile = meanwhile
    deliver_step(EVENT, world.ports)
    delivery = delivery_of(world)
    assert (delivery.state, delivery.problem, delivery.tries) == (DeliveryState.DELIVERING, None, 0)
    assert delivery.files_done == 2
    deliver(world)
    assert delivery_of(world).state is DeliveryState.VERIFIED


def ask_to_cancel(world: World) -> Delivery | None:
    now = world.clock.now()
    return change_delivery(
        world.ports,
        "job1",
        "d-job1-001",
        lambda d: None if d.is_over or d.cancel_requested_at else d.moved(now, cancel_requested_at=now),
    )


@pytest.mark.parametrize("fan", [False, True])
@pytest.mark.parametrize("at", ["connect", "send", "piece", "confirm"])
@pytest.mark.parametrize("nth", [0, 1, 2])
def test_a_cancel_at_any_call_is_heeded_or_too_late(at: str, nth: int, fan: bool) -> None:
    world = with_credentials(World())
    world.targets.fan = fan
    begin(world, completed_job(world))
    seen = 0

    def meanwhile(call: str) -> None:
        nonlocal seen
        seen += call == at
        if call == at and seen == nth + 1:
            ask_to_cancel(world)

    world.targets.meanwhile = meanwhile
    deliver(world)
    delivery = delivery_of(world)
    assert delivery.state in {DeliveryState.CANCELLED, DeliveryState.VERIFIED}
    if delivery.cancel_requested_at is None or at == "confirm":
        assert delivery.state is DeliveryState.VERIFIED
    else:
        assert delivery.state is DeliveryState.CANCELLED
        assert world.targets.abandoned == (["d-job1-001"] if delivery.started_at else [])
        assert counts(world)["delivery.cancelled"] == 1
    check_consistent(world)


def test_pieces_of_a_cancelled_delivery_are_not_sent() -> None:
    world = with_credentials(World())
    world.targets.fan = True
    begin(world, completed_job(world))
    answer = deliver_step(EVENT, world.ports)
    ask_to_cancel(world)
    assert [deliver_piece(item, world.ports) for item in answer["items"]] == [{}] * 4
    assert world.targets.count("piece") == 0


def test_a_fault_while_clearing_up_does_not_keep_it() -> None:
    world = with_credentials(World())
    world.targets.faults["abandon"] = [DOWN]
    begin(world, completed_job(world))
    deliver_step(EVENT, world.ports)
    ask_to_cancel(world)
    deliver(world)
    assert delivery_of(world).state is DeliveryState.CANCELLED


def test_telling_twice_tells_once() -> None:
    world = with_credentials(World())
    begin(world, completed_job(world))
    deliver(world)
    before = world.job("job1")
    tell(world.ports, delivery_of(world))
    assert world.job("job1") == before
