"""What arrives through the storage endpoint: upload tokens of jobs, and where their objects lie."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from chalicelib.domain.escrow import job_prefix
from chalicelib.domain.objects import MAX_KEY_BYTES

#: The one bucket there is; SimpleTuner's server takes any name.
BUCKET = "outputs"
MAX_TOKENS = 5
#: What one Lambda call carries of a body in base64, with room for its headers. Larger ones go to S3 by a redirect.
MAX_DIRECT_BYTES = 4 * 1024 * 1024
#: S3's limit of one PUT.
MAX_OBJECT_BYTES = 5 * 1024**3
MAX_JOB_BYTES = 50 * 1024**3
MAX_JOB_FILES = 5_000
SECRET_LENGTH = 43
_TOKEN = re.compile(r"stu_([0-9a-z]{8,64})_([0-9A-Za-z]{43})")


class UploadTokens(BaseModel):
    """The tokens of one job, hashed. ``revision`` grows by one with every write (compare-and-set); 0 was never
    stored. ``vanishes_at`` is when the record may go; the tokens themselves end with the job."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    hashes: tuple[str, ...] = ()
    vanishes_at: datetime | None = None
    revision: int = 0

    def knows(self, token: str) -> bool:
        """Takes the same time whichever of them it is."""
        digest = hash_of(token)
        return sum(hmac.compare_digest(known, digest) for known in self.hashes) > 0


class UploadTokenStore(Protocol):
    def get(self, job_id: str) -> UploadTokens:
        """Strongly consistent; without hashes when nothing was stored."""

    def put(self, tokens: UploadTokens) -> None:
        """Raises StaleRecordError when the stored revision is not the one before."""


class UnfitKeyError(ValueError):
    """No key of an object; the message says why, without the key."""


def compose(job_id: str, secret: str) -> str:
    """The token as its owner sees it once. ``secret`` is SECRET_LENGTH random characters of base 62 (256 bits)."""
    return f"stu_{job_id}_{secret}"


def job_of(token: str) -> str | None:
    """The job that a well-formed token names."""
    found = _TOKEN.fullmatch(token)
    return found[1] if found else None


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def uploads_prefix(owner: str, job_id: str) -> str:
    """In the outputs bucket: everything that came through the endpoint for this job."""
    return f"{job_prefix(owner, job_id)}uploads/{BUCKET}/"


def checked(prefix: str, key: str) -> str:
    """The whole key of the object ``key`` below ``prefix``. Raises UnfitKeyError."""
    if any(part in {"", ".", ".."} for part in key.split("/")):
        raise UnfitKeyError("it has an empty part, or one of dots")
    if "\\" in key or "\ufffd" in key or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in key):
        raise UnfitKeyError("it has a backslash, or a character that can't be read or printed")
    try:
        size = len((prefix + key).encode())
    except UnicodeEncodeError:
        raise UnfitKeyError("it is no Unicode text") from None
    if size > MAX_KEY_BYTES:
        room = MAX_KEY_BYTES - len(prefix.encode())
        raise UnfitKeyError(f"it has more than the {room} bytes that are left for it")
    return prefix + key
