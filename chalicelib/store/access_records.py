"""People and keys as items, and back."""

from __future__ import annotations

import json
from datetime import timedelta

from chalicelib.domain.api_keys import ApiKey
from chalicelib.domain.people import Person, handle_of
from chalicelib.domain.permissions import Permission, Role
from chalicelib.store.records import Record, moment_of, ttl_seconds

LIVE, REPLACED, REVOKED = "live", "replaced", "revoked"
#: How long a revoked or expired key is still listed.
KEEP_DEAD = timedelta(days=90)
_KNOWN_SCOPES = frozenset(permission.value for permission in Permission)


def user_pk(user_id: str) -> str:
    return f"user#{handle_of(user_id)}"


def key_sk(key_id: str) -> str:
    return f"key#{key_id}"


def ascii_text(text: str) -> str:
    """For sort keys that a cursor may name."""
    return text.encode("ascii", "backslashreplace").decode()


def is_admin(person: Person) -> bool:
    return person.active and person.role is Role.ADMIN


def state_of(person: Person) -> str:
    """What two admins must not change at the same time without noticing."""
    return f"{person.role.value}:{'active' if person.active else 'inactive'}"


def person_of(record: Record) -> Person:
    person = Person.model_validate_json(record.document)
    used = record.last_used
    return person if used is None else person.model_copy(update={"last_login_at": moment_of(int(used))})


def key_state(key: ApiKey) -> str:
    """A replaced key may still work for a while, and is never replaced again."""
    if key.revoked_at is not None:
        return REVOKED
    return LIVE if key.replaced_by is None else REPLACED


def key_document(key: ApiKey) -> str:
    return key.model_dump_json(exclude={"last_used_at"})


def key_of(record: Record) -> ApiKey:
    """Scopes that only a newer release knows grant nothing here."""
    document = json.loads(record.document)
    if document.get("scopes") is not None:
        document["scopes"] = [scope for scope in document["scopes"] if scope in _KNOWN_SCOPES]
    if record.last_used is not None:
        document["last_used_at"] = moment_of(int(record.last_used))
    return ApiKey.model_validate(document)


def vanishes(key: ApiKey) -> int | None:
    """When TTL removes it: long after its end."""
    return ttl_seconds(key.ends_at + KEEP_DEAD) if key.revoked_at or key.expires_at else None
