"""The servers a user knows, each under a name: ``config.toml``. It holds no secret; those are in the vault."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from stcloud.client import normalize_url
from stcloud.errors import UsageError
from stcloud.private_files import read_text, write_private

FILE_NAME = "config.toml"
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_HEADER = "# Servers that stcloud knows. Written by `stcloud login`; tokens are kept elsewhere.\n"
_PORTS = {"http": 80, "https": 443}


class Place(StrEnum):
    """Where a profile's secret is kept."""

    KEYRING = "keyring"
    FILE = "file"


@dataclass(frozen=True)
class Profile:
    """``username`` is for people. ``place`` None: nobody is signed in."""

    name: str
    url: str
    username: str = ""
    place: Place | None = None


@dataclass(frozen=True)
class Profiles:
    """All of them by name. ``current`` is the one that is used when nothing else is said."""

    current: str | None = None
    by_name: Mapping[str, Profile] = field(default_factory=dict)

    def get(self, name: str) -> Profile:
        """Raises UsageError, which names those that exist."""
        found = self.by_name.get(name)
        if found is None:
            known = ", ".join(sorted(self.by_name)) or "none yet"
            raise UsageError(
                f"There is no profile '{name}'.",
                advice=f"Profiles: {known}. Make one: stcloud login --url URL --profile {name}",
            )
        return found

    def having(self, profile: Profile, *, current: bool = False) -> Profiles:
        return Profiles(
            profile.name if current or not self.by_name else self.current, {**self.by_name, profile.name: profile}
        )

    def without(self, name: str) -> Profiles:
        left = {n: p for n, p in self.by_name.items() if n != name}
        return replace(self, current=None if self.current == name else self.current, by_name=left)

    def of_server(self, url: str, preferred: str | None = None) -> Profile | None:
        """The profile of the server at ``url``: the preferred one, the current one, or the only one there is."""
        fitting = {n: p for n, p in self.by_name.items() if same_server(p.url, url)}
        for name in (preferred, self.current):
            if name is not None and name in fitting:
                return fitting[name]
        return next(iter(fitting.values())) if len(fitting) == 1 else None

    def name_for(self, url: str) -> str:
        """A name for the profile of a server: the one it has, else a new one made from its host."""
        known = self.of_server(url)
        if known is not None:
            return known.name
        host = urlsplit(url).hostname or "server"
        base = "local" if host in {"localhost", "127.0.0.1", "::1"} else re.sub(r"[^A-Za-z0-9.-]", "-", host)[:48]
        names = (base, *(f"{base}-{n}" for n in range(2, 1000)))
        return next(name for name in names if name not in self.by_name)


def check_profile_name(name: str) -> str:
    """Raises UsageError for what can't name a profile (it also names a file)."""
    if not _NAME.match(name):
        raise UsageError(
            f"'{name}' can't name a profile.", advice="Use 1 to 64 letters, digits, dots, dashes and underscores."
        )
    return name


def server_of(url: str) -> str:
    """What a token is bound to: scheme, host, port and path of a normalized URL, spelled in one way."""
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}{parts.path.rstrip('/')}"


def same_server(one: str, other: str) -> bool:
    return server_of(one) == server_of(other)


class ProfileFile:
    """``config.toml`` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def read(self) -> Profiles:
        """Raises UsageError when the file is not what it should be, LocalError when it can't be read."""
        text = read_text(self.path)
        if text is None:
            return Profiles()
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise UsageError(f"'{self.path}' is not valid TOML: {error}.", advice="Mend it, or move it away.") from None
        table = data.get("profiles", {})
        if not isinstance(table, dict):
            raise self._wrong("profiles")
        by_name = {name: self._profile(name, entry) for name, entry in table.items()}
        current = data.get("current")
        if current is not None and current not in by_name:
            raise self._wrong("current")
        return Profiles(current, by_name)

    def write(self, profiles: Profiles) -> None:
        """Raises LocalError."""
        # JSON's strings are TOML's too as long as they are printable, which names and URLs are.
        lines = [_HEADER]
        if profiles.current is not None:
            lines.append(f"current = {json.dumps(profiles.current)}\n")
        for name, profile in sorted(profiles.by_name.items()):
            lines.append(f"\n[profiles.{json.dumps(name)}]\nurl = {json.dumps(profile.url)}\n")
            if profile.username:
                lines.append(f"username = {json.dumps(profile.username)}\n")
            if profile.place is not None:
                lines.append(f"secret = {json.dumps(profile.place.value)}\n")
        write_private(self.path, "".join(lines))

    def _profile(self, name: str, entry: Any) -> Profile:
        if not _NAME.match(name) or not isinstance(entry, dict):
            raise self._wrong(f"profiles.{name}")
        url, username, secret = entry.get("url"), entry.get("username", ""), entry.get("secret")
        if not isinstance(url, str) or not isinstance(username, str) or not username.isprintable():
            raise self._wrong(f"profiles.{name}")
        if secret is not None and secret not in set(Place):
            raise self._wrong(f"profiles.{name}.secret")
        return Profile(name, _url(self.path, name, url), username, None if secret is None else Place(secret))

    def _wrong(self, where: str) -> UsageError:
        return UsageError(f"'{self.path}' has no sense at '{where}'.", advice="Mend it, or move it away.")


def _url(path: Path, name: str, url: str) -> str:
    try:
        return normalize_url(url)
    except UsageError as wrong:
        raise UsageError(f"'{path}', profile '{name}': {wrong.message}", advice=wrong.advice) from None
