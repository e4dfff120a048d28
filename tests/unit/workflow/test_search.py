"""Looking for a prediction whose create got no answer: what can't be read proves nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.jobs import JobStatus
from chalicelib.domain.ports import Limits
from chalicelib.domain.predictions import PredictionPage
from tests.fakes.provider import Life
from tests.fakes.world import ME, World

WITH_BUDGET = replace(ME, budget_id="key1", budget_usd=Decimal(1000))


class Lists:
    """The provider's list as it answers for a while: pages that show nothing of ours."""

    def __init__(self, world: World, page: PredictionPage, times: int, *, after: int = 0) -> None:
        self._real, self._page, self.left, self._after = world.provider.list, page, times, after
        world.provider.list = self  # type: ignore[method-assign,assignment]

    def __call__(self, *, created_after: datetime | None = None, cursor: str | None = None) -> PredictionPage:
        if self._after > 0:
            self._after -= 1
        elif self.left > 0:
            self.left -= 1
            return self._page
        return self._real(created_after=created_after, cursor=cursor)


def _with_a_lost_answer(limits: Limits | None = None) -> World:
    world = World(limits=limits or Limits())
    world.push(source="/data/photos")
    world.provider.lost_answers = 1
    world.provider.default_life = Life(start=0, run=1200)
    return world


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize(
    "page",
    [PredictionPage((), None, unreadable=1), PredictionPage((), "0")],
    ids=["an entry that can't be read", "a list without an end"],
)
def test_a_search_that_saw_not_everything_creates_nothing(page: PredictionPage, after: int) -> None:
    """From the second look on, or already from the one before the first create."""
    world = _with_a_lost_answer()
    blind = Lists(world, page, times=60, after=after)
    job_id = world.submit().job.job_id
    world.run(7200, sweep_every=60)
    assert blind.left == 0
    assert len(world.provider.records) == 1
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert ("job.adopted" in world.event_types(job_id)) == (world.provider.calls.count("create") == 1)


def test_looking_ends_when_whatever_was_created_must_be_over() -> None:
    world = _with_a_lost_answer()
    Lists(world, PredictionPage((), None, unreadable=1), times=10**6, after=1)
    job_id = world.submit(max_run_seconds=600, who=WITH_BUDGET).job.job_id
    world.run(4 * 3600, sweep_every=300, step=30)
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert job.failure.code == "launch_failed"
    assert len(world.provider.records) == 1
    assert world.provider.live() == []
    assert world.jobs.budget_used("key1") == job.budget_hold_usd, "a training that may have run may have cost it all"


def test_a_workflow_given_up_too_late_to_look_counts_with_the_worst_case() -> None:
    world = _with_a_lost_answer(Limits(max_attempts=1))
    job_id = world.submit(max_run_seconds=600, who=WITH_BUDGET).job.job_id
    world.settle()
    world.machine.fail_all()
    world.clock.advance(5 * 3600)
    for _ in range(3):
        world.sweep()
    job = world.job(job_id)
    assert (job.is_terminal, job.prediction_id) == (True, None)
    assert world.jobs.budget_used("key1") == job.budget_hold_usd


def test_a_launch_that_was_certainly_never_taken_costs_nothing() -> None:
    world = World()
    world.push(source="/data/photos")
    world.provider.faults["create"] = [ProviderFault("No.", kind=FaultKind.AUTH, code="no_token", sent=False)]
    job_id = world.submit(who=WITH_BUDGET).job.job_id
    assert world.jobs.budget_used("key1") == world.job(job_id).budget_hold_usd
    world.settle()
    assert world.job(job_id).status is JobStatus.FAILED
    assert world.jobs.budget_used("key1") == 0
