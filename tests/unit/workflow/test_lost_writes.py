"""A database that lost its last writes (restored backup, killed emulator): nothing is bought twice, nothing hangs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.jobs import JobStatus
from chalicelib.workflow.launch import launch
from chalicelib.workflow.outcome import Next
from tests.fakes.provider import LOST, REFUSED, Life
from tests.fakes.world import ME, OWNER, World


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    return world


@pytest.mark.parametrize("after", [0, 5, 15, 60, 129, 140, 400])
def test_a_forgotten_launch_is_found_again(world: World, after: int) -> None:
    """Back to the moment of the submit, when no intent had been written, while the training went on."""
    job_id = world.submit().job.job_id
    restore = world.jobs.backup()
    world.run(after)
    restore()
    world.machine.fail_all()
    world.run(900, sweep_every=60)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert len(world.provider.records) == 1
    assert world.jobs.slot_holders(OWNER) == set()


def test_the_execution_goes_on_while_the_database_goes_back(world: World) -> None:
    job_id = world.submit().job.job_id
    restore = world.jobs.backup()
    world.run(5)
    restore()
    world.run(900)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert world.job(job_id).attempt == 1
    assert len(world.provider.records) == 1


def test_a_forgotten_training_of_an_active_job_is_no_orphan(world: World) -> None:
    world.provider.default_life = Life(run=600)
    job_id = world.submit().job.job_id
    restore = world.jobs.backup()
    world.run(120)
    restore()
    report = world.sweep()
    assert report.orphans_found == 0
    assert len(world.provider.live(job_id)) == 1


def test_a_forgotten_job_leaves_no_training_behind(world: World) -> None:
    world.provider.default_life = Life(run=10**5)
    restore = world.jobs.backup()
    job_id = world.submit().job.job_id
    world.run(5)
    restore()
    world.machine.fail_all()
    assert len(world.provider.live(job_id)) == 1
    world.run(180, sweep_every=60)
    assert world.provider.live(job_id) == []


@pytest.mark.parametrize("fault", [REFUSED, LOST])
def test_nothing_is_created_before_the_first_look_was_answered(world: World, fault: ProviderFault) -> None:
    world.provider.faults["list"] = [fault]
    job_id = world.submit().job.job_id
    world.settle()
    assert world.provider.records == {}
    world.run(900, sweep_every=60)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert len(world.provider.records) == 1


def test_a_refused_token_ends_the_job_at_the_first_look(world: World) -> None:
    refused = ProviderFault("bad token", kind=FaultKind.AUTH, code="provider_auth", sent=False)
    world.provider.faults["list"] = [refused]
    job_id = world.submit().job.job_id
    world.run(60)
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert job.failure.code == "provider_auth"
    assert world.provider.records == {}


def test_two_forgotten_trainings_leave_one_even_if_the_provider_is_slow_to_cancel(world: World) -> None:
    world.provider.default_life = Life(run=600)
    job_id = world.submit().job.job_id
    restore = world.jobs.backup()
    world.run(5)
    (record,) = world.provider.records.values()
    world.provider.create(record.request)
    restore()
    world.machine.fail_all()
    world.provider.faults["cancel"] = [REFUSED]
    world.run(300, sweep_every=60)
    assert len(world.provider.live(job_id)) == 1
    world.run(900, sweep_every=60)
    assert world.job(job_id).status is JobStatus.COMPLETED


def test_a_dead_creators_training_is_adopted_while_its_lease_runs(world: World) -> None:
    """The launch created the prediction and died before it could note it; the state machine tries again at once."""
    job_id = world.submit().job.job_id
    intended: list[object] = []
    create = world.provider.create

    def create_and_forget(request: object) -> object:
        intended.append(world.jobs.backup())
        return create(request)  # type: ignore[arg-type]

    world.provider.create = create_and_forget  # type: ignore[method-assign,assignment]
    world.settle()
    intended[0]()  # type: ignore[operator]
    world.machine.fail_all()
    job = world.job(job_id)
    assert job.prediction_id is None
    assert job.launch is not None
    world.clock.advance(10)
    assert world.clock.now() < job.launch.lease_until
    assert launch(job_id, world.ports).next is Next.OBSERVE
    assert world.job(job_id).prediction_id == "pred1"
    assert len(world.provider.records) == 1


def test_a_lease_without_a_training_is_waited_for(world: World) -> None:
    """Looking beside a holder that may live never creates, and a provider that can't be asked changes nothing."""
    job_id = world.submit().job.job_id
    world.provider.faults["create"] = [LOST]
    world.settle()
    job = world.job(job_id)
    assert job.launch is not None
    held = job.launch.model_copy(update={"lease_until": world.clock.now() + timedelta(seconds=60)})
    world.jobs.save(job.moved(now=world.clock.now(), launch=held))
    world.provider.faults["list"] = [REFUSED]
    assert launch(job_id, world.ports).next is Next.AWAIT_SHORT
    assert launch(job_id, world.ports).next is Next.AWAIT_SHORT
    assert world.provider.records == {}


def test_a_watched_job_without_a_workflow_is_started_again_while_it_is_watched(world: World) -> None:
    """Every look of a user writes the record; that must not keep the sweeper from noticing."""
    world.provider.default_life = Life(run=3600)
    job_id = world.submit().job.job_id
    world.run(90)
    world.machine.fail_all()
    for _ in range(6):
        world.run(10)
        world.services.jobs.progress(ME, job_id)
    assert world.sweep().restarted == 1
    assert world.job(job_id).attempt == 2


def test_an_execution_that_ended_is_replaced_at_once(world: World) -> None:
    """What is over never runs again, so there is nothing to wait for; only what does not show yet may be starting."""
    job_id = world.submit().job.job_id
    world.run(2)
    assert world.sweep().restarted == 0
    world.machine.fail_all()
    assert world.sweep().restarted == 1
    assert world.job(job_id).attempt == 2


def test_an_attempt_that_was_just_begun_is_given_time_to_show(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(90)
    world.machine.fail_all()
    world.machine.start_fails = 1
    report = world.sweep()
    assert (report.failed, world.job(job_id).attempt) == (1, 2)
    world.run(30)
    assert world.sweep().restarted == 0
    world.run(40)
    assert world.sweep().restarted == 1


def test_news_that_came_while_no_workflow_lived_is_not_slept_over(world: World) -> None:
    """The training ends, and its webhook comes, between the death of one execution and the start of the next."""
    world.provider.default_life = Life(start=5, run=120)
    job_id = world.submit().job.job_id
    world.run(10)
    world.webhook(job_id, "processing", webhook_id="msg_1")
    world.run(80)
    world.machine.fail_all()
    world.run(40)
    world.webhook(job_id, "succeeded", webhook_id="msg_2")
    assert world.sweep().restarted == 1
    world.settle()
    assert world.job(job_id).status is JobStatus.COMPLETED
