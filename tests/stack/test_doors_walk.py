"""A walk along all routes of the deployed stack over HTTP: as nobody, with too little, and as somebody else."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any

import pytest

from chalicelib.api.application import RESOURCES
from chalicelib.api.routing import ENDPOINTS, Endpoint
from chalicelib.domain.permissions import PEOPLE_ONLY, ROLES, Permission, Role, granted
from tests.support.closed_stack import PASSWORD, Caller, ClosedStack
from tests.support.stack import Answer, eventually
from tests.support.trainings import training_config

assert RESOURCES, "importing them registers their routes"
GUARDED = [e for e in ENDPOINTS if e.needs_caller]
OPEN = [e for e in ENDPOINTS if not e.needs_caller]
guarded = pytest.mark.parametrize("endpoint", GUARDED, ids=lambda e: f"{e.method} {e.path}")
#: The least that each of these bodies takes, so that it is the owner that is refused and not the body.
BODIES: dict[str, Any] = {
    "save_config": {"config": {"a": 1}},
    "create_archive": {"filename": "a.zip", "size": 1},
    "finish_upload": {"path": "picture-0.png"},
    "change_dataset": {"retention_days": 1},
    "change_channel": {"name": "mine"},
    "deliver_job": {"destination": {"kind": "huggingface", "repo_id": "acme/cats"}},
    "set_job_escrow": {"days": 1},
    "stage_manifest": {"size": 1, "sha256": "a" * 64},
}
#: What a proxy, a rival product or a hopeful attacker sends.
FORGED = [
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-For": "127.0.0.1, 127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
    {"X-Forwarded-Host": "localhost", "X-Original-URL": "/api/auth/check", "X-HTTP-Method-Override": "GET"},
    {"STC-Auth-Mode": "local", "X-Stc-Auth-Mode": "local", "X-Auth-Mode": "local"},
    {"X-Amzn-Oidc-Identity": "ada", "X-Remote-User": "ada", "X-Forwarded-User": "ada"},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer null"},
    {"Authorization": "Basic YWRhOmFkYQ=="},
    {"Authorization": "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEiLCJ0b2tlbl91c2UiOiJhY2Nlc3MifQ."},
    {"X-API-Key": ""},
    {"X-API-Key": "stk_"},
    {"Cookie": "stc_session=x; __Host-stc_session=x"},
]


@dataclass(frozen=True)
class Things:
    """One of everything that rita owns, by the names of the paths' parameters."""

    ids: dict[str, str]

    def path(self, endpoint: Endpoint) -> str:
        return re.sub(r"{(\w+)\+?}", lambda found: self.ids.get(found[1], "x"), endpoint.path)


NOTHING = Things({})


@pytest.fixture(scope="module")
def things(team: ClosedStack) -> Things:
    rita = team["rita"]
    version = rita.push("walk-photos")
    rita.ok("PUT", "/configs/walk-mine", json={"config": training_config(6)})
    job_id = rita.submit("walk-photos")["job_id"]
    rita.wait(job_id, "completed")
    key_id = team.make_key("rita")["key_info"]["id"]
    ids = {"job_id": job_id, "dataset_id": "walk-photos", "version_id": version["version_id"], "name": "walk-mine"}
    archive = rita.ok("POST", "/cloud/datasets/walk-photos/archives", json=BODIES["create_archive"])
    return Things({**ids, "key_id": key_id, "archive_id": archive["archive_id"]})


def ask(caller: Caller, endpoint: Endpoint, things: Things = NOTHING, **request: Any) -> Answer:
    """A request without a body to speak of, so that nothing is changed by one that gets in where it should not."""
    body = {} if endpoint.method in {"POST", "PUT", "PATCH"} else None
    return caller.api(endpoint.method, things.path(endpoint), **{"json": body, **request})


@guarded
def test_nobody_gets_in(team: ClosedStack, things: Things, endpoint: Endpoint) -> None:
    answer = ask(team.caller(), endpoint, things)
    assert (answer.status, answer.json["code"]) == (401, "unauthenticated")
    assert not [text for text in ("rita", team["rita"].user_id) if text in answer.text]


def test_the_routes_that_need_nobody_are_those_that_we_know() -> None:
    assert {f"{e.method} {e.path}" for e in OPEN} == {
        "GET /auth/check",
        "GET /auth/setup/status",
        "GET /cloud/health",
        "GET /cloud/health/live",
        "GET /cloud/health/ready",
        "GET /cloud/storage",
        "GET /cloud/storage/{bucket}",
        "GET /cloud/storage/{bucket}/{key+}",
        "POST /auth/login",
        "POST /auth/login/challenge",
        "POST /auth/login/pool-token",
        "POST /auth/logout",
        "POST /auth/refresh",
        "POST /auth/setup/first-admin",
        "POST /cloud/jobs/{job_id}/deliveries/{delivery_id}/links",
        "POST /cloud/jobs/{job_id}/deliveries/{delivery_id}/receipt",
        "POST /cloud/storage/{bucket}/{key+}",
        "PUT /cloud/storage/{bucket}/{key+}",
        "POST /webhooks/{provider}",
    }


@pytest.mark.parametrize("endpoint", OPEN, ids=lambda e: f"{e.method} {e.path}")
def test_the_routes_that_need_nobody_tell_nobody_anything(
    team: ClosedStack, things: Things, endpoint: Endpoint
) -> None:
    answer = ask(team.caller(), endpoint)
    assert answer.status < 500
    names = (*team.people, *(p.user_id for p in team.people.values()), *things.ids.values())
    assert not [name for name in names if name in re.findall(r"[\w-]+", answer.text)]


@pytest.mark.parametrize("headers", FORGED, ids=str)
def test_no_header_opens_the_door(team: ClosedStack, headers: dict[str, str]) -> None:
    for path in ("/cloud/jobs", "/users", "/audit"):
        answer = team.caller().api("GET", path, headers=headers)
        assert answer.status == 401, (path, answer.text)
    made = team.caller().api(
        "POST",
        "/auth/setup/first-admin",
        json={"username": "mallory", "email": "m@example.com", "password": PASSWORD},
        headers=headers,
    )
    assert made.status in {401, 409}


def test_a_forged_address_is_not_believed(team: ClosedStack) -> None:
    forged = "203.0.113.77"
    headers = {"X-Forwarded-For": forged, "X-Real-IP": forged, "Forwarded": f"for={forged}"}
    body = {"username": "vera", "password": "not-this-one"}
    assert team.caller().api("POST", "/auth/login", json=body, headers=headers).status == 401
    team["vera"].api("GET", "/audit", headers=headers)
    entries = team["ada"].ok("GET", "/audit?limit=200")["entries"]
    assert [e for e in entries if (e["event_type"], e["result"]) == ("sign.in", "denied")]
    assert forged not in {e["actor_ip"] for e in entries}


@guarded
@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESEARCHER, Role.LEAD, Role.ADMIN])
def test_a_role_opens_what_it_says(team: ClosedStack, endpoint: Endpoint, role: Role) -> None:
    """With a body that can't be read and ids of nothing, so that nothing changes."""
    name = {Role.ADMIN: "ada", Role.LEAD: "lena", Role.RESEARCHER: "otto", Role.VIEWER: "vera"}[role]
    request = {"json": None, "content": b"{", "headers": {"Content-Type": "application/json"}}
    answer = ask(team[name], endpoint, NOTHING, **request)
    allowed = endpoint.permission is None or endpoint.permission in granted(ROLES[role])
    assert (answer.status == 403) == (not allowed), answer.text
    assert answer.status != 401
    if not allowed:
        assert (answer.json["code"], answer.json["permission"]) == ("permission_denied", endpoint.permission)


@pytest.fixture(scope="module")
def narrow_keys(team: ClosedStack) -> dict[Permission, Caller]:
    """Keys of the admin, who could give them everything, with one permission each."""
    scopes = [p for p in Permission if p not in PEOPLE_ONLY]
    return {scope: team.key("ada", scoped_permissions=[scope.value]) for scope in scopes}


@guarded
def test_a_key_opens_what_its_one_permission_says(narrow_keys: dict[Permission, Caller], endpoint: Endpoint) -> None:
    request = {"json": None, "content": b"{", "headers": {"Content-Type": "application/json"}}
    opened = {
        scope for scope, key in narrow_keys.items() if ask(key, endpoint, NOTHING, **request).status not in {401, 403}
    }
    assert opened == {
        scope for scope in narrow_keys if endpoint.permission is None or endpoint.permission in granted({scope})
    }


@pytest.mark.parametrize(
    "endpoint",
    [e for e in GUARDED if "{" in e.path and "{user_id}" not in e.path],
    ids=lambda e: f"{e.method} {e.path}",
)
def test_what_belongs_to_somebody_else_is_not_there(team: ClosedStack, things: Things, endpoint: Endpoint) -> None:
    otto, rita = team["otto"], team["rita"]
    body = BODIES.get(endpoint.operation_id)
    request = {} if body is None else {"json": body}
    theirs = ask(otto, endpoint, things, **request)
    if endpoint.operation_id == "save_config":
        assert theirs.json["version"] == 1  # it is otto's own, under the same name
        assert rita.ok("GET", "/configs/walk-mine")["config"] == training_config(6)
        otto.ok("DELETE", "/configs/walk-mine")
        return
    if endpoint.operation_id == "create_archive":
        assert f"/_archives/{otto.user_id}/" in theirs.json["parts"][0]["url"]  # his own, into a dataset of his own
        otto.ok("DELETE", f"/cloud/datasets/walk-photos/archives/{theirs.json['archive_id']}")
        return
    if endpoint.operation_id == "stage_manifest":
        assert theirs.status == 201  # the first thing of otto's own dataset of this name
        assert f"/_staging/{otto.user_id}/" in theirs.json["url"]
        return
    assert theirs.status == 404, theirs.text
    nothing = ask(otto, endpoint, Things({name: "x" * len(value) for name, value in things.ids.items()}), **request)
    assert (nothing.status, nothing.json["code"]) == (404, theirs.json["code"])


def test_a_key_loses_what_its_owner_loses(team: ClosedStack) -> None:
    ada = team["ada"]
    person = ada.ok(
        "POST", "/users", json={"username": "pat", "email": "pat@example.com", "password": PASSWORD, "role": "lead"}
    )
    pat = team.caller()
    token = pat.ok("POST", "/auth/login", json={"username": "pat", "password": PASSWORD})["access_token"]
    made = pat.ok("POST", "/auth/api-keys", json={"name": "k"}, headers={"Authorization": f"Bearer {token}"})
    key = team.caller(x_api_key=made["key"])
    assert "job.view.all" in key.ok("GET", "/auth/me")["permissions"]
    ada.ok("PATCH", f"/users/{person['id']}", json={"role": "viewer"})
    eventually(lambda: "job.view.all" not in key.ok("GET", "/auth/me")["permissions"], seconds=8)
    assert key.api("POST", "/cloud/datasets", json={}).status == 403
    ada.ok("POST", f"/users/{person['id']}/deactivate")
    eventually(lambda: key.api("GET", "/cloud/jobs").status == 401, seconds=8)
    ada.ok("DELETE", f"/users/{person['id']}")
    assert key.api("GET", "/cloud/jobs").status == 401


def test_unknown_names_and_wrong_passwords_are_answered_alike(team: ClosedStack) -> None:
    texts, seconds = set(), []
    for name in ("vera", "nobody-of-this-name"):
        started = time.monotonic()
        answer = team.caller().api("POST", "/auth/login", json={"username": name, "password": "wrong-password"})
        seconds.append(time.monotonic() - started)
        assert answer.status == 401
        texts.add(json.dumps({k: v for k, v in answer.json.items() if k != "request_id"}, sort_keys=True))
    assert len(texts) == 1
    assert min(seconds) >= 0.5


def test_too_many_sign_ins_are_refused_with_the_time_to_wait(team: ClosedStack) -> None:
    nobody, body = team.caller(), {"username": "mallory", "password": "guess"}
    answers = [nobody.api("POST", "/auth/login", json=body) for _ in range(11)]
    assert {a.status for a in answers[:10]} == {401}
    assert answers[10].status == 429
    assert 0 < int(answers[10].headers["retry-after"]) <= 900
    assert answers[10].json["code"] == "rate_limited"
    answer = team["rita"].api("GET", "/cloud/jobs")
    assert int(answer.headers["ratelimit-remaining"]) < int(answer.headers["ratelimit-limit"])
    assert int(answer.headers["ratelimit-reset"]) >= 0


def test_the_walk_left_the_audit_whole(team: ClosedStack) -> None:
    """Everything above is in it, sealed now, and nothing of it can be changed unseen."""
    team.stack.sweep()
    report = team["ada"].ok("GET", "/audit/verify")
    assert (report["valid"], report["broken_links"], report["complete"]) == (True, [], True)
    assert team["lena"].api("GET", "/audit").status == 403
