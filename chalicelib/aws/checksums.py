"""S3's spelling of checksums, and what S3 takes as a key and a lifetime of a URL."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from datetime import timedelta

from chalicelib.domain.objects import MAX_KEY_BYTES

#: Signature version 4 knows no longer-lived URLs.
MAX_EXPIRES = timedelta(days=7)

_SHA256_HEX = re.compile(r"[0-9a-f]{64}")
_COMPOSITE = re.compile(r"(.+)-([1-9][0-9]{0,4})")


def check_key(key: str) -> None:
    """S3 would refuse it too, but a presigned URL only when somebody uses it."""
    if not 0 < len(key.encode()) <= MAX_KEY_BYTES:
        raise ValueError(f"not a key: {key[:100]!r} has {len(key.encode())} bytes")


def to_base64(sha256_hex: str) -> str:
    """S3's spelling of a SHA-256. Raises ValueError unless it is 64 lower-case hex digits."""
    if not _SHA256_HEX.fullmatch(sha256_hex):
        raise ValueError("a SHA-256 is 64 lower-case hex digits")
    return base64.b64encode(bytes.fromhex(sha256_hex)).decode()


def base64_of(data: bytes | bytearray) -> str:
    """S3's spelling of the SHA-256 of ``data``."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def to_hex(checksum: str) -> str | None:
    """The hex of S3's spelling; None for a composite checksum (``…-3``), which is not the SHA-256 of the object."""
    try:
        digest = base64.b64decode(checksum, validate=True)
    except binascii.Error:
        return None
    return digest.hex() if len(digest) == hashlib.sha256().digest_size else None


def composite_hex(checksum: str) -> str | None:
    """``<hex>-<count>`` of S3's spelling of a composite checksum; None for another one."""
    found = _COMPOSITE.fullmatch(checksum)
    digest = to_hex(found[1]) if found else None
    return f"{digest}-{found[2]}" if found and digest else None


def seconds(expires: timedelta) -> int:
    """For how long a URL is good. Raises ValueError when S3 knows no such URL."""
    if not timedelta(seconds=1) <= expires <= MAX_EXPIRES:
        raise ValueError(f"a URL can live between 1 second and {MAX_EXPIRES}, not {expires}")
    return int(expires.total_seconds())
