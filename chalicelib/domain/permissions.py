"""Who may do what. Permissions are detached from principals; roles are data over them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """``resource.action[.scope]``, SimpleTuner's names where it has one. Alphabetical."""

    CONFIG_EDIT = "config.edit"
    CONFIG_VIEW = "config.view"
    DATASET_EDIT = "dataset.edit"
    DATASET_VIEW = "dataset.view"
    JOB_CANCEL_ALL = "job.cancel.all"
    JOB_CANCEL_OWN = "job.cancel.own"
    JOB_DELETE_ALL = "job.delete.all"
    JOB_DELETE_OWN = "job.delete.own"
    JOB_SUBMIT = "job.submit"
    JOB_VIEW_ALL = "job.view.all"
    JOB_VIEW_OWN = "job.view.own"
    PROVIDER_VIEW = "provider.view"


#: Holding the key permission implies the value.
IMPLIED = {
    Permission.JOB_CANCEL_ALL: Permission.JOB_CANCEL_OWN,
    Permission.JOB_DELETE_ALL: Permission.JOB_DELETE_OWN,
    Permission.JOB_VIEW_ALL: Permission.JOB_VIEW_OWN,
}


@dataclass(frozen=True)
class Principal:
    """The caller. ``owner`` is the tenant id that owns what the caller makes."""

    owner: str
    permissions: frozenset[Permission]

    def may(self, permission: Permission) -> bool:
        return permission in self.permissions or any(IMPLIED.get(p) == permission for p in self.permissions)


def administrator(owner: str) -> Principal:
    """A principal that may do everything."""
    return Principal(owner=owner, permissions=frozenset(Permission))
