"""Signing in and out, and what it tells those who try."""

from __future__ import annotations

import logging

import pytest

from chalicelib.domain.access_ports import SignInError
from chalicelib.domain.permissions import Role
from chalicelib.services.people import typed_name
from chalicelib.services.sessions import REFUSAL_SECONDS
from tests.fakes.pool import CODE
from tests.fakes.world import FakeDoorSecrets
from tests.unit.api.client import ApiClient
from tests.unit.api.team import PASSWORD, Team

LOGIN = "/api/auth/login"
#: The stack's key of typed names.
KEY = FakeDoorSecrets().name_key()


def test_a_session_for_a_program(team: Team) -> None:
    answer = team.sign_in("rita")
    body = answer.json()
    assert (body["success"], body["token_type"], body["expires_in"], body["challenge"]) == (True, "Bearer", 900, None)
    assert body["user"]["username"] == "rita"
    assert "Set-Cookie" not in answer.headers
    me = team.anonymous.bearing(body["access_token"]).get("/api/auth/me").json()
    assert (me["id"], me["role"], me["kind"], me["is_admin"]) == (team.ids["rita"], "researcher", "session", False)
    assert me["levels"] == [{"id": "researcher", "name": "researcher", "priority": 10}]
    assert "job.submit" in me["permissions"]
    assert set(me["permissions"]) - set(me["key_permissions"]) == {"api.keys.own", "profile.own"}
    assert me["last_login_at"] is not None
    refreshed = team.anonymous.post("/api/auth/refresh", {"refresh_token": body["refresh_token"]}).json()
    assert refreshed["access_token"] != body["access_token"]


def test_an_unknown_user_a_wrong_password_and_a_shut_account_look_the_same(team: Team) -> None:
    team.session("ada").post(f"/api/users/{team.ids['vera']}/deactivate")
    team.world.slept.clear()
    answers = [
        team.sign_in("nobody-of-this-name"),
        team.sign_in("rita", "Wrong-Horse-7-Battery"),
        team.sign_in("vera"),
        team.sign_in("no such name / at all ' OR 1=1"),
        team.sign_in(""),
    ]
    assert {a.status for a in answers} == {401}
    bodies = [{k: v for k, v in a.json().items() if k != "request_id"} for a in answers]
    assert all(body == bodies[0] for body in bodies)
    assert bodies[0]["detail"] == "Invalid username or password"
    assert team.world.slept == [REFUSAL_SECONDS] * 5


def test_tries_at_one_name_are_limited_known_or_not(team: Team) -> None:
    for name in ("otto", "nobody-of-this-name"):
        answers = [team.sign_in(name, "Wrong-Horse-7-Battery") for _ in range(11)]
        assert [a.status for a in answers[-3:]] == [401, 401, 429]
        assert answers[-1].json()["code"] == "rate_limited"
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 900
    assert team.sign_in("OTTO").status == 429
    before = team.world.pool.calls.count("sign_in")
    assert team.sign_in("otto").status == 429
    assert team.world.pool.calls.count("sign_in") == before
    team.world.clock.advance(901)
    assert team.sign_in("otto").status == 200


def test_right_answers_are_no_guesses(team: Team) -> None:
    assert {team.sign_in("rita").status for _ in range(25)} == {200}
    team.world.pool.require_totp("otto", "123456")
    assert {team.sign_in("otto").json()["challenge"]["name"] for _ in range(12)} == {"SOFTWARE_TOKEN_MFA"}
    assert {team.sign_in("vera", "Wrong-Horse-7-Battery").status for _ in range(9)} == {401}
    assert team.sign_in("vera").status == 200
    assert [team.sign_in("vera", "Wrong-Horse-7-Battery").status for _ in range(2)] == [401, 429]


def test_too_many_tries_say_what_the_limit_is(team: Team) -> None:
    answer = [team.sign_in("otto", "Wrong-Horse-7-Battery") for _ in range(11)][-1]
    told = {name: answer.headers[f"RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")}
    assert told == {"Limit": "10", "Remaining": "0", "Reset": answer.headers["Retry-After"]}


def test_tries_at_the_present_password_are_limited(team: Team) -> None:
    client, change = team.session("rita"), {"current_password": "x", "new_password": "Other-Horse-8-Battery"}
    statuses = [client.post("/api/auth/change-password", change).status for _ in range(11)]
    assert statuses == [422] * 10 + [429]
    assert client.post("/api/auth/change-password", {**change, "current_password": PASSWORD}).status == 429
    assert team.sign_in("rita").status == 429


def test_tries_from_one_address_are_limited(team: Team) -> None:
    statuses = [team.sign_in(f"name-{n}", "x").status for n in range(301)]
    assert statuses[-1] == 429
    assert set(statuses[:-5]) == {401}


def test_an_invited_person_chooses_a_password_at_the_first_sign_in(team: Team) -> None:
    ada = team.session("ada")
    invited = ada.post("/api/users", {"username": "nina", "email": "nina@example.com"}).json()
    assert invited["role"] == "researcher"
    first = team.sign_in("nina", invited["temporary_password"]).json()
    assert (first["success"], first["challenge"]["name"]) == (False, "NEW_PASSWORD_REQUIRED")
    step = {
        "username": "nina",
        "challenge": "NEW_PASSWORD_REQUIRED",
        "challenge_session": first["challenge"]["session"],
    }
    weak = team.anonymous.post(f"{LOGIN}/challenge", {**step, "answer": "weak"})
    assert (weak.status, weak.json()["code"]) == (422, "weak_password")
    done = team.anonymous.post(f"{LOGIN}/challenge", {**step, "answer": PASSWORD})
    assert done.json()["user"]["username"] == "nina"
    assert team.audit("sign.in")[-3:] == [
        (typed_name("nina", KEY), "challenged", typed_name("nina", KEY), "new_password_required"),
        (typed_name("nina", KEY), "denied", typed_name("nina", KEY), "weak_password"),
        ("nina", "allowed", f"user:{done.json()['user']['id']}", None),
    ]


def test_a_second_factor(team: Team) -> None:
    team.world.pool.require_totp("rita", "123456")
    first = team.sign_in("rita").json()["challenge"]
    assert first["name"] == "SOFTWARE_TOKEN_MFA"
    assert team.audit("sign.in")[-1][1:] == ("challenged", typed_name("rita", KEY), "software_token_mfa")
    step = {"username": "rita", "challenge": first["name"], "challenge_session": first["session"]}
    wrong = team.anonymous.post(f"{LOGIN}/challenge", {**step, "answer": "000000"})
    assert (wrong.status, wrong.json()["code"]) == (401, "invalid_credentials")
    cookie = team.anonymous.post(f"{LOGIN}/challenge", {**step, "answer": "123456", "session": "cookie"})
    assert cookie.json()["access_token"] is None
    assert "__Host-stc_session" in cookie.cookies
    assert team.anonymous.post(f"{LOGIN}/challenge", {**step, "challenge": "EMAIL_OTP", "answer": "1"}).status == 422


def test_where_a_second_factor_is_a_must_it_is_added_at_sign_in(team: Team) -> None:
    team.world.pool.mfa = "on"
    first = team.sign_in("rita").json()["challenge"]
    assert first["name"] == "MFA_SETUP"
    assert first["otpauth_url"] == (
        f"otpauth://totp/SimpleTuner%20Cloud:rita?secret={first['secret']}&issuer=SimpleTuner%20Cloud"
    )
    step = {"username": "rita", "challenge": first["name"], "challenge_session": first["session"]}
    wrong = team.anonymous.post(f"{LOGIN}/challenge", {**step, "answer": "000000"})
    assert (wrong.status, wrong.json()["code"]) == (401, "invalid_credentials")
    assert team.anonymous.post(f"{LOGIN}/challenge", {**step, "answer": CODE}).json()["user"]["username"] == "rita"
    again = team.sign_in("rita").json()["challenge"]
    assert (again["name"], again["secret"], again["otpauth_url"]) == ("SOFTWARE_TOKEN_MFA", None, None)
    assert first["secret"] not in str(team.world.audit.records)


def test_an_authenticator_is_added_and_removed_by_who_is_signed_in(team: Team) -> None:
    rita, base = team.session("rita"), "/api/auth/mfa/authenticator"
    assert rita.post(f"{base}/verify", {"code": CODE}).json()["code"] == "wrong_code"
    told = rita.post(base).json()
    assert told["otpauth_url"].endswith(f"secret={told['secret']}&issuer=SimpleTuner%20Cloud")
    assert team.sign_in("rita").json()["success"]
    assert rita.post(f"{base}/verify", {"code": "000000"}).status == 422
    assert rita.post(f"{base}/verify", {"code": f"{CODE[:3]} {CODE[3:]}"}).status == 200
    assert team.sign_in("rita").json()["challenge"]["name"] == "SOFTWARE_TOKEN_MFA"
    wrong = rita.post(f"{base}/remove", {"current_password": "Wrong-Horse-7-Battery"})
    assert (wrong.status, wrong.json()["code"]) == (422, "wrong_password")
    assert rita.post(f"{base}/remove", {"current_password": PASSWORD}).status == 200
    assert team.sign_in("rita").json()["success"]
    assert rita.post(f"{base}/remove", {"current_password": PASSWORD}).status == 200
    assert [entry[1:] for entry in team.audit("mfa.add")] == [
        ("failed", "user:me", "wrong_code"),
        ("failed", "user:me", "wrong_code"),
        ("allowed", f"user:{team.ids['rita']}", None),
    ]
    assert [entry[1] for entry in team.audit("mfa.remove")] == ["failed", "allowed", "allowed"]
    assert told["secret"] not in str(team.world.audit.records)


def test_an_authenticator_needs_a_session_that_was_not_signed_out(team: Team) -> None:
    rita, base = team.session("rita"), "/api/auth/mfa/authenticator"
    assert rita.post("/api/auth/logout", {"everywhere": True}).status == 200
    for path, body in (
        (base, None),
        (f"{base}/verify", {"code": CODE}),
        (f"{base}/remove", {"current_password": PASSWORD}),
    ):
        answer = rita.post(path, body)
        assert (answer.status, answer.json()["code"]) == (401, "invalid_session")


def test_tries_at_an_authenticator_are_limited(team: Team) -> None:
    rita, base = team.session("rita"), "/api/auth/mfa/authenticator"
    assert [rita.post(f"{base}/verify", {"code": "1"}).status for _ in range(11)] == [422] * 10 + [429]
    assert rita.post(f"{base}/remove", {"current_password": PASSWORD}).status == 429


def test_a_stack_without_second_factors_adds_none(team: Team) -> None:
    team.world.pool.mfa = "off"
    rita, base = team.session("rita"), "/api/auth/mfa/authenticator"
    assert rita.post(base).status == 200
    assert rita.post(f"{base}/verify", {"code": CODE}).json()["code"] == "mfa_off"


def test_whoever_has_no_session_has_no_second_factor(api: ApiClient) -> None:
    assert api.post("/api/auth/mfa/authenticator").json()["code"] == "no_session"


def test_a_session_ends_after_fifteen_minutes_and_is_refreshed(team: Team) -> None:
    body = team.sign_in("rita").json()
    client = team.anonymous.bearing(body["access_token"])
    team.world.clock.advance(899)
    assert client.get("/api/cloud/jobs").status == 200
    team.world.clock.advance(2)
    answer = client.get("/api/cloud/jobs")
    assert (answer.status, answer.json()["code"]) == (401, "invalid_session")
    assert team.anonymous.post("/api/auth/refresh", {"refresh_token": body["refresh_token"]}).status == 200


def test_signing_out_ends_the_refresh_token(team: Team) -> None:
    one, two = team.sign_in("rita").json(), team.sign_in("rita").json()
    team.anonymous.post("/api/auth/logout", {"refresh_token": one["refresh_token"]})
    refresh = lambda s: team.anonymous.post("/api/auth/refresh", {"refresh_token": s["refresh_token"]})  # noqa: E731
    assert refresh(one).json()["code"] == "session_ended"
    assert refresh(two).status == 200
    assert team.anonymous.bearing(two["access_token"]).post("/api/auth/logout", {"everywhere": True}).status == 200
    assert refresh(two).status == 401
    assert team.anonymous.post("/api/auth/logout", {"everywhere": True}).status == 401


def test_changing_the_password_ends_all_sessions(team: Team) -> None:
    other = team.sign_in("rita").json()
    change = {"current_password": PASSWORD, "new_password": "Other-Horse-8-Battery"}
    client = team.session("rita")
    wrong = client.post("/api/auth/change-password", {**change, "current_password": "Wrong-Horse-7-Battery"})
    assert (wrong.status, wrong.json()["code"]) == (422, "wrong_password")
    assert (
        client.post("/api/auth/change-password", {**change, "new_password": "weak"}).json()["code"] == "weak_password"
    )
    assert client.post("/api/auth/change-password", change).status == 200
    assert team.anonymous.post("/api/auth/refresh", {"refresh_token": other["refresh_token"]}).status == 401
    assert team.sign_in("rita").status == 401
    assert team.sign_in("rita", "Other-Horse-8-Battery").status == 200
    assert [entry[1:] for entry in team.audit("password.change")] == [
        ("failed", "user:me", "wrong_password"),
        ("failed", "user:me", "weak_password"),
        ("allowed", f"user:{team.ids['rita']}", None),
    ]


def test_whoever_has_no_password_can_not_change_it(api: ApiClient) -> None:
    body = {"current_password": "x", "new_password": PASSWORD}
    assert api.post("/api/auth/change-password", body).json()["code"] == "no_password"


def test_check_tells_without_refusing(team: Team, api: ApiClient) -> None:
    check = lambda client: client.get("/api/auth/check").json()  # noqa: E731
    nobody = {"authenticated": False, "user_id": None, "username": None, "is_admin": False}
    assert check(team.anonymous) == nobody
    assert check(team.anonymous.bearing("wrong")) == nobody
    assert check(team.session("rita")) == {
        "authenticated": True,
        "user_id": team.ids["rita"],
        "username": "rita",
        "is_admin": False,
    }
    assert check(team.session("ada"))["is_admin"] is True


def test_a_session_asks_the_database_nothing(team: Team) -> None:
    client = team.session("rita")
    team.world.access.calls.clear()
    for _ in range(30):
        assert client.get("/api/cloud/jobs").status == 200
    assert team.world.access.calls == []
    counted = team.world.rates.calls.count(f"calls#person#{team.ids['rita']}")
    assert counted == 5, "one, two, four, eight and sixteen requests at once"


def test_requests_of_one_person_are_limited_and_told_so(team: Team) -> None:
    client = team.session("rita")
    first = client.get("/api/auth/me")
    assert (first.headers["RateLimit-Limit"], first.headers["RateLimit-Remaining"]) == ("1200", "1199")
    assert 0 < int(first.headers["RateLimit-Reset"]) <= 60
    answers = [client.get("/api/auth/me") for _ in range(1_200)]
    assert {a.status for a in answers[:1_199]} == {200}
    refused = answers[-1]
    assert (refused.status, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["Retry-After"] == refused.headers["RateLimit-Reset"]
    assert refused.headers["RateLimit-Remaining"] == "0"
    counted, noted = len(team.world.rates.calls), len(team.world.audit.records)
    assert client.put("/api/configs/c", {"config": {}}).status == 429
    assert (len(team.world.rates.calls), len(team.world.audit.records)) == (counted, noted)
    assert team.session("otto").get("/api/auth/me").status == 200
    team.world.clock.advance(61)
    assert client.get("/api/auth/me").status == 200


# --- the profile is the authority -----------------------------------------------------------------------------
def test_a_pool_that_missed_a_change_of_role_is_put_right_at_sign_in(team: Team) -> None:
    team.world.pool.set_role("rita", Role.ADMIN)
    body = team.sign_in("rita").json()
    assert team.world.pool.role_of("rita") is Role.RESEARCHER
    assert team.anonymous.bearing(body["access_token"]).get("/api/users").status == 403


def test_whoever_is_deactivated_here_gets_no_new_session_though_the_pool_would_give_one(team: Team) -> None:
    body = team.sign_in("rita").json()
    rita = team.world.access.get_person(team.ids["rita"])
    assert rita is not None
    team.world.access.put_person(rita.model_copy(update={"active": False}))
    assert team.sign_in("rita").status == 401
    assert team.anonymous.post("/api/auth/refresh", {"refresh_token": body["refresh_token"]}).status == 401


def test_somebody_from_single_sign_on_gets_a_profile_when_the_pool_vouches_for_them(team: Team) -> None:
    user_id = team.world.pool.create("sam", "sam@example.com", password=PASSWORD, role=Role.VIEWER)
    assert team.sign_in("sam").json()["user"]["id"] == user_id
    assert team.session("ada").get(f"/api/users/{user_id}").json()["role"] == "viewer"


def test_a_token_of_somebody_who_was_removed_brings_nothing_back(team: Team) -> None:
    client = team.session("rita")
    assert team.session("ada").delete(f"/api/users/{team.ids['rita']}").status == 200
    assert client.get("/api/auth/me").json()["code"] == "account_inactive"
    assert client.post("/api/auth/api-keys", {"name": "x"}).json()["code"] == "account_inactive"
    assert team.session("ada").get(f"/api/users/{team.ids['rita']}").status == 404


def test_a_pool_that_is_out_of_order_is_a_problem_of_ours(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    team.world.pool.broken = RuntimeError("pool")
    with caplog.at_level(logging.ERROR, "chalicelib"):
        assert team.sign_in("rita").json()["code"] == "internal_error"
    assert PASSWORD not in caplog.text


def test_a_refused_sign_in_is_kept_without_the_name_that_was_typed(team: Team) -> None:
    team.sign_in("My-Secret-Password-7")
    team.sign_in("rita", "Wrong-Horse-7-Battery")
    entries = team.session("ada").get("/api/audit?action=sign.in&result=denied").json()["entries"]
    assert [e["actor_username"] for e in entries] == ["rita", ""]
    assert "My-Secret" not in str(team.world.audit.records)
    assert entries[0]["actor_id"] == typed_name("rita", KEY)


def test_sign_in_goes_on_when_its_record_is_lost(team: Team, caplog: pytest.LogCaptureFixture) -> None:
    team.world.audit.broken = SignInError()
    with caplog.at_level(logging.ERROR, "chalicelib"):
        assert team.sign_in("rita").status == 200
    assert "audit_record_lost" in caplog.text
