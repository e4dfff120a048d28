"""``AccessStore``: people, the first admin, the last admin."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.access_ports import AccessStore, LastAdminError, PersonGoneError, SetupDoneError
from chalicelib.domain.people import Person, handle_of
from chalicelib.domain.permissions import Role
from chalicelib.domain.ports import InvalidCursorError, StaleRecordError
from tests.support.doors import ROOM, a_person, an_api_key
from tests.support.jobs import NOW, together

ADA = a_person("sub-ada", role=Role.ADMIN)
BOB = a_person("sub-bob", display_name="Bób")


# --- the first admin ----------------------------------------------------------------------------------------------
def test_setup_is_done_with_the_first_admin(access_store: AccessStore) -> None:
    assert not access_store.setup_done()
    access_store.create_first_admin(ADA)
    assert access_store.setup_done()
    assert access_store.get_person("sub-ada") == ADA
    assert access_store.list_people() == ([ADA], None)


def test_a_second_first_admin_is_refused_and_nothing_is_written(access_store: AccessStore) -> None:
    access_store.create_first_admin(ADA)
    with pytest.raises(SetupDoneError):
        access_store.create_first_admin(a_person("sub-eve", role=Role.ADMIN))
    with pytest.raises(SetupDoneError):
        access_store.create_first_admin(ADA)
    assert access_store.get_person("sub-eve") is None
    assert access_store.list_people() == ([ADA], None)


def test_of_many_first_admins_at_once_one_wins(access_store: AccessStore) -> None:
    def one(i: int) -> str:
        person = a_person(f"sub-{i}", role=Role.ADMIN)
        access_store.create_first_admin(person)
        return person.user_id

    results = together(12, one)
    winners = [r for r in results if isinstance(r, str)]
    assert len(winners) == 1
    assert sum(isinstance(r, SetupDoneError) for r in results) == 11
    assert [p.user_id for p in access_store.list_people()[0]] == winners


def test_a_first_admin_that_the_pool_refused_is_taken_back(access_store: AccessStore) -> None:
    access_store.create_first_admin(ADA)
    access_store.undo_first_admin("sub-ada")
    assert not access_store.setup_done()
    assert access_store.get_person("sub-ada") is None
    assert access_store.list_people() == ([], None)
    access_store.undo_first_admin("sub-ada")
    access_store.create_first_admin(a_person("sub-eve", role=Role.ADMIN))


def test_nobody_else_takes_the_first_admin_back(access_store: AccessStore) -> None:
    access_store.create_first_admin(ADA)
    access_store.put_person(BOB)
    access_store.undo_first_admin("sub-bob")
    access_store.undo_first_admin("nobody")
    assert access_store.setup_done()
    assert access_store.get_person("sub-bob") == BOB
    assert access_store.get_person("sub-ada") == ADA


def test_setup_stays_done_when_the_first_admin_leaves(access_store: AccessStore) -> None:
    access_store.create_first_admin(ADA)
    access_store.put_person(a_person("sub-eve", role=Role.ADMIN))
    access_store.delete_person("sub-ada")
    assert access_store.setup_done()
    with pytest.raises(SetupDoneError):
        access_store.create_first_admin(a_person("sub-ada2", role=Role.ADMIN))


# --- people -------------------------------------------------------------------------------------------------------
def test_people_are_created_replaced_and_removed(access_store: AccessStore) -> None:
    assert access_store.get_person("sub-bob") is None
    access_store.put_person(BOB)
    assert access_store.get_person("sub-bob") == BOB
    lead = BOB.model_copy(update={"role": Role.LEAD, "email": "bob@example.org"})
    access_store.put_person(lead, replaces=BOB)
    assert access_store.get_person("sub-bob") == lead
    assert access_store.list_people() == ([lead], None)
    access_store.delete_person("sub-bob")
    access_store.delete_person("sub-bob")
    assert access_store.get_person("sub-bob") is None
    assert access_store.list_people() == ([], None)


@pytest.mark.parametrize("odd", ["", "x" * 5000, "\ud800", "sub-bob ", "SUB-BOB", "sub-bob#", "\x00"])
def test_any_id_may_be_asked_for(access_store: AccessStore, odd: str) -> None:
    access_store.put_person(BOB)
    assert access_store.get_person(odd) is None
    assert list(access_store.keys_of(odd)) == []
    assert access_store.find_key(odd, odd) is None
    assert access_store.find_key(handle_of("sub-bob"), odd) is None
    access_store.delete_person(odd)
    assert access_store.get_person("sub-bob") == BOB


def test_people_are_listed_by_name_in_pages(access_store: AccessStore) -> None:
    names = ["zoe", "a", "ab", "a-b", "a.b", "a_b", "B", "é", "user@idp.example"]
    for i, name in enumerate(names):
        access_store.put_person(a_person(f"sub-{i}", username=name, email="x@example.com"))
    everybody, rest = access_store.list_people()
    assert rest is None
    assert {p.username for p in everybody} == set(names)
    ascii_names = [p.username for p in everybody if p.username.isascii()]
    assert ascii_names == sorted(ascii_names)
    seen: list[Person] = []
    cursor: str | None = None
    for _ in range(len(names)):
        page, cursor = access_store.list_people(limit=2, cursor=cursor)
        assert len(page) <= 2
        seen += page
        if cursor is None:
            break
    assert seen == list(everybody)
    with pytest.raises(InvalidCursorError):
        access_store.list_people(cursor="made up")


def test_a_change_of_something_that_changed_meanwhile_is_refused(access_store: AccessStore) -> None:
    access_store.put_person(ADA)
    access_store.put_person(BOB)
    off = BOB.model_copy(update={"active": False})
    access_store.put_person(off, replaces=BOB)
    with pytest.raises(StaleRecordError):
        access_store.put_person(BOB.model_copy(update={"role": Role.ADMIN}), replaces=BOB)
    assert access_store.get_person("sub-bob") == off
    with pytest.raises(StaleRecordError):
        access_store.put_person(a_person("sub-eve"), replaces=a_person("sub-eve"))
    assert access_store.get_person("sub-eve") is None


def test_of_two_admins_who_change_one_person_at_once_one_is_told(access_store: AccessStore) -> None:
    access_store.put_person(BOB)
    changes: list[dict[str, Any]] = [
        {"active": False},
        {"role": Role.LEAD},
        {"role": Role.VIEWER},
        {"active": False, "role": Role.LEAD},
    ]

    def one(i: int) -> int:
        access_store.put_person(BOB.model_copy(update=changes[i]), replaces=BOB)
        return i

    results = together(4, one)
    winners = [r for r in results if isinstance(r, int)]
    assert len(winners) == 1
    assert sum(isinstance(r, StaleRecordError) for r in results) == 3
    assert access_store.get_person("sub-bob") == BOB.model_copy(update=changes[winners[0]])


def test_a_sign_in_is_noted_and_changes_nothing_else(access_store: AccessStore) -> None:
    access_store.put_person(BOB)
    off = BOB.model_copy(update={"active": False})
    access_store.put_person(off)
    access_store.touch_person(BOB, NOW + timedelta(hours=1))
    expected = off.model_copy(update={"last_login_at": NOW + timedelta(hours=1)})
    assert access_store.get_person("sub-bob") == expected
    assert access_store.list_people() == ([expected], None)
    access_store.put_person(BOB)
    assert access_store.get_person("sub-bob") == BOB.model_copy(update={"last_login_at": NOW + timedelta(hours=1)})
    access_store.touch_person(a_person("sub-eve"), NOW)
    assert access_store.get_person("sub-eve") is None
    assert len(access_store.list_people()[0]) == 1


def test_a_time_of_sign_in_can_be_given(access_store: AccessStore) -> None:
    seen = BOB.model_copy(update={"last_login_at": NOW})
    access_store.put_person(seen)
    assert access_store.get_person("sub-bob") == seen


def test_who_was_deleted_never_comes_back_under_the_same_id(access_store: AccessStore) -> None:
    access_store.put_person(BOB)
    assert not access_store.is_gone("sub-bob")
    access_store.create_key(an_api_key(1, user_id="sub-bob"), limit=ROOM)
    access_store.delete_person("sub-bob")
    assert access_store.is_gone("sub-bob")
    for again in (BOB, BOB.model_copy(update={"role": Role.ADMIN})):
        with pytest.raises(PersonGoneError):
            access_store.put_person(again)
    with pytest.raises(PersonGoneError):
        access_store.create_first_admin(BOB.model_copy(update={"role": Role.ADMIN}))
    with pytest.raises(StaleRecordError):
        access_store.put_person(BOB, replaces=BOB)
    with pytest.raises(StaleRecordError):
        access_store.create_key(an_api_key(2, user_id="sub-bob"), limit=ROOM)
    assert access_store.get_person("sub-bob") is None
    assert list(access_store.keys_of("sub-bob")) == []
    assert not access_store.setup_done()
    access_store.put_person(a_person("sub-bob2", username="bob"))
    assert not access_store.is_gone("sub-bob2")


@pytest.mark.parametrize("odd", ["", "x" * 5000, "\ud800"])
def test_who_never_was_is_not_gone(access_store: AccessStore, odd: str) -> None:
    access_store.delete_person(odd)
    assert not access_store.is_gone(odd)


def test_the_mark_of_setup_says_who(access_store: AccessStore) -> None:
    assert access_store.first_admin() is None
    access_store.create_first_admin(ADA)
    assert access_store.first_admin() == "sub-ada"


# --- the last admin -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("change", [{"active": False}, {"role": Role.LEAD}])
def test_the_last_active_admin_stays(access_store: AccessStore, change: dict[str, Any]) -> None:
    access_store.create_first_admin(ADA)
    access_store.put_person(BOB)
    access_store.put_person(a_person("sub-eve", role=Role.ADMIN, active=False))
    access_store.create_key(an_api_key(user_id="sub-ada"), limit=ROOM)
    with pytest.raises(LastAdminError):
        access_store.put_person(ADA.model_copy(update=change))
    with pytest.raises(LastAdminError):
        access_store.put_person(ADA.model_copy(update=change), replaces=ADA)
    with pytest.raises(LastAdminError):
        access_store.delete_person("sub-ada")
    assert access_store.get_person("sub-ada") == ADA
    assert len(access_store.keys_of("sub-ada")) == 1
    access_store.put_person(BOB.model_copy(update={"role": Role.ADMIN}))
    access_store.put_person(ADA.model_copy(update=change))
    with pytest.raises(LastAdminError):
        access_store.put_person(BOB)
    access_store.delete_person("sub-ada")


def test_two_admins_who_remove_each_other_at_once_leave_one(access_store: AccessStore) -> None:
    admins = [a_person(f"sub-{i}", role=Role.ADMIN) for i in range(6)]
    for admin in admins:
        access_store.put_person(admin)

    def one(i: int) -> None:
        if i % 2:
            access_store.put_person(admins[i].model_copy(update={"active": False}))
        else:
            access_store.delete_person(admins[i].user_id)

    results = together(6, one)
    assert sum(isinstance(r, LastAdminError) for r in results) == 1
    assert results.count(None) == 5
    left = [p for p in access_store.list_people()[0] if p.active]
    assert len(left) == 1
