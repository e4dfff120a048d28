"""A user pool in memory and virtual time, with the behaviour of Amazon Cognito that the port promises."""

from __future__ import annotations

import base64
import hashlib
import threading
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chalicelib.domain.access_ports import (
    ChallengeError,
    InvalidSessionError,
    NoFactorsError,
    PasswordRefusedError,
    SignInError,
    Tokens,
    UnknownUserError,
    UserExistsError,
    WrongCodeError,
)
from chalicelib.domain.people import Session
from chalicelib.domain.permissions import Role
from chalicelib.domain.ports import Clock

ACCESS_LIFE, REFRESH_LIFE = timedelta(minutes=15), timedelta(days=30)
MIN_PASSWORD = 12
NEW_PASSWORD, TOTP, SETUP = "NEW_PASSWORD_REQUIRED", "SOFTWARE_TOKEN_MFA", "MFA_SETUP"
#: What every authenticator app shows that was told a secret of this pool.
CODE = "246810"


@dataclass
class _User:
    sub: str
    username: str
    email: str
    password: str
    role: Role | None
    temporary: bool = False
    enabled: bool = True
    totp: str | None = None
    told: bool = False


@dataclass
class _Grant:
    """A refresh token and what came from it."""

    sub: str
    expires_at: datetime
    revoked: bool = False
    access: set[str] = field(default_factory=set)


class FakeUserPool:
    """``invitations`` holds the temporary password that the mail to an invited user would carry, by username;
    ``broken`` makes every call fail. ``require_totp`` gives a user a second factor with a fixed code; ``mfa`` is the
    deployment's ``--mfa``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._users: dict[str, _User] = {}
        self._grants: dict[str, _Grant] = {}
        self._sessions: dict[str, Session] = {}
        self._challenges: dict[str, tuple[str, str]] = {}
        self._count = 0
        self.invitations: dict[str, str] = {}
        self.broken: Exception | None = None
        self.mfa = "optional"
        self.calls: list[str] = []

    # --- the port -------------------------------------------------------------------------------------------------
    def sign_in(self, username: str, password: str) -> Tokens:
        with self._called("sign_in"):
            user = self._users.get(username.lower())
            if user is None or not user.enabled or user.password != password:
                raise SignInError
            return self._go_on(user)

    def answer_challenge(self, username: str, challenge: str, session: str, answer: str) -> Tokens:
        with self._called("answer_challenge"):
            user = self._users.get(username.lower())
            if user is None or not user.enabled or self._challenges.get(session) != (user.sub, challenge):
                raise SignInError
            if challenge == NEW_PASSWORD:
                _check_policy(answer)
                user.password, user.temporary = answer, False
                del self._challenges[session]
                return self._go_on(user)
            if answer != (CODE if challenge == SETUP else user.totp):
                raise SignInError
            if challenge == SETUP:
                user.totp = answer
            del self._challenges[session]
            return self._issue(user)

    def refresh(self, refresh_token: str) -> Tokens:
        with self._called("refresh"):
            grant = self._grants.get(refresh_token)
            user = self._by_sub(grant.sub) if grant is not None else None
            if grant is None or user is None or grant.revoked or not user.enabled:
                raise SignInError
            if self._clock.now() >= grant.expires_at:
                raise SignInError
            access = self._access(user)
            grant.access.add(access)
            return Tokens(access=access, refresh=None, expires_in=int(ACCESS_LIFE.total_seconds()))

    def sign_out(self, refresh_token: str) -> None:
        with self._called("sign_out"):
            grant = self._grants.get(refresh_token)
            if grant is not None:
                grant.revoked = True

    def sign_out_everywhere(self, username: str) -> None:
        with self._called("sign_out_everywhere"):
            self._end_sessions(username)

    def new_authenticator(self, access_token: str) -> str:
        with self._called("new_authenticator"):
            self._of_session(access_token).told = True
            return self._secret()

    def enable_authenticator(self, access_token: str, code: str) -> None:
        with self._called("enable_authenticator"):
            user = self._of_session(access_token)
            if not user.told or code != CODE:
                raise WrongCodeError
            if self.mfa == "off":
                raise NoFactorsError
            user.totp, user.told = code, False

    def disable_authenticator(self, access_token: str) -> None:
        with self._called("disable_authenticator"):
            self._of_session(access_token).totp = None

    def change_password(self, access_token: str, old: str, new: str) -> None:
        with self._called("change_password"):
            user = self._of_session(access_token)
            if user.password != old:
                raise SignInError
            _check_policy(new)
            user.password = new

    def create(self, username: str, email: str, *, password: str | None, role: Role, temporary: bool = False) -> str:
        with self._called("create"):
            name = username.lower()
            if name in self._users or any(u.email.lower() == email.lower() for u in self._users.values()):
                raise UserExistsError(username)
            if password is not None:
                _check_policy(password)
            else:
                self.invitations[username] = f"Temp-{self._next():04d}-word"
            user = _User(
                sub=str(uuid.UUID(bytes=hashlib.sha256(f"{self._next()}{name}".encode()).digest()[:16], version=4)),
                username=username,
                email=email,
                password=password if password is not None else self.invitations[username],
                role=role,
                temporary=temporary or password is None,
            )
            self._users[name] = user
            return user.sub

    def reset_password(self, username: str, password: str | None) -> None:
        with self._called("reset_password"):
            user = self._known(username)
            if password is not None:
                _check_policy(password)
            else:
                self.invitations[user.username] = f"Temp-{self._next():04d}-word"
            user.password = password if password is not None else self.invitations[user.username]
            user.temporary = True
            self._end_sessions(username)

    def set_role(self, username: str, role: Role) -> None:
        with self._called("set_role"):
            self._known(username).role = role

    def set_enabled(self, username: str, *, enabled: bool) -> None:
        with self._called("set_enabled"):
            self._known(username).enabled = enabled
            if not enabled:
                self._end_sessions(username)

    def delete(self, username: str, *, only: str | None = None) -> None:
        with self._called("delete"):
            user = self._users.get(username.lower())
            if user is None or only not in (None, user.sub):
                return
            self._end_sessions(username)
            self._users.pop(username.lower(), None)

    # --- for tests ------------------------------------------------------------------------------------------------
    def require_totp(self, username: str, code: str) -> None:
        self._known(username).totp = code

    def role_of(self, username: str) -> Role | None:
        return self._known(username).role

    def is_enabled(self, username: str) -> bool:
        return self._known(username).enabled

    def has(self, username: str) -> bool:
        return username.lower() in self._users

    def session_of(self, access_token: str) -> Session | None:
        """What the token says, whether it has expired or not."""
        return self._sessions.get(access_token)

    # --- inside ---------------------------------------------------------------------------------------------------
    def _called(self, name: str) -> threading.RLock:
        self.calls.append(name)
        if self.broken is not None:
            raise self.broken
        return self._lock

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _known(self, username: str) -> _User:
        user = self._users.get(username.lower())
        if user is None:
            raise UnknownUserError(username)
        return user

    def _of_session(self, access_token: str) -> _User:
        """Cognito asks whether the session was signed out; our verifier does not."""
        session = self._sessions.get(access_token)
        user = self._by_sub(session.user_id) if session is not None else None
        revoked = any(g.revoked for g in self._grants.values() if access_token in g.access)
        if session is None or user is None or revoked or self._clock.now() >= session.expires_at:
            raise SignInError
        return user

    def _by_sub(self, sub: str) -> _User | None:
        return next((u for u in self._users.values() if u.sub == sub), None)

    def _go_on(self, user: _User) -> Tokens:
        """Tokens, or the next step that is wanted."""
        if user.temporary:
            raise self._challenge(user, NEW_PASSWORD)
        if user.totp is not None:
            raise self._challenge(user, TOTP)
        if self.mfa == "on":
            raise self._challenge(user, SETUP, self._secret())
        return self._issue(user)

    def _secret(self) -> str:
        return base64.b32encode(f"fake secret no {self._next():05d}".encode()).decode().rstrip("=")

    def _challenge(self, user: _User, name: str, secret: str | None = None) -> ChallengeError:
        session = f"challenge-session-{self._next()}"
        self._challenges[session] = (user.sub, name)
        return ChallengeError(name, session, secret)

    def _issue(self, user: _User) -> Tokens:
        access, refresh = self._access(user), f"fake-refresh-token-{self._next()}"
        self._grants[refresh] = _Grant(user.sub, self._clock.now() + REFRESH_LIFE, access={access})
        return Tokens(access=access, refresh=refresh, expires_in=int(ACCESS_LIFE.total_seconds()))

    def _access(self, user: _User) -> str:
        number = self._next()
        token = f"fake-access-token-{number}"
        self._sessions[token] = Session(
            user_id=user.sub,
            username=user.username,
            role=user.role,
            token_id=f"jti-{number}",
            expires_at=self._clock.now() + ACCESS_LIFE,
        )
        return token

    def _end_sessions(self, username: str) -> None:
        user = self._users.get(username.lower())
        for grant in self._grants.values():
            if user is not None and grant.sub == user.sub:
                grant.revoked = True


class FakeVerifier:
    """Offline, like the real one: a token is good until it expires, also after a sign-out. ``calls`` counts."""

    def __init__(self, pool: FakeUserPool) -> None:
        self._pool = pool
        self.calls = 0

    def verify(self, access_token: str, now: datetime) -> Session:
        self.calls += 1
        session = self._pool.session_of(access_token)
        if session is None or now >= session.expires_at:
            raise InvalidSessionError
        return session


def _check_policy(password: str) -> None:
    wanted = {
        f"at least {MIN_PASSWORD} characters": len(password) >= MIN_PASSWORD,
        "a lower-case letter": any(c.islower() for c in password),
        "an upper-case letter": any(c.isupper() for c in password),
        "a digit": any(c.isdigit() for c in password),
    }
    missing = [what for what, there in wanted.items() if not there]
    if missing:
        raise PasswordRefusedError("The password needs " + ", ".join(missing) + ".")
