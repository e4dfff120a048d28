"""Idempotency keys: same key and same body give the same job, for 24 hours, per owner."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

LIFETIME = timedelta(hours=24)
MAX_KEY_LENGTH = 255


class IdempotencyRecord(BaseModel):
    """What a key stands for. ``field_hashes`` maps each top-level field of the body to the hash of its value."""

    model_config = ConfigDict(frozen=True)

    owner: str
    key_hash: str
    job_id: str
    field_hashes: dict[str, str]
    created_at: datetime
    expires_at: datetime


def key_hash(key: str) -> str:
    """SHA-256 of the key: keys may hold anything a client likes, database keys may not."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def field_hashes(body: Mapping[str, Any]) -> dict[str, str]:
    """A canonical hash for each top-level field; fields that are None count as absent."""
    return {
        name: hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()).hexdigest()
        for name, value in body.items()
        if value is not None
    }


def differing_fields(mine: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    """Names of the fields whose values differ or that only one side has, sorted."""
    return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))
