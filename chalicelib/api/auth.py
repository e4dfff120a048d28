"""Who calls: from the credentials of a request to a principal.

``Authorization`` wins over ``X-API-Key``, that over the console's cookie. What was sent is checked, never ignored: a
wrong credential is refused even if another one, or none, would do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from chalicelib.api.cookies import jar_of, require_csrf, sends_session_cookie
from chalicelib.api.facts import RequestFacts
from chalicelib.domain.permissions import Principal, administrator
from chalicelib.errors import AuthenticationError
from chalicelib.services.deploy_token import PREFIX as DEPLOY_TOKEN_PREFIX
from chalicelib.settings import AuthMode
from chalicelib.wiring import Services

LOCAL_OWNER = "local"
KEY_PREFIX = "stk_"


@dataclass(frozen=True)
class Caller:
    """Somebody who was let in. ``access_token`` is that of a session; ``repr`` hides it."""

    who: Principal
    access_token: str | None = field(default=None, repr=False)
    by_cookie: bool = False


def authenticate(services: Services, facts: RequestFacts) -> Caller:
    """The caller of this request. The mode was decided at deploy time; nothing in a request can change it.

    Raises AuthenticationError; PermissionDenied (``csrf_failed``) for a cookie that another site's page may have sent.
    """
    authorization, api_key = facts.headers.get("authorization"), facts.headers.get("x-api-key")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        return _by_token(services, facts, token.strip() if scheme.lower() == "bearer" else "")
    if api_key is not None:
        return _by_token(services, facts, api_key.strip())
    if sends_session_cookie(facts):
        token_in_cookie = jar_of(services).session(facts)
        if token_in_cookie is not None:
            who = services.sessions.principal(token_in_cookie)
            if facts.changes_something:
                require_csrf(facts)
            return Caller(who, token_in_cookie, by_cookie=True)
    if services.settings.auth_mode is AuthMode.LOCAL and not services.setup.done():
        return Caller(administrator(LOCAL_OWNER))
    raise _unauthenticated()


def _by_token(services: Services, facts: RequestFacts, token: str) -> Caller:
    if not token:
        raise _unauthenticated()
    if token.startswith(KEY_PREFIX):
        return Caller(services.keys.principal(token))
    if token.startswith(DEPLOY_TOKEN_PREFIX):
        if services.settings.auth_mode is not AuthMode.TOKEN:
            raise AuthenticationError("The token is not valid.", code="invalid_token")
        return Caller(services.deploy_token.principal(token, source_ip=facts.source_ip, request_id=facts.request_id))
    return Caller(services.sessions.principal(token), token)


def _unauthenticated() -> AuthenticationError:
    return AuthenticationError(
        "Send a session or an API key as Authorization: Bearer <token>, or an API key as X-API-Key. "
        "Sign in with POST /api/auth/login, or stcloud login."
    )
