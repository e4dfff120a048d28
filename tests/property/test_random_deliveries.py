"""Random deliveries under random faults: no wish is lost, no record lies, whatever dies.

Each example is a seed: deliveries of a few jobs, and at random moments faults of the destinations, lost answers, dead
functions and executions, two steps of the same delivery at once, cancels, retries, a damaged copy. Afterwards the
faults stop, and within bounded virtual time every delivery must be over, for a reason that is recorded.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.deliveries import Delivery, DeliveryState
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.destinations import label
from chalicelib.domain.lifecycle import ContendedError
from chalicelib.errors import AppError, Unavailable
from chalicelib.workflow.delivering import deliver_step
from tests.fakes.delivery_runner import Died
from tests.fakes.world import ME, OWNER, World
from tests.support.deliveries import BUCKET, HOOK, HUB, completed_job, with_credentials

LIVES = int(os.environ.get("STC_SIMULATED_DELIVERIES", "300"))
JOBS = ("job1", "job2")
PLACES = (HUB, BUCKET, HOOK)
FOR_GOOD = frozenset({"forbidden", "source_missing", "corrupt_at_target"})


def random_fault(rng: random.Random) -> BaseException:
    hours = rng.choice([None, None, timedelta(seconds=5), timedelta(minutes=40)])
    return rng.choice(
        [
            Died(),
            RuntimeError("what no adapter expects"),
            Unavailable("The database did not answer."),
            DeliveryFault("unavailable", "503", "Wait.", retry=True, retry_after=hours),
            DeliveryFault("timeout", "Nothing came.", "Wait.", retry=True),
            DeliveryFault("corrupt_at_target", "It differs.", "Wait.", retry=True, restart=True),
        ]
    )


class Chaos:
    """Destinations and stores that fail before or after their work, and steps that overtake each other."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng, self.on, self._inside = world, rng, True, False
        world.targets.meanwhile = self.meanwhile
        for store, names in (
            (world.deliveries, ("create", "update", "get")),
            (world.outputs, ("put", "get", "delete")),
            (world.jobs, ("save",)),
            (world.delivery_runner, ("start",)),
        ):
            for name in names:
                setattr(store, name, self._wrapped(getattr(store, name)))

    def meanwhile(self, call: str) -> None:
        if not self.on or self._inside:
            return
        dice = self.rng.random()
        if dice < 0.08:
            raise random_fault(self.rng)
        if dice < 0.09 and call != "abandon":
            raise DeliveryFault("forbidden", "No.", "Rotate.", retry=False)
        if dice < 0.2:
            self._inside = True
            try:
                for delivery in self.world.deliveries.list_open():
                    with suppress(AppError, Died, ContendedError):
                        deliver_step(identity(delivery), self.world.ports)
            finally:
                self._inside = False

    def _wrapped(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            dice = self.rng.random() if self.on else 1.0
            if dice < 0.01:
                raise Died
            if dice < 0.02:
                raise Unavailable("The store did not answer.")
            answer = work(*args, **kwargs)
            if dice < 0.03:
                raise Died
            if dice < 0.04:
                raise Unavailable("The store's answer was lost.")
            return answer

        return call


def identity(delivery: Delivery) -> dict[str, Any]:
    return {"job_id": delivery.job_id, "delivery_id": delivery.delivery_id, "attempt": delivery.attempt}


def act(world: World, rng: random.Random) -> None:
    job_id, service = rng.choice(JOBS), world.services.deliveries
    known = world.deliveries.list_of(job_id)
    dice = rng.random()
    if dice < 0.3 or not known:
        service.deliver(ME, job_id, rng.sample(PLACES, rng.choice([1, 1, 2])))
    elif dice < 0.4:
        service.cancel(ME, job_id, rng.choice(known).delivery_id)
    elif dice < 0.5:
        service.retry(ME, job_id, rng.choice(known).delivery_id)
    elif dice < 0.6:
        world.delivery_runner.fail_all()
    elif dice < 0.7:
        spoilt = rng.choice([*world.targets.places.values(), {}])
        for path in list(spoilt)[:1]:
            spoilt[path] = b"\0" * len(spoilt[path])
    elif dice < 0.8:
        world.sweep()


def lived(seed: int) -> World:
    rng = random.Random(seed)
    world = with_credentials(World())
    for job_id in JOBS:
        completed_job(world, job_id)
    world.targets.fan = rng.random() < 0.5
    world.targets.per_step = rng.choice([1, 2, 10])
    chaos = Chaos(world, rng)
    for _ in range(25):
        with suppress(AppError, Died, ContendedError):
            act(world, rng)
        with suppress(AppError, Died, ContendedError):
            world.run(rng.choice([1, 20, 300]), sweep_every=rng.choice([None, 20, 100]), step=20)
    chaos.on = False
    world.run(6 * 3600, sweep_every=120, step=60)
    return world


@pytest.mark.parametrize("block", range(10))
def test_no_wish_is_lost_and_no_record_lies(block: int) -> None:
    ends: set[DeliveryState] = set()
    for seed in range(block * LIVES // 10, (block + 1) * LIVES // 10):
        world, context = lived(seed), f"seed {seed}"
        assert world.deliveries.list_open() == [], context
        assert world.delivery_runner.running() == [], context
        for job_id in JOBS:
            deliveries = world.deliveries.list_of(job_id)
            ends |= {d.state for d in deliveries}
            check_job(world, job_id, deliveries, context)
            for delivery in deliveries:
                check_record(delivery, (context, delivery))
        left = {i.key.rsplit("/", 1)[-1] for job in JOBS for i in world.outputs.list(f"{OWNER}/{job}/deliveries/")}
        # A step that was overtaken by the end and died may leave its own; the job's deletion takes all.
        assert {name for name in left if not name.startswith("state-")} <= {"manifest.json"}, context
    assert DeliveryState.VERIFIED in ends


def check_job(world: World, job_id: str, deliveries: Any, context: str) -> None:
    job = world.job(job_id)
    assert job.status == "completed", context
    assert {i: m.mark.value for i, m in job.deliveries.marks.items()} == {
        d.delivery_id: d.state.value for d in deliveries
    }, context
    events = world.jobs.events(job_id, limit=1000)
    assert [e.seq for e in events] == list(range(1, len(events) + 1)), context
    for delivery in deliveries:
        told = [e.type for e in events if e.data["delivery_id"] == delivery.delivery_id]
        assert told[-1] == f"delivery.{delivery.state}", (context, told)
        assert len(told) == len(set(told)), (context, told)


def check_record(delivery: Delivery, context: Any) -> None:
    assert delivery.settled, context
    if delivery.state is DeliveryState.VERIFIED:
        assert delivery.files_done == delivery.files_total > 0, context
        assert delivery.bytes_done == delivery.bytes_total, context
        assert delivery.problem is None, context
    if delivery.state is DeliveryState.FAILED:
        assert delivery.problem is not None, context
        assert not delivery.problem.will_retry, context
        assert delivery.problem.code in FOR_GOOD, context
    if delivery.state is DeliveryState.CANCELLED:
        assert delivery.cancel_requested_at is not None, context


@pytest.mark.parametrize("seed", range(30))
def test_what_was_verified_last_is_what_lies_there(seed: int) -> None:
    """Without damage done afterwards, and with one job for each place."""
    rng = random.Random(seed)
    world = with_credentials(World())
    completed_job(world, "job1")
    chaos = Chaos(world, rng)
    for place in PLACES:
        for _ in range(20):
            with suppress(AppError, Died, ContendedError):
                world.services.deliveries.deliver(ME, "job1", [place])
                break
    for _ in range(20):
        with suppress(AppError, Died, ContendedError):
            world.run(60, sweep_every=60, step=20)
    chaos.on = False
    world.run(6 * 3600, sweep_every=120, step=60)
    assert world.deliveries.list_open() == []
    for delivery in world.deliveries.list_of("job1"):
        if delivery.state is DeliveryState.VERIFIED:
            there = world.targets.places[label(delivery.destination)]
            lines = json.loads(there["manifest.json"])["files"]
            assert {line["path"]: line["sha256"] for line in lines} == {
                path: hashlib.sha256(data).hexdigest() for path, data in there.items() if path != "manifest.json"
            }
