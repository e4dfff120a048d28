"""Setup, sessions and oneself on the wire: SimpleTuner's recorded fields first, then ours."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, SecretStr

from chalicelib.domain.access_ports import ChallengeError
from chalicelib.domain.people import USERNAME_PATTERN, Person, is_email, otpauth_url
from chalicelib.domain.permissions import PEOPLE_ONLY, ROLES, CallerKind, Permission, Principal, Role, granted
from chalicelib.schemas.base import RequestModel, ResponseModel

MAX_PASSWORD = 256
#: Longest token that is worth a look; Cognito's have 1 to 4 KB.
MAX_TOKEN = 8_192
#: SimpleTuner's priorities of its levels.
_PRIORITY = {Role.VIEWER: 0, Role.RESEARCHER: 10, Role.LEAD: 50, Role.ADMIN: 100}


def _email(text: str) -> str:
    text = text.strip()
    if not is_email(text):
        raise ValueError("is not a mail address")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("may hold no control characters")
    return text


Username = Annotated[
    str,
    Field(
        min_length=2,
        max_length=64,
        pattern=USERNAME_PATTERN,
        description="2 to 64 letters, digits, dots, dashes and underscores; upper and lower case are the same.",
    ),
]
Email = Annotated[str, Field(max_length=256), AfterValidator(_email)]
DisplayName = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
Password = Annotated[SecretStr, Field(min_length=1, max_length=MAX_PASSWORD)]
Token = Annotated[SecretStr, Field(min_length=1, max_length=MAX_TOKEN)]


class LevelView(ResponseModel):
    """SimpleTuner's name for a role. ``id`` is the role's name here."""

    id: str
    name: Role
    priority: int


class UserView(ResponseModel):
    """One person. ``id`` is the id of all they own."""

    id: str
    email: str
    username: str
    display_name: str | None
    avatar_url: None = None
    auth_provider: Literal["cognito", "local"]
    is_active: bool
    is_admin: bool
    email_verified: bool = False
    created_at: datetime | None
    last_login_at: datetime | None
    levels: list[LevelView]
    permissions: list[Permission]
    role: Role | None


class CallerView(UserView):
    """Oneself, and by which door. ``permissions`` are those of this very credential, ``key_permissions`` those that a
    key made with it may hold."""

    kind: CallerKind
    key_id: str | None
    key_permissions: list[Permission]


def level_view(role: Role) -> LevelView:
    return LevelView(id=role.value, name=role, priority=_PRIORITY[role])


def user_view(person: Person) -> UserView:
    return UserView(
        id=person.user_id,
        email=person.email,
        username=person.username,
        display_name=person.display_name,
        auth_provider="cognito",
        is_active=person.active,
        is_admin=person.role is Role.ADMIN,
        created_at=person.created_at,
        last_login_at=person.last_login_at,
        levels=[level_view(person.role)],
        permissions=sorted(granted(ROLES[person.role])) if person.active else [],
        role=person.role,
    )


def caller_view(who: Principal, person: Person | None) -> CallerView:
    """``person`` None is for callers that are nobody in particular: the local admin, the deploy token."""
    if person is None:
        base = UserView(
            id=who.owner,
            email="",
            username=who.name,
            display_name=None,
            auth_provider="local",
            is_active=True,
            is_admin=True,
            created_at=None,
            last_login_at=None,
            levels=[level_view(Role.ADMIN)],
            permissions=[],
            role=Role.ADMIN,
        )
    else:
        base = user_view(person)
    facts = base.model_dump() | {"permissions": sorted(granted(who.permissions))}
    makes_keys = person is not None and who.may(Permission.KEYS_OWN)
    return CallerView(
        **facts,
        kind=who.kind,
        key_id=who.key_id,
        key_permissions=sorted(granted(who.permissions) - PEOPLE_ONLY) if makes_keys else [],
    )


class SetupStatusResponse(ResponseModel):
    """Shows no number of users: ``user_count`` is 0 before setup and 1 after it."""

    needs_setup: bool
    has_admin: bool
    user_count: int
    registration_enabled: Literal[False] = False
    setup_code_required: bool


class FirstAdminBody(RequestModel):
    username: Username
    email: Email
    password: Password = Field(description="The user pool's policy decides whether it is good enough.")
    display_name: DisplayName | None = None
    setup_code: Annotated[SecretStr, Field(max_length=200)] | None = Field(
        None, description="The one-time code that the deploy program printed; not needed on this computer's own stack."
    )


class FirstAdminResponse(ResponseModel):
    success: Literal[True] = True
    user: UserView
    message: str = "Admin account created successfully"


class Transport(StrEnum):
    """Where a session goes: into the answer, for programs, or into cookies that no script can read, for the console."""

    TOKEN = "token"  # noqa: S105 - the name of a way
    COOKIE = "cookie"


class LoginBody(RequestModel):
    """``username`` may be any text: what can't be a name is refused as any other wrong one."""

    username: str = Field(max_length=256)
    password: Password
    session: Transport = Field(Transport.TOKEN, description="`cookie` is for the console.")


class ChallengeName(StrEnum):
    MFA_SETUP = "MFA_SETUP"
    NEW_PASSWORD_REQUIRED = "NEW_PASSWORD_REQUIRED"  # noqa: S105 - the name of a step
    SOFTWARE_TOKEN_MFA = "SOFTWARE_TOKEN_MFA"  # noqa: S105 - the name of a step


class ChallengeBody(RequestModel):
    username: str = Field(max_length=256)
    challenge: ChallengeName
    challenge_session: Token = Field(description="As the step before returned it.")
    answer: Password = Field(description="The new password, or the code that the authenticator app shows.")
    session: Transport = Transport.TOKEN


class PoolTokenBody(RequestModel):
    access_token: Token
    refresh_token: Token | None = None
    session: Transport = Transport.TOKEN


class AuthenticatorView(ResponseModel):
    """What an authenticator app has to be told: ``secret`` by typing it, ``otpauth_url`` as a QR code. Shown once."""

    secret: str
    otpauth_url: str


class AuthenticatorCodeBody(RequestModel):
    code: Password = Field(description="What the authenticator app shows.")


class RemoveAuthenticatorBody(RequestModel):
    current_password: Password


class ChallengeView(ResponseModel):
    """``secret`` and ``otpauth_url`` come with MFA_SETUP alone."""

    name: str
    session: str
    message: str
    secret: str | None = None
    otpauth_url: str | None = None


def challenge_view(challenge: ChallengeError, username: str, message: str) -> ChallengeView:
    return ChallengeView(
        name=challenge.name,
        session=challenge.session,
        message=message,
        secret=challenge.secret,
        otpauth_url=otpauth_url(challenge.secret, username) if challenge.secret else None,
    )


class LoginResponse(ResponseModel):
    """A session, or the next step: then ``success`` is false and ``challenge`` says what to send to
    ``/api/auth/login/challenge``. The tokens are null when the session went into cookies."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    success: bool
    user: UserView | None = None
    message: str | None = None
    access_token: str | None = None
    refresh_token: str | None = None
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: int | None = Field(None, description="Seconds until the access token ends; refresh it before.")
    challenge: ChallengeView | None = None


class RefreshBody(RequestModel):
    """Empty for the console, whose refresh token lies in a cookie."""

    refresh_token: Token | None = None


class LogoutBody(RequestModel):
    refresh_token: Token | None = None
    everywhere: bool = Field(False, description="End all sessions of this person.")


class DoneResponse(ResponseModel):
    success: Literal[True] = True
    message: str | None = None


class CheckResponse(ResponseModel):
    authenticated: bool
    user_id: str | None = None
    username: str | None = None
    is_admin: bool = False


class ChangePasswordBody(RequestModel):
    current_password: Password
    new_password: Password
