"""Looking for a prediction whose create got no answer: what can't be read proves nothing."""

from __future__ import annotations

from datetime import datetime

import pytest

from chalicelib.domain.jobs import JobStatus
from chalicelib.domain.predictions import PredictionPage
from tests.fakes.provider import Life
from tests.fakes.world import World


class Lists:
    """The provider's list as it answers for a while: pages that show nothing of ours."""

    def __init__(self, world: World, page: PredictionPage, times: int) -> None:
        self._real, self._page, self.left = world.provider.list, page, times
        world.provider.list = self  # type: ignore[method-assign,assignment]

    def __call__(self, *, created_after: datetime | None = None, cursor: str | None = None) -> PredictionPage:
        if self.left > 0:
            self.left -= 1
            return self._page
        return self._real(created_after=created_after, cursor=cursor)


def _with_a_lost_answer() -> World:
    world = World()
    world.push(source="/data/photos")
    world.provider.lost_answers = 1
    world.provider.default_life = Life(start=0, run=1200)
    return world


@pytest.mark.parametrize(
    "page",
    [PredictionPage((), None, unreadable=1), PredictionPage((), "0")],
    ids=["an entry that can't be read", "a list without an end"],
)
def test_a_search_that_saw_not_everything_creates_nothing(page: PredictionPage) -> None:
    world = _with_a_lost_answer()
    blind = Lists(world, page, times=60)
    job_id = world.submit().job.job_id
    world.run(7200, sweep_every=60)
    assert blind.left == 0
    assert len(world.provider.records) == 1
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert "job.adopted" in world.event_types(job_id)


def test_looking_ends_when_whatever_was_created_must_be_over() -> None:
    world = _with_a_lost_answer()
    Lists(world, PredictionPage((), None, unreadable=1), times=10**6)
    job_id = world.submit(max_run_seconds=600).job.job_id
    world.run(4 * 3600, sweep_every=300, step=30)
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert job.failure.code == "launch_failed"
    assert len(world.provider.records) == 1
    assert world.provider.live() == []
