"""A session that renews itself: when its access token has ended, the refresh token gets another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stcloud.errors import AuthenticationError, LocalError
from stcloud.profiles import Profile
from stcloud.vault import Credential, Vault


class Renewal:
    """Called when the server refused ``token``; returns another, None when there is none (an API key has no other).

    ``refresh(url, refresh_token)`` is the server's call. Raises AuthenticationError when the session has ended,
    NetworkError, LocalError.
    """

    def __init__(
        self,
        profile: Profile,
        credential: Credential,
        vault: Vault,
        refresh: Callable[[str, str], dict[str, Any]],
        warn: Callable[[str], None],
    ) -> None:
        self._profile, self._credential, self._vault = profile, credential, vault
        self._refresh, self._warn = refresh, warn

    @classmethod
    def of(
        cls,
        profile: Profile,
        vault: Vault,
        refresh: Callable[[str, str], dict[str, Any]],
        warn: Callable[[str], None],
    ) -> Renewal | None:
        """None when nobody is signed in there."""
        credential = vault.load(profile)
        return None if credential is None else cls(profile, credential, vault, refresh, warn)

    @property
    def token(self) -> str:
        return self._credential.token

    @property
    def refresh_token(self) -> str | None:
        return self._credential.refresh

    def __call__(self) -> str | None:
        kept = self._vault.load(self._profile)
        if kept is not None and kept.token != self._credential.token:
            # Another stcloud of this user has renewed it meanwhile.
            self._credential = kept
            return kept.token
        refresh_token = self._credential.refresh
        if refresh_token is None:
            return None
        try:
            answer = self._refresh(self._profile.url, refresh_token)
        except AuthenticationError as ended:
            raise AuthenticationError(
                ended.status,
                ended.title,
                f"Your session at {self._profile.url} has ended.",
                code="session_ended",
                request_id=ended.request_id,
                advice=f"Sign in again: stcloud login --profile {self._profile.name}",
            ) from ended
        self._credential = self._credential.renewed(str(answer["access_token"]), answer.get("refresh_token"))
        try:
            self._vault.update(self._profile, self._credential)
        except LocalError as error:
            # The command itself can go on; the next one renews again.
            self._warn(error.message)
        return self._credential.token
