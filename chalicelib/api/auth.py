"""Who calls. In local mode whoever reaches us through loopback is the local admin; a hosted stack wants its token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

from chalicelib.domain.permissions import Principal, administrator
from chalicelib.errors import AuthenticationError
from chalicelib.settings import AuthMode
from chalicelib.wiring import Services

LOCAL_OWNER = "local"
HOSTED_OWNER = "admin"


def authenticate(services: Services, headers: Mapping[str, str]) -> Principal:
    """The caller of this request. The mode was decided at deploy time; nothing in a request can change it.

    Hosted: ``Authorization: Bearer <deploy token>`` as SimpleTuner's tutorial says, or ``X-API-Key`` as its command
    line sends it; compared by SHA-256 in constant time. ``headers`` have lower-case names. Raises AuthenticationError.
    """
    if services.settings.auth_mode is AuthMode.LOCAL:
        return administrator(LOCAL_OWNER)
    token = _token(headers)
    if not token:
        raise AuthenticationError("Send the deploy token as Authorization: Bearer <token>.")
    known = services.deploy_token_sha256()
    given = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
    if known is None or not hmac.compare_digest(known.encode(), given.encode()):
        raise AuthenticationError("The token is not valid.", code="invalid_token")
    return administrator(HOSTED_OWNER)


def _token(headers: Mapping[str, str]) -> str:
    """The token as sent; Authorization wins. Empty when there is none, or under another scheme."""
    authorization = headers.get("authorization")
    if authorization is None:
        return headers.get("x-api-key", "").strip()
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
