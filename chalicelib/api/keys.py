"""Routes of API keys: where SimpleTuner's tutorial has them, and where its server has them."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.api.routing import Api, Audited, Call
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import keys as schema
from chalicelib.services.keys import NewKey

api = Api(tag="keys")

#: The prefix of the paths, and what the names of its operations end in.
_PLACES = {"/auth/api-keys": "", "/cloud/auth/api-keys": "_by_tutorial"}


def create_api_key(call: Call[schema.NewKeyBody, None]) -> schema.KeyIssuedResponse:
    """Create an API key.

    The key is shown this once. It never may do more than its owner, nor manage keys or people.
    """
    body = call.body
    new = NewKey(
        name=body.name,
        expires=timedelta(days=body.expires_days or schema.DEFAULT_DAYS),
        scopes=body.scoped_permissions,
        budget_usd=body.budget_usd,
        providers=body.providers,
    )
    issued = call.services.keys.create(call.actor, call.who, new)
    return schema.KeyIssuedResponse(
        key=issued.text, key_info=schema.key_info(issued.key, call.services.ports.clock.now())
    )


def list_api_keys(call: Call[None, schema.ListKeysQuery]) -> schema.KeyListResponse:
    """List my API keys, or another person's."""
    now = call.services.ports.clock.now()
    found = call.services.keys.list(call.who, call.query.user_id)
    return schema.KeyListResponse([schema.key_info(key, now) for key in found])


def get_api_key(call: Call[None, None], key_id: str) -> schema.KeyInfo:
    """Get one API key, with what is used of its budget."""
    key, used = call.services.keys.get(call.who, key_id)
    return schema.key_info(key, call.services.ports.clock.now(), used)


def rotate_api_key(call: Call[schema.RotateBody, None], key_id: str) -> schema.KeyIssuedResponse:
    """Replace an API key of mine by a new one with the same rights.

    The old one ends now, or after `overlap_seconds`. What was used of the budget stays used.
    """
    overlap = timedelta(seconds=call.body.overlap_seconds)
    issued = call.services.keys.rotate(call.actor, call.who, key_id, overlap=overlap)
    return schema.KeyIssuedResponse(
        key=issued.text, key_info=schema.key_info(issued.key, call.services.ports.clock.now())
    )


def revoke_api_key(call: Call[None, None], key_id: str) -> schema.KeyRevokedResponse:
    """Revoke an API key.

    It is refused everywhere within five seconds.
    """
    key = call.services.keys.revoke(call.actor, call.who, key_id)
    return schema.KeyRevokedResponse(
        detail="The key is revoked", key_info=schema.key_info(key, call.services.ports.clock.now())
    )


for _path, _end in _PLACES.items():
    api.endpoint(
        "POST",
        _path,
        permission=Permission.KEYS_OWN,
        body=schema.NewKeyBody,
        response=schema.KeyIssuedResponse,
        statuses=(503,),
        audited=Audited(AuditAction.KEY_CREATE, "key:new", granting=True),
        operation_id=f"create_api_key{_end}",
    )(create_api_key)
    api.endpoint(
        "GET",
        _path,
        permission=Permission.KEYS_OWN,
        query=schema.ListKeysQuery,
        response=schema.KeyListResponse,
        statuses=(404,),
        operation_id=f"list_api_keys{_end}",
    )(list_api_keys)
    api.endpoint(
        "GET",
        f"{_path}/{{key_id}}",
        permission=Permission.KEYS_OWN,
        response=schema.KeyInfo,
        statuses=(404,),
        operation_id=f"get_api_key{_end}",
    )(get_api_key)
    api.endpoint(
        "POST",
        f"{_path}/{{key_id}}/rotate",
        permission=Permission.KEYS_OWN,
        body=schema.RotateBody,
        response=schema.KeyIssuedResponse,
        statuses=(404, 503),
        audited=Audited(AuditAction.KEY_ROTATE, "key:{key_id}", granting=True),
        operation_id=f"rotate_api_key{_end}",
    )(rotate_api_key)
    api.endpoint(
        "DELETE",
        f"{_path}/{{key_id}}",
        permission=Permission.KEYS_OWN,
        response=schema.KeyRevokedResponse,
        statuses=(404, 503),
        audited=Audited(AuditAction.KEY_REVOKE, "key:{key_id}", granting=True),
        operation_id=f"revoke_api_key{_end}",
    )(revoke_api_key)
