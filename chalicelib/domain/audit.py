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
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

#: Records younger than this are not sealed yet: a slow writer may still add one with an earlier id.
SEAL_AFTER = timedelta(seconds=60)
GENESIS = "0" * 64
#: What stands for a record whose stored text is no record any more; no seal fits it.
UNREADABLE = "unreadable"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Microseconds since 1970 in this many digits are in order of text until the year 5138.
_DIGITS = 17


class AuditAction(StrEnum):
    """``resource.verb``. Alphabetical."""

    ARCHIVE_COMPLETE = "archive.complete"
    ARCHIVE_CREATE = "archive.create"
    ARCHIVE_DELETE = "archive.delete"
    AUDIT_READ = "audit.read"
    CONFIG_DELETE = "config.delete"
    CONFIG_SAVE = "config.save"
    CONSENT_CHANGE = "consent.change"
    CREDENTIAL_CREATE = "credential.create"
    CREDENTIAL_DELETE = "credential.delete"
    CREDENTIAL_ROTATE = "credential.rotate"
    CREDENTIAL_TEST = "credential.test"
    DATASET_COMPLETE = "dataset.complete"
    DATASET_CREATE = "dataset.create"
    DATASET_DELETE = "dataset.delete"
    DATASET_INSPECT = "dataset.inspect"
    DATASET_RETENTION = "dataset.retention"
    DELIVERY_CANCEL = "delivery.cancel"
    DELIVERY_DEFAULTS = "delivery.defaults"
    DELIVERY_RETRY = "delivery.retry"
    DEPLOY_TOKEN_MAKE = "deploy_token.make"  # noqa: S105 - the name of an action
    DEPLOY_TOKEN_USE = "deploy_token.use"  # noqa: S105 - the name of an action
    ESCROW_SETTINGS = "escrow.settings"
    JOB_CANCEL = "job.cancel"
    JOB_DELETE = "job.delete"
    JOB_DELIVER = "job.deliver"
    JOB_ESCROW = "job.escrow"
    JOB_SUBMIT = "job.submit"
    KEY_CREATE = "key.create"
    KEY_REVOKE = "key.revoke"
    KEY_ROTATE = "key.rotate"
    MFA_ADD = "mfa.add"
    MFA_REMOVE = "mfa.remove"
    NOTIFICATION_CHANGE = "notification.change"
    NOTIFICATION_CREATE = "notification.create"
    NOTIFICATION_DELETE = "notification.delete"
    NOTIFICATION_REDELIVER = "notification.redeliver"
    NOTIFICATION_ROTATE = "notification.rotate"
    NOTIFICATION_TEST = "notification.test"
    PASSWORD_CHANGE = "password.change"  # noqa: S105 - the name of an action
    PROVIDER_TOKEN_PUT = "provider_token.put"  # noqa: S105 - the name of an action
    SESSION_REFRESH = "session.refresh"
    SETUP_CODE_MAKE = "setup_code.make"
    SETUP_FIRST_ADMIN = "setup.first_admin"
    SETUP_HANDOVER = "setup.handover"
    SIGN_IN = "sign.in"
    SIGN_OUT = "sign.out"
    TRAINER_KEY_MAKE = "trainer_key.make"
    UPLOAD_TOKEN_CREATE = "upload_token.create"  # noqa: S105 - the name of an action
    USER_ADOPT = "user.adopt"
    USER_CHANGE = "user.change"
    USER_DEACTIVATE = "user.deactivate"
    USER_DELETE = "user.delete"
    USER_INVITE = "user.invite"
    USER_REACTIVATE = "user.reactivate"
    USER_READ = "user.read"
    USER_RESET_PASSWORD = "user.reset_password"  # noqa: S105 - the name of an action
    USER_ROLE = "user.role"


class AuditResult(StrEnum):
    """``challenged``: a sign-in whose password was right and that waits for one more step."""

    ALLOWED = "allowed"
    CHALLENGED = "challenged"
    DENIED = "denied"
    FAILED = "failed"


class AuditRecord(BaseModel):
    """One line. ``record_id`` comes from ``record_id(at, …)`` and sorts by time; ``details`` hold no secrets: only ids,
    names, roles, scopes, codes.

    ``source_ip`` is what the API's gateway saw, never a header of the client. ``target`` is ``kind:id``. Fields and
    actions of a newer release are kept as they are, and new fields need a default: so a record's hash stays the same
    over upgrades and roll-backs.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    record_id: str
    at: datetime
    action: Annotated[AuditAction | str, Field(union_mode="left_to_right")]
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
    """``valid`` is False when a seal does not fit; ``broken`` says which seals and why.

    ``complete`` is False when there are more seals than one check may look at: the next one goes on after seal number
    ``checked_to``. ``unsealed_records`` is None then. ``digest`` is that of the last seal checked: whoever writes it
    down elsewhere can tell later that nothing before was rewritten.
    """

    model_config = ConfigDict(frozen=True)

    valid: bool
    seals: int
    sealed_records: int
    unsealed_records: int | None
    broken: tuple[str, ...] = ()
    complete: bool = True
    checked_to: int = 0
    digest: str = GENESIS


def record_id(at: datetime, token: str) -> str:
    """The id of a record of this time. ``token`` is random and URL-safe: no id can be guessed or met twice."""
    return f"{id_prefix(at)}-{token}"


def id_prefix(at: datetime) -> str:
    """What the ids of all records of this time begin with; in order of time."""
    return f"{max(0, (at - _EPOCH) // timedelta(microseconds=1)):0{_DIGITS}d}"


def time_of(record_id: str) -> datetime:
    """The time in a record's id. Raises ValueError."""
    digits = record_id[:_DIGITS]
    if not (digits.isascii() and digits.isdigit() and record_id[_DIGITS:].startswith("-")):
        raise ValueError("no id of an audit record")
    try:
        return _EPOCH + timedelta(microseconds=int(digits))
    except OverflowError:
        raise ValueError("no id of an audit record") from None


def unreadable(record_id: str, at: datetime) -> AuditRecord:
    """What is shown in place of a stored text that is no record: somebody damaged it."""
    return AuditRecord(
        record_id=record_id,
        at=at,
        action=UNREADABLE,
        result=AuditResult.FAILED,
        actor_kind=UNREADABLE,
        actor_id="",
        actor_name="",
        target="",
        owner="",
        source_ip="",
        request_id="",
        code=UNREADABLE,
    )


def record_hash(record: AuditRecord) -> str:
    """SHA-256 of the record's canonical JSON, without what has its default value."""
    document = record.model_dump(mode="json", exclude_defaults=True)
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
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
