"""A walk along all routes, as nobody, with every wrong permission, and as somebody else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chalicelib.api.routing import ENDPOINTS, Endpoint
from chalicelib.domain.permissions import PEOPLE_ONLY, ROLES, Permission, Principal, Role, granted
from chalicelib.services.delivery_records import make
from tests.fakes.world import CONFIG, World
from tests.support.deliveries import HUB
from tests.support.notifying import send
from tests.unit.api.client import ApiClient
from tests.unit.api.team import Team

guarded = pytest.mark.parametrize(
    "endpoint", [e for e in ENDPOINTS if e.needs_caller], ids=lambda e: f"{e.method} {e.path}"
)
owned = pytest.mark.parametrize(
    "endpoint",
    [e for e in ENDPOINTS if "{" in e.path and e.needs_caller and "{user_id}" not in e.path],
    ids=lambda e: f"{e.method} {e.path}",
)
#: The least that each of these bodies takes.
BODIES: dict[str, Any] = {
    "save_config": {"config": {"a": 1}},
    "create_uploads": {},
    "rotate_api_key": {},
    "finish_upload": {"path": "a.jpg"},
    "change_dataset": {"retention_days": 1},
    "change_channel": {"name": "mine"},
    "create_archive": {"filename": "a.zip", "size": 1},
    "deliver_job": {"destination": {"kind": "huggingface", "repo_id": "acme/cats"}},
    "set_job_escrow": {"days": 1},
    "stage_manifest": {"size": 1, "sha256": "a" * 64},
}


@pytest.fixture(scope="module")
def shared() -> Team:
    """Rita owns one of everything. Nothing below may change it, so it is made once."""
    return Team(World())


@pytest.fixture(scope="module")
def things(shared: Team) -> dict[str, str]:
    rita = shared.session("rita")
    version = shared.push(rita)
    assert rita.put("/api/configs/mine", {"config": CONFIG}).status == 200
    hook = {"channel_type": "webhook", "name": "mine", "webhook_url": "https://hooks.example/in"}
    channel = rita.post("/api/cloud/notifications/channels", hook).json()["id"]
    job = shared.submit(rita).json()["job_id"]
    shared.world.run(240, step=30)
    send(shared.world)
    message = rita.get("/api/cloud/notifications/history").json()["entries"][0]["id"]
    key = shared.make_key("rita")["key_info"]["id"]
    archive = rita.post("/api/cloud/datasets/photos/archives", BODIES["create_archive"]).json()["archive_id"]
    # Of which nothing is sent: nobody started it.
    delivery = make(shared.world.ports, shared.world.job(job), HUB).delivery_id
    return {
        "job_id": job,
        "delivery_id": delivery,
        "dataset_id": "photos",
        "version_id": version,
        "name": "mine",
        "key_id": key,
        "archive_id": archive,
        "channel_id": channel,
        "message_id": message,
    }


def path_of(endpoint: Endpoint, things: dict[str, str]) -> str:
    return "/api" + re.sub(r"{(\w+)\+?}", lambda found: things.get(found[1], "x"), endpoint.path)


@guarded
def test_nobody_gets_in(shared: Team, things: dict[str, str], endpoint: Endpoint) -> None:
    answer = shared.anonymous.request(endpoint.method, path_of(endpoint, things), {})
    assert (answer.status, answer.json()["code"]) == (401, "unauthenticated")
    assert "rita" not in answer.body.decode()


@guarded
@pytest.mark.parametrize("permission", Permission)
def test_each_permission_opens_its_own_doors_only(
    shared: Team, things: dict[str, str], endpoint: Endpoint, permission: Permission
) -> None:
    if endpoint.permission is None or Principal("o", frozenset({permission})).may(endpoint.permission):
        return
    api = ApiClient(shared.services)
    api.act_as("somebody", permission)
    answer = api.request(endpoint.method, path_of(endpoint, things), {})
    assert (answer.status, answer.json()["code"]) == (403, "permission_denied")
    assert answer.json()["permission"] == endpoint.permission


@guarded
@pytest.mark.parametrize("role", Role)
def test_a_role_opens_what_it_says(shared: Team, things: dict[str, str], endpoint: Endpoint, role: Role) -> None:
    """With ids of nothing, so that nothing changes: whoever may gets something else than 401 or 403."""
    name = {Role.ADMIN: "ada", Role.LEAD: "lena", Role.RESEARCHER: "otto", Role.VIEWER: "vera"}[role]
    answer = shared.session(name).request(endpoint.method, path_of(endpoint, {}), b"{")
    allowed = endpoint.permission is None or endpoint.permission in granted(ROLES[role])
    assert (answer.status == 403) == (not allowed)
    assert answer.status != 401


@guarded
def test_a_key_opens_nothing_that_is_for_people(shared: Team, endpoint: Endpoint) -> None:
    if endpoint.permission not in PEOPLE_ONLY:
        return
    answer = shared.key("ada").request(endpoint.method, path_of(endpoint, {}), {})
    assert (answer.status, answer.json()["code"]) == (403, "permission_denied")
    assert "No API key has it: sign in." in answer.json()["detail"]


@owned
def test_what_belongs_to_somebody_else_is_not_there(shared: Team, things: dict[str, str], endpoint: Endpoint) -> None:
    body = BODIES.get(endpoint.operation_id.removesuffix("_by_tutorial"), {})
    path = path_of(endpoint, things)
    theirs = shared.session("otto").request(endpoint.method, path, body)
    if endpoint.operation_id == "save_config":
        assert theirs.json()["version"] == 1  # it is otto's own, under the same name
        assert shared.session("rita").get(path).json()["config"] == CONFIG
        shared.session("otto").delete(path)
        return
    if endpoint.operation_id == "create_archive":
        assert theirs.status == 201  # otto's own, into a dataset of his own
        assert f"/_archives/{shared.ids['otto']}/" in theirs.json()["parts"][0]["url"]
        shared.session("otto").delete(f"{path}/{theirs.json()['archive_id']}")
        return
    if endpoint.operation_id == "stage_manifest":
        assert theirs.status == 201  # the first thing of otto's own dataset of this name
        assert f"/_staging/{shared.ids['otto']}/" in theirs.json()["url"]
        return
    assert theirs.status == 404
    nothing = shared.session("otto").request(
        endpoint.method, path_of(endpoint, {name: "x" * len(value) for name, value in things.items()}), body
    )
    assert (nothing.status, nothing.json()["code"]) == (404, theirs.json()["code"])


@pytest.mark.parametrize(
    "path",
    [
        "/api/cloud/jobs",
        "/api/cloud/datasets",
        "/api/configs",
        "/api/auth/api-keys",
        "/api/cloud/notifications/channels",
        "/api/cloud/notifications/history",
    ],
)
def test_lists_show_ones_own_only(shared: Team, things: dict[str, str], path: str) -> None:
    mine, theirs = shared.session("rita").get(path).json(), shared.session("otto").get(path).json()
    assert any(value in str(mine) for value in things.values())
    assert not any(value in str(theirs) for value in things.values() if value != "x")


def test_leads_see_and_cancel_everybodys_jobs_and_admins_delete_them(team: Team) -> None:
    job = team.submit(team.session("rita")).json()["job_id"]
    assert team.session("lena").get(f"/api/cloud/jobs/{job}").json()["job"]["user_id"] == team.ids["rita"]
    assert team.session("lena").post(f"/api/cloud/jobs/{job}/cancel").status == 200
    team.world.run(60)
    assert team.session("lena").delete(f"/api/cloud/jobs/{job}").status == 404
    assert team.session("ada").delete(f"/api/cloud/jobs/{job}").status == 200
    assert team.audit("job.cancel") == [("lena", "allowed", f"job:{job}", None)]
    assert team.audit("job.delete") == [
        ("lena", "failed", f"job:{job}", "job_not_found"),
        ("ada", "allowed", f"job:{job}", None),
    ]
    assert {r.owner for r in team.world.audit.records if str(r.action) == "job.cancel"} == {team.ids["rita"]}


def test_idempotency_keys_of_two_people_are_two(team: Team) -> None:
    rita, otto = (team.submit(team.session(n), idempotency_key="k").json() for n in ("rita", "otto"))
    assert rita["job_id"] != otto["job_id"]
    assert not otto["idempotent_hit"]
