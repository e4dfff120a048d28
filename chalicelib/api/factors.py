"""Routes of one's own second factor."""

from __future__ import annotations

from typing import Any

from chalicelib.api.auth import Caller
from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.people import otpauth_url
from chalicelib.domain.permissions import Permission
from chalicelib.errors import Conflict
from chalicelib.schemas import auth as schema

api = Api(tag="auth")


@api.endpoint(
    "POST",
    "/auth/mfa/authenticator",
    permission=Permission.PROFILE_OWN,
    response=schema.AuthenticatorView,
    statuses=(409, 503),
)
def begin_authenticator(call: Call[None, None]) -> schema.AuthenticatorView:
    """Add an authenticator app: get the secret for it.

    It counts once its first code was sent to `/api/auth/mfa/authenticator/verify`, in place of an older one.
    """
    caller, token = _session_of(call)
    secret = call.services.factors.begin(token)
    return schema.AuthenticatorView(secret=secret, otpauth_url=otpauth_url(secret, caller.who.name))


@api.endpoint(
    "POST",
    "/auth/mfa/authenticator/verify",
    permission=Permission.PROFILE_OWN,
    body=schema.AuthenticatorCodeBody,
    response=schema.DoneResponse,
    statuses=(409, 429, 503),
    audited=Audited(AuditAction.MFA_ADD, "user:me"),
)
def verify_authenticator(call: Call[schema.AuthenticatorCodeBody, None]) -> Reply:
    """Finish adding an authenticator app with the code that it shows."""
    caller, token = _session_of(call)
    call.services.factors.finish(caller.who, token, call.body.code.get_secret_value())
    done = schema.DoneResponse(message="From now on sign-in asks for a code of this app.")
    return Reply(done, noted=Noted(f"user:{caller.who.owner}"))


@api.endpoint(
    "POST",
    "/auth/mfa/authenticator/remove",
    permission=Permission.PROFILE_OWN,
    body=schema.RemoveAuthenticatorBody,
    response=schema.DoneResponse,
    statuses=(409, 429, 503),
    audited=Audited(AuditAction.MFA_REMOVE, "user:me"),
)
def remove_authenticator(call: Call[schema.RemoveAuthenticatorBody, None]) -> Reply:
    """Remove my authenticator app.

    Where nobody gets in without one, the next sign-in asks for a new one.
    """
    caller, token = _session_of(call)
    call.services.factors.remove(caller.who, token, call.body.current_password.get_secret_value())
    done = schema.DoneResponse(message="Sign-in asks for no code of an app any more.")
    return Reply(done, noted=Noted(f"user:{caller.who.owner}"))


def _session_of(call: Call[Any, None]) -> tuple[Caller, str]:
    caller = call.caller
    if caller is None or caller.access_token is None:
        raise Conflict("Only somebody who has signed in has a second factor.", code="no_session")
    return caller, caller.access_token
