"""The management of people on the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from chalicelib.domain.permissions import Role
from chalicelib.schemas.auth import DisplayName, Email, Password, Username, UserView
from chalicelib.schemas.base import RequestModel, ResponseModel, StrictRequest


class ListUsersQuery(RequestModel):
    limit: int = Field(100, ge=1, le=500)
    cursor: str | None = Field(None, max_length=2000, description="`next` of the page before.")


class UserListResponse(ResponseModel):
    users: list[UserView]
    next: str | None = None


class InviteBody(StrictRequest):
    """Without a password there is a temporary one: mailed, or on a stack that sends no mail in the answer."""

    username: Username
    email: Email
    display_name: DisplayName | None = None
    password: Password | None = None
    password_is_temporary: bool = Field(
        False, description="Whether the person has to replace `password` at their first sign-in."
    )
    role: Role = Role.RESEARCHER


class ChangeUserBody(StrictRequest):
    """What is left out stays."""

    role: Role | None = None
    display_name: DisplayName | None = None


_SHOWN_ONCE = (
    "Only on a stack that sends no mail, and only here: nobody can read it again. Null when the person got a mail, or "
    "a password that was chosen. It has to be replaced at the next sign-in."
)


class InvitedView(UserView):
    temporary_password: str | None = Field(None, description=_SHOWN_ONCE)


class ResetPasswordResponse(ResponseModel):
    success: Literal[True] = True
    detail: str
    temporary_password: str | None = Field(None, description=_SHOWN_ONCE)


class UserDoneResponse(ResponseModel):
    success: Literal[True] = True
    detail: str
