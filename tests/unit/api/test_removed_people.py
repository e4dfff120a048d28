"""Who lost a right or was removed is out, whatever broke in between; and who comes from elsewhere."""

from __future__ import annotations

import pytest

from chalicelib.domain.permissions import Role
from chalicelib.errors import Unavailable
from chalicelib.services.standing import MAX_REMEMBERED, StandingService
from tests.fakes.world import World
from tests.support.doors import a_person
from tests.unit.api.client import ApiClient
from tests.unit.api.team import PASSWORD, Team
from tests.unit.services.between import Between, FailingOnce

BUSY = Unavailable("The user pool is busy.")


def usernames(team: Team) -> list[str]:
    return [user["username"] for user in team.session("ada").get("/api/users").json()["users"]]


def refresh(team: Team, token: str) -> int:
    return team.anonymous.post("/api/auth/refresh", {"refresh_token": token}).status


def test_a_removal_that_the_pool_broke_off_leaves_no_right_and_is_finished_by_repeating_it(team: Team) -> None:
    session = team.sign_in("otto").json()
    key = team.key("otto")
    team.with_doors(pool=FailingOnce(team.world.pool, "delete", BUSY))
    path = f"/api/users/{team.ids['otto']}"
    assert team.session("ada").delete(path).status == 503
    team.world.clock.advance(6)
    assert team.sign_in("otto").status == 401
    assert refresh(team, session["refresh_token"]) == 401
    assert key.get("/api/cloud/jobs").status == 401
    assert "otto" in usernames(team)
    assert team.session("ada").delete(path).status == 200
    assert not team.world.pool.has("otto")
    assert "otto" not in usernames(team)
    assert team.session("ada").delete(path).status == 404


def test_a_removal_that_the_store_broke_off_is_finished_too(team: Team) -> None:
    team.with_doors(access=FailingOnce(team.world.access, "delete_person", BUSY))
    path = f"/api/users/{team.ids['otto']}"
    assert team.session("ada").delete(path).status == 503
    assert not team.world.pool.has("otto")
    assert team.session("ada").delete(path).status == 200
    assert "otto" not in usernames(team)


def test_somebody_new_of_the_same_name_is_not_removed_by_the_repetition(team: Team) -> None:
    team.with_doors(access=FailingOnce(team.world.access, "delete_person", BUSY))
    path = f"/api/users/{team.ids['otto']}"
    assert team.session("ada").delete(path).status == 503
    body = {"username": "otto", "email": "otto2@example.com", "password": PASSWORD}
    assert team.session("ada").post("/api/users", body).status == 201
    assert team.session("ada").delete(path).status == 200
    assert team.sign_in("otto").status == 200


def test_nobody_is_renewed_in_the_middle_of_their_removal(team: Team) -> None:
    token = team.sign_in("otto").json()["refresh_token"]
    seen: list[int] = []
    path = f"/api/users/{team.ids['otto']}"
    team.with_doors(pool=Between(team.world.pool, "delete", lambda: seen.append(refresh(team, token))))
    assert team.session("ada").delete(path).status == 200
    assert seen == [401]
    assert "otto" not in usernames(team)


def test_a_token_that_the_pool_made_right_before_a_removal_brings_nobody_back(team: Team) -> None:
    """As a refresh at Cognito's own public address gives it."""
    token = str(team.world.pool.sign_in("otto", PASSWORD).access)
    assert team.session("ada").delete(f"/api/users/{team.ids['otto']}").status == 200
    otto = team.anonymous.bearing(token)
    assert otto.get("/api/cloud/jobs").json()["code"] == "account_inactive"
    assert otto.post("/api/auth/api-keys", {"name": "forever"}).json()["code"] == "account_inactive"
    adopted = team.anonymous.post("/api/auth/login/pool-token", {"access_token": token})
    assert (adopted.status, adopted.json()["code"]) == (401, "account_inactive")
    assert "otto" not in usernames(team)


def test_a_key_that_is_made_during_the_removal_of_its_owner_is_not_stored(team: Team) -> None:
    otto = team.session("otto")
    remove = lambda: team.world.access.delete_person(team.ids["otto"])  # noqa: E731
    team.with_doors(access=Between(team.world.access, "create_key", remove))
    late = team.anonymous.bearing(otto.headers["Authorization"].removeprefix("Bearer "))
    assert late.post("/api/auth/api-keys", {"name": "forever"}).status == 409
    assert list(team.world.access.keys_of(team.ids["otto"])) == []


# --- lost roles ---------------------------------------------------------------------------------------------------
def test_a_lost_role_is_lost_though_the_pool_could_not_be_told(team: Team) -> None:
    grant = str(team.sign_in("lena").json()["refresh_token"])
    team.with_doors(pool=FailingOnce(team.world.pool, "set_role", BUSY))
    path = f"/api/users/{team.ids['lena']}"
    assert team.session("ada").request("PATCH", path, {"role": "viewer"}).status == 503
    direct = team.world.pool.refresh(grant).access
    session = team.world.pool.session_of(direct)
    assert session is not None
    assert session.role is Role.LEAD
    assert team.anonymous.bearing(direct).get("/api/users").status == 403
    assert team.anonymous.bearing(direct).get("/api/cloud/jobs").status == 200
    assert team.session("ada").request("PATCH", path, {"role": "viewer"}).status == 200
    assert team.world.pool.role_of("lena") is Role.VIEWER


def test_a_role_that_could_not_be_noted_here_is_not_given(team: Team) -> None:
    team.with_doors(access=FailingOnce(team.world.access, "put_person", BUSY))
    path = f"/api/users/{team.ids['vera']}"
    assert team.session("ada").request("PATCH", path, {"role": "admin"}).status == 503
    assert team.world.pool.role_of("vera") is Role.ADMIN
    direct = team.world.pool.sign_in("vera", PASSWORD).access
    assert team.anonymous.bearing(direct).get("/api/users").status == 403
    assert team.session("ada").request("PATCH", path, {"role": "admin"}).status == 200
    assert team.anonymous.bearing(team.sign_in("vera").json()["access_token"]).get("/api/users").status == 200


def test_a_role_that_the_pool_could_not_be_told_is_not_noted_here(team: Team) -> None:
    team.with_doors(pool=FailingOnce(team.world.pool, "set_role", BUSY))
    path = f"/api/users/{team.ids['vera']}"
    assert team.session("ada").request("PATCH", path, {"role": "lead"}).status == 503
    assert team.session("ada").get(path).json()["role"] == "viewer"


def test_who_is_deactivated_is_out_though_the_pool_could_not_be_told(team: Team) -> None:
    grant = str(team.sign_in("lena").json()["refresh_token"])
    team.with_doors(pool=FailingOnce(team.world.pool, "set_enabled", BUSY))
    path = f"/api/users/{team.ids['lena']}"
    assert team.session("ada").post(f"{path}/deactivate").status == 503
    direct = team.anonymous.bearing(team.world.pool.refresh(grant).access)
    assert direct.get("/api/cloud/jobs").json()["code"] == "account_inactive"
    # Activating does not revive what was open then.
    assert team.session("ada").post(f"{path}/activate").status == 200
    assert refresh(team, grant) == 401
    assert team.sign_in("lena").status == 200


def test_who_could_not_be_activated_in_the_pool_stays_inactive_here(team: Team) -> None:
    path = f"/api/users/{team.ids['lena']}"
    key = team.key("lena")
    assert team.session("ada").post(f"{path}/deactivate").status == 200
    team.with_doors(pool=FailingOnce(team.world.pool, "set_enabled", BUSY))
    assert team.session("ada").post(f"{path}/activate").status == 503
    late = team.anonymous.bearing(key.headers["Authorization"].removeprefix("Bearer "))
    assert late.get("/api/cloud/jobs").status == 401


# --- who comes from elsewhere -------------------------------------------------------------------------------------
@pytest.fixture
def jane(team: Team) -> ApiClient:
    """Somebody of an identity provider with what managed login hands out."""
    team.world.pool.create("jane", "jane@example.com", password=PASSWORD, role=Role.RESEARCHER)
    return team.anonymous.bearing(team.world.pool.sign_in("jane", PASSWORD).access)


def exchange(client: ApiClient, **body: str) -> dict[str, str]:
    return {"access_token": client.headers["Authorization"].removeprefix("Bearer "), **body}


def test_a_token_of_the_pools_own_pages_is_exchanged_once(team: Team, jane: ApiClient) -> None:
    refused = jane.get("/api/cloud/jobs")
    assert (refused.status, refused.json()["code"]) == (401, "profile_needed")
    assert "/api/auth/login/pool-token" in refused.json()["detail"]
    answer = team.anonymous.post("/api/auth/login/pool-token", exchange(jane))
    user = answer.json()["user"]
    assert (answer.status, user["username"], user["role"]) == (200, "jane", "researcher")
    assert 0 < answer.json()["expires_in"] <= 900
    assert jane.get("/api/cloud/jobs").status == 200
    assert "jane" in usernames(team)
    assert team.audit("user.adopt") == [(user["id"], "allowed", f"user:{user['id']}", None)]
    assert ("jane", "allowed", f"user:{user['id']}", None) in team.audit("sign.in")
    assert team.anonymous.post("/api/auth/login/pool-token", exchange(jane)).status == 200
    assert len(team.audit("user.adopt")) == 1
    assert team.session("ada").post(f"/api/users/{user['id']}/deactivate").status == 200
    again = team.anonymous.post("/api/auth/login/pool-token", exchange(jane))
    assert (again.status, again.json()["code"]) == (401, "account_inactive")


def test_it_may_go_into_cookies(team: Team, jane: ApiClient) -> None:
    tokens = team.world.pool.sign_in("jane", PASSWORD)
    body = {"access_token": tokens.access, "refresh_token": tokens.refresh, "session": "cookie"}
    answer = team.anonymous.post("/api/auth/login/pool-token", body)
    assert (answer.status, answer.json()["access_token"]) == (200, None)
    assert "__Host-stc_session" in answer.cookies


def test_what_is_no_token_of_the_pool_is_exchanged_for_nothing(team: Team) -> None:
    answer = team.anonymous.post("/api/auth/login/pool-token", {"access_token": "a.b.c"})
    assert (answer.status, answer.json()["code"]) == (401, "invalid_session")


def test_who_was_never_here_is_not_let_in_by_a_refresh(team: Team, jane: ApiClient) -> None:
    assert refresh(team, str(team.world.pool.sign_in("jane", PASSWORD).refresh)) == 401
    assert "jane" not in usernames(team)


def test_who_removed_themselves_in_the_pool_is_replaced_by_its_operator(team: Team) -> None:
    """The way back when the last admin called Cognito's DeleteUser with their own token."""
    team.world.pool.delete("ada")
    assert team.sign_in("ada").status == 401
    team.world.pool.create("ada", "ada@example.com", password=None, role=Role.ADMIN)
    first = team.sign_in("ada", team.world.pool.invitations["ada"]).json()["challenge"]
    body = {"username": "ada", "challenge": first["name"], "challenge_session": first["session"], "answer": PASSWORD}
    back = team.anonymous.post("/api/auth/login/challenge", body).json()
    assert back["user"]["is_admin"]
    ada = team.anonymous.bearing(back["access_token"])
    assert ada.delete(f"/api/users/{team.ids['ada']}").status == 200
    assert [u["id"] for u in ada.get("/api/users").json()["users"] if u["username"] == "ada"] == [back["user"]["id"]]
    assert team.sign_in("ada").status == 200
    assert team.audit("user.adopt")[-1][1] == "allowed"


def test_one_read_for_a_token_that_was_not_seen_before_and_none_after_it(team: Team) -> None:
    token = team.world.pool.sign_in("rita", PASSWORD).access
    client = team.anonymous.bearing(token)
    team.world.access.calls.clear()
    for _ in range(20):
        assert client.get("/api/cloud/jobs").status == 200
    assert team.world.access.calls == ["get_person"]


def test_tokens_that_are_remembered_are_few() -> None:
    world = World()
    standing = StandingService(world.access, world.clock)
    ada = a_person()
    world.pool.create("ada", "a@example.com", password=PASSWORD, role=Role.VIEWER)
    session = world.pool.session_of(world.pool.sign_in("ada", PASSWORD).access)
    assert session is not None
    for n in range(MAX_REMEMBERED + 10):
        standing.remember(session.model_copy(update={"token_id": str(n)}), ada)
    assert len(standing._known) == MAX_REMEMBERED
