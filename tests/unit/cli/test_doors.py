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

SET_UP = {"needs_setup": False, "setup_code_required": False}
KEY_ID = "a2b3c4d5e6f7g0123456789"


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


@pytest.mark.parametrize("args", [["login", "--username", "ada"], ["setup", "--username", "ada", "--email", "a@b.c"]])
def test_no_password_is_sent_over_plain_http_to_another_computer(args: list[str]) -> None:
    script = Script([ok({})])
    environ = {"STCLOUD_URL": "http://cloud.test"}
    ran = run_cli(*args, script=script, interactive=True, answer="canary\ncanary\n", environ=environ)
    assert ran.code == 2
    assert "plain http" in ran.err
    assert script.asked == []


def test_a_challenge_that_is_not_known_is_no_riddle() -> None:
    challenge = {"name": "SMS_MFA", "session": "s", "message": "Look at your phone."}
    script = Script([ok(SET_UP), ok({"success": False, "challenge": challenge})])
    ran = run_cli("login", "--username", "ada", script=script, interactive=True, answer="canary\n")
    assert ran.code == 2
    assert "--with-key" in ran.err


def test_where_an_authenticator_is_a_must_login_says_what_it_has_to_be_told(tmp_path: Path) -> None:
    link = "otpauth://totp/SimpleTuner%20Cloud:ada?secret=ABC&issuer=SimpleTuner%20Cloud"
    told = {"name": "MFA_SETUP", "session": "s", "message": "Add it.", "secret": "ABC", "otpauth_url": link}
    done = {"success": True, "access_token": "a", "refresh_token": "r", "user": {"username": "ada", "role": "admin"}}
    script = Script([ok(SET_UP), ok({"success": False, "challenge": told}), ok(done)])
    ran = run_cli(
        "login", "--username", "ada", script=script, interactive=True, answer="canary\n123 456\n", home=tmp_path
    )
    assert ran.code == 0, ran.err
    assert "secret  ABC" in ran.err
    assert link in ran.err.replace("\n", "")
    sent = json.loads(script.asked[2].content)
    assert (sent["challenge"], sent["answer"]) == ("MFA_SETUP", "123456")


def test_a_server_that_asks_forever_is_left(tmp_path: Path) -> None:
    challenge = {"name": "SOFTWARE_TOKEN_MFA", "session": "s", "message": "Code?"}
    script = Script([ok(SET_UP), ok({"success": False, "challenge": challenge})])
    ran = run_cli("login", "--username", "ada", script=script, interactive=True, answer="canary\n" * 20, home=tmp_path)
    assert ran.code == 4
    assert len(script.asked) == 7


def test_a_lost_answer_to_a_new_key_or_admin_is_not_repeated() -> None:
    for args in (["keys", "create", "x"], ["keys", "rotate", KEY_ID], ["users", "invite", "x", "x@y.z"]):
        script = Script([httpx.ReadTimeout("slow")])
        assert run_cli(*args, script=script).code == 5
        assert len(script.asked) == 1


@pytest.mark.parametrize("amount", ["", "-1", "1e3", "1.23456", "nan", "twelve", "١"])
def test_a_budget_is_an_amount(amount: str) -> None:
    script = Script([ok({})])
    assert run_cli("keys", "create", "x", f"--budget={amount}", script=script).code == 2
    assert script.asked == []
    assert run_cli("keys", "rotate", KEY_ID, "--overlap", "soon", script=script).code == 2


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


def key(name: str, key_id: str, *, active: bool = True) -> dict[str, Any]:
    dates = dict.fromkeys(("created_at", "last_used_at", "expires_at", "revoked_at"))
    rest = dict.fromkeys(("scoped_permissions", "budget_usd", "providers"))
    return {"id": key_id, "name": name, "is_active": active, **dates, **rest}


def test_a_key_is_found_by_a_name_that_one_good_key_has() -> None:
    keys = ok([key("ci", KEY_ID), key("ci", KEY_ID.replace("9", "8"), active=False), key("two", "a"), key("two", "b")])
    script = Script([keys, ok({"success": True})])
    assert run_cli("keys", "revoke", "ci", "--yes", script=script).code == 0
    assert script.asked[-1].url.path == f"/api/auth/api-keys/{KEY_ID}"
    several = run_cli("keys", "revoke", "two", "--yes", script=Script([keys]))
    assert (several.code, "a, b" in several.err) == (2, True)
    assert "stcloud keys list" in run_cli("keys", "rotate", "none", script=Script([keys])).err
    by_id = Script([ok({"success": True})])
    assert run_cli("keys", "revoke", KEY_ID, "--yes", script=by_id).code == 0
    assert len(by_id.asked) == 1


def test_a_whole_key_is_not_sent_in_an_address() -> None:
    script = Script([ok({})])
    refused = run_cli("keys", "revoke", f"stk_{KEY_ID}_canary0000", "--yes", script=script)
    assert (refused.code, script.asked) == (2, [])
    assert KEY_ID in refused.err
    assert "canary" not in refused.err


@pytest.mark.parametrize(
    "url", ["http://localhost:8001/api/cloud", "http://localhost:8001/api/", "http://localhost:8001/api/cloud/jobs"]
)
def test_an_address_of_the_api_leads_to_the_server(url: str) -> None:
    script = Script([ok(ME)])
    assert run_cli("whoami", "--url", url, script=script).code == 0
    assert script.asked[0].url.path == "/api/auth/me"


def test_signing_out_ends_the_session_of_a_file_that_others_can_read(tmp_path: Path) -> None:
    signed_in(tmp_path, token="canary-1", refresh="canary-2")
    path = tmp_path / ".config" / "stcloud" / "credentials" / "local.json"
    path.chmod(0o644)
    script = Script([ok({"success": True})])
    assert run_cli("logout", script=script, home=tmp_path).code == 0
    assert [r.url.path for r in script.asked] == ["/api/auth/logout"]
    assert b"canary-2" in script.asked[0].content
    assert not path.exists()


def test_a_damaged_file_is_called_damaged(tmp_path: Path) -> None:
    signed_in(tmp_path, token="canary-1", refresh="canary-2")
    path = tmp_path / ".config" / "stcloud" / "credentials" / "local.json"
    path.write_text("{half")
    path.chmod(0o600)
    refused = run_cli("whoami", script=Script([ok(ME)]), home=tmp_path)
    assert refused.code == 1
    assert "is damaged" in refused.err
    assert "stcloud login --profile local" in refused.err
    assert run_cli("logout", script=Script([ok({})]), home=tmp_path).code == 0
    assert not path.exists()


def test_a_new_sign_in_ends_the_one_before_it(tmp_path: Path) -> None:
    signed_in(tmp_path, token="old", refresh="old-refresh")
    session = {"success": True, "user": ME, "access_token": "new", "refresh_token": "new-refresh"}
    script = Script([ok(SET_UP), ok(session), ok({"success": True})])
    ran = run_cli("login", "--password-stdin", script=script, home=tmp_path, answer="canary-pw\n")
    assert ran.code == 0, ran.err
    assert [r.url.path for r in script.asked] == ["/api/auth/setup/status", "/api/auth/login", "/api/auth/logout"]
    assert b"canary-pw" in script.asked[1].content
    assert b"old-refresh" in script.asked[2].content


def test_passwords_are_piped_a_line_each(tmp_path: Path) -> None:
    status = {"needs_setup": True, "setup_code_required": True}
    session = {"success": True, "user": ME, "access_token": "a", "refresh_token": "r"}
    args = ["setup", "--username", "ada", "--email", "a@b.c", "--password-stdin"]
    script = Script([ok(status), ok({"user": ME}), ok(session)])
    ran = run_cli(*args, script=script, home=tmp_path, answer="setup_1\ncanary-pw\n")
    assert ran.code == 0, ran.err
    assert b"setup_1" in script.asked[1].content
    assert b"canary-pw" in script.asked[1].content
    short = run_cli(*args, script=Script([ok(status)]), home=tmp_path, answer="setup_1\n")
    assert (short.code, "Stdin ended before: new password" in short.err) == (2, True)
    for args in (["login", "--username", "ada"], ["login"]):
        refused = run_cli(*args, script=Script([ok(SET_UP)]), answer="pw\n")
        assert (refused.code, refused.err.count("--password-stdin" if len(args) > 1 else "--username")) == (2, 1)


def test_setup_says_at_once_what_is_no_name_and_no_address(tmp_path: Path) -> None:
    status = {"needs_setup": True, "setup_code_required": False}
    session = {"success": True, "user": ME, "access_token": "a", "refresh_token": "r"}
    script = Script([ok(status), ok({"user": ME}), ok(session)])
    answers = "a b\nada\nnobody\na@b.c\npw\npw\n"
    ran = run_cli("setup", script=script, home=tmp_path, interactive=True, answer=answers)
    assert ran.code == 0, ran.err
    assert "2 to 64 letters" in ran.err
    assert "'nobody' is no mail address" in ran.err
    assert len(script.asked) == 3


def test_who_removes_the_profile_in_use_is_told_what_is_used_then(tmp_path: Path) -> None:
    profiles = {n: Profile(n, f"https://{n}.test") for n in ("one", "two")}
    ProfileFile(tmp_path / ".config" / "stcloud").write(Profiles("one", profiles))
    ran = run_cli("profiles", "remove", "one", home=tmp_path)
    assert "http://localhost:8001" in ran.out
    assert "two" in ran.out
    assert ProfileFile(tmp_path / ".config" / "stcloud").read().current is None


def test_nothing_sealed_is_nothing_checked() -> None:
    part = {"valid": True, "entries_checked": 0, "broken_links": [], "seals": 0, "unsealed_entries": 4}
    ran = run_cli("audit", "verify", script=Script([ok({**part, "complete": True, "checked_to": 0, "digest": "0"})]))
    assert (ran.code, ran.out) == (0, "Nothing is sealed yet, so there is nothing to check: 4 not sealed yet.\n")
