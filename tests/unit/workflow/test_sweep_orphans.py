"""Orphans: predictions of ours that no active job knows, found whatever the provider shows and refuses."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.jobs import JobStatus
from chalicelib.domain.ports import Limits
from chalicelib.domain.predictions import Prediction
from tests.fakes.provider import LOST, Life
from tests.fakes.world import ME, World

LONG = Life(start=0, run=10**5)


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    return world


def _finished_with_a_second_prediction(world: World) -> Prediction:
    job_id = world.submit().job.job_id
    world.run(300)
    assert world.job(job_id).is_terminal
    (record,) = world.provider.records.values()
    world.provider.lives = [LONG]
    return world.provider.create(record.request)


def test_an_orphan_is_known_by_our_bucket_when_the_provider_shows_no_webhook(world: World) -> None:
    world.provider.shows_webhooks = False
    _finished_with_a_second_prediction(world)
    world.run(120)
    world.sweep()
    assert world.provider.live() == []


def test_a_young_one_may_still_be_recorded(world: World) -> None:
    orphan = _finished_with_a_second_prediction(world)
    world.sweep()
    assert [record.id for record in world.provider.live()] == [orphan.id]


def test_one_orphan_that_can_t_be_cancelled_does_not_protect_the_others(world: World) -> None:
    first = _finished_with_a_second_prediction(world)
    world.provider.lives = [LONG]
    world.clock.advance(5)
    second = world.provider.create(world.provider.records[first.id].request)
    world.run(120)
    real = world.provider.cancel

    def stubborn(prediction_id: str) -> Prediction | None:
        if prediction_id == second.id:
            raise ProviderFault("no", kind=FaultKind.PROVIDER, code="provider_error", sent=True)
        return real(prediction_id)

    world.provider.cancel = stubborn  # type: ignore[method-assign]
    report = world.sweep()
    assert [record.id for record in world.provider.live()] == [second.id]
    assert (report.orphans_found, report.orphans_cancelled, report.provider_errors) == (2, 1, 1)


@pytest.mark.parametrize("created", [False, True])
def test_an_exhausted_workflow_with_an_open_launch_ends(created: bool) -> None:
    """What it may have created is looked for: adopted and cancelled when it is there, taken back when it is not."""
    world = World(limits=Limits(max_attempts=1))
    world.push(source="/data/photos")
    world.provider.default_life = LONG
    if created:
        world.provider.lost_answers = 1
    else:
        world.provider.faults["create"] = [LOST]
    job_id = world.submit().job.job_id
    world.settle()
    world.machine.fail_all()
    assert world.job(job_id).launch is not None
    for _ in range(10):
        world.clock.advance(60)
        world.sweep()
    job = world.job(job_id)
    assert job.is_terminal
    assert len(world.provider.records) == int(created)
    assert world.provider.live() == []


def test_a_cancel_that_died_before_it_asked_the_provider_is_carried_out_within_a_minute(world: World) -> None:
    world.provider.default_life = LONG
    job_id = world.submit().job.job_id
    world.run(200)
    world.webhook(job_id, "processing")
    world.settle()
    world.provider.faults["get"] = [LOST]
    world.services.jobs.cancel(ME, job_id)
    world.machine.fail_all()
    world.clock.advance(31)
    world.sweep()
    world.sweep()
    assert world.provider.live() == []


def test_a_slow_provider_starves_neither_restarts_nor_the_search_for_orphans(world: World) -> None:
    orphan = _finished_with_a_second_prediction(world)
    world.provider.default_life = LONG
    jobs = [world.submit().job.job_id for _ in range(5)]
    world.run(400)
    for job_id in jobs:  # webhooks work: the workflows sleep for hours, and looking is left to the sweep
        world.webhook(job_id, "odd", webhook_id=job_id)
    world.settle()
    dead = jobs[-1]
    world.machine.executions[f"{dead}-1"].status = "FAILED"
    real = world.provider.get
    asked: list[str] = []

    def slow(prediction_id: str) -> Prediction | None:
        world.clock.advance(70)
        asked.append(prediction_id)
        if len(asked) % 2:
            raise LOST
        return real(prediction_id)

    world.provider.get = slow  # type: ignore[method-assign]
    for job_id in jobs:
        world.jobs.save(world.job(job_id).moved(now=world.clock.now(), last_asked_at=world.clock.now()))
    world.clock.advance(300)
    reports = [world.sweep() for _ in range(3)]
    assert world.job(dead).attempt == 2
    assert orphan.id not in {record.id for record in world.provider.live()}
    assert reports[0].unfinished
    waiting = {world.job(job_id).prediction_id for job_id in jobs[:4]}
    assert waiting <= set(asked), "the ones asked least recently come first"


def test_a_healthy_training_survives_an_unknown_answer_between_faults(world: World) -> None:
    world.provider.default_life = Life(start=0, run=3000)
    job_id = world.submit().job.job_id
    world.run(300)
    real = world.provider.get
    answers: list[object] = [LOST, LOST, None]

    def odd(prediction_id: str) -> Prediction | None:
        if not answers:
            return real(prediction_id)
        answer = answers.pop(0)
        if isinstance(answer, ProviderFault):
            raise answer
        return None

    world.provider.get = odd  # type: ignore[method-assign]
    world.run(4000)
    assert world.job(job_id).status is JobStatus.COMPLETED


def test_a_training_the_provider_no_longer_knows_is_cancelled_before_it_is_given_up(world: World) -> None:
    world.provider.default_life = LONG
    job_id = world.submit().job.job_id
    world.run(300)
    world.provider.get = lambda _: None  # type: ignore[method-assign]
    world.run(1200)
    job = world.job(job_id)
    assert job.failure is not None
    assert job.failure.code == "prediction_lost"
    assert world.provider.live() == []
    assert job.completed_at is not None
    assert job.completed_at - job.created_at < timedelta(hours=1)
