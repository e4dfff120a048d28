"""Launch, rule by rule: the lease, the settling time, pauses, the last moment for a cancel."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.jobs import JobStatus
from chalicelib.domain.predictions import LaunchRequest, Prediction
from chalicelib.workflow.launch import launch
from tests.fakes.machine import Killed
from tests.fakes.provider import LOST, Life
from tests.fakes.world import ME, World


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    world.provider.default_life = Life(start=0, run=10**5)
    return world


def _killed_before_it_sent(world: World) -> str:
    """A job whose launch died with its lease in hand and nothing sent."""
    job_id = world.submit().job.job_id
    real = world.provider.create

    def die(request: LaunchRequest) -> Prediction:
        world.provider.create = real  # type: ignore[method-assign]
        raise Killed("create")

    world.provider.create = die  # type: ignore[method-assign]
    with pytest.raises(Killed):
        launch(job_id, world.ports)
    return job_id


def test_while_a_lease_runs_nobody_else_creates(world: World) -> None:
    job_id = _killed_before_it_sent(world)
    world.clock.advance(world.limits.launch_lease_seconds - 1)
    launch(job_id, world.ports)
    assert world.provider.records == {}


def test_after_a_dead_holder_the_settling_time_counts_from_the_end_of_its_lease(world: World) -> None:
    """It may have sent at the very end of the lease, not when it wrote the intent."""
    job_id = _killed_before_it_sent(world)
    limits = world.limits
    world.clock.advance(limits.launch_lease_seconds + limits.adopt_settle_seconds - 1)
    launch(job_id, world.ports)
    assert world.provider.records == {}
    world.clock.advance(limits.adopt_settle_seconds + 2)
    launch(job_id, world.ports)
    assert len(world.provider.records) == 1


def test_after_a_lost_answer_nothing_is_created_until_it_must_show(world: World) -> None:
    job_id = world.submit().job.job_id
    world.provider.faults["create"] = [LOST]
    launch(job_id, world.ports)
    world.clock.advance(world.limits.adopt_settle_seconds - 1)
    launch(job_id, world.ports)
    assert world.provider.records == {}
    assert world.provider.calls.count("create") == 1
    world.clock.advance(2)
    launch(job_id, world.ports)
    assert len(world.provider.records) == 1


def test_a_cancel_between_lease_and_create_costs_nothing(world: World) -> None:
    job_id = world.submit().job.job_id
    real = world.ports.broker.scoped

    def slow(**wanted: object) -> object:
        world.services.jobs.cancel(ME, job_id)
        return real(**wanted)  # type: ignore[arg-type]

    world.broker.scoped = slow  # type: ignore[method-assign,assignment]
    world.run(60)
    assert world.provider.records == {}
    assert world.job(job_id).status is JobStatus.CANCELLED


def _refuse(world: World, kind: FaultKind, *, seconds: float, retry_after: float | None = None) -> list[float]:
    """Lets creates fail for a while; returns when they came, in seconds."""
    real, start, came = world.provider.create, world.clock.now(), []

    def refusing(request: LaunchRequest) -> Prediction:
        at = (world.clock.now() - start).total_seconds()
        came.append(at)
        if at < seconds:
            raise ProviderFault("later", kind=kind, code="later", sent=False, status=429, retry_after=retry_after)
        return real(request)

    world.provider.create = refusing  # type: ignore[method-assign]
    return came


def test_half_an_hour_without_capacity_is_waited_out_with_growing_pauses(world: World) -> None:
    came = _refuse(world, FaultKind.CAPACITY, seconds=1800)
    job_id = world.submit().job.job_id
    world.run(2400)
    assert world.job(job_id).prediction_id is not None
    assert len(came) < 30
    assert world.event_types(job_id).count("provider.refused") <= 2


def test_a_pause_the_provider_asks_for_is_kept(world: World) -> None:
    came = _refuse(world, FaultKind.THROTTLED, seconds=500, retry_after=600)
    job_id = world.submit().job.job_id
    world.run(1200)
    assert world.job(job_id).prediction_id is not None
    assert len(came) == 2
    assert came[1] >= 600


def test_a_provider_that_refuses_for_hours_is_given_up(world: World) -> None:
    _refuse(world, FaultKind.CAPACITY, seconds=10**6)
    job_id = world.submit().job.job_id
    world.run(timedelta(hours=3).total_seconds(), step=30)
    job = world.job(job_id)
    assert job.failure is not None
    assert job.failure.code == "launch_failed"


def test_a_cancel_ends_a_launch_that_waits_for_the_provider(world: World) -> None:
    _refuse(world, FaultKind.THROTTLED, seconds=10**6, retry_after=3600)
    job_id = world.submit().job.job_id
    world.run(120)
    world.services.jobs.cancel(ME, job_id)
    world.run(400)
    assert world.job(job_id).status is JobStatus.CANCELLED
    assert world.provider.records == {}
