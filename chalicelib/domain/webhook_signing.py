"""Signed webhooks as Standard Webhooks (Svix) defines them, which is what Replicate sends. Pure.

The signed content is ``<webhook-id>.<webhook-timestamp>.<raw body>``, the signature HMAC-SHA256 in base64, the header
``v1,<signature>`` once or several times. Source: https://github.com/standard-webhooks/standard-webhooks (spec) and
https://replicate.com/docs/topics/webhooks/verify-webhook. The ``replicate`` client's own validator is not used: it
skips the replay check unless told otherwise, and takes a signature of any version.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

TOLERANCE = timedelta(minutes=5)
#: Signatures looked at in one header: a sender that rotates keys sends two or three.
MAX_SIGNATURES = 16
MAX_HEADER_CHARS = 4096
#: Shorter keys can't be what a provider issues (24 to 64 bytes); an empty one would let anybody sign.
MIN_KEY_BYTES = 16

_SECRET_PREFIX = "whsec_"  # noqa: S105 - the public prefix, not a secret
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
# No full stop: it separates the signed parts, so one signature can't be read as that of another id.
_ID = re.compile(r"[!-\-/-~]{1,256}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class Rejection(StrEnum):
    """Why a webhook is not believed."""

    MISSING_HEADER = "missing_header"
    AMBIGUOUS_HEADER = "ambiguous_header"
    INVALID_ID = "invalid_id"
    INVALID_TIMESTAMP = "invalid_timestamp"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    INVALID_SIGNATURE_HEADER = "invalid_signature_header"
    NO_MATCH = "no_match"
    UNUSABLE_SECRET = "unusable_secret"  # noqa: S105 - a reason, not a secret


_MESSAGES: Mapping[Rejection, str] = {
    Rejection.MISSING_HEADER: "A webhook needs the headers webhook-id, webhook-timestamp and webhook-signature.",
    Rejection.AMBIGUOUS_HEADER: "A webhook header is given twice.",
    Rejection.INVALID_ID: "The webhook-id is not printable text without full stops.",
    Rejection.INVALID_TIMESTAMP: "The webhook-timestamp is not a number of seconds.",
    Rejection.TOO_OLD: "The webhook-timestamp is too old.",
    Rejection.TOO_NEW: "The webhook-timestamp lies in the future.",
    Rejection.INVALID_SIGNATURE_HEADER: "The webhook-signature holds no v1 signature.",
    Rejection.NO_MATCH: "The webhook-signature does not match.",
    Rejection.UNUSABLE_SECRET: "The webhook signing secret is unusable.",
}


class WebhookRejected(Exception):
    """The webhook must not be believed. The message is fixed per ``reason``: it repeats nothing of the request."""

    def __init__(self, reason: Rejection) -> None:
        super().__init__(_MESSAGES[reason])
        self.reason = reason

    @property
    def may_be_rotation(self) -> bool:
        """Whether a newer secret could change the verdict, so that fetching it once is worth a request."""
        return self.reason in {Rejection.NO_MATCH, Rejection.UNUSABLE_SECRET}


def verify(
    body: bytes,
    headers: Mapping[str, str],
    secrets: Sequence[str],
    *,
    now: datetime,
    tolerance: timedelta = TOLERANCE,
) -> str:
    """Checks one webhook and returns its id, which the caller must remember against replays.

    ``body`` is the raw body as received, ``headers`` may have any case, ``secrets`` are ``whsec_…`` strings of which
    any may have signed (rotation), ``now`` is an aware time. Raises WebhookRejected. The comparison takes the same time
    wherever a signature differs and whichever secret matches.
    """
    webhook_id, timestamp, candidates = check_form(headers, now=now, tolerance=tolerance)
    keys = _usable_keys(secrets)
    matched = False
    for key in keys:
        expected = _signature(key, webhook_id, timestamp, body)
        for candidate in candidates:
            matched |= hmac.compare_digest(expected, candidate)
    if not matched:
        raise WebhookRejected(Rejection.NO_MATCH)
    return webhook_id


def check_form(
    headers: Mapping[str, str], *, now: datetime, tolerance: timedelta = TOLERANCE
) -> tuple[str, str, list[bytes]]:
    """Id, timestamp and candidate signatures, as far as they can be checked without a secret. Raises WebhookRejected.

    For a receiver that has to ask for its secret: junk must not make it ask.
    """
    webhook_id, timestamp, signatures = _read_headers(headers)
    if not _ID.fullmatch(webhook_id):
        raise WebhookRejected(Rejection.INVALID_ID)
    if not _TIMESTAMP.fullmatch(timestamp):
        raise WebhookRejected(Rejection.INVALID_TIMESTAMP)
    age = now.timestamp() - int(timestamp)
    if age > tolerance.total_seconds():
        raise WebhookRejected(Rejection.TOO_OLD)
    if -age > tolerance.total_seconds():
        raise WebhookRejected(Rejection.TOO_NEW)
    return webhook_id, timestamp, _candidates(signatures)


def sign(body: bytes, *, webhook_id: str, at: datetime, secrets: Sequence[str]) -> dict[str, str]:
    """The three headers for ``body`` sent at ``at``, one signature a secret.

    Raises WebhookRejected: the id or a secret is unusable, or there is no secret.
    """
    if not _ID.fullmatch(webhook_id):
        raise WebhookRejected(Rejection.INVALID_ID)
    timestamp = str(int(at.timestamp()))
    keys = [_key(secret) for secret in secrets]
    if not keys:
        raise WebhookRejected(Rejection.UNUSABLE_SECRET)
    signatures = (f"v1,{_signature(key, webhook_id, timestamp, body).decode('ascii')}" for key in keys)
    return dict(zip(_HEADERS, (webhook_id, timestamp, " ".join(signatures)), strict=True))


def _read_headers(headers: Mapping[str, str]) -> tuple[str, str, str]:
    found: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower not in _HEADERS:
            continue
        if lower in found:
            # Two spellings: whoever reads the id afterwards might read the other one than was checked.
            raise WebhookRejected(Rejection.AMBIGUOUS_HEADER)
        found[lower] = value
    if any(not found.get(name) for name in _HEADERS):
        raise WebhookRejected(Rejection.MISSING_HEADER)
    return found["webhook-id"], found["webhook-timestamp"], found["webhook-signature"]


def _candidates(header: str) -> list[bytes]:
    """The v1 signatures of the header as they are written; other versions are none of ours."""
    if len(header) > MAX_HEADER_CHARS:
        raise WebhookRejected(Rejection.INVALID_SIGNATURE_HEADER)
    parts = [part.partition(",") for part in header.split(" ")[:MAX_SIGNATURES]]
    candidates = [value.encode("utf-8", "replace") for version, _, value in parts if version == "v1" and value]
    if not candidates:
        raise WebhookRejected(Rejection.INVALID_SIGNATURE_HEADER)
    return candidates


def _usable_keys(secrets: Sequence[str]) -> list[bytes]:
    keys = []
    for secret in secrets:
        try:
            keys.append(_key(secret))
        except WebhookRejected:
            continue  # one bad secret must not disable the good one beside it
    if not keys:
        raise WebhookRejected(Rejection.UNUSABLE_SECRET)
    return keys


def _key(secret: str) -> bytes:
    encoded = secret.strip().removeprefix(_SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise WebhookRejected(Rejection.UNUSABLE_SECRET) from None
    if len(key) < MIN_KEY_BYTES:
        raise WebhookRejected(Rejection.UNUSABLE_SECRET)
    return key


def _signature(key: bytes, webhook_id: str, timestamp: str, body: bytes) -> bytes:
    content = f"{webhook_id}.{timestamp}.".encode("ascii") + body
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256))
