"""Standard Webhooks signatures (https://github.com/standard-webhooks/standard-webhooks): made and checked."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

PREFIX = "whsec_"
#: Seconds that a message's time may differ from ours.
TOLERANCE = 300
MIN_KEY_BYTES = 16
_MAX_HEADER = 4096
_ID = re.compile(r"[!-\-/-~]{1,256}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")


class SignatureRefused(Exception):
    """The message is not believed; the text says why, and repeats nothing of it."""


def key_of(secret: str) -> bytes | None:
    """The key of a ``whsec_…`` secret; None when it is none."""
    encoded = secret.strip().removeprefix(PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) >= MIN_KEY_BYTES else None


def sign(body: bytes, *, message_id: str, at: datetime, key: bytes) -> dict[str, str]:
    timestamp = str(int(at.timestamp()))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{_signature(key, message_id, timestamp, body)}",
    }


def verify(body: bytes, headers: Mapping[str, str], keys: Sequence[bytes], now: datetime) -> str:
    """The message's id. ``headers`` have lower-case names. Raises SignatureRefused."""
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    signatures = headers.get("webhook-signature", "")
    if not (_ID.fullmatch(message_id) and _TIMESTAMP.fullmatch(timestamp) and 0 < len(signatures) <= _MAX_HEADER):
        raise SignatureRefused("It is not signed.")
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE:
        raise SignatureRefused("Its time differs from this computer's by more than five minutes.")
    given = [
        value.encode("utf-8", "replace")
        for v, _, value in (s.partition(",") for s in signatures.split(" "))
        if v == "v1"
    ]
    matched = False
    for key in keys:
        expected = _signature(key, message_id, timestamp, body).encode()
        for candidate in given:
            matched |= hmac.compare_digest(expected, candidate)
    if not matched:
        raise SignatureRefused("Its signature does not fit the secret.")
    return message_id


def _signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    content = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
