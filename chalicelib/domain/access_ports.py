"""The ports of the doors: user pool, sessions, keys, profiles, audit, rates. ``ports`` has the rules of all ports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from chalicelib.domain.api_keys import ApiKey
from chalicelib.domain.audit import AuditAction, AuditRecord, AuditResult, Seal
from chalicelib.domain.people import Person, Session
from chalicelib.domain.permissions import Role


class SignInError(Exception):
    """Sign-in refused: wrong name or password, unknown or disabled user, all alike."""


class PasswordRefusedError(Exception):
    """The user pool's password policy refuses the password; ``args[0]`` says what is missing, without the password."""


class UserExistsError(Exception):
    """There is a user of this name or address already."""


class UnknownUserError(Exception):
    """There is no such user."""


class SetupDoneError(Exception):
    """There is, or was, a first admin already."""


class LastAdminError(Exception):
    """The change would leave the stack without an active admin, and nobody could let people in any more."""


class PersonGoneError(Exception):
    """This person was deleted; nothing brings them back under the same id."""


class InvalidSessionError(Exception):
    """The token is no valid access token of our user pool, or it has expired."""


class ChallengeError(Exception):
    """Sign-in needs one more step. ``name`` is the user pool's challenge, ``session`` its opaque state, ``secret`` what
    an authenticator app has to be told first (base 32; with MFA_SETUP alone)."""

    def __init__(self, name: str, session: str, secret: str | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.session = session
        self.secret = secret


class WrongCodeError(Exception):
    """It is not the code that the authenticator app shows now, or there is no app that waits for its first one."""


class NoFactorsError(Exception):
    """The user pool asks for no second factor, so none can be added."""


@dataclass(frozen=True)
class Tokens:
    """``repr`` hides them. ``expires_in`` is that of the access token, in seconds."""

    access: str = field(repr=False)
    refresh: str | None = field(repr=False)
    expires_in: int


class UserPool(Protocol):
    """Passwords, MFA and identity providers live behind it (Amazon Cognito). Every call is bounded in time."""

    def sign_in(self, username: str, password: str) -> Tokens:
        """Raises SignInError, ChallengeError (a new password or an MFA code is wanted)."""

    def answer_challenge(self, username: str, challenge: str, session: str, answer: str) -> Tokens:
        """Answers NEW_PASSWORD_REQUIRED, SOFTWARE_TOKEN_MFA, or MFA_SETUP with the first code of an app that knows the
        challenge's secret. Raises SignInError, ChallengeError, PasswordRefusedError."""

    def refresh(self, refresh_token: str) -> Tokens:
        """New tokens; ``refresh`` is None when the old one stays. Raises SignInError."""

    def sign_out(self, refresh_token: str) -> None:
        """Revokes the refresh token and what came from it; unknown ones have no effect."""

    def sign_out_everywhere(self, username: str) -> None: ...

    def change_password(self, access_token: str, old: str, new: str) -> None:
        """Raises SignInError (old password), PasswordRefusedError."""

    def new_authenticator(self, access_token: str) -> str:
        """The secret for an authenticator app, in base 32. The one before stays until this one's first code came.
        Raises SignInError (the session has ended)."""

    def enable_authenticator(self, access_token: str, code: str) -> None:
        """From now on sign-in asks for its codes. Raises SignInError (the session), WrongCodeError, NoFactorsError."""

    def disable_authenticator(self, access_token: str) -> None:
        """Sign-in asks for no code, or where one is needed for a new app. Raises SignInError (the session)."""

    def create(self, username: str, email: str, *, password: str | None, role: Role, temporary: bool = False) -> str:
        """Creates a user in the role's group and returns the ``sub``. With a password it is permanent, or with
        ``temporary`` to be replaced at the first sign-in; without one the pool sends an invitation.
        Raises UserExistsError, PasswordRefusedError."""

    def reset_password(self, username: str, password: str | None) -> None:
        """The user's password is this one, to be replaced at the next sign-in; without one the pool mails another such
        password. The old one is good no more, and the user's sessions end. Raises UnknownUserError,
        PasswordRefusedError."""

    def set_role(self, username: str, role: Role) -> None:
        """The user is in this group and no other. Raises UnknownUserError."""

    def set_enabled(self, username: str, *, enabled: bool) -> None:
        """Raises UnknownUserError. Disabling also ends the user's sessions."""

    def delete(self, username: str, *, only: str | None = None) -> None:
        """Unknown users have no effect; nor, with ``only``, has a user whose ``sub`` is another: the name may have been
        given to somebody else meanwhile."""


class SessionVerifier(Protocol):
    def verify(self, access_token: str, now: datetime) -> Session:
        """Checks signature (cached JWKS, fetched anew for an unknown ``kid`` but not more than once a minute), issuer,
        ``client_id``, ``token_use`` = access, expiry. Offline but for the JWKS. Raises InvalidSessionError."""


class AccessStore(Protocol):
    """Profiles and keys."""

    def create_first_admin(self, person: Person) -> None:
        """One transaction: the mark that setup is done, and the profile. Raises SetupDoneError, PersonGoneError; then
        nothing is written."""

    def first_admin(self) -> str | None:
        """Whose id the mark of setup bears; strongly consistent."""

    def setup_done(self) -> bool:
        """Strongly consistent."""

    def undo_first_admin(self, user_id: str) -> None:
        """Takes back ``create_first_admin`` of this person, when the user pool refused them afterwards."""

    def put_person(self, person: Person, *, replaces: Person | None = None) -> None:
        """Creates or replaces; a ``last_login_at`` of None leaves the stored one.

        With ``replaces`` (the person as read) raises StaleRecordError when somebody else changed the role or the
        activity meanwhile, or removed the person: two admins must not undo each other's work. Raises LastAdminError
        when this takes the last active admin away; PersonGoneError, without ``replaces``, for who was deleted. Nothing
        is written in any of these cases."""

    def touch_person(self, person: Person, now: datetime) -> None:
        """Notes a sign-in and nothing else, so it can't undo what an admin changes at the same time. Best effort."""

    def get_person(self, user_id: str) -> Person | None:
        """Strongly consistent."""

    def list_people(self, *, limit: int = 100, cursor: str | None = None) -> tuple[Sequence[Person], str | None]:
        """By username. Raises InvalidCursorError."""

    def delete_person(self, user_id: str) -> None:
        """The profile and all keys; keys first. What stays is that they are gone. Unknown ones have no effect. Raises
        LastAdminError."""

    def is_gone(self, user_id: str) -> bool:
        """Whether this person was deleted. Strongly consistent."""

    def find_key(self, handle: str, key_id: str) -> tuple[ApiKey, Person] | None:
        """The key and its owner in ONE request, strongly consistent. None unless both exist."""

    def create_key(self, key: ApiKey, *, limit: int) -> None:
        """Raises StaleRecordError when the id exists or the person does not, SlotsFullError when the person has
        ``limit`` live keys (those that expired before ``key.created_at`` don't count)."""

    def put_key(self, key: ApiKey) -> None:
        """Replaces an existing key; a ``last_used_at`` of None leaves the stored one. Raises StaleRecordError when it
        is gone, or revoked and ``key`` is not: a revoked key never lives again. Revoking it twice has no effect."""

    def replace_key(self, old: ApiKey, new: ApiKey, *, limit: int) -> None:
        """Rotation, in one write: stores ``old`` (with ``replaced_by``, revoked or with its new end) and creates
        ``new``. In the place of a revoked one it needs no room; beside one that still lives it raises SlotsFullError
        when the person has ``limit`` live keys. Raises StaleRecordError when the old one is gone, revoked or replaced
        already. Nothing is written then."""

    def keys_of(self, user_id: str) -> Sequence[ApiKey]:
        """Newest first, at most 200: of more, those that end last. Dead ones vanish 90 days after their end."""

    def touch_key(self, key: ApiKey, now: datetime) -> None:
        """Notes the use, at most every LAST_USED_EVERY and nothing else, so it can't undo a revocation. Best effort:
        no effect for a key that is gone, and no error when the store can't answer."""


@dataclass(frozen=True)
class AuditFilter:
    """A None field does not filter. ``actor`` is an id, a name, or the id of an API key; ``since`` is inclusive,
    ``until`` exclusive."""

    actor: str | None = None
    action: AuditAction | None = None
    result: AuditResult | None = None
    target: str | None = None
    owner: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, record: AuditRecord) -> bool:
        return (
            self.actor in (None, record.actor_id, record.actor_name, record.key_id)
            and self.action in (None, record.action)
            and self.result in (None, record.result)
            and self.target in (None, record.target)
            and self.owner in (None, record.owner)
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at < self.until)
        )


class AuditStore(Protocol):
    """Append-only: its role can put and read, and neither change nor delete."""

    def append(self, record: AuditRecord) -> None:
        """Raises StaleRecordError when the id exists (it is random, so that means tampering), ValueError when the id is
        not one of ``record.at``. Make the record right before: one that arrives behind its seal breaks the chain."""

    def list(
        self, query: AuditFilter, *, limit: int, cursor: str | None = None
    ) -> tuple[Sequence[AuditRecord], str | None]:
        """Newest first, month by month, bounded per call: a page may be short and still have a cursor. Raises
        InvalidCursorError."""

    def after(self, record_id: str | None, *, until: datetime, limit: int) -> Sequence[AuditRecord]:
        """Ascending records behind ``record_id`` (None: from the beginning) and older than ``until``."""

    def last_seal(self) -> Seal | None: ...

    def add_seal(self, seal: Seal) -> None:
        """Raises StaleRecordError when this number exists."""

    def seals(self, *, after: int = 0, limit: int = 1000) -> Sequence[Seal]:
        """Ascending by number."""


@dataclass(frozen=True)
class RateVerdict:
    """``remaining`` of ``limit`` in the window that resets in ``reset_seconds`` (at least 1). ``granted`` of what was
    asked for was counted: less at the end of the limit, 0 when refused."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int
    granted: int = 0


class RateStore(Protocol):
    def take(self, subject: str, *, limit: int, window: timedelta, now: datetime, amount: int = 1) -> RateVerdict:
        """Counts ``amount`` for the subject in the fixed window that ``now`` lies in; refused once ``limit`` is
        reached, and ``granted`` in part when less is left. One conditional write. Expires by TTL. A write that is
        repeated because its answer was lost counts twice: rather too strict than too lax."""

    def give_back(self, subject: str, *, window: timedelta, taken_at: datetime) -> None:
        """Takes one off what was counted in the window of ``taken_at``, and never below nothing. Best effort: no error
        when the store can't."""
