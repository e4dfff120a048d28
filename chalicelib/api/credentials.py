"""Routes of named credentials: what destinations are reached with."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import credentials as schema
from chalicelib.services.credentials import Kept

api = Api(tag="credentials")


@api.endpoint(
    "POST",
    "/cloud/credentials",
    permission=Permission.CREDENTIAL_EDIT,
    body=schema.NewCredentialBody,
    response=schema.CredentialSavedResponse,
    status=201,
    statuses=(409,),
    audited=Audited(AuditAction.CREDENTIAL_CREATE, "credential:new"),
    spends=True,
)
def create_credential(call: Call[schema.NewCredentialBody, None]) -> Reply:
    """Store a credential under a name.

    The secret is encrypted and never shown again. Of kind webhook it is made when left out, and shown in this answer
    alone.
    """
    body = call.body
    return _saved(call.services.credentials.create(call.who.owner, body.name, body.kind, body.given()))


@api.endpoint(
    "GET",
    "/cloud/credentials",
    permission=Permission.CREDENTIAL_VIEW,
    response=schema.CredentialListResponse,
)
def list_credentials(call: Call[None, None]) -> schema.CredentialListResponse:
    """List credentials by name, without their secrets."""
    found = call.services.credentials.list(call.who.owner)
    return schema.CredentialListResponse(credentials=[schema.credential_view(c) for c in found])


@api.endpoint(
    "GET",
    "/cloud/credentials/{name}",
    permission=Permission.CREDENTIAL_VIEW,
    response=schema.CredentialDetail,
    statuses=(404,),
)
def get_credential(call: Call[None, None], name: str) -> schema.CredentialDetail:
    """Get a credential without its secret, and what names it."""
    credential = call.services.credentials.get(call.who.owner, name)
    return schema.credential_detail(credential, list(call.services.credentials.uses(call.who.owner, name)))


@api.endpoint(
    "POST",
    "/cloud/credentials/{name}/test",
    permission=Permission.CREDENTIAL_EDIT,
    body=schema.TestBody,
    response=schema.CredentialTestedResponse,
    statuses=(404, 429),
    audited=Audited(AuditAction.CREDENTIAL_TEST, "credential:{name}"),
)
def test_credential(call: Call[schema.TestBody, None], name: str) -> Reply:
    """Try a credential at a destination, leaving no trace there.

    Takes ten seconds at most. What came of it is kept with the credential, unless the destination can't be reached now.
    """
    tested = call.services.credential_tests.run(call.who.owner, name, call.body.destination)
    problem = tested.problem
    view = schema.CredentialTestedResponse(
        passed=problem is None,
        facts=list(tested.facts),
        problem=None
        if problem is None
        else schema.CredentialProblem(
            code=problem.code, message=problem.message, advice=problem.advice, temporary=problem.temporary
        ),
        credential=schema.credential_view(tested.credential),
    )
    details = {"passed": view.passed, **({} if problem is None else {"code": problem.code})}
    return Reply(view, noted=Noted(f"credential:{tested.credential.name}", details=details))


@api.endpoint(
    "PUT",
    "/cloud/credentials/{name}/secret",
    permission=Permission.CREDENTIAL_EDIT,
    body=schema.NewSecretBody,
    response=schema.CredentialSavedResponse,
    statuses=(404, 409),
    audited=Audited(AuditAction.CREDENTIAL_ROTATE, "credential:{name}"),
    spends=True,
)
def rotate_credential(call: Call[schema.NewSecretBody, None], name: str) -> Reply:
    """Replace a credential's secret, for everything that names it.

    A webhook's last secret goes on signing beside the new one unless `keep_previous` is false.
    """
    body = call.body
    return _saved(
        call.services.credentials.rotate(call.who.owner, name, body.given(), keep_previous=body.keep_previous), 200
    )


@api.endpoint(
    "DELETE",
    "/cloud/credentials/{name}",
    permission=Permission.CREDENTIAL_EDIT,
    query=schema.DeleteQuery,
    response=schema.CredentialDeletedResponse,
    statuses=(404, 409),
    audited=Audited(AuditAction.CREDENTIAL_DELETE, "credential:{name}"),
)
def delete_credential(call: Call[None, schema.DeleteQuery], name: str) -> Reply:
    """Delete a credential with its secret.

    Refused while something names it, unless `force` is true.
    """
    used = call.services.credentials.delete(call.who.owner, name, force=call.query.force)
    view = schema.CredentialDeletedResponse(name=name, used_by=list(used))
    details = {"forced": call.query.force, "uses": len(used)}
    return Reply(view, noted=Noted(f"credential:{name}", details=details))


def _saved(kept: Kept, status: int = 201) -> Reply:
    credential = kept.credential
    view = schema.CredentialSavedResponse(
        credential=schema.credential_view(credential), secret=kept.made, warnings=list(kept.warnings)
    )
    details = {"kind": credential.kind.value, "secret_version": credential.secret_version}
    return Reply(view, status, noted=Noted(f"credential:{credential.name}", details=details))
