"""Roles and what they imply."""

from __future__ import annotations

from itertools import pairwise

import pytest

from chalicelib.domain.permissions import (
    IMPLIED,
    PEOPLE_ONLY,
    ROLES,
    CallerKind,
    Permission,
    Principal,
    Role,
    administrator,
    granted,
)


def test_every_role_has_its_permissions_and_each_holds_what_the_one_below_holds() -> None:
    assert set(ROLES) == set(Role)
    ladder = [granted(ROLES[role]) for role in (Role.VIEWER, Role.RESEARCHER, Role.LEAD, Role.ADMIN)]
    for lower, higher in pairwise(ladder):
        assert lower < higher
    assert ladder[-1] == frozenset(Permission)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESEARCHER, Role.LEAD])
def test_only_admins_reach_the_doors_themselves(role: Role) -> None:
    admins = {Permission.USER_MANAGE, Permission.KEYS_ALL, Permission.AUDIT_VIEW, Permission.JOB_DELETE_ALL}
    assert not granted(ROLES[role]) & admins


def test_a_viewer_changes_nothing() -> None:
    changing = {p for p in Permission if p.value.split(".")[1] in {"submit", "edit", "cancel", "delete", "manage"}}
    assert not granted(ROLES[Role.VIEWER]) & changing


def test_all_implies_own_and_nothing_implies_more() -> None:
    for stronger, weaker in IMPLIED.items():
        assert granted({stronger}) == {stronger, weaker}
        assert granted({weaker}) == {weaker}
    for name in ("job.cancel", "job.delete", "job.view", "api.keys"):
        assert IMPLIED[Permission(f"{name}.all")] == Permission(f"{name}.own")


def test_the_tutorials_names_are_ours() -> None:
    assert {"job.submit", "job.view.own", "job.view.all", "job.cancel.own"} <= {p.value for p in Permission}


def test_a_caller_may_what_it_holds_or_what_that_implies() -> None:
    who = Principal(owner="sub-ada", permissions=frozenset({Permission.JOB_VIEW_ALL}), kind=CallerKind.KEY)
    assert who.may(Permission.JOB_VIEW_ALL)
    assert who.may(Permission.JOB_VIEW_OWN)
    assert not who.may(Permission.JOB_SUBMIT)
    assert not Principal(owner="sub-ada", permissions=frozenset()).may(Permission.JOB_VIEW_OWN)
    assert all(administrator("local").may(p) for p in Permission)


def test_what_is_for_people_only_covers_keys_users_and_the_profile() -> None:
    assert {p for p in Permission if p.value.startswith(("api.keys", "profile"))} | {
        Permission.USER_MANAGE
    } == PEOPLE_ONLY
