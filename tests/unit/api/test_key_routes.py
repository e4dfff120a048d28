"""API keys: as the tutorial makes them, and no more than they should be."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.api_keys import KEY_PATTERN, MAX_KEYS_PER_PERSON, compose
from chalicelib.domain.permissions import PEOPLE_ONLY, ROLES, Role
from chalicelib.errors import Unavailable
from chalicelib.wiring import build_services
from tests.unit.api.client import ApiClient
from tests.unit.api.team import Team

TUTORIAL = {"name": "ci-pipeline", "expires_days": 90, "scoped_permissions": ["job.submit", "job.view.own"]}
KEYS = "/api/auth/api-keys"


def test_the_tutorials_key(team: Team) -> None:
    answer = team.session("rita").post("/api/cloud/auth/api-keys", TUTORIAL)
    body = answer.json()
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert re.fullmatch(KEY_PATTERN, body["key"])
    info = body["key_info"]
    assert body["key"].startswith(f"{info['key_prefix']}_")
    assert info["key_prefix"] == f"stk_{info['id']}"
    assert (info["name"], info["is_active"], info["last_used_at"]) == ("ci-pipeline", True, None)
    assert info["scoped_permissions"] == ["job.submit", "job.view.own"]
    assert info["expires_at"] == (team.world.clock.now() + timedelta(days=90)).isoformat().replace("+00:00", "Z")
    for headers in ({"Authorization": f"Bearer {body['key']}"}, {"X-API-Key": body["key"]}):
        client = ApiClient(team.services, headers)
        assert client.get("/api/cloud/jobs").status == 200
        assert client.get("/api/cloud/datasets").status == 403
    submitted = team.submit(team.anonymous.bearing(body["key"])).json()
    assert submitted["job"]["user_id"] == team.ids["rita"]
    me = team.anonymous.bearing(body["key"]).get("/api/auth/me").json()
    assert (me["permissions"], me["key_id"]) == (["job.submit", "job.view.own"], info["id"])


def test_a_key_is_shown_once(team: Team) -> None:
    made = team.make_key("rita")
    secret = made["key"].split("_")[2]
    rita = team.session("rita")
    for path in (KEYS, f"{KEYS}/{made['key_info']['id']}", "/api/auth/me"):
        assert secret[:32] not in rita.get(path).body.decode()
    assert secret[:32] not in str(team.world.audit.records)
    assert secret[:32] not in str(vars(team.world.access))


def test_both_places_have_the_same_keys(team: Team) -> None:
    made = team.make_key("rita")["key_info"]["id"]
    rita = team.session("rita")
    for base in (KEYS, "/api/cloud/auth/api-keys"):
        assert [k["id"] for k in rita.get(base).json()] == [made]
        assert rita.get(f"{base}/{made}").json()["id"] == made


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "validation_failed"),
        ({"name": ""}, "validation_failed"),
        ({"name": " "}, "validation_failed"),
        ({"name": "a\nb"}, "validation_failed"),
        ({"name": "x", "expires_days": 9999}, "validation_failed"),
        ({"name": "x", "expires_days": 0}, "validation_failed"),
        ({"name": "x", "scoped_permissions": []}, "validation_failed"),
        ({"name": "x", "scoped_permissions": ["job.fly"]}, "invalid_scopes"),
        ({"name": "x", "scoped_permissions": ["job.view.all"]}, "invalid_scopes"),
        ({"name": "x", "scoped_permissions": ["api.keys.own"]}, "invalid_scopes"),
        ({"name": "x", "budget_usd": 0}, "validation_failed"),
        ({"name": "x", "budget_usd": "NaN"}, "validation_failed"),
        ({"name": "x", "providers": ["nowhere"]}, "unknown_provider"),
    ],
)
def test_what_no_key_can_be(team: Team, body: dict[str, Any], code: str) -> None:
    answer = team.session("rita").post(KEYS, body)
    assert (answer.status, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"]
    assert team.session("rita").get(KEYS).json() == []


def test_every_key_ends(team: Team) -> None:
    made = team.make_key("rita", expires_days=None)["key_info"]
    assert made["expires_at"].startswith(str((team.world.clock.now() + timedelta(days=90)).date()))


def test_a_viewer_makes_no_keys_and_nobody_without_a_person_does(team: Team, api: ApiClient) -> None:
    assert team.session("vera").post(KEYS, {"name": "x"}).status == 403


def test_the_local_admin_is_told_to_become_somebody(api: ApiClient) -> None:
    answer = api.post(KEYS, TUTORIAL)
    assert (answer.status, answer.json()["code"]) == (409, "setup_needed")


# --- never more than the owner --------------------------------------------------------------------------------
def test_a_key_without_scopes_does_what_its_owner_may_but_not_what_is_for_people(team: Team) -> None:
    permissions = set(team.key("rita").get("/api/auth/me").json()["permissions"])
    assert permissions == {p.value for p in ROLES[Role.RESEARCHER] - PEOPLE_ONLY}


def test_a_key_loses_what_its_owner_loses_within_seconds(team: Team) -> None:
    key = team.key("lena", scoped_permissions=["job.view.all", "job.submit"])
    others = team.submit(team.session("rita")).json()["job_id"]
    assert key.get(f"/api/cloud/jobs/{others}").status == 200
    assert team.session("ada").request("PATCH", f"/api/users/{team.ids['lena']}", {"role": "viewer"}).status == 200
    team.world.clock.advance(5)
    assert key.get(f"/api/cloud/jobs/{others}").status == 404  # a viewer sees their own
    assert team.submit(key).status == 403
    assert team.session("ada").request("PATCH", f"/api/users/{team.ids['lena']}", {"role": "researcher"}).status == 200
    team.world.clock.advance(5)
    assert team.submit(key).status == 200
    assert key.get(f"/api/cloud/jobs/{others}").status == 404


def test_the_key_of_somebody_deactivated_stops_and_comes_back(team: Team) -> None:
    key, ada = team.key("rita"), team.session("ada")
    ada.post(f"/api/users/{team.ids['rita']}/deactivate")
    team.world.clock.advance(5)
    answer = key.get("/api/cloud/jobs")
    assert (answer.status, answer.json()["code"]) == (401, "account_inactive")
    ada.post(f"/api/users/{team.ids['rita']}/activate")
    team.world.clock.advance(5)
    assert key.get("/api/cloud/jobs").status == 200


# --- which keys are good --------------------------------------------------------------------------------------
def test_a_wrong_checksum_asks_nobody(team: Team) -> None:
    text = team.make_key("rita")["key"]
    other = "A" if text[-1] != "A" else "B"
    team.world.access.calls.clear()
    for wrong in (text[:-1] + other, text[:40] + "x" + text[41:], text + "0", text[:-1], "stk_", text.upper()):
        answer = team.anonymous.get("/api/cloud/jobs", headers={"X-API-Key": wrong})
        assert answer.status == 401
        assert wrong not in answer.body.decode()
    assert team.world.access.calls == []


def test_a_right_checksum_and_a_wrong_secret(team: Team) -> None:
    made = team.make_key("rita")["key_info"]["id"]
    for forged in (compose(team.ids["rita"], made[13:], "0" * 32), compose("nobody", "0" * 10, "0" * 32)):
        answer = team.anonymous.bearing(forged).get("/api/cloud/jobs")
        assert (answer.status, answer.json()["code"]) == (401, "invalid_key")


def test_an_expired_key(team: Team) -> None:
    key = team.key("rita", expires_days=1)
    team.world.clock.advance(timedelta(days=1))
    answer = key.get("/api/cloud/jobs")
    assert (answer.status, answer.json()["code"]) == (401, "key_expired")


def test_a_revoked_key_stops_here_at_once_and_elsewhere_within_five_seconds(team: Team) -> None:
    made = team.make_key("rita")
    elsewhere = ApiClient(build_services(team.world.ports, team.world.doors, team.services.settings))
    here, there = team.anonymous.bearing(made["key"]), elsewhere.bearing(made["key"])
    assert (here.get("/api/cloud/jobs").status, there.get("/api/cloud/jobs").status) == (200, 200)
    revoked = team.session("rita").delete(f"{KEYS}/{made['key_info']['id']}")
    assert revoked.json()["key_info"]["is_active"] is False
    assert here.get("/api/cloud/jobs").json()["code"] == "key_revoked"
    team.world.clock.advance(5)
    assert there.get("/api/cloud/jobs").json()["code"] == "key_revoked"
    assert team.session("rita").delete(f"{KEYS}/{made['key_info']['id']}").status == 200
    assert len(team.audit("key.revoke")) == 1


def test_one_read_for_many_calls_of_a_key(team: Team) -> None:
    key = team.key("rita")
    team.world.access.calls.clear()
    for _ in range(40):
        assert key.get("/api/cloud/jobs").status == 200
    assert team.world.access.calls == ["find_key", "touch_key"]
    team.world.clock.advance(5)
    key.get("/api/cloud/jobs")
    assert team.world.access.calls == ["find_key", "touch_key", "find_key"]


def test_the_last_use_is_kept_coarsely(team: Team) -> None:
    made = team.make_key("rita")
    used = lambda: team.session("rita").get(f"{KEYS}/{made['key_info']['id']}").json()["last_used_at"]  # noqa: E731
    key, times = team.anonymous.bearing(made["key"]), []
    for wait in (0, 300, 301):
        team.world.clock.advance(wait)
        key.get("/api/cloud/jobs")
        times.append(used())
    assert times[0] is not None
    assert times[0] == times[1]
    assert times[1] < times[2]


# --- rotating, managing ---------------------------------------------------------------------------------------
def test_rotation_keeps_rights_and_length_of_life(team: Team) -> None:
    made = team.make_key("rita", expires_days=10, scoped_permissions=["job.submit"], budget_usd=5)
    team.world.clock.advance(timedelta(days=4))
    new = team.session("rita").post(f"{KEYS}/{made['key_info']['id']}/rotate", {}).json()
    old_info, info = made["key_info"], new["key_info"]
    assert info["id"] != old_info["id"]
    for name in ("name", "scoped_permissions", "budget_usd", "providers", "user_id"):
        assert info[name] == old_info[name]
    assert info["expires_at"].startswith(str((team.world.clock.now() + timedelta(days=10)).date()))
    assert team.anonymous.bearing(made["key"]).get("/api/auth/me").json()["code"] == "key_revoked"
    assert team.anonymous.bearing(new["key"]).get("/api/auth/me").status == 200
    again = team.session("rita").post(f"{KEYS}/{old_info['id']}/rotate", {})
    assert (again.status, again.json()["code"]) == (409, "key_not_live")


def test_rotation_with_an_overlap(team: Team) -> None:
    made = team.make_key("rita")
    path = f"{KEYS}/{made['key_info']['id']}/rotate"
    new = team.session("rita").post(path, {"overlap_seconds": 60}).json()["key"]
    for key in (made["key"], new):
        assert team.anonymous.bearing(key).get("/api/auth/me").status == 200
    team.world.clock.advance(60)
    assert team.anonymous.bearing(made["key"]).get("/api/auth/me").json()["code"] == "key_expired"
    assert team.anonymous.bearing(new).get("/api/auth/me").status == 200


def test_a_key_is_rotated_once_and_then_its_successor(team: Team) -> None:
    made = team.make_key("rita", expires_days=10)["key_info"]
    path = f"{KEYS}/{made['id']}/rotate"
    successor = team.session("rita").post(path, {"overlap_seconds": 600}).json()["key_info"]
    again = team.session("rita").post(path, {"overlap_seconds": 600})
    assert (again.status, again.json()["code"], again.json()["replaced_by"]) == (409, "key_rotated", successor["id"])
    next_one = team.session("rita").post(f"{KEYS}/{successor['id']}/rotate", {}).json()["key_info"]
    assert next_one["expires_at"][:10] == successor["expires_at"][:10]
    assert team.session("rita").delete(f"{KEYS}/{made['id']}").status == 200


def test_rotations_do_not_collect_keys(team: Team) -> None:
    key = team.make_key("rita")["key_info"]
    for _ in range(2 * MAX_KEYS_PER_PERSON - 1):
        key = team.session("rita").post(f"{KEYS}/{key['id']}/rotate", {"overlap_seconds": 600}).json()["key_info"]
    answer = team.session("rita").post(f"{KEYS}/{key['id']}/rotate", {"overlap_seconds": 600})
    assert (answer.status, answer.json()["code"]) == (409, "too_many_keys")
    assert team.session("rita").post(f"{KEYS}/{key['id']}/rotate", {}).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"scoped_permission": ["job.view.own"]},
        {"expires_day": 7},
        {"expires_days": True},
        {"expires_days": "7"},
        {"budget": 5},
        {"budget_usd": True},
    ],
)
def test_a_misspelt_limit_makes_no_key(team: Team, body: dict[str, object]) -> None:
    answer = team.session("rita").post(KEYS, {"name": "typo", **body})
    assert (answer.status, answer.json()["code"]) == (422, "validation_failed")
    assert team.session("rita").get(KEYS).json() == []


def test_an_admin_sees_and_revokes_anybodys_key_and_never_holds_it(team: Team) -> None:
    made = team.make_key("rita")["key_info"]
    ada = team.session("ada")
    assert [k["id"] for k in ada.get(f"{KEYS}?user_id={team.ids['rita']}").json()] == [made["id"]]
    assert ada.get(f"{KEYS}?user_id=nobody").status == 404
    assert team.session("otto").get(f"{KEYS}?user_id={team.ids['rita']}").status == 404
    assert ada.post(f"{KEYS}/{made['id']}/rotate", {}).status == 404
    assert ada.delete(f"{KEYS}/{made['id']}").status == 200
    (record,) = [r for r in team.world.audit.records if str(r.action) == "key.revoke"]
    assert (record.actor_name, record.owner, record.target) == ("ada", team.ids["rita"], f"key:{made['id']}")


def test_nobody_collects_keys(team: Team) -> None:
    for _ in range(MAX_KEYS_PER_PERSON):
        team.make_key("rita")
    answer = team.session("rita").post(KEYS, {"name": "one more"})
    assert (answer.status, answer.json()["code"]) == (409, "too_many_keys")


def test_a_key_that_can_not_be_recorded_is_not_made(team: Team) -> None:
    rita = team.session("rita")
    team.world.audit.broken = Unavailable("no audit")
    assert rita.post(KEYS, TUTORIAL).status == 503
    assert rita.get(KEYS).json() == []


def test_what_is_done_with_keys_is_in_the_audit_without_their_names(team: Team) -> None:
    made = team.session("rita").post(KEYS, {"name": "my-secret-name"}).json()["key_info"]["id"]
    new = team.session("rita").post(f"{KEYS}/{made}/rotate", {}).json()["key_info"]["id"]
    team.session("rita").delete(f"{KEYS}/{new}")
    team.session("rita").post(KEYS, {"name": "x", "scoped_permissions": ["job.view.all"]})
    team.session("vera").post(KEYS, {"name": "x"})
    assert team.audit("key.create") == [
        ("rita", "allowed", f"key:{made}", None),
        ("rita", "failed", "key:new", "invalid_scopes"),
        ("vera", "denied", "key:new", "permission_denied"),
    ]
    assert team.audit("key.rotate") == [("rita", "allowed", f"key:{new}", None)]
    assert team.audit("key.revoke") == [("rita", "allowed", f"key:{new}", None)]
    assert "my-secret-name" not in str(team.world.audit.records)


# --- what binds its jobs --------------------------------------------------------------------------------------
def test_a_key_submits_where_it_may(team: Team) -> None:
    key = team.key("rita", providers=["replicate"])
    refused = key.post("/api/cloud/jobs/submit?provider=elsewhere", {"config": {"a": 1}})
    assert (refused.status, refused.json()["code"]) == (403, "provider_not_allowed")
    assert refused.json()["success"] is False
    assert team.submit(key).status == 200
    assert [(e[1], e[3]) for e in team.audit("job.submit")] == [("denied", "provider_not_allowed"), ("allowed", None)]


def test_a_budget_counts_the_worst_case_then_the_cost(team: Team) -> None:
    made = team.make_key("rita", budget_usd=10)
    key, rita = team.anonymous.bearing(made["key"]), team.session("rita")
    used = lambda: rita.get(f"{KEYS}/{made['key_info']['id']}").json()["budget_used_usd"]  # noqa: E731
    first = team.submit(key, max_run_seconds=3600)
    price = first.json()["job"]["price_per_hour"]
    assert used() == pytest.approx(price, rel=0.01)
    refused = team.submit(key, max_run_seconds=34 * 3600)
    body = refused.json()
    assert (refused.status, body["code"]) == (403, "key_budget_exceeded")
    assert str(body["affordable_seconds"]) in body["detail"]
    assert body["budget_left_usd"] == pytest.approx(10 - used())
    second = team.submit(key, max_run_seconds=body["affordable_seconds"])
    assert second.status == 200
    assert "Use another key" in team.submit(key, max_run_seconds=300).json()["detail"]
    team.world.run(600, step=30)
    done = [key.get(f"/api/cloud/jobs/{j.json()['job_id']}").json()["job"] for j in (first, second)]
    assert {j["status"] for j in done} == {"completed"}
    assert used() == pytest.approx(sum(j["cost_usd"] for j in done))


def test_a_rotated_key_has_no_new_budget(team: Team) -> None:
    made = team.make_key("rita", budget_usd=6)
    assert team.submit(team.anonymous.bearing(made["key"]), max_run_seconds=3600).status == 200
    new = team.session("rita").post(f"{KEYS}/{made['key_info']['id']}/rotate", {}).json()["key"]
    assert team.submit(team.anonymous.bearing(new), max_run_seconds=3600).json()["code"] == "key_budget_exceeded"


def test_repeating_a_submit_takes_the_budget_once(team: Team) -> None:
    made = team.make_key("rita", budget_usd=6)
    key = team.anonymous.bearing(made["key"])
    ids = {team.submit(key, max_run_seconds=3600, idempotency_key="k").json()["job_id"] for _ in range(3)}
    assert len(ids) == 1
