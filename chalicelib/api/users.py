"""Routes of people, for admins."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import users as schema
from chalicelib.schemas.auth import UserView, user_view
from chalicelib.settings import AuthMode
from chalicelib.wiring import Services

api = Api(tag="users")


@api.endpoint(
    "GET",
    "/users",
    permission=Permission.USER_VIEW,
    query=schema.ListUsersQuery,
    response=schema.UserListResponse,
    statuses=(400,),
    audited=Audited(AuditAction.USER_READ, "stack:users", refusals_only=True),
)
def list_users(call: Call[None, schema.ListUsersQuery]) -> schema.UserListResponse:
    """List people by user name."""
    found, cursor = call.services.people.list(limit=call.query.limit, cursor=call.query.cursor)
    return schema.UserListResponse(users=[user_view(p) for p in found], next=cursor)


@api.endpoint(
    "POST",
    "/users",
    permission=Permission.USER_MANAGE,
    body=schema.InviteBody,
    response=schema.InvitedView,
    status=201,
    statuses=(503,),
    audited=Audited(AuditAction.USER_INVITE, "user:new", granting=True),
)
def invite_user(call: Call[schema.InviteBody, None]) -> schema.InvitedView:
    """Invite a person.

    Without a password they get a mail with a temporary one, and choose their own at the first sign-in. A stack on
    somebody's own computer sends no mail: there the answer holds it, once, as `temporary_password`.
    """
    body = call.body
    shown = None if body.password else _temporary_password(call.services)
    person = call.services.people.invite(
        call.actor,
        call.who,
        username=body.username,
        email=body.email,
        role=body.role,
        display_name=body.display_name,
        password=body.password.get_secret_value() if body.password else shown,
        temporary=body.password is None or body.password_is_temporary,
    )
    return schema.InvitedView(**user_view(person).model_dump(), temporary_password=shown)


@api.endpoint(
    "GET",
    "/users/{user_id}",
    permission=Permission.USER_VIEW,
    response=UserView,
    statuses=(404,),
    audited=Audited(AuditAction.USER_READ, "user:{user_id}", refusals_only=True),
)
def get_user(call: Call[None, None], user_id: str) -> UserView:
    """Get one person."""
    return user_view(call.services.people.get(user_id))


@api.endpoint(
    "PATCH",
    "/users/{user_id}",
    permission=Permission.USER_MANAGE,
    body=schema.ChangeUserBody,
    response=UserView,
    statuses=(404, 503),
    audited=Audited(AuditAction.USER_ROLE, "user:{user_id}", granting=True),
)
def change_user(call: Call[schema.ChangeUserBody, None], user_id: str) -> UserView:
    """Change a person's role or display name.

    Their keys follow within five seconds, their sessions within 15 minutes. The last active admin stays one.
    """
    return user_view(
        call.services.people.change(
            call.actor, call.who, user_id, role=call.body.role, display_name=call.body.display_name
        )
    )


@api.endpoint(
    "POST",
    "/users/{user_id}/deactivate",
    permission=Permission.USER_MANAGE,
    response=schema.UserDoneResponse,
    statuses=(404, 503),
    audited=Audited(AuditAction.USER_DEACTIVATE, "user:{user_id}", granting=True),
)
def deactivate_user(call: Call[None, None], user_id: str) -> schema.UserDoneResponse:
    """Shut a person out, keeping all they own.

    Their keys stop within five seconds, their sessions within 15 minutes.
    """
    person = call.services.people.set_active(call.actor, call.who, user_id, active=False)
    return schema.UserDoneResponse(detail=f"{person.username} is deactivated")


@api.endpoint(
    "POST",
    "/users/{user_id}/activate",
    permission=Permission.USER_MANAGE,
    response=schema.UserDoneResponse,
    statuses=(404, 503),
    audited=Audited(AuditAction.USER_REACTIVATE, "user:{user_id}", granting=True),
)
def activate_user(call: Call[None, None], user_id: str) -> schema.UserDoneResponse:
    """Let a deactivated person in again."""
    person = call.services.people.set_active(call.actor, call.who, user_id, active=True)
    return schema.UserDoneResponse(detail=f"{person.username} is active")


@api.endpoint(
    "POST",
    "/users/{user_id}/reset-password",
    permission=Permission.USER_MANAGE,
    response=schema.ResetPasswordResponse,
    statuses=(404, 409, 503),
    audited=Audited(AuditAction.USER_RESET_PASSWORD, "user:{user_id}", granting=True),
)
def reset_password(call: Call[None, None], user_id: str) -> schema.ResetPasswordResponse:
    """Give a person a temporary password.

    The old one ends now, their sessions within 15 minutes; their keys stay. They get the temporary one by mail and
    choose their own at the next sign-in. A stack on somebody's own computer sends no mail: there the answer holds it.
    """
    shown = _temporary_password(call.services)
    person = call.services.people.reset_password(call.actor, call.who, user_id, password=shown)
    detail = f"{person.username} has a temporary password" if shown else f"A mail is on its way to {person.username}"
    return schema.ResetPasswordResponse(detail=detail, temporary_password=shown)


@api.endpoint(
    "DELETE",
    "/users/{user_id}",
    permission=Permission.USER_MANAGE,
    response=schema.UserDoneResponse,
    statuses=(404, 503),
    audited=Audited(AuditAction.USER_DELETE, "user:{user_id}", granting=True),
)
def delete_user(call: Call[None, None], user_id: str) -> Reply:
    """Delete a person with their keys, credentials and channels of notifications.

    Their jobs and datasets stay. Refused while they have active jobs.
    """
    call.services.people.delete(call.actor, call.who, user_id)
    return Reply(schema.UserDoneResponse(detail="The user is deleted"))


def _temporary_password(services: Services) -> str | None:
    """One to show, where nobody could mail one."""
    return services.people.temporary_password() if services.settings.auth_mode is AuthMode.LOCAL else None
