"""The audit on the wire: SimpleTuner's recorded fields first, then ours."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, Field

from chalicelib.domain.audit import AuditAction, AuditRecord, AuditResult, ChainReport
from chalicelib.schemas.base import RequestModel, ResponseModel


class ListAuditQuery(RequestModel):
    """Filters that are all met. Times are ISO 8601 with a zone."""

    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=2000, description="`next` of the page before.")
    actor: str | None = Field(None, min_length=1, max_length=200, description="An id, a user name or a key's id.")
    action: AuditAction | None = None
    result: AuditResult | None = None
    target: str | None = Field(None, min_length=1, max_length=200, description="`kind:id`, as in `job:4mq1…`.")
    owner: str | None = Field(None, min_length=1, max_length=200, description="Whose thing it was.")
    since: AwareDatetime | None = Field(None, description="This moment and later.")
    until: AwareDatetime | None = Field(None, description="Before this moment.")


class AuditEntry(ResponseModel):
    """One line. ``action`` is a sentence for people; ``event_type`` is for programs."""

    id: str
    timestamp: datetime
    event_type: str
    actor_id: str
    actor_username: str
    actor_ip: str
    target_type: str
    target_id: str
    action: str
    details: dict[str, Any]
    result: AuditResult
    code: str | None
    actor_kind: str
    key_id: str | None
    owner: str
    request_id: str


class AuditListResponse(ResponseModel):
    """Newest first. ``total`` counts this page; a page may be short and still have ``next``."""

    entries: list[AuditEntry]
    total: int
    has_more: bool
    next: str | None = None


class VerifyQuery(RequestModel):
    after: int = Field(0, ge=0, le=2**53, description="`checked_to` of an answer that was not complete.")


class BrokenLink(ResponseModel):
    reason: str


class VerifyResponse(ResponseModel):
    """Whether the seals fit the records. Records younger than about two minutes are not sealed yet.

    ``digest`` is that of the last seal: whoever keeps it elsewhere can tell later that nothing before was rewritten.
    """

    valid: bool
    entries_checked: int
    broken_links: list[BrokenLink]
    seals: int
    unsealed_entries: int | None
    complete: bool
    checked_to: int
    digest: str


def audit_entry(record: AuditRecord) -> AuditEntry:
    kind, _, identity = record.target.partition(":")
    who = record.actor_name or record.actor_kind
    return AuditEntry(
        id=record.record_id,
        timestamp=record.at,
        event_type=str(record.action),
        actor_id=record.actor_id,
        actor_username=record.actor_name,
        actor_ip=record.source_ip,
        target_type=kind,
        target_id=identity,
        action=f"{record.action} of {record.target} by {who}: {record.result}"
        + (f" ({record.code})" if record.code else ""),
        details=record.details,
        result=record.result,
        code=record.code,
        actor_kind=record.actor_kind,
        key_id=record.key_id,
        owner=record.owner,
        request_id=record.request_id,
    )


def verify_view(report: ChainReport) -> VerifyResponse:
    return VerifyResponse(
        valid=report.valid,
        entries_checked=report.sealed_records,
        broken_links=[BrokenLink(reason=reason) for reason in report.broken],
        seals=report.seals,
        unsealed_entries=report.unsealed_records,
        complete=report.complete,
        checked_to=report.checked_to,
        digest=report.digest,
    )
