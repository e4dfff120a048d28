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

    Hosted: ``Authorization: Bearer <deploy token>``, compared by SHA-256 in constant time. Raises AuthenticationError.
    """
    if services.settings.auth_mode is AuthMode.LOCAL:
        return administrator(LOCAL_OWNER)
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise AuthenticationError("Send the deploy token as Authorization: Bearer <token>.")
    known = services.deploy_token_sha256()
    given = hashlib.sha256(token.strip().encode()).hexdigest()
    if known is None or not hmac.compare_digest(known, given):
        raise AuthenticationError("The token is not valid.", code="invalid_token")
    return administrator(HOSTED_OWNER)
