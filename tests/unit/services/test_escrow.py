"""How long models stay in escrow: set, shown, and kept to, whatever else happens."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from chalicelib.domain.deliveries import DeliveryState
from chalicelib.domain.escrow import artifacts_prefix
from chalicelib.domain.jobs import Job, JobStatus
from chalicelib.domain.ports import EscrowMark
from chalicelib.errors import Conflict, NotFound, Unavailable
from chalicelib.schemas.jobs import SubmitRequest, escrow_view
from chalicelib.services.deliveries import DeliveryService
from chalicelib.services.escrow import days_for
from chalicelib.services.escrow_care import LOOK_AGAIN, empty_escrow
from tests.fakes.world import ME, OWNER, World
from tests.support.deliveries import HUB, begin, with_credentials
from tests.unit.services.between import Between, FailingOnce

DAY = timedelta(days=1).total_seconds()


@pytest.fixture
def world() -> World:
    world = with_credentials(World())
    world.push(source="/data/photos")
    return world


def trained(world: World, **body: object) -> Job:
    job_id = world.submit(**body).job.job_id
    world.run(400)
    job = world.job(job_id)
    assert job.status is JobStatus.COMPLETED
    return job


def files(world: World, job: Job) -> int:
    return len(list(world.outputs.list(artifacts_prefix(OWNER, job.job_id))))


def sweep(world: World, days: float = 0) -> int:
    world.clock.advance(days * DAY)
    return world.sweep().models_expired


def test_a_model_leaves_escrow_on_its_day_and_its_record_stays(world: World) -> None:
    job = trained(world, escrow_days=30)
    assert job.escrow_expires_at == (job.completed_at or job.created_at) + timedelta(days=30)
    assert (sweep(world, 29.9), files(world, job)) == (0, 2)
    assert (sweep(world, 0.2), files(world, job)) == (1, 0)
    job = world.job(job.job_id)
    assert escrow_view(job).state == "removed"
    assert "escrow.removed" in world.event_types(job.job_id)
    assert world.services.jobs.manifest(ME, job.job_id).files
    assert world.services.jobs.logs(ME, job.job_id, offset=0, limit=100).text
    outputs = world.services.jobs.outputs(ME, job.job_id)
    assert (outputs.files, outputs.total_bytes) == ([], 0)
    assert sweep(world, 1) == 0
    assert world.jobs.list_escrow_due(due_before=world.clock.now() + timedelta(days=9999)) == []


def test_without_days_a_model_is_kept(world: World) -> None:
    job = trained(world)
    assert (job.escrow_days, job.escrow_expires_at) == (None, None)
    sweep(world, 3650)
    assert files(world, job) == 2


def test_what_is_set_for_all_holds_for_jobs_to_come(world: World) -> None:
    before = trained(world)
    world.services.escrow.set(OWNER, 7)
    assert world.services.escrow.settings(OWNER) == 7
    after, kept = trained(world), trained(world, escrow_days=None)
    assert (before.escrow_days, after.escrow_days, kept.escrow_days) == (None, 7, None)
    sweep(world, 8)
    assert [files(world, job) for job in (before, after, kept)] == [2, 0, 2]
    assert days_for(world.ports, OWNER, SubmitRequest(escrow_days=3)) == 3


def test_one_job_may_be_kept_longer_or_shorter(world: World) -> None:
    longer, shorter, forever = (trained(world, escrow_days=10) for _ in range(3))
    world.services.escrow.keep(ME, longer.job_id, 20)
    world.services.escrow.keep(ME, shorter.job_id, 2)
    world.services.escrow.keep(ME, forever.job_id, None)
    assert sweep(world, 3) == 1
    assert [files(world, job) for job in (longer, shorter, forever)] == [2, 0, 2]
    assert sweep(world, 8) == 0
    assert sweep(world, 10) == 1
    assert [files(world, job) for job in (longer, shorter, forever)] == [0, 0, 2]
    with pytest.raises(Conflict) as caught:
        world.services.escrow.keep(ME, longer.job_id, None)
    assert caught.value.code == "escrow_gone"


def test_a_job_of_somebody_else_is_not_there(world: World) -> None:
    job = trained(world)
    with pytest.raises(NotFound):
        world.services.escrow.keep(replace(ME, owner="other", permissions=frozenset()), job.job_id, 1)


def test_a_model_that_is_being_delivered_stays(world: World) -> None:
    job = trained(world, escrow_days=1)
    delivery = begin(world, job, HUB)
    assert (sweep(world, 1.1), files(world, job)) == (0, 2)
    now = world.clock.now()
    current = world.deliveries.get(job.job_id, delivery.delivery_id)
    assert current is not None
    world.settle()
    assert sweep(world, LOOK_AGAIN.total_seconds() / DAY + 0.01) == 1
    assert files(world, job) == 0
    assert now < world.clock.now()


def test_a_delivery_that_begins_at_this_moment_keeps_it(world: World) -> None:
    job = trained(world, escrow_days=1)
    world.clock.advance(1.1 * DAY)
    # After the first look at the deliveries, before the record says that the model leaves.
    racing = Between(world.deliveries, "list_of", lambda: begin(world, world.job(job.job_id), HUB), after=True)
    report = empty_escrow(replace(world.ports, deliveries=racing), world.clock.now())
    assert (report.removed, files(world, job)) == (0, 2)
    assert world.job(job.job_id).escrow_removed_at is None
    assert world.event_types(job.job_id)[-2:] == ["escrow.removed", "escrow.kept"]


def test_a_delivery_that_is_asked_for_while_it_leaves_is_refused(world: World) -> None:
    job = trained(world, escrow_days=1)
    world.clock.advance(1.1 * DAY)
    # After the look at escrow, before the delivery has a record.
    racing = Between(world.deliveries, "list_of", lambda: empty_escrow(world.ports, world.clock.now()))
    service = DeliveryService(replace(world.ports, deliveries=racing), world.services.jobs)
    with pytest.raises(Conflict) as caught:
        service.deliver(ME, job.job_id, [HUB])
    assert caught.value.code == "escrow_gone"
    assert files(world, job) == 0
    assert [d.state for d in world.deliveries.list_of(job.job_id)] == [DeliveryState.CANCELLED]
    assert world.deliveries.list_open() == []


def test_a_job_that_trains_still_keeps_what_it_has(world: World) -> None:
    job_id = world.submit(escrow_days=1).job.job_id
    world.run(60)
    world.jobs.mark_escrow(EscrowMark(job_id, world.clock.now()))
    world.clock.advance(1)
    assert empty_escrow(world.ports, world.clock.now()).removed == 0
    world.run(400)
    assert files(world, world.job(job_id)) == 2


@pytest.mark.parametrize(
    ("port", "method", "after"),
    [
        ("jobs", "save", False),
        ("jobs", "save", True),
        ("outputs", "delete_prefix", False),
        ("jobs", "unmark_escrow", False),
    ],
)
def test_what_breaks_off_is_ended_by_the_next_run(world: World, port: str, method: str, after: bool) -> None:
    job = trained(world, escrow_days=1)
    world.clock.advance(1.1 * DAY)
    broken = FailingOnce(getattr(world.ports, port), method, Unavailable("down"), after=after)
    report = empty_escrow(replace(world.ports, **{port: broken}), world.clock.now())
    assert report.failed == 1
    empty_escrow(world.ports, world.clock.now())
    assert files(world, job) == 0
    assert world.job(job.job_id).escrow_removed_at is not None
    assert world.event_types(job.job_id).count("escrow.removed") == 1
    assert world.jobs.list_escrow_due(due_before=world.clock.now() + timedelta(days=1)) == []


def test_a_deleted_job_leaves_no_reminder(world: World) -> None:
    job = trained(world, escrow_days=1)
    world.services.jobs.delete(ME, job.job_id)
    assert sweep(world, 2) == 0
    assert world.jobs.list_escrow_due(due_before=world.clock.now() + timedelta(days=1)) == []


def test_nothing_begins_when_time_is_up(world: World) -> None:
    job = trained(world, escrow_days=1)
    world.clock.advance(2 * DAY)
    report = empty_escrow(world.ports, world.clock.now() - timedelta(seconds=1))
    assert (report.unfinished, report.removed, files(world, job)) == (True, 0, 2)
