"""Managing people, and never without somebody who could."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from chalicelib.domain.access_ports import UnknownUserError
from chalicelib.domain.permissions import Role
from chalicelib.errors import Unavailable
from tests.fakes.world import World
from tests.unit.api.client import ApiClient, hosted_services
from tests.unit.api.team import PASSWORD, Team

USERS = "/api/users"


def test_people_by_name(team: Team) -> None:
    ada = team.session("ada")
    first = ada.get(f"{USERS}?limit=3").json()
    assert [u["username"] for u in first["users"]] == ["ada", "lena", "otto"]
    rest = ada.get(f"{USERS}?limit=3&cursor={quote(first['next'])}").json()
    assert ([u["username"] for u in rest["users"]], rest["next"]) == (["rita", "vera"], None)
    assert ada.get(f"{USERS}?cursor=x").json()["code"] == "invalid_cursor"
    assert team.session("lena").get(USERS).json()["users"][0]["username"] == "ada"


def test_an_invitation(team: Team) -> None:
    body = {"username": "nina", "email": " nina@example.com ", "display_name": "Nina", "role": "lead"}
    answer = team.session("ada").post(USERS, body)
    made = answer.json()
    assert (answer.status, made["email"], made["role"], made["is_active"]) == (201, "nina@example.com", "lead", True)
    assert team.world.pool.role_of("nina") is Role.LEAD
    again = team.session("ada").post(USERS, {**body, "email": "other@example.com"})
    assert (again.status, again.json()["code"]) == (409, "user_exists")
    assert [e[1:] for e in team.audit("user.invite")][-3:] == [
        ("allowed", "user:new", None),
        ("allowed", "user:new", None),
        ("failed", "user:new", "user_exists"),
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"username": "a"},
        {"username": "-a"},
        {"username": "a b"},
        {"username": "a@b.example"},
        {"email": "nobody"},
        {"email": "a@b\n"},
        {"role": "king"},
        {"display_name": "a\x1b[31m"},
        {"password": ""},
    ],
)
def test_what_nobody_is_called(team: Team, change: dict[str, str]) -> None:
    body = {"username": "nina", "email": "nina@example.com", **change}
    answer = team.session("ada").post(USERS, body)
    if change == {"email": "a@b\n"}:
        assert answer.json()["email"] == "a@b"
        return
    assert (answer.status, answer.json()["code"]) == (422, "validation_failed")
    assert not team.world.pool.has("nina")


def test_a_weak_password_for_somebody_else(team: Team) -> None:
    body = {"username": "nina", "email": "nina@example.com", "password": "weak-canary"}
    answer = team.session("ada").post(USERS, body)
    assert (answer.status, answer.json()["code"]) == (422, "weak_password")
    assert "weak-canary" not in answer.body.decode()


def test_a_change_of_role_reaches_profile_and_pool(team: Team) -> None:
    ada, rita, session = team.session("ada"), team.ids["rita"], team.session("rita")
    changed = ada.request("PATCH", f"{USERS}/{rita}", {"role": "lead", "display_name": "Rita R."})
    assert changed.json()["role"] == "lead"
    assert team.world.pool.role_of("rita") is Role.LEAD
    assert ada.get(f"{USERS}/{rita}").json()["display_name"] == "Rita R."
    assert session.get(USERS).status == 403  # it says what was
    fresh = team.anonymous.bearing(team.sign_in("rita").json()["access_token"])
    assert fresh.get(USERS).status == 200
    (record,) = [r for r in team.world.audit.records if str(r.action) == "user.role"]
    assert (record.details["from"], record.details["to"], record.owner) == ("researcher", "lead", rita)


def test_the_last_admin_stays_one(team: Team) -> None:
    ada, me = team.session("ada"), team.ids["ada"]
    answers = [
        ada.request("PATCH", f"{USERS}/{me}", {"role": "lead"}),
        ada.post(f"{USERS}/{me}/deactivate"),
        ada.delete(f"{USERS}/{me}"),
    ]
    assert [(a.status, a.json()["code"]) for a in answers] == [(409, "last_admin")] * 3
    assert team.world.pool.role_of("ada") is Role.ADMIN
    assert team.world.pool.is_enabled("ada")
    ada.request("PATCH", f"{USERS}/{team.ids['lena']}", {"role": "admin"})
    assert ada.post(f"{USERS}/{me}/deactivate").status == 200


def test_an_admin_who_is_none_any_more_lets_nobody_in(team: Team) -> None:
    """Their session says admin for some minutes still."""
    ada = team.session("ada")
    ada.request("PATCH", f"{USERS}/{team.ids['lena']}", {"role": "admin"})
    lena = team.anonymous.bearing(team.sign_in("lena").json()["access_token"])
    assert ada.request("PATCH", f"{USERS}/{team.ids['lena']}", {"role": "viewer"}).status == 200
    body = {"username": "eve", "email": "eve@example.com", "password": PASSWORD, "role": "admin"}
    for answer in (
        lena.post(USERS, body),
        lena.request("PATCH", f"{USERS}/{team.ids['rita']}", {"role": "admin"}),
        lena.post(f"{USERS}/{team.ids['rita']}/deactivate"),
        lena.delete(f"{USERS}/{team.ids['rita']}"),
        lena.post("/api/auth/api-keys", {"name": "x"}),
    ):
        assert (answer.status, answer.json()["code"]) == (403, "permission_denied")
    ada.post(f"{USERS}/{team.ids['lena']}/deactivate")
    assert lena.post(USERS, body).json()["code"] == "account_inactive"


def test_deactivating_ends_sessions_and_keeps_what_they_own(team: Team) -> None:
    rita, ada = team.sign_in("rita").json(), team.session("ada")
    job = team.submit(team.session("rita")).json()["job_id"]
    assert ada.post(f"{USERS}/{team.ids['rita']}/deactivate").json()["success"] is True
    assert team.sign_in("rita").status == 401
    assert team.anonymous.post("/api/auth/refresh", {"refresh_token": rita["refresh_token"]}).status == 401
    assert ada.get(f"/api/cloud/jobs/{job}").status == 200
    assert ada.post(f"{USERS}/{team.ids['rita']}/activate").status == 200
    assert team.sign_in("rita").status == 200
    assert [e[1] for e in team.audit("user.deactivate") + team.audit("user.reactivate")] == ["allowed", "allowed"]


def test_deleting_waits_for_jobs_and_takes_the_keys(team: Team) -> None:
    key, ada = team.key("rita"), team.session("ada")
    job = team.submit(key).json()["job_id"]
    path = f"{USERS}/{team.ids['rita']}"
    assert ada.delete(path).json()["code"] == "user_has_active_jobs"
    ada.post(f"/api/cloud/jobs/{job}/cancel")
    team.world.run(60)
    assert ada.delete(path).status == 200
    assert key.get("/api/cloud/jobs").status == 401
    assert not team.world.pool.has("rita")
    assert ada.delete(path).json()["code"] == "user_not_found"
    assert ada.get(f"/api/cloud/jobs/{job}").json()["job"]["user_id"] == team.ids["rita"]


def test_nothing_is_granted_that_can_not_be_recorded(team: Team) -> None:
    ada, rita = team.session("ada"), team.ids["rita"]
    team.world.audit.broken = Unavailable("no audit")
    body = {"username": "eve", "email": "eve@example.com", "password": PASSWORD}
    for answer in (
        ada.post(USERS, body),
        ada.request("PATCH", f"{USERS}/{rita}", {"role": "admin"}),
        ada.post(f"{USERS}/{rita}/deactivate"),
        ada.delete(f"{USERS}/{rita}"),
    ):
        assert answer.status == 503
    assert not team.world.pool.has("eve")
    assert ada.get(f"{USERS}/{rita}").json()["role"] == "researcher"


def test_a_pool_without_the_user_is_told(team: Team) -> None:
    team.world.pool.delete("rita")
    with pytest.raises(UnknownUserError):
        team.world.pool.role_of("rita")
    answer = team.session("ada").request("PATCH", f"{USERS}/{team.ids['rita']}", {"role": "lead"})
    assert (answer.status, answer.json()["code"]) == (409, "user_not_in_pool")


def test_people_come_after_the_first_admin(api: ApiClient) -> None:
    body = {"username": "nina", "email": "nina@example.com", "password": PASSWORD}
    answer = api.post(USERS, body)
    assert (answer.status, answer.json()["code"]) == (409, "setup_needed")
    assert "first admin" in answer.json()["detail"]


def test_whoever_left_spends_nothing_with_the_session_they_had(team: Team) -> None:
    rita, otto, lena = team.session("rita"), team.session("otto"), team.session("lena")
    ada = team.session("ada")
    assert ada.post(f"{USERS}/{team.ids['rita']}/deactivate").status == 200
    assert ada.delete(f"{USERS}/{team.ids['otto']}").status == 200
    assert ada.request("PATCH", f"{USERS}/{team.ids['lena']}", {"role": "viewer"}).status == 200
    refused = [team.submit(client) for client in (rita, otto, lena)]
    assert [(a.status, a.json()["code"]) for a in refused] == [
        (401, "account_inactive"),
        (401, "account_inactive"),
        (403, "permission_denied"),
    ]
    assert team.session("ada").get("/api/cloud/jobs").json()["jobs"] == []


def first_sign_in(team: Team, name: str, temporary: str) -> str:
    """Signs in with a temporary password and chooses another; returns the access token."""
    first = team.sign_in(name, temporary).json()
    assert (first["success"], first["challenge"]["name"]) == (False, "NEW_PASSWORD_REQUIRED")
    step = {"username": name, "challenge": "NEW_PASSWORD_REQUIRED", "challenge_session": first["challenge"]["session"]}
    done = team.anonymous.post("/api/auth/login/challenge", {**step, "answer": PASSWORD}).json()
    assert done["success"], done
    return str(done["access_token"])


def test_where_nobody_mails_the_answer_holds_the_temporary_password_once(team: Team) -> None:
    made = team.session("ada").post(USERS, {"username": "nina", "email": "nina@example.com"}).json()
    temporary = made["temporary_password"]
    assert len(temporary) >= 20
    assert team.world.pool.invitations == {}
    assert team.anonymous.bearing(first_sign_in(team, "nina", temporary)).get("/api/auth/me").json()["id"] == made["id"]
    assert team.sign_in("nina", temporary).status == 401
    again = team.session("ada").get(f"{USERS}/{made['id']}").body.decode()
    assert temporary not in again + str(team.world.audit.records) + str(vars(team.world.access))


def test_where_the_pool_mails_no_answer_holds_a_password(world: World) -> None:
    team = Team(world)
    team.services = hosted_services(world, None)
    ada = ApiClient(team.services, {"Authorization": f"Bearer {team.token('ada')}"})
    made = ada.post(USERS, {"username": "nina", "email": "nina@example.com"}).json()
    assert made["temporary_password"] is None
    reset = ada.post(f"{USERS}/{made['id']}/reset-password").json()
    assert (reset["success"], reset["temporary_password"]) == (True, None)
    first_sign_in(team, "nina", world.pool.invitations["nina"])


def test_a_chosen_password_is_temporary_when_the_admin_says_so(team: Team) -> None:
    body = {"username": "nina", "email": "nina@example.com", "password": "Handed-Over-9-Word"}
    made = team.session("ada").post(USERS, {**body, "password_is_temporary": True}).json()
    assert made["temporary_password"] is None
    first_sign_in(team, "nina", "Handed-Over-9-Word")


def test_a_reset_ends_the_password_and_the_sessions(team: Team) -> None:
    before = team.sign_in("rita").json()
    reset = team.session("ada").post(f"{USERS}/{team.ids['rita']}/reset-password")
    assert (reset.status, reset.headers["Cache-Control"]) == (200, "no-store")
    assert team.sign_in("rita").status == 401
    assert team.anonymous.post("/api/auth/refresh", {"refresh_token": before["refresh_token"]}).status == 401
    first_sign_in(team, "rita", reset.json()["temporary_password"])
    assert team.audit("user.reset_password") == [("ada", "allowed", f"user:{team.ids['rita']}", None)]
    assert reset.json()["temporary_password"] not in str(team.world.audit.records)


def test_nobody_resets_their_own_password_or_nobodys(team: Team) -> None:
    ada = team.session("ada")
    own = ada.post(f"{USERS}/{team.ids['ada']}/reset-password")
    assert (own.status, own.json()["code"]) == (409, "own_password")
    assert ada.post(f"{USERS}/none/reset-password").status == 404
    assert team.session("lena").post(f"{USERS}/{team.ids['rita']}/reset-password").status == 403
