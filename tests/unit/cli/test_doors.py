"""Servers, tokens and where they are kept: who gets which token, and who never does."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from stcloud import keyring_process
from stcloud.errors import AuthenticationError, LocalError, NetworkError, UsageError
from stcloud.private_files import read_text, write_private
from stcloud.profiles import Place, Profile, ProfileFile, Profiles, check_profile_name, same_server, server_of
from stcloud.renewal import Renewal
from stcloud.target import DEFAULT_URL, resolve
from stcloud.vault import Credential, KeyringUnavailableError, NoKeyring, Vault, system_keyring

from tests.unit.cli.support import Script, ok, problem, run_cli

LOCAL = Profile("local", "http://localhost:8001", "ada", Place.FILE)
PROD = Profile("prod", "https://cloud.test", "bob", Place.FILE)
BOTH = Profiles("local", {"local": LOCAL, "prod": PROD})
ME = {"username": "ada", "role": "admin", "kind": "session", "key_id": None, "permissions": ["job.submit"]}


@dataclass
class FakeKeyring:
    """``broken`` makes every call fail."""

    secrets: dict[str, str] = field(default_factory=dict)
    broken: bool = False

    def _check(self) -> None:
        if self.broken:
            raise KeyringUnavailableError("the keyring did not answer within 5 s")

    def get(self, name: str) -> str | None:
        self._check()
        return self.secrets.get(name)

    def set(self, name: str, secret: str) -> None:
        self._check()
        self.secrets[name] = secret

    def delete(self, name: str) -> None:
        self._check()
        self.secrets.pop(name, None)


# --- which server, which token ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "environ", "url", "profile"),
    [
        ({}, {}, LOCAL.url, "local"),
        ({"profile": "prod"}, {}, PROD.url, "prod"),
        ({"profile": "prod"}, {"STCLOUD_URL": LOCAL.url}, PROD.url, "prod"),
        ({}, {"STCLOUD_PROFILE": "prod"}, PROD.url, "prod"),
        ({"profile": "local"}, {"STCLOUD_PROFILE": "prod"}, LOCAL.url, "local"),
        ({}, {"STCLOUD_URL": "https://CLOUD.test:443/"}, "https://CLOUD.test:443", "prod"),
        ({}, {"STCLOUD_URL": "https://new.test", "STCLOUD_PROFILE": "prod"}, "https://new.test", None),
        ({"url": "https://new.test"}, {"STCLOUD_URL": PROD.url}, "https://new.test", None),
        ({"url": f"{PROD.url}/api"}, {"STCLOUD_PROFILE": "local"}, PROD.url, "prod"),
    ],
)
def test_the_server_and_its_own_profile(
    options: dict[str, str], environ: dict[str, str], url: str, profile: str | None
) -> None:
    found = resolve(BOTH, environ, **{"url": None, "token": None, "profile": None, **options})  # type: ignore[arg-type]
    assert (found.url, found.profile.name if found.profile else None) == (url, profile)
    assert found.token is None


def test_without_anything_it_is_this_computer() -> None:
    assert resolve(Profiles(), {}, url=None, token=None, profile=None).url == DEFAULT_URL


def test_a_profile_and_another_servers_url_are_a_contradiction() -> None:
    with pytest.raises(UsageError, match="is for"):
        resolve(BOTH, {}, url=LOCAL.url, token=None, profile="prod")
    with pytest.raises(UsageError, match="no profile"):
        resolve(BOTH, {}, url=None, token=None, profile="nobody")


def test_the_environments_token_wins_and_stays_with_the_environments_server() -> None:
    environ = {"STCLOUD_TOKEN": " canary ", "STCLOUD_URL": PROD.url}
    assert resolve(BOTH, environ, url=None, token=None, profile=None).token == "canary"
    assert resolve(BOTH, {"STCLOUD_TOKEN": "canary"}, url=None, token=None, profile=None).token == "canary"
    for options in ({"url": LOCAL.url}, {"profile": "local"}):
        with pytest.raises(UsageError) as caught:
            resolve(BOTH, environ, **{"url": None, "token": None, "profile": None, **options})  # type: ignore[arg-type]
        assert "canary" not in caught.value.message + str(caught.value.advice)
    assert resolve(BOTH, environ, url=LOCAL.url, token="other", profile=None).token == "other"


def test_a_new_name_makes_a_profile_and_the_environments_is_not_turned_into_another_server() -> None:
    new = resolve(BOTH, {}, url="https://new.test", token=None, profile="mine", may_be_new=True)
    assert (new.profile, new.profile_name) == (None, "mine")
    moved = resolve(BOTH, {}, url="https://new.test", token=None, profile="prod", may_be_new=True)
    assert (moved.profile, moved.profile_name) == (None, "prod")
    env = resolve(BOTH, {"STCLOUD_PROFILE": "prod"}, url="https://new.test", token=None, profile=None, may_be_new=True)
    assert (env.profile, env.profile_name) == (None, None)


def test_tokens_are_bound_to_scheme_host_port_and_path() -> None:
    assert same_server("https://cloud.test", "https://CLOUD.test:443/")
    for other in ("http://cloud.test", "https://cloud.test:444", "https://cloud.test.evil", "https://cloud.test/b"):
        assert not same_server("https://cloud.test", other)


def test_names_for_new_profiles() -> None:
    assert BOTH.name_for(PROD.url) == "prod"
    assert BOTH.name_for("http://127.0.0.1:9") == "local-2"
    assert BOTH.name_for("https://a.example.com") == "a.example.com"
    for name in ("", "../x", "a/b", ".hidden", "a b", "x" * 65):
        with pytest.raises(UsageError):
            check_profile_name(name)


# --- config.toml ------------------------------------------------------------------------------------------------------
def test_profiles_survive_being_written(tmp_path: Path) -> None:
    file = ProfileFile(tmp_path / "stcloud")
    assert file.read() == Profiles()
    odd = Profile("a.b-c_d", "https://cloud.test:8443/sub", 'zoë "the" \\ admin', None)
    profiles = BOTH.having(odd, current=True)
    file.write(profiles)
    assert file.read() == profiles
    assert profiles.without("a.b-c_d").current is None


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        'current = "nobody"',
        "profiles = 3",
        "[profiles.x]",
        "[profiles.x]\nurl = 3",
        '[profiles.x]\nurl = "ftp://x"',
        '[profiles.x]\nurl = "https://user:canary@x"',
        '[profiles."../x"]\nurl = "https://x"',
        '[profiles.x]\nurl = "https://x"\nsecret = "under the mat"',
        '[profiles.x]\nurl = "https://x"\nusername = "\\u001b[2J"',
    ],
)
def test_a_broken_config_is_named_and_does_no_harm(tmp_path: Path, text: str) -> None:
    folder = tmp_path / ".config" / "stcloud"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(text)
    script = Script([ok({})])
    ran = run_cli("jobs", "list", "--json", script=script, home=tmp_path)
    assert ran.code == 2
    assert "config.toml" in json.loads(ran.out)["error"]["message"]
    assert "canary" not in ran.out + ran.err
    assert script.asked == []


# --- files and keyring ------------------------------------------------------------------------------------------------
def test_private_files_are_private_from_the_beginning_and_whole(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    path = folder / "x"
    before = os.umask(0)
    try:
        write_private(path, "one")
        write_private(path, "two")
    finally:
        os.umask(before)
    assert read_text(path, secret=True) == "two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [p.name for p in folder.iterdir()] == ["x"]


def test_secrets_of_others_and_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_private(path, "secret")
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(LocalError):
        read_text(tmp_path / "link", secret=True)
    for mode in (0o640, 0o604, 0o644):
        path.chmod(mode)
        with pytest.raises(LocalError) as caught:
            read_text(path, secret=True)
        assert caught.value.code == "file_not_private"
    assert read_text(tmp_path / "nothing", secret=True) is None
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(LocalError):
        read_text(tmp_path / "binary")


def test_the_keyring_is_preferred_and_the_file_is_the_fallback(tmp_path: Path) -> None:
    keyring = FakeKeyring()
    vault = Vault(tmp_path, keyring)
    credential = Credential(server_of(PROD.url), "token", "refresh")
    keyring.broken = True
    place, reason = vault.save("prod", credential)
    assert (place, reason) == (Place.FILE, "the keyring did not answer within 5 s")
    assert vault.load(PROD) == credential
    keyring.broken = False
    assert vault.save("prod", credential) == (Place.KEYRING, None)
    assert not vault.path("prod").exists()
    in_keyring = Profile("prod", PROD.url, "bob", Place.KEYRING)
    assert vault.load(in_keyring) == credential
    vault.update(in_keyring, credential.renewed("token2", None))
    assert vault.load(in_keyring) == Credential(server_of(PROD.url), "token2", "refresh")
    keyring.broken = True
    for use in (lambda: vault.load(in_keyring), lambda: vault.forget(in_keyring)):
        with pytest.raises(LocalError) as caught:
            use()
        assert "token2" not in caught.value.message
    keyring.broken = False
    vault.forget(in_keyring)
    assert vault.load(in_keyring) is None
    assert keyring.secrets == {}


def test_a_credential_of_another_server_is_none(tmp_path: Path) -> None:
    vault = Vault(tmp_path, NoKeyring("none"))
    vault.save("prod", Credential(server_of("https://elsewhere.test"), "token"))
    assert vault.load(PROD) is None
    for text in ("", "[]", "{}", '{"server": "x", "token": 3}', '{"server": "x", "token": "y", "refresh": 1}'):
        assert Credential.from_json(text) is None
    assert "canary" not in repr(Credential("https://x", "canary-1", "canary-2"))


def test_the_keyring_can_be_switched_off() -> None:
    with pytest.raises(KeyringUnavailableError, match="off"):
        system_keyring({"STCLOUD_KEYRING": "Off"}).get("x")


def test_the_keyrings_process_needs_its_package() -> None:
    try:
        answer = keyring_process.perform({"do": "get", "service": "stcloud-test", "name": "x"})
    except ImportError:
        return  # as told by main()
    assert answer == {"secret": None} or "error" in answer


# --- renewing ---------------------------------------------------------------------------------------------------------
def renewal(tmp_path: Path, credential: Credential, *answers: Any) -> tuple[Renewal, Vault, list[str], list[str]]:
    vault, asked, warned = Vault(tmp_path, NoKeyring("none")), list[str](), list[str]()
    vault.save("prod", credential)
    left = list(answers)

    def refresh(url: str, token: str) -> dict[str, Any]:
        assert url == PROD.url
        asked.append(token)
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    found = Renewal.of(PROD, vault, refresh, warned.append)
    assert found is not None
    return found, vault, asked, warned


SESSION = Credential(server_of(PROD.url), "access-1", "refresh-1")


def test_a_renewed_session_is_kept_also_with_another_refresh_token(tmp_path: Path) -> None:
    answers = ({"access_token": "access-2", "refresh_token": "refresh-2"}, {"access_token": "access-3"})
    renew, vault, asked, _ = renewal(tmp_path, SESSION, *answers)
    assert (renew(), renew()) == ("access-2", "access-3")
    assert asked == ["refresh-1", "refresh-2"]
    assert vault.load(PROD) == Credential(SESSION.server, "access-3", "refresh-2")


def test_what_another_process_has_renewed_is_used(tmp_path: Path) -> None:
    renew, vault, asked, _ = renewal(tmp_path, SESSION)
    vault.save("prod", SESSION.renewed("access-9", None))
    assert renew() == "access-9"
    assert asked == []


def test_a_key_is_not_renewed(tmp_path: Path) -> None:
    renew, _, asked, _ = renewal(tmp_path, Credential(SESSION.server, "stk_key"))
    assert renew() is None
    assert asked == []


def test_an_ended_session_says_to_sign_in_and_a_lost_server_stays_lost(tmp_path: Path) -> None:
    ended = AuthenticationError(401, "Unauthorized", "x", code="session_ended")
    renew, _, _, _ = renewal(tmp_path, SESSION, ended, NetworkError("gone"))
    with pytest.raises(AuthenticationError) as caught:
        renew()
    assert "stcloud login --profile prod" in str(caught.value.advice)
    with pytest.raises(NetworkError):
        renew()


def test_a_token_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    warned: list[str] = []
    vault = Vault(tmp_path, NoKeyring("none"))
    # A folder in the way of the file: nothing can be put there, whoever runs this.
    (vault.path("prod") / "in the way").mkdir(parents=True)
    renew = Renewal(Profile("prod", PROD.url), SESSION, vault, lambda *_: {"access_token": "access-2"}, warned.append)
    assert renew() == "access-2"
    assert len(warned) == 1
    assert "access-2" not in warned[0]


# --- on the wire ------------------------------------------------------------------------------------------------------
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
