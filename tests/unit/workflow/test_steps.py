"""Each step by itself: run twice, run late, run on a record that somebody else has moved on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.escrow import artifacts_prefix
from chalicelib.domain.failures import Failure, FaultKind
from chalicelib.domain.jobs import Job, JobStatus, Phase
from chalicelib.domain.lifecycle import JobGoneError
from chalicelib.domain.predictions import PredictionStatus
from chalicelib.workflow import steps, verification
from chalicelib.workflow.launch import launch
from chalicelib.workflow.outcome import Next, Outcome
from chalicelib.workflow.sweep import sweep
from tests.fakes.provider import Life
from tests.fakes.world import ME, OWNER, World
from tests.unit.services.between import Between

WEIGHTS = "checkpoint-200/pytorch_lora_weights.safetensors"


@pytest.fixture
def world() -> World:
    world = World()
    world.push(source="/data/photos")
    return world


def at(world: World, phase: Phase) -> str:
    """A job in this phase, its executions stopped so that the test runs the steps."""
    job_id = world.submit().job.job_id
    world.run(60)
    world.machine.fail_all()
    world.clock.advance(120)
    steps.observe(job_id, world.ports)
    if phase is Phase.VERIFYING:
        verification.deliver(job_id, world.ports)
    assert world.job(job_id).phase is phase
    return job_id


# --- prepare --------------------------------------------------------------------------------------------------
def test_a_dataset_deleted_after_submit_ends_the_job_before_it_costs(world: World) -> None:
    job_id = world.submit().job.job_id
    ref = world.job(job_id).datasets[0]
    world.ports.datasets.delete_version(OWNER, ref.dataset_id, ref.version_id)
    world.run(30)
    job = world.job(job_id)
    assert job.failure is not None
    assert (job.status, job.failure.code) == (JobStatus.FAILED, "dataset_gone")
    assert "stcloud datasets push" in job.failure.advice
    assert world.provider.calls == []


def test_prepare_on_a_job_that_was_launched_looks_at_it_before_it_sleeps(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(60)
    version = world.job(job_id).version
    assert steps.prepare(job_id, world.ports).next is Next.OBSERVE
    world.run(300)
    assert steps.prepare(job_id, world.ports).next is Next.DONE
    assert world.job(job_id).version >= version


@pytest.mark.parametrize(
    "step", [steps.prepare, steps.observe, steps.finish, launch, verification.deliver, verification.verify]
)
def test_a_step_for_a_deleted_job_says_so(world: World, step: Callable[[str, Any], Outcome]) -> None:
    with pytest.raises(JobGoneError):
        step("nosuch", world.ports)


# --- waiting --------------------------------------------------------------------------------------------------
def test_whoever_waits_for_a_deleted_or_finished_job_is_woken_at_once(world: World) -> None:
    woken: list[str] = []

    class Runner:
        def wake(self, task_token: str) -> bool:
            woken.append(task_token)
            return True

    ports = replace(world.ports, runner=Runner())  # type: ignore[arg-type]
    steps.await_change("nosuch", "t1", Next.AWAIT_LONG, 0, ports)
    job_id = world.submit().job.job_id
    world.services.jobs.cancel(ME, job_id)
    steps.await_change(job_id, "t2", Next.AWAIT_LONG, 0, ports)
    assert woken == ["t1", "t2"]
    assert world.job(job_id).task_token is None


def test_news_between_the_look_and_the_wait_is_not_slept_over(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(5)
    (execution,) = world.machine.running()
    seen = world.job(job_id).wakes
    world.webhook(job_id, "processing")
    world.settle()
    execution.token = "late"
    steps.await_change(job_id, "late", Next.AWAIT_LONG, seen, world.ports)
    assert execution.token is None


def test_the_first_reason_of_a_failure_stands(world: World) -> None:
    job = world.submit().job
    first = Failure(code="first", kind=FaultKind.OURS, message="m")
    change = steps.record_failure(job, first, world.ports)
    assert change is not None
    assert steps.record_failure(change.job, first.model_copy(update={"code": "second"}), world.ports) is None


def test_finish_waits_for_a_prediction_that_runs_after_all(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(60)
    assert steps.finish(job_id, world.ports).next is Next.AWAIT_SHORT
    assert world.job(job_id).is_active


# --- deliver and verify ---------------------------------------------------------------------------------------
def test_deliver_and_verify_twice_do_no_harm(world: World) -> None:
    job_id = at(world, Phase.COLLECTING)
    assert verification.verify(job_id, world.ports).next is Next.DELIVER, "too early: nothing is delivered yet"
    assert verification.deliver(job_id, world.ports).next is Next.VERIFY
    assert verification.deliver(job_id, world.ports).next is Next.VERIFY
    assert verification.verify(job_id, world.ports).next is Next.FINISH
    assert verification.verify(job_id, world.ports).next is Next.FINISH
    assert steps.finish(job_id, world.ports).next is Next.DONE
    assert verification.verify(job_id, world.ports).next is Next.DONE
    assert world.event_types(job_id).count("job.completed") == 1


def test_a_training_without_a_log_is_delivered(world: World) -> None:
    job_id = at(world, Phase.COLLECTING)
    record = world.job(job_id)
    world.jobs.save(record.annotated(now=world.clock.now(), log_bytes=0))
    assert verification.deliver(job_id, world.ports).next is Next.VERIFY
    assert world.outputs.get(f"{OWNER}/{job_id}/logs.txt") is None


def test_verify_works_in_slices_and_does_not_read_twice(world: World) -> None:
    job_id = at(world, Phase.VERIFYING)
    opened: list[str] = []

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.outputs, name)

        def open(self, key: str) -> Any:
            opened.append(key.rsplit("/", 1)[-1])
            world.clock.advance(verification.VERIFY_BUDGET + timedelta(seconds=1))
            return world.outputs.open(key)

    ports = replace(world.ports, outputs=Slow())  # type: ignore[arg-type]
    assert verification.verify(job_id, ports).next is Next.VERIFY
    assert len(opened) == 1
    assert verification.verify(job_id, ports).next is Next.FINISH
    assert sorted(opened) == ["pytorch_lora_weights.safetensors", "sample.png"]
    assert world.job(job_id).delivery.verified_files == 2
    assert world.outputs.get(f"{OWNER}/{job_id}/verify.json") is None


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", "model_corrupt", "ends before the length"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "model_corrupt", "holds no tensors"),
        (None, "model_corrupt", "disappeared while being read"),
    ],
)
def test_weights_that_change_while_they_are_read_are_no_model(
    world: World, content: bytes | None, code: str, said: str
) -> None:
    job_id = at(world, Phase.VERIFYING)
    key = artifacts_prefix(OWNER, job_id) + WEIGHTS

    def changes() -> None:
        if content is None:
            world.outputs.delete([key])
        else:
            world.outputs.put(key, content)

    if content is None:
        ports = replace(world.ports, outputs=Between(world.outputs, "open", changes))
    else:
        changes()
        ports = world.ports
    assert verification.verify(job_id, ports).next is Next.FINISH
    failure = world.job(job_id).failure
    assert failure is not None
    assert failure.code == code
    assert said in failure.message
    assert world.job(job_id).delivery.verified_at is None


def test_the_end_of_a_job_keeps_which_file_is_unsound_and_the_hashes_of_all(world: World) -> None:
    world.weights = b"no safetensors at all"
    job_id = world.submit().job.job_id
    world.run(300)
    assert world.job(job_id).status is JobStatus.FAILED
    files = [file for file, _ in world.services.jobs.outputs(ME, job_id).files]
    assert [file.path for file in files if file.problem] == [WEIGHTS]
    assert all(file.sha256 for file in files)


def test_a_file_of_another_size_than_listed_is_no_model(world: World) -> None:
    job_id = at(world, Phase.VERIFYING)
    key = artifacts_prefix(OWNER, job_id) + WEIGHTS
    longer = lambda: world.outputs.put(key, b"x" * 5)  # noqa: E731
    verification.verify(job_id, replace(world.ports, outputs=Between(world.outputs, "open", longer)))
    failure = world.job(job_id).failure
    assert failure is not None
    assert "5 bytes where" in failure.message


def test_weights_that_vanish_before_they_are_read_back_are_missing(world: World) -> None:
    job_id = at(world, Phase.VERIFYING)
    world.outputs.delete([artifacts_prefix(OWNER, job_id) + WEIGHTS])
    verification.verify(job_id, world.ports)
    failure = world.job(job_id).failure
    assert failure is not None
    assert failure.code == "model_missing"
    assert "1 other file was published and is kept." in failure.message


def test_a_job_that_ended_while_it_was_verified_stays_as_it_is(world: World) -> None:
    job_id = at(world, Phase.VERIFYING)
    now = world.clock.now()
    ends = lambda: world.jobs.save(world.job(job_id).ended(now=now, status=JobStatus.CANCELLED))  # noqa: E731
    outcome = verification.verify(job_id, replace(world.ports, outputs=Between(world.outputs, "delete", ends)))
    assert outcome.next is Next.DONE
    assert world.job(job_id).status is JobStatus.CANCELLED


# --- sweeping -------------------------------------------------------------------------------------------------
def test_a_sweep_reads_every_page(world: World) -> None:
    base = world.submit().job
    for i in range(150):
        job: Job = base.model_copy(update={"job_id": f"copy{i:04d}", "version": 1})
        world.jobs._jobs[job.job_id] = job
        world.jobs._events[job.job_id] = []
    assert world.sweep().active == 151


def test_a_job_that_ends_or_goes_between_list_and_look_is_left_alone(world: World) -> None:
    ended, gone = world.submit().job.job_id, world.submit().job.job_id

    def disorder() -> None:
        world.services.jobs.cancel(ME, ended)
        world.jobs._jobs.pop(gone)

    ports = replace(world.ports, jobs=Between(world.jobs, "list_active", disorder, after=True))
    report = sweep(ports, [], timedelta(seconds=10))
    assert (report.active, report.restarted, report.observed) == (2, 0, 0)


def test_a_report_can_be_logged(world: World) -> None:
    assert world.sweep().as_dict()["active"] == 0


def test_orphans_are_looked_for_on_every_page(world: World) -> None:
    world.provider.default_life = Life(run=10**5)
    world.submit()
    world.run(60)
    (record,) = world.provider.records.values()
    for _ in range(5):
        world.provider.create(record.request)
    world.provider.page_size = 2
    world.clock.advance(120)
    assert world.sweep().orphans_cancelled == 5
    assert len(world.provider.live()) == 1


def test_a_prediction_that_launch_may_still_adopt_is_no_orphan(world: World) -> None:
    world.provider.lost_answers = 1
    world.provider.default_life = Life(run=10**5)
    job_id = world.submit().job.job_id
    world.settle()
    assert world.job(job_id).prediction_id is None
    world.clock.advance(100)
    assert world.sweep().orphans_found == 0
    assert len(world.provider.live()) == 1


def test_a_finished_prediction_is_no_orphan(world: World) -> None:
    world.provider.lives = [Life(end=PredictionStatus.FAILED, error="x")]
    world.submit()
    world.run(400)
    assert world.sweep().orphans_found == 0


def test_a_file_that_is_read_too_slowly_is_tried_again_and_then_given_up(world: World) -> None:
    job_id = at(world, Phase.VERIFYING)
    opened: list[str] = []

    class Slow:
        """Every read takes longer than there is time for, and gives one byte."""

        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __enter__(self) -> Slow:
            return self

        def __exit__(self, *_: object) -> None:
            self._stream.close()

        def read(self, _size: int) -> bytes:
            world.clock.advance(verification.FILE_BUDGET + timedelta(seconds=1))
            return bytes(self._stream.read(1))

    class SlowStore(Between):
        def open(self, key: str) -> Any:
            opened.append(key.rsplit("/", 1)[-1])
            return Slow(world.outputs.open(key)) if key.endswith(".safetensors") else world.outputs.open(key)

    ports = replace(world.ports, outputs=SlowStore(world.outputs, "", lambda: None))
    for _ in range(verification.MAX_SLOW_READS - 1):
        assert verification.verify(job_id, ports).next is Next.VERIFY
    while verification.verify(job_id, ports).next is Next.VERIFY:
        assert len(opened) < 20
    assert opened.count("pytorch_lora_weights.safetensors") == verification.MAX_SLOW_READS
    job = world.job(job_id)
    assert job.failure is not None
    assert "could not be read back within 13 minutes" in job.failure.message
