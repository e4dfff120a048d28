"""The kept log: one object per job, never shorter, whoever looks at the same time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from chalicelib.domain.escrow import log_key
from chalicelib.services.observation import ObservationService, read_log
from tests.fakes.provider import Life
from tests.fakes.world import OWNER, World


def _logs(world: World, job_id: str) -> list[str]:
    return [info.key for info in world.outputs.list(f"{OWNER}/{job_id}/logs/")]


def _training(world: World) -> str:
    world.provider.default_life = Life(start=0, run=600)
    world.push(source="/data/photos")
    job_id = world.submit().job.job_id
    world.run(60)
    return job_id


def test_only_the_current_copy_stays() -> None:
    world = World()
    job_id = _training(world)
    for _ in range(5):
        world.clock.advance(60)
        ObservationService(world.ports).observe(job_id)
    job = world.job(job_id)
    assert job.log_bytes > 0
    assert _logs(world, job_id) == [log_key(OWNER, job_id, job.log_bytes)]
    assert len(read_log(world.outputs, job)) == job.log_bytes


def test_a_copy_that_is_gone_is_kept_again() -> None:
    world = World()
    job_id = _training(world)
    ObservationService(world.ports).observe(job_id)
    before = world.job(job_id)
    world.outputs.delete([log_key(OWNER, job_id, before.log_bytes)])
    world.clock.advance(60)
    ObservationService(world.ports).observe(job_id)
    job = world.job(job_id)
    assert job.log_bytes > before.log_bytes
    assert len(read_log(world.outputs, job)) == job.log_bytes


class _RacedOutputs:
    """The outputs bucket as a slow observer sees it: somebody else replaces the log between record and object."""

    def __init__(self, world: World, job_id: str) -> None:
        self._world, self._job_id, self._raced = world, job_id, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.outputs, name)

    def get(self, key: str) -> bytes | None:
        if not self._raced:
            self._raced = True
            self._world.clock.advance(60)
            ObservationService(self._world.ports).observe(self._job_id)
        return self._world.outputs.get(key)


def test_a_slow_look_does_not_start_the_log_anew() -> None:
    world = World()
    job_id = _training(world)
    slow = replace(world.ports, outputs=_RacedOutputs(world, job_id))
    ObservationService(slow).observe(job_id)
    job = world.job(job_id)
    assert _logs(world, job_id) == [log_key(OWNER, job_id, job.log_bytes)]
    assert len(read_log(world.outputs, job)) == job.log_bytes
