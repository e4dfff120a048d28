"""People: who they are lies in the user pool, what they may do in our profile of them."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict

from chalicelib.domain.permissions import Role

#: What an authenticator app calls us.
ISSUER = "SimpleTuner Cloud"
USERNAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{1,63}$"
_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")


class Person(BaseModel):
    """One person's profile. ``user_id`` is the user pool's ``sub`` and the tenant id of all they own.

    ``role`` and ``active`` here decide what their API keys may do; their sessions carry the role of sign-in time and
    end within minutes. Times are aware UTC.
    """

    model_config = ConfigDict(frozen=True)

    user_id: str
    username: str
    email: str
    display_name: str | None = None
    role: Role
    active: bool = True
    created_at: datetime
    last_login_at: datetime | None = None


class Session(BaseModel):
    """What a verified access token says. ``token_id`` is its ``jti``."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    username: str
    role: Role | None
    token_id: str
    expires_at: datetime


def handle_of(user_id: str) -> str:
    """13 lower-case letters and digits that stand for a person inside their keys' ids; not reversible, not secret."""
    digest = hashlib.sha256(b"handle:" + user_id.encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(digest[:8]).decode().rstrip("=").lower()


def is_email(text: str) -> bool:
    """Whether it has the shape of an address; whether it exists only a mail tells."""
    return bool(_EMAIL.fullmatch(text))


def otpauth_url(secret: str, username: str) -> str:
    """What an authenticator app takes as a QR code or a link
    (https://github.com/google/google-authenticator/wiki/Key-Uri-Format)."""
    label = quote(f"{ISSUER}:{username}", safe=":")
    return f"otpauth://totp/{label}?{urlencode({'secret': secret, 'issuer': ISSUER}, quote_via=quote)}"
