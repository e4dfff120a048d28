"""Sign-in, renewal and the commands of the doors over scripted answers: what is sent where, and what never is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from stcloud.profiles import Place, Profile, ProfileFile, Profiles, server_of
from stcloud.vault import Credential, NoKeyring, Vault

from tests.unit.cli.support import Script, ok, problem, run_cli

ME = {"username": "ada", "role": "admin", "kind": "session", "key_id": None, "permissions": ["job.submit"]}


def signed_in(home: Path, url: str = "http://localhost:8001", **credential: Any) -> None:
    folder = home / ".config" / "stcloud"
    ProfileFile(folder).write(Profiles("local", {"local": Profile("local", url, "ada", Place.FILE)}))
    Vault(folder, NoKeyring("none")).save("local", Credential(server_of(url), **credential))


def test_a_call_is_renewed_once_however_often_it_is_refused(tmp_path: Path) -> None:
    signed_in(tmp_path, token="canary-1", refresh="canary-2")
    fresh = ok({"success": True, "access_token": "canary-3", "refresh_token": "canary-2"})
    script = Script([problem(401, "invalid_session"), fresh, problem(401, "invalid_session")])
    ran = run_cli("jobs", "get", "x", script=script, home=tmp_path)
    assert ran.code == 4
    assert "canary" not in ran.out + ran.err
    assert [(r.url.path, r.headers.get("authorization")) for r in script.asked] == [
        ("/api/cloud/jobs/x", "Bearer canary-1"),
        ("/api/auth/refresh", None),
        ("/api/cloud/jobs/x", "Bearer canary-3"),
    ]


def test_looking_once_is_renewed_too(tmp_path: Path) -> None:
    signed_in(tmp_path, token="a", refresh="b")
    fresh = ok({"success": True, "access_token": "c"})
    script = Script([problem(401, "invalid_session"), fresh, ok(ME)])
    assert run_cli("whoami", script=script, home=tmp_path).code == 0
    assert run_cli("whoami", script=Script([ok(ME)]), home=tmp_path).code == 0


def test_a_refused_key_is_not_sent_again(tmp_path: Path) -> None:
    signed_in(tmp_path, token="stk_canary")
    script = Script([problem(401, "invalid_key")])
    ran = run_cli("whoami", script=script, home=tmp_path)
    assert ran.code == 4
    assert len(script.asked) == 1
    assert "stcloud login" in ran.err


def test_the_environments_token_is_sent_instead_of_the_kept_one(tmp_path: Path) -> None:
    signed_in(tmp_path, token="kept", refresh="r")
    script = Script([problem(401, "invalid_session")])
    run_cli("whoami", script=script, home=tmp_path, environ={"STCLOUD_TOKEN": "env"})
    assert [r.headers["authorization"] for r in script.asked] == ["Bearer env"]


@pytest.mark.parametrize("args", [["login", "--username", "ada"], ["setup", "--username", "a", "--email", "a@b.c"]])
def test_no_password_is_sent_over_plain_http_to_another_computer(args: list[str]) -> None:
    script = Script([ok({})])
    environ = {"STCLOUD_URL": "http://cloud.test"}
    ran = run_cli(*args, script=script, interactive=True, answer="canary\ncanary\n", environ=environ)
    assert ran.code == 2
    assert "plain http" in ran.err
    assert script.asked == []


def test_a_challenge_that_is_not_known_is_no_riddle() -> None:
    challenge = {"name": "SMS_MFA", "session": "s", "message": "Look at your phone."}
    script = Script([ok({"success": False, "challenge": challenge})])
    ran = run_cli("login", "--username", "ada", script=script, interactive=True, answer="canary\n")
    assert ran.code == 2
    assert "--with-key" in ran.err


def test_where_an_authenticator_is_a_must_login_says_what_it_has_to_be_told(tmp_path: Path) -> None:
    link = "otpauth://totp/SimpleTuner%20Cloud:ada?secret=ABC&issuer=SimpleTuner%20Cloud"
    told = {"name": "MFA_SETUP", "session": "s", "message": "Add it.", "secret": "ABC", "otpauth_url": link}
    done = {"success": True, "access_token": "a", "refresh_token": "r", "user": {"username": "ada", "role": "admin"}}
    script = Script([ok({"success": False, "challenge": told}), ok(done)])
    ran = run_cli(
        "login", "--username", "ada", script=script, interactive=True, answer="canary\n123 456\n", home=tmp_path
    )
    assert ran.code == 0, ran.err
    assert "secret  ABC" in ran.err
    assert link in ran.err.replace("\n", "")
    sent = json.loads(script.asked[1].content)
    assert (sent["challenge"], sent["answer"]) == ("MFA_SETUP", "123456")


def test_a_server_that_asks_forever_is_left(tmp_path: Path) -> None:
    challenge = {"name": "SOFTWARE_TOKEN_MFA", "session": "s", "message": "Code?"}
    script = Script([ok({"success": False, "challenge": challenge})])
    ran = run_cli("login", "--username", "ada", script=script, interactive=True, answer="canary\n" * 20, home=tmp_path)
    assert ran.code == 4
    assert len(script.asked) == 6


def test_a_lost_answer_to_a_new_key_or_admin_is_not_repeated() -> None:
    for args in (["keys", "create", "x"], ["keys", "rotate", "x"], ["users", "invite", "x", "x@y.z"]):
        script = Script([httpx.ReadTimeout("slow")])
        assert run_cli(*args, script=script).code == 5
        assert len(script.asked) == 1


@pytest.mark.parametrize("amount", ["", "-1", "1e3", "1.23456", "nan", "twelve", "١"])
def test_a_budget_is_an_amount(amount: str) -> None:
    script = Script([ok({})])
    assert run_cli("keys", "create", "x", f"--budget={amount}", script=script).code == 2
    assert script.asked == []
    assert run_cli("keys", "rotate", "x", "--overlap", "soon", script=script).code == 2


def test_the_audits_time_is_a_moment_with_a_zone() -> None:
    script = Script([ok({"entries": [], "next": None})])
    run_cli("audit", "list", "--since", "24h", "--until", "2026-11-24T12:00:00+09:00", script=script)
    query = script.asked[0].url.params
    assert (query["since"], query["until"]) == ("2026-11-23T12:00:00+00:00", "2026-11-24T12:00:00+09:00")


def test_a_verification_that_makes_no_progress_ends() -> None:
    part = {
        "valid": True,
        "entries_checked": 5,
        "broken_links": [],
        "seals": 1,
        "unsealed_entries": None,
        "complete": False,
        "checked_to": 1,
        "digest": "d",
    }
    last = {**part, "complete": True, "checked_to": 2, "unsealed_entries": 3, "valid": True}
    ran = run_cli("audit", "verify", script=Script([ok(part), ok(last)]))
    assert ran.out == "Whole: 10 records under 2 seals, 3 not sealed yet.\n"
    assert run_cli("audit", "verify", script=Script([ok({**part, "valid": False}), ok(last)])).code == 4
    stuck = Script([ok(part)])
    assert run_cli("audit", "verify", script=stuck).code == 4
    assert len(stuck.asked) == 2
