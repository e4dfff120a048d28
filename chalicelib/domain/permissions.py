"""Who may do what. Permissions are detached from principals; roles are data over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType


class Permission(StrEnum):
    """``resource.action[.scope]``, SimpleTuner's names where it has one. Alphabetical."""

    AUDIT_VIEW = "audit.view"
    CONFIG_EDIT = "config.edit"
    CONFIG_VIEW = "config.view"
    CREDENTIAL_EDIT = "credential.edit"
    CREDENTIAL_VIEW = "credential.view"
    DATASET_EDIT = "dataset.edit"
    DATASET_VIEW = "dataset.view"
    JOB_CANCEL_ALL = "job.cancel.all"
    JOB_CANCEL_OWN = "job.cancel.own"
    JOB_DELETE_ALL = "job.delete.all"
    JOB_DELETE_OWN = "job.delete.own"
    JOB_SUBMIT = "job.submit"
    JOB_VIEW_ALL = "job.view.all"
    JOB_VIEW_OWN = "job.view.own"
    KEYS_ALL = "api.keys.all"
    KEYS_OWN = "api.keys.own"
    NOTIFICATION_EDIT = "notification.edit"
    NOTIFICATION_VIEW = "notification.view"
    PROFILE_OWN = "profile.own"
    PROVIDER_VIEW = "provider.view"
    USER_MANAGE = "user.manage"
    USER_VIEW = "user.view"


#: Holding the key permission implies the value.
IMPLIED = {
    Permission.JOB_CANCEL_ALL: Permission.JOB_CANCEL_OWN,
    Permission.JOB_DELETE_ALL: Permission.JOB_DELETE_OWN,
    Permission.JOB_VIEW_ALL: Permission.JOB_VIEW_OWN,
    Permission.KEYS_ALL: Permission.KEYS_OWN,
    Permission.USER_MANAGE: Permission.USER_VIEW,
}

#: What a key may never do, whatever it was given: the doors are for people.
PEOPLE_ONLY = frozenset({Permission.KEYS_ALL, Permission.KEYS_OWN, Permission.PROFILE_OWN, Permission.USER_MANAGE})


class Role(StrEnum):
    """SimpleTuner's levels; also the groups of the user pool."""

    ADMIN = "admin"
    LEAD = "lead"
    RESEARCHER = "researcher"
    VIEWER = "viewer"


_VIEWER = frozenset(
    {
        Permission.CONFIG_VIEW,
        Permission.DATASET_VIEW,
        Permission.JOB_VIEW_OWN,
        Permission.PROFILE_OWN,
        Permission.PROVIDER_VIEW,
    }
)
_RESEARCHER = _VIEWER | {
    Permission.CONFIG_EDIT,
    Permission.CREDENTIAL_EDIT,
    Permission.CREDENTIAL_VIEW,
    Permission.DATASET_EDIT,
    Permission.JOB_CANCEL_OWN,
    Permission.JOB_DELETE_OWN,
    Permission.JOB_SUBMIT,
    Permission.KEYS_OWN,
    Permission.NOTIFICATION_EDIT,
    Permission.NOTIFICATION_VIEW,
}
_LEAD = _RESEARCHER | {Permission.JOB_CANCEL_ALL, Permission.JOB_VIEW_ALL, Permission.USER_VIEW}

ROLES: Mapping[Role, frozenset[Permission]] = MappingProxyType(
    {
        Role.ADMIN: frozenset(Permission),
        Role.LEAD: _LEAD,
        Role.RESEARCHER: _RESEARCHER,
        Role.VIEWER: _VIEWER,
    }
)


def granted(permissions: Iterable[Permission]) -> frozenset[Permission]:
    """``permissions`` with what they imply."""
    held = frozenset(permissions)
    return held | {IMPLIED[p] for p in held if p in IMPLIED}


class CallerKind(StrEnum):
    """How the caller was let in."""

    SESSION = "session"
    KEY = "key"
    LOCAL = "local"
    DEPLOY_TOKEN = "deploy_token"  # noqa: S105 - the name of a kind


@dataclass(frozen=True)
class Principal:
    """The caller. ``owner`` is the tenant id that owns what the caller makes; ``name`` is for people and the audit.

    ``key_id`` names the API key in use. ``providers`` limits where it may submit (None: everywhere), ``budget_usd``
    what its jobs may cost in all; both belong to the key. What they cost is counted under ``budget_id``, which outlives
    the key's rotation.
    """

    owner: str
    permissions: frozenset[Permission]
    kind: CallerKind = CallerKind.LOCAL
    name: str = ""
    key_id: str | None = None
    providers: frozenset[str] | None = None
    budget_usd: Decimal | None = None
    budget_id: str | None = None

    def may(self, permission: Permission) -> bool:
        return permission in granted(self.permissions)


def administrator(owner: str, kind: CallerKind = CallerKind.LOCAL) -> Principal:
    """A principal that may do everything."""
    return Principal(owner=owner, permissions=frozenset(Permission), kind=kind, name=owner)
