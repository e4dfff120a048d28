"""``CredentialStore``: named credentials without their secrets."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.domain.credentials import MAX_CREDENTIALS, CredentialKind
from chalicelib.domain.ports import CredentialStore, SlotsFullError, StaleRecordError
from tests.support.credentials import a_credential
from tests.support.jobs import NOW, OWNER, together

LATER = NOW + timedelta(seconds=1)


def test_what_is_stored_comes_back_whole(credential_store: CredentialStore) -> None:
    stored = a_credential(
        kind=CredentialKind.S3,
        hint="AKIA1",
        rotated_at=LATER,
        tested_at=LATER,
        test_passed=False,
        facts=("no such bucket",),
        secret_version=3,
    )
    credential_store.create(stored)
    assert credential_store.get(OWNER, "hub") == stored
    assert credential_store.list_of(OWNER) == [stored]


def test_what_is_not_there_is_none(credential_store: CredentialStore) -> None:
    credential_store.create(a_credential())
    for name in ("other", "#count", "", "!", "hub/", "写真"):
        assert credential_store.get(OWNER, name) is None
    assert credential_store.get("other", "hub") is None
    assert credential_store.list_of("other") == []


def test_a_name_is_taken_once_per_owner(credential_store: CredentialStore) -> None:
    credential_store.create(a_credential())
    with pytest.raises(StaleRecordError):
        credential_store.create(a_credential(hint="…2222"))
    credential_store.create(a_credential(owner="other", hint="…3333"))
    found = credential_store.get(OWNER, "hub")
    assert found is not None
    assert found.hint == "…wxyz"


def test_the_list_is_by_name(credential_store: CredentialStore) -> None:
    for name in ("b", "0", "a.b", "z9", "a"):
        credential_store.create(a_credential(name))
    assert [c.name for c in credential_store.list_of(OWNER)] == ["0", "a", "a.b", "b", "z9"]


def test_updates_follow_the_revision(credential_store: CredentialStore) -> None:
    first = a_credential()
    with pytest.raises(StaleRecordError):
        credential_store.update(first.changed(LATER))
    credential_store.create(first)
    second = first.changed(LATER, facts=("writes as alice",), test_passed=True)
    credential_store.update(second)
    assert credential_store.get(OWNER, "hub") == second
    with pytest.raises(StaleRecordError):
        credential_store.update(first.changed(LATER, facts=()))
    assert credential_store.get(OWNER, "hub") == second


def test_of_two_at_once_one_is_told(credential_store: CredentialStore) -> None:
    results = together(2, lambda n: credential_store.create(a_credential(hint=f"{n}")))
    assert sorted(type(r).__name__ for r in results) == ["NoneType", "StaleRecordError"]
    stored = credential_store.get(OWNER, "hub")
    assert stored is not None
    results = together(2, lambda n: credential_store.update(stored.changed(LATER, hint=f"{n}")))
    assert sorted(type(r).__name__ for r in results) == ["NoneType", "StaleRecordError"]


def test_only_the_revision_that_was_seen_is_removed(credential_store: CredentialStore) -> None:
    first = a_credential()
    credential_store.create(first)
    second = first.changed(LATER)
    credential_store.update(second)
    with pytest.raises(StaleRecordError):
        credential_store.delete(first)
    credential_store.delete(second)
    assert credential_store.get(OWNER, "hub") is None
    credential_store.delete(second)
    credential_store.create(first)
    assert credential_store.list_of(OWNER) == [first]


def test_there_is_room_for_so_many_and_no_more(credential_store: CredentialStore) -> None:
    for n in range(MAX_CREDENTIALS - 1):
        credential_store.create(a_credential(f"c{n:02d}"))
    results = together(3, lambda n: credential_store.create(a_credential(f"late{n}")))
    assert sorted(type(r).__name__ for r in results) == ["NoneType", "SlotsFullError", "SlotsFullError"]
    assert len(credential_store.list_of(OWNER)) == MAX_CREDENTIALS
    with pytest.raises(StaleRecordError):
        credential_store.create(a_credential("c00"))
    credential_store.delete(a_credential("c00"))
    credential_store.delete(a_credential("c00"))
    credential_store.create(a_credential("again"))
    with pytest.raises(SlotsFullError):
        credential_store.create(a_credential("more"))
    credential_store.create(a_credential(owner="other"))
