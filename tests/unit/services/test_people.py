"""People when something breaks in between: no half users, no second first admin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.domain.access_ports import LastAdminError
from chalicelib.domain.permissions import CallerKind, Permission, Principal, Role, administrator
from chalicelib.errors import Conflict, Unavailable
from chalicelib.services.audit import Actor
from chalicelib.services.people import PeopleService, typed_name
from chalicelib.wiring import build_services
from tests.fakes.access import InMemoryAccessStore
from tests.fakes.world import World
from tests.unit.services.between import Between

PASSWORD = "Correct-Horse-7-Battery"
HERE = {"source_ip": "127.0.0.1", "request_id": "r"}


def first_admin(world: World, name: str = "ada") -> Principal:
    person = world.services.setup.first_admin(
        administrator("local"),
        username=name,
        email=f"{name}@example.com",
        password=PASSWORD,
        display_name=None,
        setup_code=None,
        **HERE,
    )
    return Principal(person.user_id, frozenset(Permission), CallerKind.SESSION, name)


def actor(who: Principal) -> Actor:
    return Actor.of(who, **HERE)


class FailingOnce:
    """Passes everything on, but one method raises the first time."""

    def __init__(self, inner: Any, method: str, error: Exception) -> None:
        self._inner, self._method, self._error = inner, method, error

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self._method = ""

            def fail(*_: Any, **__: Any) -> Any:
                raise self._error

            return fail
        return getattr(self._inner, name)


def with_doors(world: World, **doors: Any) -> None:
    world.services = build_services(world.ports, replace(world.doors, **doors), world.services.settings)


def test_a_first_admin_whose_role_could_not_be_given_is_taken_back_and_setup_repeated() -> None:
    world = World()
    with_doors(world, pool=FailingOnce(world.pool, "set_role", Unavailable("busy")))
    with pytest.raises(Unavailable):
        first_admin(world)
    assert not world.services.setup.done()
    assert not world.pool.has("ada")
    assert world.pool.role_of(first_admin(world).name) is Role.ADMIN
    assert world.services.setup.done()


def test_whoever_comes_second_was_never_an_admin_of_the_pool() -> None:
    world, roles = World(), []
    real = world.access.create_first_admin

    class Watching(InMemoryAccessStore):
        def create_first_admin(self, person: Any) -> None:
            roles.append(world.pool.role_of(person.username))
            real(person)

    watching = Watching()
    watching.__dict__.update(world.access.__dict__)
    with_doors(world, access=watching)
    first_admin(world)
    assert roles == [Role.VIEWER]


def test_somebody_who_could_not_be_stored_is_not_left_in_the_pool() -> None:
    world = World()
    ada = first_admin(world)
    with_doors(world, access=FailingOnce(world.access, "put_person", Unavailable("busy")))
    invite: dict[str, Any] = {"username": "nina", "email": "nina@example.com", "role": Role.VIEWER}
    with pytest.raises(Unavailable):
        world.services.people.invite(actor(ada), ada, **invite)
    assert not world.pool.has("nina")
    assert world.services.people.invite(actor(ada), ada, **invite).username == "nina"


def test_two_admins_who_demote_each_other_leave_one() -> None:
    world = World()
    ada = first_admin(world)
    made = world.services.people.invite(
        actor(ada), ada, username="bea", email="b@example.com", role=Role.ADMIN, password=PASSWORD
    )
    bea = Principal(made.user_id, frozenset(Permission), CallerKind.SESSION, "bea")
    theirs = lambda: world.services.people.change(actor(bea), bea, ada.owner, role=Role.VIEWER, display_name=None)  # noqa: E731
    with_doors(world, access=Between(world.access, "put_person", theirs))
    people: PeopleService = world.services.people
    with pytest.raises((Conflict, LastAdminError)):
        people.change(actor(ada), ada, bea.owner, role=Role.VIEWER, display_name=None)
    admins = [p for p in world.access.list_people()[0] if p.role is Role.ADMIN and p.active]
    assert len(admins) == 1


def test_a_typed_name_is_the_same_in_any_case_and_says_nothing() -> None:
    key, other = b"k" * 32, b"l" * 32
    assert typed_name("Ada ", key) == typed_name("ada", key) != typed_name("adb", key)
    assert "ada" not in typed_name("ada", key)
    # Without the stack's key it can't be tried which word it was, and 128 bits don't meet by chance.
    assert typed_name("ada", key) != typed_name("ada", other)
    assert len(typed_name("ada", key)) == len("name:") + 32
