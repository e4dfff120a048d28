"""Secrets of destinations, planted where they belong or where people put them by mistake, and looked for everywhere."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from chalicelib.domain.credential_secrets import document_of
from chalicelib.domain.credentials import Secret
from chalicelib.domain.delivery_ports import AnyDestination, CheckedTarget, DeliveryFault
from tests.unit.api.client import ApiClient, with_ports
from tests.unit.api.team import Team
from tests.unit.api.test_canaries import Listener, log, stored

__all__ = ["log"]

PATH = "/api/cloud/credentials"


def canary(name: str, size: int = 40) -> str:
    """Text that is found nowhere by chance."""
    return (
        base64.b64encode(hashlib.sha256(name.encode()).digest() * 4).decode().replace("+", "A").replace("/", "B")[:size]
    )


TOKENS = ["hf_" + canary("first"), "hf_" + canary("second")]
SECRET_KEYS = [canary("key"), canary("next key")]
SESSION = canary("session", 160)
SIGNING = ["whsec_" + base64.b64encode(hashlib.sha256(n).digest()).decode() for n in (b"a", b"b")]
SECRETS = [*TOKENS, *SECRET_KEYS, SESSION, *SIGNING]
KEY_ID = "AKIAIOSFODNN7EXAMPLE"
BUCKET = {"kind": "s3", "bucket": "models"}
HOOK = {"kind": "webhook", "url": "https://me.example/hook"}


def seen(texts: str, secrets: list[str]) -> list[str]:
    """Those of which more can be read than a hint."""
    return [s for s in secrets if s.removeprefix("whsec_").removeprefix("hf_")[:12] in texts]


def everything(team: Team, log: pytest.LogCaptureFixture) -> str:
    """All that is written down anywhere but where secrets belong."""
    return stored(team) + str(vars(team.world.credentials)) + str(vars(team.world.ports.deliveries)) + log.text


class Loud:
    """A destination that repeats all it was told, whether it lets one in or not."""

    def __init__(self, passing: bool) -> None:
        self._passing = passing

    def __call__(self, destination: AnyDestination, secret: Secret | None) -> Any:
        told = "nothing" if secret is None else " ".join(str(value) for value in document_of(secret).values())
        passing = self._passing

        class Target:
            def check(self, *, seconds: float) -> CheckedTarget:
                if not passing:
                    raise DeliveryFault("forbidden", f"bad: {told}", f"not {told}", retry=seconds < 0)
                return CheckedTarget(facts=(f"well: {told}",))

        return Target()


def read_all(team: Team, name: str) -> str:
    reader = Listener(team, {"Authorization": f"Bearer {team.token(name)}"})
    for path in (PATH, *(f"{PATH}/{n}" for n in ("hub", "keys", "own", "hook"))):
        reader.request("GET", path)
    for path in ("/api/cloud/jobs", "/api/configs", "/api/audit?limit=200", "/api/cloud/health", "/api/auth/me"):
        reader.request("GET", path)
    for job in team.session(name).get("/api/cloud/jobs").json()["jobs"]:
        for part in ("", "/config", "/events", "/logs", "/outputs"):
            reader.request("GET", f"/api/cloud/jobs/{job['job_id']}{part}")
    return reader.heard()


@pytest.mark.parametrize("passing", [True, False])
def test_a_secret_is_nowhere_but_where_it_belongs(team: Team, log: pytest.LogCaptureFixture, passing: bool) -> None:
    steps: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "", {"name": "hub", "kind": "huggingface", "token": TOKENS[0]}),
        (
            "POST",
            "",
            {
                "name": "keys",
                "kind": "s3",
                "access_key_id": KEY_ID,
                "secret_access_key": SECRET_KEYS[0],
                "session_token": SESSION,
            },
        ),
        ("POST", "", {"name": "own", "kind": "webhook", "secret": SIGNING[0]}),
        ("POST", "/hub/test", {}),
        ("POST", "/keys/test", {"destination": BUCKET}),
        ("POST", "/own/test", {"destination": HOOK}),
        ("PUT", "/hub/secret", {"token": TOKENS[1]}),
        ("PUT", "/keys/secret", {"secret_access_key": SECRET_KEYS[1]}),
        ("PUT", "/own/secret", {"secret": SIGNING[1]}),
        ("POST", "/hub/test", {}),
        ("POST", "/keys/test", {"destination": BUCKET}),
        ("POST", "/own/test", {"destination": HOOK}),
    ]
    team.services = with_ports(team.services, targets=Loud(passing))
    team.anonymous = ApiClient(team.services)
    rita = Listener(team, {"Authorization": f"Bearer {team.token('rita')}"})
    for method, path, body in steps:
        assert rita.request(method, PATH + path, body).status < 300
    hub = {"kind": "huggingface", "repo_id": "acme/cats", "credential": "hub"}
    wanted = [hub, {**BUCKET, "credential": "keys"}, {**HOOK, "credential": "own"}]
    if not passing:
        refused = team.submit(team.session("rita"), destinations=wanted)
        assert refused.status == 422
        assert seen(str(refused), SECRETS) == []
        team.services = with_ports(team.services, targets=Loud(True))
        team.anonymous = ApiClient(team.services)
    assert team.submit(team.session("rita"), destinations=wanted).status == 200
    team.world.run(600, step=30, sweep_every=60)
    made = team.session("rita").get("/api/cloud/jobs").json()["jobs"][0]
    assert len(team.world.ports.deliveries.list_of(made["job_id"])) == 3
    assert {s is None for s in team.world.targets.secrets} == {False}
    heard = rita.heard() + read_all(team, "rita") + read_all(team, "ada") + everything(team, log)
    assert seen(heard, SECRETS) == []
    assert len(seen(str(team.world.credential_secrets.stored), SECRETS)) >= 4
    for name in ("hub", "keys", "own"):
        assert rita.request("DELETE", f"{PATH}/{name}").status == 200
    assert seen(everything(team, log) + str(team.world.credential_secrets.stored), SECRETS) == []


def test_one_that_was_made_here_is_heard_once(team: Team, log: pytest.LogCaptureFixture) -> None:
    rita = Listener(team, {"Authorization": f"Bearer {team.token('rita')}"})
    made = [rita.request("POST", PATH, {"name": "hook", "kind": "webhook"}).json()["secret"]]
    made.append(rita.request("PUT", f"{PATH}/hook/secret", {}).json()["secret"])
    assert len(seen(rita.heard(), made)) == 2
    rita.answers.clear()
    rita.request("POST", PATH, {"name": "hook", "kind": "webhook"})
    rita.request("POST", f"{PATH}/hook/test", {"destination": HOOK})
    heard = rita.heard() + read_all(team, "rita") + read_all(team, "ada") + everything(team, log)
    assert seen(heard, made) == []


#: Requests that put a secret where it does not belong; each is refused.
MISPLACED: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "", {"name": TOKENS[0], "kind": "huggingface", "token": TOKENS[0]}),
    ("POST", "", {"name": TOKENS[0].lower(), "kind": "huggingface", "token": TOKENS[0]}),
    ("POST", "", {"name": "x", "kind": TOKENS[0], "token": TOKENS[0]}),
    ("POST", "", {"name": "x", "kind": "huggingface", "token": [TOKENS[0]]}),
    ("POST", "", {"name": "x", "kind": "huggingface", "token": {"value": TOKENS[0]}}),
    ("POST", "", {"name": "x", "kind": "huggingface", "token": f"{TOKENS[0]} {TOKENS[1]}"}),
    ("POST", "", {"name": "x", "kind": "huggingface", "token": TOKENS[0] * 30}),
    ("POST", "", {"name": "x", "kind": "huggingface", "secret": TOKENS[0]}),
    ("POST", "", {"name": "x", "kind": "webhook", "secret": TOKENS[0]}),
    ("POST", "", {"name": "x", "kind": "s3", "access_key_id": SECRET_KEYS[0], "secret_access_key": KEY_ID}),
    ("POST", "", {"name": "x", "kind": "s3", "access_key_id": SECRET_KEYS[0], "secret_access_key": SECRET_KEYS[0]}),
    ("POST", "/hub/test", {"destination": {"kind": TOKENS[0]}}),
    ("POST", "/hub/test", {"destination": {"kind": "huggingface", "repo_id": "a/b", "token": TOKENS[0]}}),
    ("POST", "/hub/test", {"destination": TOKENS[0]}),
    ("POST", "/hub/test", {"token": TOKENS[0]}),
    ("PUT", "/hub/secret", {"token": f"\u200b{TOKENS[0]}"}),
    ("PUT", "/hub/secret", {"token": TOKENS[0], "keep_previous": TOKENS[0]}),
    ("PUT", f"/{TOKENS[0]}/secret", {"token": TOKENS[0]}),
    ("GET", f"/{TOKENS[0]}", {}),
    ("GET", f"/{SIGNING[0].replace('/', '%2F')}", {}),
    ("DELETE", f"/{TOKENS[0]}", {}),
    ("DELETE", f"/hub?force={TOKENS[0]}", {}),
]


@pytest.mark.parametrize("sent", MISPLACED, ids=lambda s: f"{s[0]} {s[1][:5]} {sorted(s[2])}")
def test_a_secret_where_it_does_not_belong_is_refused_and_kept_nowhere(
    team: Team, log: pytest.LogCaptureFixture, sent: tuple[str, str, dict[str, Any]]
) -> None:
    assert team.session("rita").post(PATH, {"name": "hub", "kind": "huggingface", "token": "hf_x"}).status == 201
    rita = Listener(team, {"Authorization": f"Bearer {team.token('rita')}"})
    method, path, body = sent
    answer = rita.request(method, PATH + path, body if method != "GET" else None)
    assert answer.status in {404, 422}, answer.body
    kept = rita.heard() + everything(team, log) + str(team.world.credential_secrets.stored)
    assert seen(kept.lower(), [s.lower() for s in SECRETS]) == []
