"""What a submit says when it can't know, when it would fail after it was paid, and after its job was deleted."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.idempotency import LIFETIME
from chalicelib.domain.jobs import JobStatus
from chalicelib.errors import Conflict, Unavailable, ValidationFailed
from chalicelib.services.conclusion import ConclusionService
from chalicelib.services.jobs import JobsService
from chalicelib.services.observation import ObservationService
from chalicelib.services.submission import SubmissionService
from tests.fakes.world import ME, OWNER, World
from tests.unit.services.between import Between
from tests.unit.services.test_races_and_leftovers import _request


@pytest.fixture
def world() -> World:
    made = World()
    made.push(source="/data/photos")
    return made


def unanswered() -> None:
    raise Unavailable("The database can't answer now; try again in a moment.", retry_after=2)


@pytest.mark.parametrize(
    ("key", "advice"), [("k", "with the same Idempotency-Key"), (None, "look at your list of jobs before")]
)
def test_a_submit_whose_fate_is_unknown_does_not_invite_to_pay_twice(
    world: World, key: str | None, advice: str
) -> None:
    service = SubmissionService(replace(world.ports, jobs=Between(world.jobs, "submit", unanswered, after=True)))
    with pytest.raises(Unavailable) as caught:
        service.submit(ME, _request(), provider_name="replicate", idempotency_key=key)
    assert (caught.value.code, caught.value.retry_after) == ("submit_uncertain", 2)
    assert "may have been taken" in caught.value.detail
    assert advice in caught.value.detail
    assert len(world.jobs.slot_holders(OWNER)) == 1
    if key is not None:
        assert service.submit(ME, _request(), provider_name="replicate", idempotency_key=key).idempotent_hit


def test_the_key_of_a_deleted_job_never_trains_again_within_its_time(world: World) -> None:
    job_id = world.submit(key="k").job.job_id
    world.run(600)
    world.services.jobs.delete(ME, job_id)
    with pytest.raises(Conflict, match=f"{job_id}.*was deleted") as caught:
        world.submit(key="k")
    assert caught.value.code == "idempotent_job_deleted"
    world.settle()
    assert len(world.provider.records) == 1
    world.clock.advance(LIFETIME.total_seconds())
    assert not world.submit(key="k").idempotent_hit


def test_datasets_that_do_not_fit_into_one_set_of_credentials_are_refused_before_the_launch(world: World) -> None:
    names = [f"{'d' * 90}{i}" for i in range(8)]
    for name in names:
        world.push({f"{name}.jpg": name.encode()}, dataset_id=name)
    with pytest.raises(ValidationFailed) as caught:
        world.submit(dataloader_config=[{"id": name, "type": "local"} for name in names])
    assert (caught.value.code, caught.value.errors[0].field) == ("too_many_datasets", "dataloader_config")
    assert world.jobs.slot_holders(OWNER) == frozenset()
    assert len(world.submit(dataloader_config=[{"id": n, "type": "local"} for n in names[:3]]).job.datasets) == 3


def test_a_job_that_changed_keeps_its_model(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(600)
    assert world.job(job_id).status is JobStatus.COMPLETED
    before = [info.key for info in world.outputs.list(f"{OWNER}/{job_id}/")]

    def changed() -> None:
        world.jobs.save(world.job(job_id).annotated(now=world.clock.now() + timedelta(seconds=1)))

    ports = replace(world.ports, jobs=Between(world.jobs, "delete", changed))
    with pytest.raises(Conflict) as caught:
        JobsService(ports, ObservationService(ports), ConclusionService(ports)).delete(ME, job_id)
    assert caught.value.code == "changed_meanwhile"
    assert before
    assert [info.key for info in world.outputs.list(f"{OWNER}/{job_id}/")] == before
    world.services.jobs.delete(ME, job_id)
    assert list(world.outputs.list(f"{OWNER}/{job_id}/")) == []


def test_a_job_is_deleted_also_when_its_files_can_not_be_removed_now(world: World) -> None:
    job_id = world.submit().job.job_id
    world.run(600)
    ports = replace(world.ports, outputs=Between(world.outputs, "delete_prefix", unanswered))
    JobsService(ports, ObservationService(ports), ConclusionService(ports)).delete(ME, job_id)
    assert world.jobs.get(job_id) is None
    assert [deleted.job_id for deleted in world.jobs.list_deleted()] == [job_id]
