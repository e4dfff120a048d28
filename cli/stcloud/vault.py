"""Where tokens are kept between commands: the operating system's keyring, else a file that only its owner can read.

Every credential is bound to its server; whoever asks with another server's address gets nothing.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from stcloud.errors import LocalError
from stcloud.private_files import read_text, remove, write_private
from stcloud.profiles import Place, Profile, server_of

SERVICE = "stcloud"
FOLDER = "credentials"
#: How long a keyring may take to answer; people can unlock it before, not meanwhile.
KEYRING_SECONDS = 5.0
#: Set to this, STCLOUD_KEYRING keeps the keyring out of it.
OFF = "off"


@dataclass(frozen=True)
class Credential:
    """``token`` is an API key, or a session's access token with the ``refresh`` token beside it."""

    server: str
    token: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)

    @property
    def is_session(self) -> bool:
        return self.refresh is not None

    def renewed(self, token: str, refresh: str | None) -> Credential:
        return replace(self, token=token, refresh=refresh or self.refresh)

    def to_json(self) -> str:
        return json.dumps({"server": self.server, "token": self.token, "refresh": self.refresh})

    @classmethod
    def from_json(cls, text: str) -> Credential | None:
        """None for what is no credential."""
        try:
            data = json.loads(text)
        except ValueError:
            return None
        if not isinstance(data, dict):
            return None
        server, token, refresh = data.get("server"), data.get("token"), data.get("refresh")
        if not isinstance(server, str) or not isinstance(token, str) or not isinstance(refresh, str | None):
            return None
        return cls(server, token, refresh)


class KeyringUnavailableError(Exception):
    """There is no keyring, or it did not do what was asked; ``args[0]`` says why."""


class Keyring(Protocol):
    """A place for secrets by name. All of its calls end in seconds; all may raise KeyringUnavailableError."""

    def get(self, name: str, /) -> str | None: ...

    def set(self, name: str, secret: str, /) -> None: ...

    def delete(self, name: str, /) -> None: ...


class NoKeyring:
    """Where the keyring is not wanted, or its package is missing."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def get(self, _name: str) -> str | None:
        raise KeyringUnavailableError(self._reason)

    def set(self, _name: str, _secret: str) -> None:
        raise KeyringUnavailableError(self._reason)

    def delete(self, _name: str) -> None:
        raise KeyringUnavailableError(self._reason)


class ProcessKeyring:
    """The keyring behind ``keyring_process``. Secrets travel over pipes, never in arguments or the environment."""

    def __init__(self, *, seconds: float = KEYRING_SECONDS, environ: Mapping[str, str] | None = None) -> None:
        # -P: a module that lies in the working directory, or beside the script, must not be taken for another.
        self._command: Sequence[str] = (sys.executable, "-P", str(Path(__file__).with_name("keyring_process.py")))
        self._seconds = seconds
        self._environ = environ

    def get(self, name: str) -> str | None:
        secret = self._ask({"do": "get", "name": name}).get("secret")
        return secret if isinstance(secret, str) else None

    def set(self, name: str, secret: str) -> None:
        self._ask({"do": "set", "name": name, "secret": secret})

    def delete(self, name: str) -> None:
        self._ask({"do": "delete", "name": name})

    def _ask(self, request: Mapping[str, str]) -> dict[str, Any]:
        process = subprocess.Popen(  # noqa: S603 - our own module, no shell
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=None if self._environ is None else dict(self._environ),
            # Without a terminal there is nothing it could ask on.
            start_new_session=True,
            text=True,
        )
        with process:
            try:
                text, _ = process.communicate(json.dumps({"service": SERVICE, **request}), timeout=self._seconds)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise KeyringUnavailableError(f"the keyring did not answer within {self._seconds:g} s") from None
            except KeyboardInterrupt:
                _kill(process)
                raise
        try:
            answer = json.loads(text)
        except ValueError:
            raise KeyringUnavailableError("the keyring gave no answer") from None
        if not isinstance(answer, dict) or "error" in answer:
            raise KeyringUnavailableError(str(answer["error"]) if isinstance(answer, dict) else "no answer")
        return answer


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def system_keyring(environ: Mapping[str, str]) -> Keyring:
    """The keyring that this user wants and has. Cheap: asks nothing yet."""
    if environ.get("STCLOUD_KEYRING", "").strip().lower() == OFF:
        return NoKeyring("STCLOUD_KEYRING is off")
    if importlib.util.find_spec("keyring") is None:
        return NoKeyring("the package 'keyring' is not installed")
    return ProcessKeyring()


class Vault:
    """Credentials by profile. ``folder`` is that of the files."""

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self._folder = folder / FOLDER
        self._keyring = keyring

    def path(self, name: str) -> Path:
        return self._folder / f"{name}.json"

    def load(self, profile: Profile, *, to_end: bool = False) -> Credential | None:
        """What the profile was signed in with; None for another server's, and when there is nothing.

        ``to_end``: also from a file that others may read. Raises LocalError when it can't be read or is damaged.
        """
        text = None
        if profile.place is Place.KEYRING:
            try:
                text = self._keyring.get(profile.name)
            except KeyringUnavailableError as error:
                raise LocalError(
                    f"The token of '{profile.name}' is in the keyring, and {error}.",
                    advice="Unlock it and repeat the command, or sign in again: STCLOUD_KEYRING=off stcloud login "
                    f"--profile {profile.name}",
                    code="keyring_unavailable",
                ) from error
        elif profile.place is Place.FILE:
            text = read_text(self.path(profile.name), secret=True, exposed=to_end)
        if text is None:
            return None
        credential = Credential.from_json(text)
        if credential is None:
            where = f"'{self.path(profile.name)}'" if profile.place is Place.FILE else "The keyring's entry"
            raise LocalError(
                f"{where} is damaged: it is not what stcloud keeps there.",
                advice=f"Sign in again: stcloud login --profile {profile.name}",
                code="credential_damaged",
            )
        # A profile whose address was edited must not take the old server's token along.
        return credential if credential.server == server_of(profile.url) else None

    def save(self, name: str, credential: Credential) -> tuple[Place, str | None]:
        """Keeps it; returns where, and why not in the keyring. Raises LocalError."""
        reason = None
        try:
            self._keyring.set(name, credential.to_json())
        except KeyringUnavailableError as error:
            reason = str(error)
            # An older entry would outlive the file, and nobody would look for it there.
            with contextlib.suppress(KeyringUnavailableError):
                self._keyring.delete(name)
        else:
            remove(self.path(name))
            return Place.KEYRING, None
        write_private(self.path(name), credential.to_json())
        return Place.FILE, reason

    def update(self, profile: Profile, credential: Credential) -> None:
        """Replaces it where it is. Raises LocalError."""
        if profile.place is Place.KEYRING:
            try:
                self._keyring.set(profile.name, credential.to_json())
            except KeyringUnavailableError as error:
                raise LocalError(f"The new token was not kept: {error}.") from error
        else:
            write_private(self.path(profile.name), credential.to_json())

    def forget(self, profile: Profile) -> None:
        """Raises LocalError when it may still be there."""
        remove(self.path(profile.name))
        try:
            # Also for one that lies in a file: an older entry may be left from a time when the keyring answered.
            self._keyring.delete(profile.name)
        except KeyringUnavailableError as error:
            if profile.place is Place.KEYRING:
                raise LocalError(
                    f"The token of '{profile.name}' may still be in the keyring: {error}.",
                    advice=f"Remove the entry '{SERVICE}' of '{profile.name}' there.",
                ) from error
