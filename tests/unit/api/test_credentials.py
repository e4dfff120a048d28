"""Which credential counts, when local mode and the deploy token end, and what a cookie proves."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import replace

import pytest

from chalicelib.domain.api_keys import SECRET_LENGTH, compose
from chalicelib.services.rates import REFUSED
from chalicelib.wiring import build_services
from tests.fakes.world import World
from tests.unit.api.client import ApiClient, hosted_services, local_services
from tests.unit.api.team import ADMIN, PASSWORD, Team

JOBS = "/api/cloud/jobs"
ME = "/api/auth/me"
LOCALHOST = "http://localhost:8001"


# --- precedence -----------------------------------------------------------------------------------------------
def test_authorization_wins_over_the_key_header_and_that_over_the_cookie(team: Team) -> None:
    team.world.facts.url = LOCALHOST
    session, key = team.token("rita"), team.make_key("otto")["key"]
    cookie = f"stc_session={team.token('vera')}"
    ask = team.anonymous.get
    assert (
        ask(ME, headers={"Authorization": f"Bearer {session}", "X-API-Key": key, "Cookie": cookie}).json()["username"]
        == "rita"
    )
    answer = ask(ME, headers={"X-API-Key": key, "Cookie": cookie}).json()
    assert (answer["username"], answer["kind"]) == ("otto", "key")
    assert ask(ME, headers={"Cookie": cookie}).json()["username"] == "vera"


@pytest.mark.parametrize("wrong", ["Bearer nonsense", "Bearer ", "Basic eDp5", "Bearer stk_x", "Bearer stc_x"])
def test_a_wrong_credential_is_refused_even_if_another_would_do(team: Team, wrong: str) -> None:
    key, cookie = team.make_key("otto")["key"], f"stc_session={team.token('vera')}"
    answer = team.anonymous.get(ME, headers={"Authorization": wrong, "X-API-Key": key, "Cookie": cookie})
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "headers", [{"Authorization": "Bearer x"}, {"X-API-Key": "stk_x"}, {"Cookie": "stc_session=x"}, {"X-API-Key": ""}]
)
def test_on_this_computer_what_is_sent_is_checked_too(api: ApiClient, world: World, headers: dict[str, str]) -> None:
    world.facts.url = LOCALHOST
    assert api.get(JOBS).status == 200
    assert api.get(JOBS, headers=headers).status == 401


def test_a_cookie_that_is_no_good_is_removed_so_that_the_next_request_is_clean(api: ApiClient, world: World) -> None:
    world.facts.url = LOCALHOST
    answer = api.get(JOBS, headers={"Cookie": "stc_session=old; other=1"})
    assert (answer.status, answer.json()["code"]) == (401, "invalid_session")
    assert set(answer.cookies) == {"stc_session"}
    assert "Max-Age=0" in answer.cookies["stc_session"]


def test_nothing_of_a_request_makes_its_sender_somebody(team: Team) -> None:
    for headers in (
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost", "X-Real-Ip": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
        {"CloudFront-Viewer-Address": "127.0.0.1:1", "X-Auth-Mode": "local", "STC_AUTH_MODE": "local"},
        {"Cookie": "stc_csrf=1; stc_refresh=1"},
    ):
        assert team.anonymous.get(JOBS, headers=headers).status == 401


def test_the_audit_knows_the_gateways_peer_and_no_header(team: Team) -> None:
    client = team.session("rita")
    client.headers["X-Forwarded-For"] = "6.6.6.6"
    client.put("/api/configs/c", {"config": {}})
    assert {r.source_ip for r in team.world.audit.records} == {"127.0.0.1"}


def test_the_distribution_says_who_the_viewer_is_and_nobody_else_can(team: Team) -> None:
    digest = hashlib.sha256(b"only-cloudfront-knows").hexdigest()
    settings = team.services.settings.model_copy(update={"origin_secret_sha256": digest})
    client = ApiClient(replace(team.services, settings=settings), {"Authorization": f"Bearer {team.token('rita')}"})
    for secret, viewer, seen in (
        ("only-cloudfront-knows", "203.0.113.9", "203.0.113.9"),
        ("only-cloudfront-knows", "2001:DB8::1", "2001:db8::1"),
        ("only-cloudfront-knows", "no address", "127.0.0.1"),
        ("only-cloudfront-knew", "203.0.113.9", "127.0.0.1"),
        ("", "203.0.113.9", "127.0.0.1"),
        (None, "203.0.113.9", "127.0.0.1"),
        ("only-cloudfront-knows", None, "127.0.0.1"),
    ):
        sent = {"X-Stcloud-Origin": secret, "X-Stcloud-Viewer": viewer, "X-Forwarded-For": "6.6.6.6"}
        before = {r.record_id for r in team.world.audit.records}
        client.put("/api/configs/c", {"config": {}}, headers={k: v for k, v in sent.items() if v is not None})
        assert {r.source_ip for r in team.world.audit.records if r.record_id not in before} == {seen}


def test_with_one_door_whatever_did_not_come_through_it_is_refused_before_anything_is_looked_at(team: Team) -> None:
    digest = hashlib.sha256(b"only-cloudfront-knows").hexdigest()
    one_door = {"only_through_distribution": True, "origin_secret_sha256": digest}
    settings = team.services.settings.model_copy(update=one_door)
    client = ApiClient(replace(team.services, settings=settings), {"Authorization": f"Bearer {team.token('rita')}"})
    through = {"X-Stcloud-Origin": "only-cloudfront-knows", "X-Stcloud-Viewer": "203.0.113.9"}
    before, counted = len(team.world.audit.records), len(team.world.rates.calls)
    for headers in ({}, {**through, "X-Stcloud-Origin": "guessed"}, {"X-Stcloud-Viewer": "203.0.113.9"}):
        for answer in (
            client.get(JOBS, headers=headers),
            client.get("/api/cloud/health/live", headers=headers),
            client.post("/api/webhooks/replicate", b"{}", headers=headers),
            client.post("/api/auth/login", {"username": "rita", "password": PASSWORD}, headers=headers),
            client.post("/api/auth/setup/first-admin", ADMIN, headers=headers),
        ):
            assert (answer.status, answer.json()["code"]) == (403, "wrong_door")
    assert (len(team.world.audit.records), len(team.world.rates.calls)) == (before, counted)
    assert client.get(JOBS, headers=through).status == 200
    assert client.get("/api/cloud/health/live", headers=through).status == 200
    # A secret that nobody knows is no reason to let everybody in.
    nobody = settings.model_copy(update={"origin_secret_sha256": ""})
    shut = ApiClient(replace(team.services, settings=nobody), client.headers)
    assert shut.get(JOBS, headers={"X-Stcloud-Origin": ""}).json()["code"] == "wrong_door"


def test_a_stack_without_a_distribution_believes_no_header(team: Team) -> None:
    client = team.session("rita")
    client.headers |= {"X-Stcloud-Origin": "", "X-Stcloud-Viewer": "203.0.113.9"}
    client.put("/api/configs/c", {"config": {}})
    assert {r.source_ip for r in team.world.audit.records} == {"127.0.0.1"}


def test_guessing_credentials_costs_us_less_and_less(team: Team) -> None:
    """A thousand keys that are none, with right checksums, then no more reads; others of that address wait too."""
    guesses = (compose(team.ids["rita"], f"{n:010}", "x" * SECRET_LENGTH) for n in range(REFUSED.limit + 50))
    answers = [team.anonymous.bearing(guess).get(ME) for guess in guesses]
    assert [a.status for a in answers] == [401] * REFUSED.limit + [429] * 50
    assert answers[-1].json()["code"] == "rate_limited"
    assert int(answers[-1].headers["Retry-After"]) <= REFUSED.window.total_seconds()
    token = team.token("rita")
    calls = len(team.world.access.calls)
    assert team.anonymous.bearing(compose(team.ids["rita"], "a" * 10, "y" * SECRET_LENGTH)).get(ME).status == 429
    assert len(team.world.access.calls) == calls
    assert team.anonymous.get(ME).status == 401, "who shows nothing is not counted"
    team.world.clock.advance(REFUSED.window.total_seconds())
    assert team.anonymous.bearing(token).get(ME).status == 200


# --- local mode and the deploy token --------------------------------------------------------------------------
def test_local_mode_ends_with_the_first_admin(world: World) -> None:
    here = ApiClient(local_services(world))
    assert here.get(JOBS).status == 200
    assert here.get(ME).json()["kind"] == "local"
    assert here.post("/api/auth/setup/first-admin", ADMIN).status == 200
    assert here.get(JOBS).status == 401
    world.clock.advance(5)
    assert here.get(JOBS).status == 401


def test_another_lambda_believes_in_local_mode_for_five_seconds_at_most(world: World) -> None:
    other = build_services(world.ports, world.doors, local_services(world).settings)
    here, there = ApiClient(local_services(world)), ApiClient(other)
    assert there.get(JOBS).status == 200
    here.post("/api/auth/setup/first-admin", ADMIN)
    world.clock.advance(5)
    assert there.get(JOBS).status == 401


def test_the_deploy_token_ends_with_the_first_admin(world: World) -> None:
    api = ApiClient(hosted_services(world, "stc_deploy"), {"Authorization": "Bearer stc_deploy"})
    assert api.get(ME).json()["kind"] == "deploy_token"
    assert api.post("/api/auth/setup/first-admin", ADMIN).status == 200
    answer = api.get(JOBS)
    assert (answer.status, answer.json()["code"]) == (401, "deploy_token_retired")
    assert [(r.result, r.code) for r in world.audit.records if str(r.action) == "deploy_token.use"] == [
        ("allowed", None),
        ("denied", "deploy_token_retired"),
    ]


def test_the_deploy_token_is_nothing_on_this_computer(world: World, api: ApiClient) -> None:
    world.secrets.deploy_token = "stc_deploy"
    assert api.get(JOBS, headers={"Authorization": "Bearer stc_deploy"}).json()["code"] == "invalid_token"


# --- the first admin ------------------------------------------------------------------------------------------
def test_setup_tells_its_state_and_nothing_else(world: World) -> None:
    api = ApiClient(local_services(world))
    before = api.get("/api/auth/setup/status").json()
    assert before == {
        "needs_setup": True,
        "has_admin": False,
        "user_count": 0,
        "registration_enabled": False,
        "setup_code_required": False,
    }
    team = Team(world)
    after = team.anonymous.get("/api/auth/setup/status").json()
    assert after == {**before, "needs_setup": False, "has_admin": True, "user_count": 1}


def test_a_second_first_admin_is_refused(team: Team) -> None:
    body = {**ADMIN, "username": "eve", "email": "eve@example.com"}
    for client in (team.anonymous, team.session("ada"), team.session("rita")):
        answer = client.post("/api/auth/setup/first-admin", body)
        assert (answer.status, answer.json()["code"]) == (409, "setup_done")
    assert not team.world.pool.has("eve")


def test_of_many_first_admins_at_once_one_wins_and_the_others_leave_no_user(world: World) -> None:
    services, results = local_services(world), []
    start = threading.Barrier(6)

    def attempt(n: int) -> None:
        client = ApiClient(services)
        start.wait()
        body = {**ADMIN, "username": f"ada{n}", "email": f"ada{n}@example.com"}
        results.append((client.post("/api/auth/setup/first-admin", body).status, f"ada{n}"))

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    winners = [name for status, name in results if status == 200]
    assert len(winners) == 1
    assert {status for status, _ in results} <= {200, 401, 409}
    assert [name for _, name in results if world.pool.has(name)] == winners


def test_a_hosted_stack_wants_the_setup_code(world: World) -> None:
    api = ApiClient(hosted_services(world, "stc_deploy"))
    world.secrets.setup_code = "right-code"
    assert api.get("/api/auth/setup/status").json()["setup_code_required"] is True
    assert api.post("/api/auth/setup/first-admin", ADMIN).json()["code"] == "unauthenticated"
    wrong = api.post("/api/auth/setup/first-admin", {**ADMIN, "setup_code": "wrong-code"})
    assert (wrong.status, wrong.json()["code"]) == (401, "invalid_setup_code")
    assert api.post("/api/auth/setup/first-admin", {**ADMIN, "setup_code": " right-code\n"}).status == 200
    assert [(r.actor_kind, str(r.action), r.result, r.code) for r in world.audit.records] == [
        ("setup_code", "setup.first_admin", "denied", "invalid_setup_code"),
        ("setup_code", "setup.first_admin", "allowed", None),
        ("session", "setup.handover", "allowed", None),
    ]
    again = api.post("/api/auth/setup/first-admin", {**ADMIN, "username": "eve", "setup_code": "right-code"})
    assert again.json()["code"] == "setup_done"


def test_a_stack_without_a_setup_code_takes_none(world: World) -> None:
    api = ApiClient(hosted_services(world, None))
    assert api.post("/api/auth/setup/first-admin", {**ADMIN, "setup_code": ""}).status == 401
    assert api.post("/api/auth/setup/first-admin", {**ADMIN, "setup_code": "x"}).status == 401


def test_guesses_of_the_setup_code_are_limited_and_keep_nobody_out_who_has_it(world: World) -> None:
    api = ApiClient(hosted_services(world, None))
    world.secrets.setup_code = "right-code"
    answers = [api.post("/api/auth/setup/first-admin", {**ADMIN, "setup_code": f"g{n}"}) for n in range(11)]
    assert [a.status for a in answers] == [401] * 10 + [429]
    assert answers[-1].headers["RateLimit-Limit"] == "10"
    assert answers[-1].headers["RateLimit-Remaining"] == "0"
    assert answers[-1].headers["Retry-After"] == answers[-1].headers["RateLimit-Reset"]
    assert api.post("/api/auth/setup/first-admin", {**ADMIN, "setup_code": "right-code"}).status == 200


def test_the_moment_there_is_an_admin_every_process_knows(world: World) -> None:
    one, two = local_services(world), build_services(world.ports, world.doors, local_services(world).settings)
    other = ApiClient(two)
    assert other.get("/api/cloud/jobs").status == 200
    assert ApiClient(one).post("/api/auth/setup/first-admin", ADMIN).status == 200
    assert other.get("/api/cloud/jobs").status == 401
    world.access.calls.clear()
    assert other.get("/api/cloud/jobs").status == 401
    assert world.access.calls == []


def test_the_moment_there_is_an_admin_no_process_takes_the_deploy_token(world: World) -> None:
    one = hosted_services(world, "stc_token")
    other = ApiClient(build_services(world.ports, world.doors, one.settings)).bearing("stc_token")
    assert other.get("/api/cloud/jobs").status == 200
    assert ApiClient(one).bearing("stc_token").post("/api/auth/setup/first-admin", ADMIN).status == 200
    assert other.get("/api/cloud/jobs").json()["code"] == "deploy_token_retired"


def test_a_weak_password_is_told_what_it_lacks_and_setup_stays_open(api: ApiClient, world: World) -> None:
    answer = api.post("/api/auth/setup/first-admin", {**ADMIN, "password": "short"})
    assert (answer.status, answer.json()["code"]) == (422, "weak_password")
    assert "at least 12 characters" in answer.json()["detail"]
    assert api.post("/api/auth/setup/first-admin", ADMIN).status == 200
    made = [r for r in world.audit.records if str(r.action) == "setup.first_admin"]
    assert [(r.result, r.code) for r in made] == [("allowed", None), ("failed", "weak_password"), ("allowed", None)]


# --- cookies --------------------------------------------------------------------------------------------------
def cookie_header(cookies: dict[str, str]) -> str:
    return "; ".join(c.split(";")[0] for c in cookies.values())


def test_the_consoles_session_lies_in_cookies_that_no_script_can_read(team: Team) -> None:
    answer = team.sign_in("rita", session="cookie")
    body = answer.json()
    assert (body["access_token"], body["refresh_token"], body["success"]) == (None, None, True)
    cookies = answer.cookies
    assert set(cookies) == {"__Host-stc_session", "__Secure-stc_refresh", "stc_csrf"}
    for name, cookie in cookies.items():
        assert "; Secure" in cookie
        assert "; SameSite=Strict" in cookie
        assert "Domain" not in cookie
        assert ("; HttpOnly" in cookie) == (name != "stc_csrf")
    assert "; Path=/;" in cookies["__Host-stc_session"]
    assert "; Path=/api/auth;" in cookies["__Secure-stc_refresh"]
    assert "; Max-Age=900;" in cookies["__Host-stc_session"]


def test_a_stack_on_localhost_has_the_same_cookies_without_what_needs_https(team: Team) -> None:
    team.world.facts.url = LOCALHOST
    cookies = team.sign_in("rita", session="cookie").cookies
    assert set(cookies) == {"stc_session", "stc_refresh", "stc_csrf"}
    assert not any("Secure" in c for c in cookies.values())
    assert all("SameSite=Strict" in c for c in cookies.values())


def test_a_cookie_reads_freely_and_changes_only_with_its_proof(team: Team) -> None:
    cookies = team.sign_in("rita", session="cookie").cookies
    csrf = cookies["stc_csrf"].split(";")[0].partition("=")[2]
    console = ApiClient(team.services, {"Cookie": cookie_header(cookies)})
    assert console.get(JOBS).status == 200
    body = {"config": {}}
    for proof in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x"}, {"X-CSRF-Token": csrf + "x"}):
        answer = console.put("/api/configs/c", body, headers=proof)
        assert (answer.status, answer.json()["code"]) == (403, "csrf_failed")
    proof = {"X-CSRF-Token": csrf}
    crossed = console.put("/api/configs/c", body, headers={**proof, "Sec-Fetch-Site": "cross-site"})
    assert crossed.json()["code"] == "cross_site_request"
    assert console.put("/api/configs/c", body, headers={**proof, "Sec-Fetch-Site": "same-origin"}).status == 200


def test_a_proof_without_its_cookie_is_none(team: Team) -> None:
    cookies = team.sign_in("rita", session="cookie").cookies
    only_session = {"Cookie": cookies["__Host-stc_session"].split(";")[0], "X-CSRF-Token": ""}
    assert team.anonymous.put("/api/configs/c", {"config": {}}, headers=only_session).status == 403


def test_bearers_and_keys_need_no_proof(team: Team) -> None:
    assert team.session("rita").put("/api/configs/c", {"config": {}}).status == 200
    assert team.key("rita").put("/api/configs/d", {"config": {}}).status == 200


def test_the_console_refreshes_and_signs_out_by_cookie(team: Team) -> None:
    cookies = team.sign_in("rita", session="cookie").cookies
    csrf = {"X-CSRF-Token": cookies["stc_csrf"].split(";")[0].partition("=")[2]}
    console = ApiClient(team.services, {"Cookie": cookie_header(cookies)})
    assert console.post("/api/auth/refresh", {}).json()["code"] == "csrf_failed"
    refreshed = console.post("/api/auth/refresh", {}, headers=csrf)
    assert (refreshed.status, refreshed.json()["access_token"]) == (200, None)
    assert set(refreshed.cookies) == {"__Host-stc_session"}
    assert console.post("/api/auth/logout", {}).json()["code"] == "csrf_failed"
    # Also when the access token has ended, and the refresh token's cookie alone is sent.
    rest = {name: value for name, value in cookies.items() if name != "__Host-stc_session"}
    tired = ApiClient(team.services, {"Cookie": cookie_header(rest)})
    assert tired.post("/api/auth/logout", {}).json()["code"] == "csrf_failed"
    assert console.post("/api/auth/refresh", {}, headers=csrf).status == 200
    out = console.post("/api/auth/logout", {}, headers=csrf)
    assert set(out.cookies) == set(cookies)
    assert all("Max-Age=0" in c for c in out.cookies.values())
    assert console.post("/api/auth/refresh", {}, headers=csrf).json()["code"] == "session_ended"
    assert team.audit("sign.out") == [("rita", "allowed", f"user:{team.ids['rita']}", None)]


def test_another_sites_page_can_not_sign_anybody_in(team: Team) -> None:
    body = {"username": "rita", "password": PASSWORD, "session": "cookie"}
    answer = team.anonymous.post("/api/auth/login", body, headers={"Sec-Fetch-Site": "cross-site"})
    assert (answer.status, answer.json()["code"]) == (403, "cross_site_request")
