"""Random lives under random faults: what must hold, holds whatever dies.

Each example is a seed: jobs with random scripted predictions, and at random moments lost answers, refused calls, dead
workers, dead executions, lost or duplicated webhooks, cancels. Afterwards the faults stop, and within bounded virtual
time every promise must be kept.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from decimal import Decimal

import pytest

from chalicelib.domain.jobs import JobStatus
from chalicelib.domain.permissions import CallerKind
from chalicelib.domain.predictions import PredictionStatus
from chalicelib.errors import AppError
from tests.fakes.machine import Killed
from tests.fakes.provider import LOST, REFUSED, Life
from tests.fakes.world import ME, OWNER, World

LIVES = int(os.environ.get("STC_SIMULATED_LIVES", "1000"))
JOBS_PER_WORLD = 5
#: The same caller, with an API key whose budget covers all jobs of a world.
MY_KEY = replace(ME, kind=CallerKind.KEY, key_id="key1", budget_usd=Decimal(100), budget_id="key1")


def random_life(rng: random.Random) -> Life:
    end = rng.choice(
        [PredictionStatus.SUCCEEDED] * 4
        + [PredictionStatus.FAILED, PredictionStatus.ABORTED, PredictionStatus.CANCELED]
    )
    return Life(
        start=rng.choice([0, 5, 60]),
        run=rng.choice([1, 30, 300, 2000]),
        end=end,
        error=rng.choice([None, "CUDA out of memory", "boom"]),
        publish=rng.random() > 0.1,
        raw_status=rng.choice([None, None, None, "hibernating"]),
    )


class Chaos:
    """Wraps the provider and the store of a world so that calls fail, or work and then fail."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng, self.on = world, rng, True
        for name in ("create", "get", "cancel", "list"):
            self._wrap_provider(name)
        for name in ("save",):
            self._wrap_store(name)

    def _wrap_provider(self, name: str) -> None:
        real = getattr(self.world.provider, name)

        def call(*args: object, **kwargs: object) -> object:
            dice = self.rng.random() if self.on else 1.0
            if dice < 0.05:
                raise REFUSED
            if dice < 0.08:
                raise LOST
            if dice < 0.10:
                raise Killed(name)
            result = real(*args, **kwargs)
            if dice < 0.14:
                raise LOST
            if dice < 0.17:
                raise Killed(f"after {name}")
            return result

        setattr(self.world.provider, name, call)

    def _wrap_store(self, name: str) -> None:
        real = getattr(self.world.jobs, name)

        def call(*args: object, **kwargs: object) -> object:
            dice = self.rng.random() if self.on else 1.0
            if dice < 0.02:
                raise Killed(f"before {name}")
            result = real(*args, **kwargs)
            if dice < 0.04:
                raise Killed(f"after {name}")
            return result

        setattr(self.world.jobs, name, call)


def live_world(seed: int) -> tuple[World, list[str]]:
    rng = random.Random(seed)
    world = World()
    world.push(source="/data/photos")
    world.provider.cancel_takes = rng.choice([0, 0, 20])
    chaos = Chaos(world, rng)
    jobs: list[str] = []
    for i in range(JOBS_PER_WORLD):
        world.provider.lives.append(random_life(rng))
        world.machine.start_fails = rng.choice([0, 0, 0, 1])
        for _ in range(20):
            try:
                jobs.append(world.submit(key=f"key-{i}", who=MY_KEY, max_run_seconds=3600).job.job_id)
                break
            except Killed:
                continue
    for step in range(60):
        try:
            world.run(rng.choice([1, 10, 45, 120]), step=15)
            dice = rng.random()
            job_id = rng.choice(jobs)
            if dice < 0.05:
                world.machine.fail_all()
            elif dice < 0.15:
                world.services.jobs.cancel(ME, job_id)
            elif dice < 0.5:
                status = rng.choice(["starting", "processing", "succeeded", "failed"])
                for _ in range(rng.choice([1, 2])):
                    world.webhook(job_id, status, webhook_id=f"w{step}")
            elif dice < 0.7:
                world.sweep()
        except (Killed, AppError):
            continue
    chaos.on = False
    world.run(3 * 3600, sweep_every=300, step=60)
    world.clock.advance(200)
    world.sweep()
    world.sweep()
    return world, jobs


@pytest.mark.parametrize("block", range(10))
def test_every_promise_holds_after_random_faults(block: int) -> None:
    worlds = max(1, LIVES // JOBS_PER_WORLD // 10)
    ends: set[JobStatus] = set()
    for seed in range(block * worlds, (block + 1) * worlds):
        world, jobs = live_world(seed)
        context = f"seed {seed}"
        assert len(set(jobs)) == JOBS_PER_WORLD, context
        for job_id in jobs:
            job = world.job(job_id)
            ends.add(job.status)
            assert job.is_terminal, (context, job)
            assert world.provider.max_live.get(job_id, 0) <= 1, (context, "two predictions at once", job_id)
            events = world.jobs.events(job_id, limit=10_000)
            assert [e.seq for e in events] == list(range(1, len(events) + 1)), context
            assert job.event_seq == len(events), context
            assert events[-1].type in {"job.completed", "job.failed", "job.cancelled"}, context
            if job.status is JobStatus.COMPLETED:
                assert job.delivery.verified_at is not None, context
        assert world.provider.live() == [], (context, "a prediction outlived its job")
        assert world.jobs.slot_holders(OWNER) == frozenset(), context
        charges = [world.job(job_id).budget_charge_usd for job_id in jobs]
        assert world.jobs.budget_used("key1") == sum(filter(None, charges)), (context, charges)
        assert all(job.cost_usd in (None, job.budget_charge_usd) for job in map(world.job, jobs)), context
        assert world.machine.running() == [], context
    assert JobStatus.COMPLETED in ends
