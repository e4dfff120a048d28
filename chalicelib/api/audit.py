"""Routes of the audit."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call
from chalicelib.domain.access_ports import AuditFilter
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import audit as schema

api = Api(tag="audit")
_READ = Audited(AuditAction.AUDIT_READ, "stack:audit", refusals_only=True)


@api.endpoint(
    "GET",
    "/audit",
    permission=Permission.AUDIT_VIEW,
    query=schema.ListAuditQuery,
    response=schema.AuditListResponse,
    statuses=(400,),
    audited=_READ,
)
def list_audit(call: Call[None, schema.ListAuditQuery]) -> schema.AuditListResponse:
    """List what was done, newest first.

    A refused sign-in is kept under a hash of the name that was typed, since people type passwords there; the name is
    shown when there is somebody of this name.
    """
    query = call.query
    wanted = AuditFilter(
        actor=query.actor,
        action=query.action,
        result=query.result,
        target=query.target,
        owner=query.owner,
        since=query.since,
        until=query.until,
    )
    found, cursor = call.services.audit.list(wanted, limit=query.limit, cursor=query.cursor)
    named = call.services.people.with_names(found)
    return schema.AuditListResponse(
        entries=[schema.audit_entry(record) for record in named],
        total=len(named),
        has_more=cursor is not None,
        next=cursor,
    )


@api.endpoint(
    "GET",
    "/audit/verify",
    permission=Permission.AUDIT_VIEW,
    query=schema.VerifyQuery,
    response=schema.VerifyResponse,
    audited=_READ,
)
def verify_audit(call: Call[None, schema.VerifyQuery]) -> schema.VerifyResponse:
    """Check that no record was changed, removed or slipped in.

    One call looks at a bounded number of records: while `complete` is false, call again with `after`.
    """
    return schema.verify_view(call.services.audit.verify(after=call.query.after))
