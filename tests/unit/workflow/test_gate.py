"""The gate before the launch, in virtual time: broken datasets never reach the provider, and nobody waits for ever."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.datasets import DatasetVersion, VersionStatus
from chalicelib.domain.jobs import JobStatus
from chalicelib.errors import ValidationFailed
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.workflow import inspection as steps
from chalicelib.workflow.gate import LONGEST_READING, PATIENCE, patience
from chalicelib.workflow.steps import await_change, prepare
from tests.fakes.probe import fake_picture
from tests.fakes.world import ME, OWNER, World, manifest_file
from tests.support.inspections import event_of, inspect
from tests.unit.services.pushing import BIG

GOOD = {"a.png": fake_picture(seed=1), "a.txt": b"a cat", "b.png": fake_picture(seed=2), "b.txt": b"a dog"}
BAD = GOOD | {"c.png": b"no picture", "c.txt": b"\x83\x65"}


@pytest.fixture
def world() -> World:
    world = World()
    world.dataset_runner.when_inspecting = None
    return world


def version_of(world: World, version_id: str) -> DatasetVersion:
    version = world.ports.datasets.get_version(OWNER, "photos", version_id)
    assert version is not None
    return version


def submitted(world: World, files: dict[str, bytes]) -> tuple[str, str]:
    version_id = world.push(files)
    return version_id, world.submit().job.job_id


def test_a_job_waits_for_the_inspection_and_its_end_wakes_it(world: World) -> None:
    version_id, job_id = submitted(world, GOOD)
    world.run(60)
    assert len(world.provider.records) == 0
    assert not world.job(job_id).is_terminal
    assert world.event_types(job_id).count("dataset.inspecting") == 1
    inspect(world.ports, version_of(world, version_id))
    world.settle()
    assert len(world.provider.records) == 1
    world.run(600)
    assert world.job(job_id).status is JobStatus.COMPLETED


def test_an_end_that_wakes_nobody_is_seen_a_little_later(world: World) -> None:
    version_id, _ = submitted(world, GOOD)
    world.run(1)
    world.pass_inspection(version_of(world, version_id), 1)
    world.settle()
    assert len(world.provider.records) == 0
    world.run(25)
    assert len(world.provider.records) == 1


def test_an_end_between_the_look_and_the_sleep_is_not_slept_over(world: World) -> None:
    version_id, job_id = submitted(world, GOOD)
    ports = world.ports
    (execution,) = world.machine.running()
    outcome = prepare(job_id, ports)
    inspect(ports, version_of(world, version_id))
    execution.token, execution.resumes = "token-x", "prepare"
    await_change(job_id, "token-x", outcome.next, outcome.wakes_seen, ports)
    assert (execution.token, execution.state) == (None, "prepare")


def test_a_broken_dataset_ends_the_job_at_no_cost(world: World) -> None:
    version_id, job_id = submitted(world, BAD)
    world.run(5)
    inspect(world.ports, version_of(world, version_id))
    world.run(30)
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.failure is not None
    assert job.failure.code == "dataset_rejected"
    assert "named like an image and is none" in job.failure.message
    assert "not UTF-8" in job.failure.message
    assert "stcloud datasets check photos" in job.failure.advice
    assert len(world.provider.records) == 0
    assert job.cost_usd in {None, 0}


def test_one_that_is_inspected_already_is_refused_at_once(world: World) -> None:
    version_id = world.push(BAD)
    inspect(world.ports, version_of(world, version_id))
    with pytest.raises(ValidationFailed) as caught:
        world.submit(accept_warnings=True)
    assert {"caption_not_utf8", "not_an_image"} <= {e.code for e in caught.value.errors}
    assert "stcloud datasets check photos" in caught.value.detail
    assert world.jobs.slot_holders(OWNER) == frozenset()


def test_an_inspection_that_does_not_end_is_waited_for_ten_minutes(world: World) -> None:
    _, job_id = submitted(world, GOOD)
    world.run(590, step=10)
    assert len(world.provider.records) == 0
    world.run(60, step=10)
    assert len(world.provider.records) == 1
    assert "dataset.not_inspected" in world.event_types(job_id)


def test_an_inspection_that_failed_stops_nobody(world: World) -> None:
    version_id, job_id = submitted(world, GOOD)
    version = version_of(world, version_id)
    steps.fail({**event_of(version), "error": {"Error": "States.Timeout"}}, world.ports)
    world.settle()
    assert len(world.provider.records) == 1
    assert "dataset.not_inspected" in world.event_types(job_id)


def test_a_version_from_before_there_were_inspections_passes(world: World) -> None:
    version_id = world.push(GOOD)
    version = version_of(world, version_id)
    world.ports.datasets.update_version(version.changed(inspection=None))
    world.submit()
    world.settle()
    assert len(world.provider.records) == 1


def test_a_job_that_waits_can_be_cancelled_at_once(world: World) -> None:
    _, job_id = submitted(world, GOOD)
    world.run(5)
    world.services.jobs.cancel(ME, job_id)
    world.settle()
    assert world.job(job_id).status is JobStatus.CANCELLED
    assert len(world.provider.records) == 0


def test_a_job_that_was_launched_is_not_judged_again(world: World) -> None:
    version_id, job_id = submitted(world, GOOD)
    inspect(world.ports, version_of(world, version_id))
    world.settle()
    world.services.inspections.ask(OWNER, "photos", version_id)
    world.machine.fail_all()
    world.run(400, sweep_every=60)
    assert world.job(job_id).status is JobStatus.COMPLETED
    assert len(world.provider.records) == 1


def test_a_waiting_job_whose_workflow_died_waits_on_in_the_next_attempt(world: World) -> None:
    version_id, job_id = submitted(world, GOOD)
    world.run(5)
    world.machine.fail_all()
    world.run(120, sweep_every=30)
    assert len(world.provider.records) == 0
    version = version_of(world, version_id)
    assert version.inspection is not None
    inspect(world.ports, version, version.inspection.attempt)
    world.run(30)
    assert len(world.provider.records) == 1
    assert world.job(job_id).attempt == 2


def test_a_large_file_that_is_another_than_its_manifest_says_ends_the_job(world: World) -> None:
    """Its parts are right, so S3 took them, and only reading the whole tells."""
    good = manifest_file("big.bin", BIG)
    lines = [manifest_file(p, b) for p, b in GOOD.items()] + [good.model_copy(update={"sha256": "ab" * 32})]
    body = NewVersionBody(dataset_id="photos", source_path="/data/photos", files=lines)
    version, _ = world.services.datasets.create_version(OWNER, body)
    world.send(version.version_id, {**GOOD, "big.bin": BIG})
    assert world.services.datasets.complete(OWNER, "photos", version.version_id).status is VersionStatus.READY
    job_id = world.submit().job.job_id
    world.run(PATIENCE.total_seconds())
    assert len(world.provider.records) == 0, "hashing it may take longer than looking at pictures"
    inspect(world.ports, version_of(world, version.version_id))
    world.run(30)
    failure = world.job(job_id).failure
    assert failure is not None
    assert failure.code == "dataset_rejected"
    assert "SHA-256 differs" in failure.message
    assert world.provider.records == {}


def test_the_more_has_to_be_read_again_the_longer_a_job_waits(world: World) -> None:
    version = version_of(world, world.push(GOOD))
    large = version.model_copy(update={"parted_bytes": 24 * 1024**3})
    huge = version.model_copy(update={"parted_bytes": 1024**4})
    assert patience(version) == PATIENCE
    assert PATIENCE + timedelta(minutes=10) < patience(large) < PATIENCE + timedelta(minutes=15)
    assert patience(huge) == PATIENCE + LONGEST_READING
