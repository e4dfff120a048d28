"""A webhook whose handling died half-way is sent again with the same id, and that try must count."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chalicelib.domain.jobs import JobStatus
from tests.fakes.provider import Life
from tests.fakes.world import World


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    world.provider.default_life = Life(start=5, run=60)
    return world


def dying(world: World, what: str) -> Callable[[], None]:
    """Makes the next call of ``what`` the process's last; the answer mends it."""
    target, name = {"save": (world.jobs, "save"), "wake": (world.machine, "wake")}[what]
    real = getattr(target, name)

    def die(*_: object, **__: object) -> None:
        # No Exception: nothing of ours may catch a SIGKILL and tidy up.
        raise SystemExit(f"killed in {name}")

    setattr(target, name, die)
    return lambda: setattr(target, name, real)


@pytest.mark.parametrize("where", ["save", "wake"])
def test_a_retry_after_a_kill_wakes_the_workflow(world: World, where: str) -> None:
    job_id = world.submit().job.job_id
    world.run(10)
    world.webhook(job_id, "processing", webhook_id="msg_1")
    world.run(80)
    assert world.job(job_id).is_active
    mend = dying(world, where)
    with pytest.raises(SystemExit):
        world.webhook(job_id, "succeeded", webhook_id="msg_2")
    mend()
    assert world.webhook(job_id, "succeeded", webhook_id="msg_2").status == "received"
    world.settle()
    assert world.job(job_id).status is JobStatus.COMPLETED


def test_a_replay_is_told_from_a_first_delivery(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(10)
    assert world.webhook(job_id, "processing", webhook_id="msg_1").status == "received"
    version = world.job(job_id).version
    assert world.webhook(job_id, "processing", webhook_id="msg_1").status == "duplicate"
    assert world.job(job_id).version == version
