"""Where tokens are kept, and how a session renews itself."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from stcloud.errors import AuthenticationError, LocalError, NetworkError
from stcloud.private_files import read_text, write_private
from stcloud.profiles import Place, Profile, server_of
from stcloud.renewal import Renewal
from stcloud.vault import Credential, KeyringUnavailableError, NoKeyring, Vault, system_keyring

PROD = Profile("prod", "https://cloud.test", "bob", Place.FILE)


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
