"""The calls of the doors: sessions, API keys, people, audit. ``Api`` has those of the work itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from stcloud.api import MAX_PAGES
from stcloud.client import Client, shaped
from stcloud.errors import ApiError

PAGE = 100
# What the commands show of answers.
_SESSION = ("access_token", "refresh_token", "user")
_CHALLENGE = ("name", "session", "message")
_ME = ("username", "role", "kind", "key_id", "permissions")
_KEY = (
    *("id", "name", "created_at", "last_used_at", "expires_at", "revoked_at", "is_active"),
    *("scoped_permissions", "budget_usd", "providers"),
)
_ISSUED = ("key", "key_info")
_USER = ("id", "username", "email", "role", "is_active", "last_login_at")
_AUDIT = (
    *("timestamp", "result", "event_type", "actor_username", "actor_id", "actor_kind", "actor_ip"),
    *("target_type", "target_id", "code"),
)
_VERIFIED = (
    "valid",
    "entries_checked",
    "broken_links",
    "seals",
    "unsealed_entries",
    "complete",
    "checked_to",
    "digest",
)


def _quoted(name: str) -> str:
    return quote(name, safe="")


class AccessApi:
    """Every method raises ApiError and NetworkError. What must not be done twice is not repeated by itself."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @property
    def url(self) -> str:
        return self._client.url

    # --- setup and sessions -------------------------------------------------------------------------------------
    def setup_status(self) -> dict[str, Any]:
        return self._client.call("GET", "/auth/setup/status", needs=("needs_setup", "setup_code_required"))

    def first_admin(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._client.call("POST", "/auth/setup/first-admin", json=body, attempts=1, needs=("user",))

    def sign_in(self, username: str, password: str) -> dict[str, Any]:
        """A session, or a ``challenge``. Attempts are limited, so a 429 is final."""
        body = {"username": username, "password": password}
        return self._step(self._client.call("POST", "/auth/login", json=body, limits_are_final=True))

    def answer(self, username: str, challenge: Mapping[str, Any], answer: str) -> dict[str, Any]:
        """As ``sign_in``. A challenge can be answered once, so this is not repeated."""
        body = {
            "username": username,
            "challenge": challenge["name"],
            "challenge_session": challenge["session"],
            "answer": answer,
        }
        return self._step(self._client.call("POST", "/auth/login/challenge", json=body, attempts=1))

    def refresh(self, refresh_token: str) -> dict[str, Any]:
        body, needs = {"refresh_token": refresh_token}, ("access_token",)
        return self._client.call("POST", "/auth/refresh", json=body, limits_are_final=True, needs=needs)

    def sign_out(self, refresh_token: str, *, everywhere: bool) -> dict[str, Any]:
        body = {"refresh_token": refresh_token, "everywhere": everywhere}
        return self._client.call("POST", "/auth/logout", json=body)

    def change_password(self, current: str, new: str) -> dict[str, Any]:
        body = {"current_password": current, "new_password": new}
        return self._client.call("POST", "/auth/change-password", json=body, attempts=1)

    def me(self) -> dict[str, Any]:
        return self._client.call("GET", "/auth/me", needs=_ME)

    # --- API keys -----------------------------------------------------------------------------------------------
    def create_key(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._client.call("POST", "/auth/api-keys", json=body, attempts=1, needs=_ISSUED)

    def keys(self, user_id: str | None = None) -> list[dict[str, Any]]:
        return self._client.call_list("/auth/api-keys", query={"user_id": user_id}, needs=_KEY)

    def key(self, key_id: str) -> dict[str, Any]:
        return self._client.call("GET", f"/auth/api-keys/{_quoted(key_id)}", needs=_KEY)

    def rotate_key(self, key_id: str, overlap_seconds: int) -> dict[str, Any]:
        path, body = f"/auth/api-keys/{_quoted(key_id)}/rotate", {"overlap_seconds": overlap_seconds}
        return self._client.call("POST", path, json=body, attempts=1, needs=_ISSUED)

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        return self._client.call("DELETE", f"/auth/api-keys/{_quoted(key_id)}")

    # --- people -------------------------------------------------------------------------------------------------
    def users(self) -> Iterator[dict[str, Any]]:
        return self._pages("/users", "users", {}, _USER)

    def invite(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._client.call("POST", "/users", json=body, attempts=1, needs=_USER)

    def change_user(self, user_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._client.call("PATCH", f"/users/{_quoted(user_id)}", json=body, needs=_USER)

    def set_active(self, user_id: str, *, active: bool) -> dict[str, Any]:
        return self._client.call("POST", f"/users/{_quoted(user_id)}/{'activate' if active else 'deactivate'}")

    def reset_password(self, user_id: str) -> dict[str, Any]:
        """Not repeated: each try would make another password."""
        path = f"/users/{_quoted(user_id)}/reset-password"
        return self._client.call("POST", path, attempts=1, needs=("temporary_password",))

    def delete_user(self, user_id: str) -> dict[str, Any]:
        return self._client.call("DELETE", f"/users/{_quoted(user_id)}")

    # --- audit --------------------------------------------------------------------------------------------------
    def audit(self, filters: Mapping[str, Any], *, limit: int) -> Iterator[dict[str, Any]]:
        """The newest ``limit`` records that fit."""
        found = self._pages("/audit", "entries", {**filters, "limit": min(limit, PAGE)}, _AUDIT)
        for count, entry in enumerate(found, 1):
            yield entry
            if count >= limit:
                return

    def verify_audit(self) -> dict[str, Any]:
        """The report over all records: sums of what each call looked at, and the state at the last one."""
        counted: dict[str, Any] = {"entries_checked": 0, "seals": 0, "broken_links": [], "valid": True}
        after = 0
        for _ in range(MAX_PAGES):
            part = self._client.call("GET", "/audit/verify", query={"after": after}, needs=_VERIFIED)
            counted = {
                **part,
                "entries_checked": counted["entries_checked"] + part["entries_checked"],
                "seals": counted["seals"] + part["seals"],
                "broken_links": counted["broken_links"] + part["broken_links"],
                "valid": counted["valid"] and part["valid"],
            }
            if part["complete"]:
                return counted
            if part["checked_to"] <= after:
                break
            after = part["checked_to"]
        raise _endless()

    def _step(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer if it is a session or a challenge."""
        challenge = answer.get("challenge")
        if challenge is None:
            return shaped(answer, _SESSION, self.url)
        shaped(challenge, _CHALLENGE, self.url)
        return answer

    def _pages(self, path: str, key: str, query: Mapping[str, Any], needs: Collection[str]) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            answer = self._client.call("GET", path, query={"limit": PAGE, **query, "cursor": cursor}, needs=(key,))
            for entry in answer[key]:
                yield shaped(entry, needs, self.url)
            cursor = answer.get("next")
            if cursor is None:
                return
        raise _endless()


def _endless() -> ApiError:
    return ApiError(200, "Endless list", "The server's list has no end.", code="endless_list")
