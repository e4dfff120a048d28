"""What a credential's secret may look like, how it is stored, and what is shown of it. Pure.

The shape of a token is only advised on: whoever makes tokens may change it tomorrow. What could not be sent in a
header, would be cut, or would show a secret is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from chalicelib.domain.credentials import (
    MAX_SECRET_BYTES,
    CredentialKind,
    HubSecret,
    S3Secret,
    Secret,
    WebhookSecret,
)
from chalicelib.domain.redaction import redact, secret_values

WEBHOOK_PREFIX = "whsec_"
#: Bytes of a signing key: those of Standard Webhooks, and of one that is made here.
MIN_SIGNING_BYTES, MAX_SIGNING_BYTES, SIGNING_BYTES = 24, 64, 32
#: The newest secret and the one before it.
MAX_SIGNING_SECRETS = 2
#: Characters that may be shown of a secret, and how long it must be for that.
HINT_CHARS, LONG_ENOUGH = 4, 16

_MAX_CHARS: Mapping[str, int] = {
    "token": 512,
    "access_key_id": 128,
    "secret_access_key": 512,
    "session_token": 3200,
    "secret": 200,
}
_PRINTABLE = re.compile(r"[!-~]+")
_AWS_KEY_ID = re.compile(r"(?:AKIA|ASIA)[A-Z0-9]{12,}")
_AWS_SECRET = re.compile(r"[A-Za-z0-9/+]{40}")


class BadSecretError(Exception):
    """A field that can't be what it should be. ``message`` continues "<field> …" and repeats nothing of the value."""

    def __init__(self, field: str, message: str, code: str = "invalid") -> None:
        super().__init__(f"{field} {message}")
        self.field = field
        self.message = message
        self.code = code


@dataclass(frozen=True)
class Given:
    """What somebody gave for a credential, unchecked; ``repr`` hides it."""

    token: str | None = field(default=None, repr=False)
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Checked:
    """A secret that can be stored, and what is to be said about it. ``made`` is one that was made here, to be shown
    this once; ``repr`` hides it."""

    secret: Secret
    warnings: Sequence[str] = ()
    made: str | None = field(default=None, repr=False)


_FIELDS: Mapping[CredentialKind, frozenset[str]] = {
    CredentialKind.HUGGINGFACE: frozenset({"token"}),
    CredentialKind.S3: frozenset({"access_key_id", "secret_access_key", "session_token"}),
    CredentialKind.WEBHOOK: frozenset({"secret"}),
}


def checked(kind: CredentialKind, given: Given, random: Callable[[], str]) -> Checked:
    """The secret of a credential of this kind. ``random`` gives unguessable text of at least 128 bits.

    Raises BadSecretError.
    """
    for name in _MAX_CHARS:
        if getattr(given, name) is not None and name not in _FIELDS[kind]:
            raise BadSecretError(name, f"belongs to no credential of kind {kind.value}; leave it out", "extra")
    if kind is CredentialKind.HUGGINGFACE:
        found = _hub(given)
    elif kind is CredentialKind.S3:
        found = _s3(given)
    else:
        found = _webhook(given, random)
    if len(encoded(found.secret)) > MAX_SECRET_BYTES:
        raise BadSecretError("session_token", "is too long: all together is stored in 4 KB", "too_long")
    return found


def rotated(old: Secret | None, new: Checked, *, keep: bool) -> Checked:
    """What is stored when ``new`` takes the place of ``old`` (None: it is not there any more). With ``keep`` the last
    signing secret goes on signing beside the new one."""
    if not (keep and isinstance(old, WebhookSecret) and isinstance(new.secret, WebhookSecret)):
        return new
    newest = new.secret.secrets[0]
    others = [s for s in old.secrets if s != newest]
    both = (newest, *others)[:MAX_SIGNING_SECRETS]
    return Checked(WebhookSecret(secrets=both), new.warnings, new.made)


def new_signing_secret(random: Callable[[], str]) -> str:
    """A new ``whsec_…`` of 32 bytes. ``random`` gives unguessable text of at least 128 bits; it is called twice."""
    key = hashlib.sha256(f"{random()} {random()}".encode()).digest()
    return WEBHOOK_PREFIX + base64.b64encode(key).decode("ascii")


def hint_of(secret: Secret) -> str:
    """What tells it from others: the access key id, or the last four characters of what is long enough."""
    if isinstance(secret, S3Secret):
        return secret.access_key_id
    text = (secret.token if isinstance(secret, HubSecret) else secret.secrets[0]).get_secret_value()
    return "…" + (text[-HINT_CHARS:] if len(text) >= LONG_ENOUGH else "")


def document_of(secret: Secret) -> dict[str, Any]:
    """The secret as it is stored; the reverse of ``secret_of``."""
    if isinstance(secret, HubSecret):
        return {"kind": CredentialKind.HUGGINGFACE.value, "token": secret.token.get_secret_value()}
    if isinstance(secret, S3Secret):
        session = secret.session_token
        return {
            "kind": CredentialKind.S3.value,
            "access_key_id": secret.access_key_id,
            "secret_access_key": secret.secret_access_key.get_secret_value(),
            **({} if session is None else {"session_token": session.get_secret_value()}),
        }
    return {"kind": CredentialKind.WEBHOOK.value, "secrets": [s.get_secret_value() for s in secret.secrets]}


def encoded(secret: Secret) -> bytes:
    return json.dumps(document_of(secret), separators=(",", ":")).encode()


def secret_of(kind: CredentialKind, document: Mapping[str, Any]) -> Secret | None:
    """The secret in a stored document; None when it is none of this kind. Errors would repeat the value."""
    if document.get("kind") != kind.value:
        return None
    models: Mapping[CredentialKind, type[HubSecret | S3Secret | WebhookSecret]] = {
        CredentialKind.HUGGINGFACE: HubSecret,
        CredentialKind.S3: S3Secret,
        CredentialKind.WEBHOOK: WebhookSecret,
    }
    try:
        found = models[kind].model_validate({k: v for k, v in document.items() if k != "kind"})
    except ValueError:
        return None
    return None if isinstance(found, WebhookSecret) and not found.secrets else found


def without_secret(text: str, secret: Secret | None) -> str:
    """``text`` of a destination without the secret it was told, whatever it chose to repeat, and without anything else
    that looks like a credential."""
    known = [] if secret is None else secret_values(document_of(secret))
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, "[redacted]")
    return redact(text)


def _hub(given: Given) -> Checked:
    token = _text("token", given.token, "a huggingface credential needs the token of huggingface.co/settings/tokens")
    warnings = [] if token.startswith("hf_") else ["The token does not begin with hf_, as tokens of the Hub do."]
    return Checked(HubSecret(token=SecretStr(token)), warnings)


def _s3(given: Given) -> Checked:
    key_id = _text("access_key_id", given.access_key_id, "an s3 credential needs the id of an access key")
    secret = _text("secret_access_key", given.secret_access_key, "an s3 credential needs the secret of its access key")
    if _AWS_KEY_ID.fullmatch(secret) or _AWS_SECRET.fullmatch(key_id) or key_id == secret:
        # The id is shown in lists.
        raise BadSecretError("access_key_id", "and secret_access_key look swapped", "swapped")
    session = None if given.session_token is None else _text("session_token", given.session_token, "")
    warnings = []
    if session is not None:
        warnings.append("A session token ends after hours. A delivery that is tried later fails with it.")
    elif key_id.startswith("ASIA"):
        warnings.append("This is the id of a temporary key, which needs its session_token.")
    return Checked(
        S3Secret(
            access_key_id=key_id,
            secret_access_key=SecretStr(secret),
            session_token=None if session is None else SecretStr(session),
        ),
        warnings,
    )


def _webhook(given: Given, random: Callable[[], str]) -> Checked:
    if given.secret is None:
        made = new_signing_secret(random)
        return Checked(WebhookSecret(secrets=(SecretStr(made),)), made=made)
    text = _text("secret", given.secret, "").removeprefix(WEBHOOK_PREFIX)
    try:
        size = len(base64.b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if not MIN_SIGNING_BYTES <= size <= MAX_SIGNING_BYTES:
        raise BadSecretError(
            "secret", "must be whsec_ and 24 to 64 bytes in base64; leave it out, and one is made", "unusable"
        )
    return Checked(WebhookSecret(secrets=(SecretStr(WEBHOOK_PREFIX + text),)))


def _text(name: str, value: str | None, why: str) -> str:
    text = (value or "").strip()
    if not text:
        message = f"is missing: {why}" if value is None else "is empty"
        raise BadSecretError(name, message, "missing" if value is None else "empty")
    if len(text) > _MAX_CHARS[name]:
        raise BadSecretError(name, f"may have {_MAX_CHARS[name]} characters at most", "too_long")
    if not _PRINTABLE.fullmatch(text):
        raise BadSecretError(
            name, "may have printable ASCII characters only, without spaces: was it copied whole?", "characters"
        )
    return text
