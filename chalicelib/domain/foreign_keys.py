"""Where a delivery's files lie in a user's bucket: ``<prefix>/<run name or job id>/<path>``. Pure.

Names come from users and trainers. Whatever they hold, a key stays below the prefix, is safe in every store and in
URLs, and two files never share one.
"""

from __future__ import annotations

import hashlib
import re

from chalicelib.domain.destinations import S3Destination
from chalicelib.domain.objects import MAX_KEY_BYTES

MAX_FOLDER_CHARS = 100
MAX_PATH_CHARS = 380
#: S3's own recommendation, without what shells and URLs dislike
#: (https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html).
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_REGION = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,59}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_DIGEST_CHARS = 8


def problem_of(destination: S3Destination) -> tuple[str, str] | None:
    """Why this can't be a destination, and what to do; None when it can. Addresses are judged elsewhere."""
    if not _BUCKET.fullmatch(destination.bucket):
        return (
            f"{destination.bucket[:80]!r} is no name of a bucket.",
            "Give the bucket's name alone, without an address, a path or an ARN.",
        )
    if destination.region is not None and not _REGION.fullmatch(destination.region):
        return (f"{destination.region!r} is no region.", "Write it like eu-central-1, or auto for R2.")
    prefix = destination.prefix.strip("/")
    if _CONTROL.search(prefix) or any(segment in {"", ".", ".."} for segment in prefix.split("/") if prefix):
        return (
            "The prefix has empty parts, dots for parts, or control characters.",
            "Write it like loras/cats, without a slash at the ends.",
        )
    if len(prefix.encode()) > MAX_KEY_BYTES - MAX_FOLDER_CHARS - MAX_PATH_CHARS - 2:
        return ("The prefix is too long for S3 keys.", "Choose a prefix of at most 500 bytes.")
    return None


def folder_of(destination: S3Destination, run_name: str, job_id: str) -> str:
    """The key prefix of a delivery, ending in a slash."""
    name = _UNSAFE.sub("-", run_name).strip("-._")[:MAX_FOLDER_CHARS].rstrip("-._") or job_id
    prefix = destination.prefix.strip("/")
    return f"{prefix}/{name}/" if prefix else f"{name}/"


def safe_path(path: str) -> str:
    """A file's key below its folder. Safe paths stay as they are; another one gets a digest of the original, so that
    two never meet."""
    segments = path.split("/")
    safe = [_UNSAFE.sub("_", segment) for segment in segments]
    harmless = all(segment not in {"", ".", ".."} for segment in safe)
    if safe == segments and harmless and len(path) <= MAX_PATH_CHARS:
        return path
    digest = hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    kept = [segment for segment in safe if segment not in {"", ".", ".."}] or ["file"]
    stem, dot, extension = kept[-1].rpartition(".")
    if not stem or len(extension) > 20:
        stem, dot, extension = kept[-1], "", ""
    ending = f"-{digest}{dot}{extension}"
    whole = "/".join([*kept[:-1], stem])
    return whole[: MAX_PATH_CHARS - len(ending)].rstrip("/") + ending
