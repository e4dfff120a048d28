"""The sweeper: whatever died, the records, the executions and the provider agree again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.datasets import ManifestFile
from chalicelib.domain.jobs import JobStatus
from chalicelib.domain.ports import ExecutionState, Limits
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.workflow.sweep import sweep
from tests.fakes.provider import REFUSED, Life
from tests.fakes.world import ME, OWNER, World


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    return world


def test_a_submit_whose_start_failed_succeeds_and_is_started_later(world: World) -> None:
    """An error would make a caller without a key submit, and pay, again."""
    world.machine.start_fails = 1
    job_id = world.submit(key="k").job.job_id
    assert world.jobs.slot_holders(OWNER) == {job_id}
    assert world.machine.executions == {}
    world.run(600, sweep_every=60)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert world.submit(key="k").idempotent_hit


@pytest.mark.parametrize("after", [0, 5, 15, 40, 100, 129, 131])
def test_a_restart_that_kills_all_executions_is_healed_with_one_prediction(world: World, after: int) -> None:
    job_id = world.submit().job.job_id
    world.run(after)
    world.machine.fail_all()
    world.run(1200, sweep_every=60)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert world.provider.max_live[job_id] == 1
    assert len(world.provider.records) == 1


def test_a_lost_final_webhook_costs_minutes(world: World) -> None:
    world.provider.default_life = Life(start=10, run=600)
    job_id = world.submit().job.job_id
    world.run(12)
    world.webhook(job_id, "processing")
    world.run(610)
    assert world.job(job_id).is_active
    world.run(360, sweep_every=300)
    assert world.job(job_id).status is JobStatus.COMPLETED


def test_a_wait_that_never_times_out_is_ended(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(5)
    (execution,) = world.machine.running()
    execution.due = None  # its timer is lost
    world.run(900, sweep_every=60)
    assert world.job(job_id).status is JobStatus.COMPLETED


def test_orphans_are_cancelled_and_others_left_alone(world: World) -> None:
    world.provider.default_life = Life(run=10**5)
    job_id = world.submit().job.job_id
    world.run(60)
    (record,) = world.provider.records.values()
    orphan = world.provider.create(record.request)  # a second one for the same job
    elsewhere = record.request.inputs["config_json"].replace('"bucket": "outputs"', '"bucket": "another-stack"')
    foreign = world.provider.create(
        replace(record.request, tag="x", webhook_url="https://other.test/hook?job=x", inputs={"config_json": elsewhere})
    )
    ghost = world.provider.create(
        replace(record.request, tag="gone", webhook_url="https://cloud.test/api/webhooks/replicate?job=gone")
    )
    world.run(120)
    report = world.sweep()
    assert (report.orphans_found, report.orphans_cancelled) == (2, 2)
    live = {r.id for r in world.provider.live()}
    assert live == {world.job(job_id).prediction_id, foreign.id}
    assert orphan.id not in live
    assert ghost.id not in live


def test_a_prediction_of_a_job_that_is_over_is_stopped_within_two_sweeps(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(60)
    (record,) = world.provider.records.values()
    world.services.jobs.cancel(ME, job_id)
    world.provider.create(record.request)
    world.sweep()
    world.clock.advance(100)
    world.sweep()
    assert world.provider.live() == []


def test_a_workflow_that_dies_again_and_again_is_given_up_and_leaves_nothing_running() -> None:
    world = World(limits=Limits(max_attempts=3))
    world.push(source="/data/photos")
    world.provider.default_life = Life(run=10**5)
    job_id = world.submit().job.job_id
    world.provider.cancel_takes = 400
    for _ in range(8):
        world.run(130)
        world.machine.fail_all()
        world.sweep()
    world.clock.advance(600)
    world.sweep()
    job = world.job(job_id)
    assert job.is_terminal
    assert job.failure is not None
    assert job.failure.code == "workflow_exhausted"
    assert world.event_types(job_id).count("job.problem") == 1
    assert world.provider.live() == []


def test_a_sweep_stops_at_its_budget_and_says_so(world: World) -> None:
    for _ in range(3):
        world.submit()
    real = world.ports.runner.state

    def slow(job_id: str, attempt: int) -> ExecutionState:
        world.clock.advance(60)
        return real(job_id, attempt)

    world.machine.state = slow  # type: ignore[method-assign]
    world.clock.advance(600)
    report = sweep(world.ports, ["replicate"], timedelta(seconds=100))
    assert report.unfinished
    assert report.active < 3


def test_a_provider_that_fails_does_not_stop_the_sweep(world: World) -> None:
    world.provider.faults["list"] = [REFUSED]
    report = world.sweep()
    assert report.provider_errors == 1
    assert sweep(world.ports, ["nosuch"], timedelta(seconds=10)).provider_errors == 0


def test_one_job_that_can_t_be_looked_after_does_not_keep_the_sweep_from_the_others(world: World) -> None:
    strange = world.submit().job.job_id
    world.clock.advance(1)
    other = world.submit().job.job_id
    world.settle()
    job = world.job(strange)
    world.jobs.save(job.moved(now=world.clock.now(), provider="gone"))
    world.machine.fail_all()
    world.clock.advance(600)
    report = world.sweep()
    assert report.failed == 0
    assert report.restarted == 2
    world.jobs.save(world.job(strange).moved(now=world.clock.now(), prediction_id="p", launched_at=job.created_at))
    world.clock.advance(600)
    world.machine.fail_all()
    world.machine.start(strange, world.job(strange).attempt)
    world.machine.executions[f"{strange}-{world.job(strange).attempt}"].status = "RUNNING"
    report = world.sweep()
    assert report.failed == 1
    assert report.restarted == 1
    assert world.machine.state(other, world.job(other).attempt) is ExecutionState.RUNNING


def test_a_sweep_removes_uploads_that_were_given_up(world: World) -> None:
    files = [ManifestFile(path="a.jpg", size=1, sha256="0" * 64)]
    service = world.services.datasets
    version, _ = service.create_version(OWNER, NewVersionBody(dataset_id="given-up", source_path=None, files=files))
    world.clock.advance(timedelta(days=6))
    assert world.sweep().leftovers_removed == 0
    world.clock.advance(timedelta(days=2))
    assert world.sweep().leftovers_removed == 1
    assert world.ports.datasets.get_version(OWNER, "given-up", version.version_id) is None
    assert world.dataset_files.get(version.manifest_key) is None
