"""What was made before there was an admin belongs to the first one."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.api.auth import LOCAL_OWNER
from chalicelib.errors import Unavailable
from chalicelib.schemas.configs import ConfigBody
from chalicelib.services.deploy_token import OWNER
from chalicelib.services.handover import FORMER_OWNERS
from tests.fakes.world import World
from tests.unit.api.client import ApiClient, hosted_services, local_services, with_ports
from tests.unit.api.team import ADMIN, PASSWORD
from tests.unit.services.between import FailingOnce

SETUP = "/api/auth/setup/first-admin"


def signed_in(api: ApiClient) -> ApiClient:
    answer = api.post("/api/auth/login", {"username": "ada", "password": PASSWORD})
    return api.bearing(answer.json()["access_token"])


def names(client: ApiClient) -> tuple[list[str], list[str]]:
    configs = client.get("/api/configs").json()["configs"]
    datasets = client.get("/api/cloud/datasets").json()["datasets"]
    return [c["name"] for c in configs], [d["dataset_id"] for d in datasets]


def test_nobody_is_forgotten() -> None:
    assert set(FORMER_OWNERS) == {LOCAL_OWNER, OWNER}


@pytest.mark.parametrize("hosted", [False, True], ids=["local", "hosted"])
def test_configs_and_datasets_go_to_the_first_admin(hosted: bool) -> None:
    world = World()
    services = hosted_services(world, "stc_token") if hosted else local_services(world)
    api = ApiClient(services)
    first = api.bearing("stc_token") if hosted else api
    for number in (1, 2):
        assert first.put("/api/configs/mine", {"config": {"a": number}}).status == 200
    world.push(source="/data/photos")  # of the owner of this computer, on either
    assert first.post(SETUP, ADMIN).status == 200
    ada = signed_in(api)
    assert names(ada) == (["mine"], ["photos"])
    assert ada.get("/api/configs/mine?version=1").json()["config"] == {"a": 1}
    assert ada.get("/api/configs/mine").json()["config"] == {"a": 2}
    dataloader = [{"id": "photos", "type": "local", "instance_data_dir": "/data/photos"}]
    body: dict[str, Any] = {"config": {"--model_family": "flux", "--model_type": "lora", "--max_train_steps": 10}}
    assert ada.post("/api/cloud/jobs/submit", {**body, "dataloader_config": dataloader}).status == 200
    records = [r for r in world.audit.records if str(r.action) == "setup.handover"]
    assert [r.details for r in records] == [{"configs_and_datasets": 2}]
    assert world.ports.configs.list(LOCAL_OWNER) == ([], None)
    assert world.ports.datasets.list_datasets(LOCAL_OWNER) == ([], None)


@pytest.mark.parametrize("port", ["configs", "datasets"])
@pytest.mark.parametrize("after", [False, True])
def test_a_handover_that_broke_off_goes_on_at_the_next_sign_in(port: str, after: bool) -> None:
    world = World()
    world.push(source="/data/photos")
    step = {"configs": "delete", "datasets": "move_version"}[port]
    broken = FailingOnce(getattr(world.ports, port), step, Unavailable("busy"), after=after)
    api = ApiClient(with_ports(local_services(world), **{port: broken}))
    for number in (1, 2):
        assert api.put("/api/configs/mine", {"config": {"a": number}}).status == 200
    assert api.post(SETUP, ADMIN).status == 200
    assert names(signed_in(api)) == (["mine"], ["photos"])
    assert world.ports.configs.list(LOCAL_OWNER) == ([], None)
    assert world.ports.datasets.list_datasets(LOCAL_OWNER) == ([], None)


def test_a_dataset_that_a_job_uses_waits_for_its_end() -> None:
    world = World()
    world.push(source="/data/photos")
    api = ApiClient(local_services(world))
    world.submit()
    assert api.post(SETUP, ADMIN).status == 200
    assert names(signed_in(api)) == ([], [])
    world.run(240, step=30)
    assert names(signed_in(api)) == ([], ["photos"])


def test_the_admins_own_config_of_that_name_stays(world: World) -> None:
    api = ApiClient(local_services(world))
    assert api.post(SETUP, ADMIN).status == 200
    ada = signed_in(api)
    assert ada.put("/api/configs/mine", {"config": {"a": "hers"}}).status == 200
    local = world.services.configs
    local.save(LOCAL_OWNER, "mine", ConfigBody(config={"a": "old"}))
    ada = signed_in(api)
    assert names(ada)[0] == ["mine", "mine-local"]
    assert ada.get("/api/configs/mine").json()["config"] == {"a": "hers"}


def test_nobody_else_gets_it(world: World) -> None:
    api = ApiClient(local_services(world))
    assert api.post(SETUP, ADMIN).status == 200
    ada = signed_in(api)
    invited = ada.post("/api/users", {"username": "bea", "email": "b@x.io", "password": PASSWORD, "role": "admin"})
    assert invited.status == 201
    world.push(dataset_id="late")
    bea = api.post("/api/auth/login", {"username": "bea", "password": PASSWORD}).json()["access_token"]
    assert names(api.bearing(bea))[1] == []
    assert "late" in names(signed_in(api))[1]


def test_credentials_go_to_the_first_admin_with_their_secrets(world: World) -> None:
    api, path = ApiClient(local_services(world)), "/api/cloud/credentials"
    body = {"name": "hub", "kind": "huggingface", "token": "hf_" + "a" * 30}
    assert api.post(path, body).status == 201
    assert api.post(SETUP, ADMIN).status == 200
    ada = signed_in(api)
    assert [c["name"] for c in ada.get(path).json()["credentials"]] == ["hub"]
    assert ada.post(f"{path}/hub/test", {}).json()["passed"]
    assert {owner for owner, _ in world.credential_secrets.stored} != {LOCAL_OWNER}
    (record,) = [r for r in world.audit.records if str(r.action) == "setup.handover"]
    assert record.details["credentials"] == 1
