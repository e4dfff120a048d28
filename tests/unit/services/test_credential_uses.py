"""What names a credential, and what that keeps from happening to it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.credentials import CredentialKind
from chalicelib.domain.deliveries import GIVE_UP_AFTER, Delivery, DeliveryState, Origin
from chalicelib.domain.delivery_ports import AnyDestination
from chalicelib.domain.destinations import HubDestination, S3Destination
from chalicelib.domain.job_deliveries import Wish
from chalicelib.domain.jobs import JobStatus
from chalicelib.errors import Conflict
from chalicelib.services import credential_uses
from chalicelib.services.credential_handover import hand_over
from chalicelib.services.credentials import CredentialService, find_credential
from tests.fakes.world import OWNER, World
from tests.support.deliveries import BUCKET, HUB, with_credentials
from tests.support.jobs import a_job, submit
from tests.unit.api.client import ApiClient, local_services


@pytest.fixture
def world() -> World:
    return with_credentials(World())


def deliver(
    world: World, destination: AnyDestination, *, number: int = 1, owner: str = OWNER, resolved: str | None = None
) -> Delivery:
    now = world.clock.now()
    made = Delivery(
        delivery_id=f"d-job1-{number:03d}",
        job_id="job1",
        owner=owner,
        destination=destination,
        origin=Origin.REQUEST,
        created_at=now,
        updated_at=now,
        give_up_at=now + GIVE_UP_AFTER,
        resolved_credential=resolved,
    )
    world.ports.deliveries.create(made)
    return made


@pytest.mark.parametrize(
    ("destination", "resolved", "used"),
    [
        (HUB, None, True),  # it will be looked for by its kind
        (HUB.model_copy(update={"credential": "huggingface"}), None, True),
        (HUB.model_copy(update={"credential": "other"}), None, False),
        (HUB, "huggingface", True),
        (HUB, "other", False),
        (BUCKET, None, False),
    ],
)
def test_an_open_delivery_uses_what_it_names_or_will_look_for(
    world: World, destination: AnyDestination, resolved: str | None, used: bool
) -> None:
    made = deliver(world, destination, resolved=resolved)
    deliver(world, HUB, number=2, owner="other")
    expected = ["the delivery d-job1-001 to huggingface:acme/cats"] if used else []
    assert credential_uses.uses(world.ports, OWNER, "huggingface") == expected
    over = made.moved(world.clock.now(), DeliveryState.FAILED)
    world.ports.deliveries.update(over)
    assert credential_uses.uses(world.ports, OWNER, "huggingface") == []


def test_many_open_deliveries_of_others_do_not_hide_mine(world: World) -> None:
    for number in range(250):
        deliver(world, HUB, number=number, owner="other")
    deliver(world, HUB, number=999)
    assert credential_uses.uses(world.ports, OWNER, "huggingface") == [
        "the delivery d-job1-999 to huggingface:acme/cats"
    ]


def test_an_active_job_uses_what_its_destinations_name(world: World) -> None:
    wishes = (Wish(destination=HUB, origin=Origin.SUBMIT), Wish(destination=BUCKET, origin=Origin.DEFAULT))
    job = submit(world.ports.jobs, a_job("job1", destinations=wishes))
    submit(world.ports.jobs, a_job("job2"))
    assert credential_uses.uses(world.ports, OWNER, "s3") == ["the job job1, which goes to s3://models/cats"]
    assert credential_uses.uses(world.ports, OWNER, "webhook") == []
    ended = job.ended(now=job.updated_at + timedelta(seconds=1), status=JobStatus.FAILED)
    world.ports.jobs.save(ended)
    assert credential_uses.uses(world.ports, OWNER, "s3") == []


def test_a_saved_default_uses_what_it_names_and_lets_it_be_handed_over(world: World) -> None:
    settings = world.ports.owner_settings.get(OWNER)
    world.ports.owner_settings.put(settings.model_copy(update={"destinations": (HUB, BUCKET), "revision": 1}))
    assert credential_uses.uses(world.ports, OWNER, "s3") == ["your default destination s3://models/cats"]
    assert credential_uses.uses(world.ports, OWNER, "webhook") == []
    assert credential_uses.at_work(world.ports, OWNER, "s3") == []
    assert hand_over(world.ports, OWNER, "ada") == 3


def test_a_credential_that_is_not_there_is_used_by_nothing(world: World) -> None:
    deliver(world, HUB)
    assert credential_uses.uses(world.ports, OWNER, "nosuch") == []
    assert credential_uses.uses(world.ports, "other", "huggingface") == []


def test_what_is_in_use_is_deleted_by_force_only(world: World) -> None:
    deliver(world, HUB)
    service = CredentialService(world.ports)
    with pytest.raises(Conflict) as caught:
        service.delete(OWNER, "huggingface", force=False)
    assert caught.value.code == "credential_in_use"
    assert caught.value.extra == {"used_by": ["the delivery d-job1-001 to huggingface:acme/cats"]}
    assert find_credential(world.ports, OWNER, CredentialKind.HUGGINGFACE, None).name == "huggingface"
    assert service.delete(OWNER, "huggingface", force=True) == caught.value.extra["used_by"]
    assert world.ports.credentials.get(OWNER, "huggingface") is None


def test_a_long_list_of_uses_is_told_whole_to_programs(world: World) -> None:
    for number in range(5):
        deliver(world, HubDestination(repo_id=f"acme/cats{number}"), number=number)
    api, path = ApiClient(local_services(world)), "/api/cloud/credentials/huggingface"
    refused = api.delete(path)
    assert (refused.status, refused.json()["code"], len(refused.json()["used_by"])) == (409, "credential_in_use", 5)
    assert refused.json()["detail"].count("the delivery") == 3
    assert len(api.get(path).json()["used_by"]) == 5
    done = api.delete(f"{path}?force=true")
    assert (done.status, len(done.json()["used_by"])) == (200, 5)
    (record,) = [r for r in world.audit.records if r.result.value == "allowed"]
    assert record.details == {"forced": True, "uses": 5}


def test_what_is_at_work_is_handed_over_when_it_is_over(world: World) -> None:
    made = deliver(world, S3Destination(bucket="models"))
    assert hand_over(world.ports, OWNER, "ada") == 2
    assert [c.name for c in world.ports.credentials.list_of(OWNER)] == ["s3"]
    world.ports.deliveries.update(made.moved(world.clock.now(), DeliveryState.CANCELLED))
    assert hand_over(world.ports, OWNER, "ada") == 1
    assert [c.name for c in world.ports.credentials.list_of("ada")] == ["huggingface", "s3", "webhook"]
