"""Signing in on a terminal: name, password, and the steps that the server asks for after them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import typer

from stcloud.access_api import AccessApi
from stcloud.errors import ApiError, LocalError, NetworkError, ServerError, UsageError, ValidationFailed
from stcloud.profiles import Profile, check_profile_name, server_of
from stcloud.session import PIPED, Session
from stcloud.target import Target
from stcloud.vault import Credential

NEW_PASSWORD, CODE, NEW_APP = "NEW_PASSWORD_REQUIRED", "SOFTWARE_TOKEN_MFA", "MFA_SETUP"
KEY_PREFIX = "stk_"
#: More steps than any user pool has, and tries to find a password that its policy accepts.
MAX_STEPS, MAX_TRIES = 5, 3
MAX_KEY_CHARS = 500


def sign_in(session: Session, access: AccessApi, username: str, password: str) -> dict[str, Any]:
    """The server's answer with the session. Asks for what else it wants. Raises ApiError, UsageError."""
    answer = access.sign_in(username, password)
    for _ in range(MAX_STEPS):
        challenge = answer.get("challenge")
        if challenge is None:
            return answer
        if challenge["name"] != NEW_APP:
            session.output.note(str(challenge["message"]))
        answer = _answered(session, access, username, challenge)
    raise ApiError(200, "Sign-in", "The server asks for one step after another.", code="endless_sign_in")


def _answered(session: Session, access: AccessApi, username: str, challenge: dict[str, Any]) -> dict[str, Any]:
    name = challenge["name"]
    if name == NEW_APP:
        session.output.note("Nobody gets in here without an authenticator app. Add this account to yours:")
        session.output.note(f"  secret  {challenge.get('secret')}")
        session.output.note(f"  link    {challenge.get('otpauth_url')}")
        return access.answer(
            username, challenge, session.ask("Code that the app shows", instead=PIPED).replace(" ", "")
        )
    if name == CODE:
        return access.answer(username, challenge, session.ask("Code", hidden=True, instead=PIPED).replace(" ", ""))
    if name == NEW_PASSWORD:
        return with_new_password(session, lambda password: access.answer(username, challenge, password))
    raise UsageError(
        f"The server asks for {name}, which this stcloud can't answer.",
        advice="A newer one may; or sign in with an API key: stcloud login --with-key",
    )


def with_new_password(session: Session, use: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """What ``use`` returns for a new password; asked for again while the policy refuses it. Raises what it raises."""
    for attempt in range(MAX_TRIES):
        password = session.ask("New password", hidden=True, twice=True, instead=PIPED)
        try:
            return use(password)
        except ValidationFailed as weak:
            if weak.code != "weak_password" or attempt + 1 == MAX_TRIES or session.answers_piped:
                raise
            session.output.complaint(weak)
    raise AssertionError("unreachable: the last try returns or raises")


def read_key(session: Session) -> str:
    """An API key, from stdin or typed unseen. Raises UsageError."""
    if session.runtime.is_interactive():
        text: str = typer.prompt("API key", hide_input=True, err=True)
    else:
        text = sys.stdin.readline(MAX_KEY_CHARS)
    key = text.strip()
    if not key.startswith(KEY_PREFIX):
        raise UsageError(
            "That is no API key: they begin with stk_.",
            advice="Make one: stcloud keys create NAME. Then: stcloud login --with-key < file-with-the-key",
        )
    return key


def remember(session: Session, target: Target, credential: Credential, username: str) -> Profile:
    """Keeps a credential under its profile, which becomes the current one, and says where. The session that was there
    before ends. Raises LocalError."""
    profile_file, vault = session.runtime.profile_file, session.runtime.vault
    profiles = profile_file.read()
    name = target.profile_name or (target.profile.name if target.profile else profiles.name_for(target.url))
    check_profile_name(name)
    earlier = profiles.by_name.get(name)
    before = None if earlier is None else kept_by(session, earlier)
    place, reason = vault.save(name, credential)
    profile = replace(Profile(name, target.url), username=username, place=place)
    profile_file.write(profiles.having(profile, current=True))
    if reason is not None:
        session.output.note(f"Kept in {vault.path(name)}, which only you can read: {reason}.")
    if earlier is not None and before is not None and before.refresh not in {None, credential.refresh}:
        end_session(session, earlier.url, str(before.refresh))
    return profile


def credential_of(target: Target, answer: dict[str, Any]) -> Credential:
    return Credential(server_of(target.url), str(answer["access_token"]), answer["refresh_token"])


def kept_by(session: Session, profile: Profile) -> Credential | None:
    """What a profile was signed in with, also from a file that others can read: to end it, not to use it. None, and a
    warning, when it can't be read."""
    try:
        return session.runtime.vault.load(profile, to_end=True)
    except LocalError as error:
        session.output.warn(f"{error.message} Its session ends at the server within 30 days.")
        return None


def end_session(session: Session, url: str, refresh_token: str, *, everywhere: bool = False) -> None:
    """Ends a session at its server. What can't be reached is said, not raised, unless it is to end ``everywhere``."""
    try:
        if everywhere:
            session.access.sign_out(refresh_token, everywhere=True)
        else:
            with session.stranger(url) as access:
                access.sign_out(refresh_token, everywhere=False)
    except (NetworkError, ServerError) as error:
        if everywhere:
            raise
        session.output.warn(f"{error.message} It is forgotten here; the session ends there within 30 days.")
