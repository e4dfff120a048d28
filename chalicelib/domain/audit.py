"""The audit: what was done, by whom, to what, from where, with what result; append-only and sealed in a hash chain.

Records are written one by one, without waiting for each other, in order of time and a random part. A sealer hashes
them in that order every minute or so: each seal holds the hash of its records and of the seal before, so a record that
was changed, removed or slipped in behind a seal breaks the chain. The construction is that of CloudTrail's digest
files (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-validation-intro.html).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

#: Records younger than this are not sealed yet: a slow writer may still add one with an earlier id.
SEAL_AFTER = timedelta(seconds=60)
GENESIS = "0" * 64


class AuditAction(StrEnum):
    """``resource.verb``. Alphabetical."""

    CONFIG_DELETE = "config.delete"
    CONFIG_SAVE = "config.save"
    DATASET_CREATE = "dataset.create"
    DATASET_DELETE = "dataset.delete"
    JOB_CANCEL = "job.cancel"
    JOB_DELETE = "job.delete"
    JOB_SUBMIT = "job.submit"
    KEY_CREATE = "key.create"
    KEY_REVOKE = "key.revoke"
    KEY_ROTATE = "key.rotate"
    PASSWORD_CHANGE = "password.change"  # noqa: S105 - the name of an action
    SETUP_FIRST_ADMIN = "setup.first_admin"
    SIGN_IN = "sign.in"
    SIGN_OUT = "sign.out"
    USER_DEACTIVATE = "user.deactivate"
    USER_DELETE = "user.delete"
    USER_INVITE = "user.invite"
    USER_REACTIVATE = "user.reactivate"
    USER_ROLE = "user.role"


class AuditResult(StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied"
    FAILED = "failed"


class AuditRecord(BaseModel):
    """One line. ``record_id`` sorts by time; ``details`` hold no secrets: only ids, names, roles, scopes, codes.

    ``source_ip`` is what the API's gateway saw, never a header of the client. ``target`` is ``kind:id``.
    """

    model_config = ConfigDict(frozen=True)

    record_id: str
    at: datetime
    action: AuditAction
    result: AuditResult
    actor_kind: str
    actor_id: str
    actor_name: str
    key_id: str | None = None
    target: str
    owner: str
    source_ip: str
    request_id: str
    code: str | None = None
    details: dict[str, Any] = {}


class Seal(BaseModel):
    """The hash over a run of records (``first`` to ``last``, ids) and the seal before. ``number`` starts at 1."""

    model_config = ConfigDict(frozen=True)

    number: int
    first: str
    last: str
    count: int
    previous: str
    digest: str
    sealed_at: datetime


class ChainReport(BaseModel):
    """``valid`` is False when a seal does not fit; ``broken`` says which seals and why."""

    model_config = ConfigDict(frozen=True)

    valid: bool
    seals: int
    sealed_records: int
    unsealed_records: int
    broken: tuple[str, ...] = ()


def record_hash(record: AuditRecord) -> str:
    """SHA-256 of the record's canonical JSON."""
    text = json.dumps(record.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def chain_digest(previous: str, records: Iterable[AuditRecord]) -> str:
    """The digest of a seal: SHA-256 over the digest before and each record's hash, in order."""
    digest = hashlib.sha256(previous.encode())
    for record in records:
        digest.update(record_hash(record).encode())
    return digest.hexdigest()


def next_seal(last: Seal | None, records: Sequence[AuditRecord], now: datetime) -> Seal:
    """The seal over ``records`` (at least one, ascending, all behind the last seal)."""
    previous = last.digest if last else GENESIS
    return Seal(
        number=last.number + 1 if last else 1,
        first=records[0].record_id,
        last=records[-1].record_id,
        count=len(records),
        previous=previous,
        digest=chain_digest(previous, records),
        sealed_at=now,
    )
