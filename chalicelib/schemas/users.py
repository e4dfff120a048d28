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
    """Without a password the user pool mails an invitation with a temporary one."""

    username: Username
    email: Email
    display_name: DisplayName | None = None
    password: Password | None = None
    role: Role = Role.RESEARCHER


class ChangeUserBody(StrictRequest):
    """What is left out stays."""

    role: Role | None = None
    display_name: DisplayName | None = None


class UserDoneResponse(ResponseModel):
    success: Literal[True] = True
    detail: str
