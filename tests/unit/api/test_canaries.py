"""Secrets planted wherever somebody can put one, and looked for wherever they must not be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.api.auth import authenticate
from chalicelib.api.facts import RequestFacts
from chalicelib.schemas.auth import LoginBody
from tests.fakes.world import CONFIG
from tests.unit.api.client import Answer, ApiClient
from tests.unit.api.team import PASSWORD, Team

CANARY = "Canary-7-Zq3xW9"


class Listener:
    """Every answer of a client, kept."""

    def __init__(self, team: Team, headers: dict[str, str] | None = None) -> None:
        self._client = ApiClient(team.services, headers or {})
        self.answers: list[Answer] = []

    def request(self, *arguments: Any, **options: Any) -> Answer:
        answer = self._client.request(*arguments, **options)
        self.answers.append(answer)
        return answer

    def heard(self) -> str:
        return "".join(f"{a.headers}{a.body.decode()}" for a in self.answers)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


def stored(team: Team) -> str:
    """Everything the stores and the workflow hold, but for the user pool, whose task passwords are."""
    world = team.world
    parts: list[Any] = [
        vars(world.access),
        world.audit.records,
        vars(world.rates),
        vars(world.jobs),
        vars(world.ports.configs),
        vars(world.ports.datasets),
        vars(world.machine),
    ]
    return "".join(str(part) for part in parts)


#: Method, path and body of requests that carry a secret where one belongs, or where people put one by mistake.
SENT: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "/api/auth/login", {"username": "rita", "password": CANARY}),
    ("POST", "/api/auth/login", {"username": CANARY, "password": CANARY}),
    ("POST", "/api/auth/login", {"username": [CANARY], "password": {"x": CANARY}}),
    ("POST", "/api/auth/login", {"username": "rita", "password": PASSWORD, "session": CANARY}),
    (
        "POST",
        "/api/auth/login/challenge",
        {
            "username": CANARY,
            "challenge": "SOFTWARE_TOKEN_MFA",
            "challenge_session": CANARY,
            "answer": CANARY,
        },
    ),
    ("POST", "/api/auth/refresh", {"refresh_token": CANARY}),
    ("POST", "/api/auth/refresh", {"refresh_token": [CANARY]}),
    ("POST", "/api/auth/logout", {"refresh_token": CANARY}),
    (
        "POST",
        "/api/auth/setup/first-admin",
        {"username": "eve", "email": "e@example.com", "password": CANARY, "setup_code": CANARY},
    ),
    ("POST", "/api/auth/change-password", {"current_password": CANARY, "new_password": CANARY + "x"}),
    ("POST", "/api/users", {"username": "eve", "email": "e@example.com", "password": CANARY[:8]}),
    ("POST", "/api/users", {"username": "eve", "email": CANARY, "password": CANARY}),
    ("POST", "/api/auth/api-keys", {"name": "x", "scoped_permissions": [CANARY]}),
    ("POST", "/api/cloud/jobs/submit", {"config": {**CONFIG, "hub_token": CANARY}, "dataloader_config": []}),
    (
        "POST",
        "/api/cloud/jobs/submit",
        {"config": CONFIG, "dataloader_config": [{"id": "x", "type": "aws", "aws_secret_access_key": CANARY}]},
    ),
    ("PUT", "/api/configs/c", {"config": {"hub_token": CANARY}}),
    ("PUT", "/api/configs/c", {"config": {"wandb": {"api_key": CANARY}}, "description": [CANARY]}),
]


@pytest.mark.parametrize("sent", SENT, ids=lambda s: f"{s[0]} {s[1]} {sorted(s[2])}")
def test_a_secret_in_a_body_stays_there(
    team: Team, log: pytest.LogCaptureFixture, sent: tuple[str, str, dict[str, Any]]
) -> None:
    client = Listener(team, {"Authorization": f"Bearer {team.token('ada')}"})
    answer = client.request(*sent)
    assert answer.status < 500
    assert CANARY[:8] not in client.heard()
    assert CANARY[:8] not in log.text
    assert CANARY[:8] not in stored(team)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {CANARY}"},
        {"Authorization": f"Basic {CANARY}"},
        {"Authorization": CANARY},
        {"X-API-Key": CANARY},
        {"X-API-Key": f"stk_{CANARY}"},
        {"X-API-Key": f"stc_{CANARY}"},
        {"Cookie": f"__Host-stc_session={CANARY}"},
        {"Cookie": f"stc_csrf={CANARY}", "X-CSRF-Token": CANARY},
    ],
    ids=str,
)
def test_a_secret_in_a_header_stays_there(team: Team, log: pytest.LogCaptureFixture, headers: dict[str, str]) -> None:
    client = Listener(team, headers)
    for method, path in (("GET", "/api/auth/me"), ("POST", "/api/cloud/jobs/submit"), ("POST", "/api/auth/logout")):
        client.request(method, path, {})
    assert CANARY not in client.heard()
    assert CANARY not in log.text
    assert CANARY not in stored(team)


def test_what_was_given_out_is_found_nowhere_else(team: Team, log: pytest.LogCaptureFixture) -> None:
    session = team.sign_in("rita").json()
    secrets = [session["access_token"], session["refresh_token"], PASSWORD]
    rita = Listener(team, {"Authorization": f"Bearer {session['access_token']}"})
    made = rita.request("POST", "/api/auth/api-keys", {"name": "ci"}).json()
    secrets.append(made["key"].split("_")[2][:32])
    secrets.append(rita.request("POST", f"/api/auth/api-keys/{made['key_info']['id']}/rotate", {}).json()["key"][-38:])
    rita.answers.clear()
    key = Listener(team, {"X-API-Key": made["key"]})
    everything = ("/api/auth/me", "/api/auth/check", "/api/auth/api-keys", "/api/cloud/jobs", "/api/configs")
    for path in everything:
        rita.request("GET", path)
        key.request("GET", path)
    ada = Listener(team, {"Authorization": f"Bearer {team.token('ada')}"})
    for path in (*everything, "/api/audit?limit=200", "/api/users", f"/api/auth/api-keys?user_id={team.ids['rita']}"):
        ada.request("GET", path)
    heard = rita.heard() + key.heard() + ada.heard() + log.text + stored(team)
    assert [secret for secret in secrets if secret in heard] == []


@pytest.mark.parametrize("name", ["rita", "vera"])
def test_a_key_where_an_id_belongs_is_kept_nowhere(team: Team, log: pytest.LogCaptureFixture, name: str) -> None:
    """Also when the caller may not even ask: that is noted, too."""
    secrets = [team.make_key("rita")["key"], f"eyJhbGciOiJSUzI1NiJ9.{CANARY}.{CANARY}", "stc_" + CANARY * 4]
    client = Listener(team, {"Authorization": f"Bearer {team.token(name)}"})
    for secret in secrets:
        for quoted in (secret, "".join(f"%{ord(c):02X}" for c in secret)):
            for method, path in (
                ("DELETE", "/api/auth/api-keys/"),
                ("DELETE", "/api/cloud/jobs/"),
                ("PUT", "/api/configs/"),
            ):
                answer = client.request(method, path + quoted, {})
                if name == "rita" and method == "DELETE":
                    assert (answer.status, answer.json()["code"]) == (404, "credential_in_path")
    kept = client.heard() + log.text + stored(team)
    assert [secret for secret in secrets if secret in kept] == []
    assert "(hidden)" in str(team.world.audit.records)


def test_objects_that_hold_secrets_do_not_print_them(team: Team) -> None:
    token = team.token("rita")
    facts = RequestFacts("GET", {"authorization": f"Bearer {token}"}, "127.0.0.1", "r")
    assert token not in repr(authenticate(team.services, facts))
    assert token not in repr(facts)
    assert PASSWORD not in repr(LoginBody(username="rita", password=PASSWORD))  # type: ignore[arg-type]
