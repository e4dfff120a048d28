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
from tests.unit.services.between import Between, FailingOnce

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


# --- setup --------------------------------------------------------------------------------------------------------
def test_a_first_admin_whose_answer_was_lost_is_made_all_the_same() -> None:
    world = World()
    with_doors(world, access=FailingOnce(world.access, "create_first_admin", Unavailable("busy"), after=True))
    ada = first_admin(world)
    assert world.pool.role_of("ada") is Role.ADMIN
    assert world.access.first_admin() == ada.owner


def test_a_first_admin_that_was_not_written_leaves_no_user_and_setup_is_repeated() -> None:
    world = World()
    with_doors(world, access=FailingOnce(world.access, "create_first_admin", Unavailable("busy")))
    with pytest.raises(Unavailable):
        first_admin(world)
    assert not world.pool.has("ada")
    assert first_admin(world).name == "ada"


def test_setup_goes_on_with_the_user_that_an_earlier_try_left_behind() -> None:
    world = World()
    left = world.pool.create("ada", "ada@example.com", password=PASSWORD, role=Role.VIEWER)
    assert first_admin(world).owner == left
    assert world.pool.role_of("ada") is Role.ADMIN


def test_setup_takes_nobody_elses_user() -> None:
    world = World()
    world.pool.create("ada", "ada@example.com", password=f"{PASSWORD}-2", role=Role.VIEWER)
    with pytest.raises(Conflict) as caught:
        first_admin(world)
    assert caught.value.code == "user_exists"
    assert not world.services.setup.done()
    assert world.pool.role_of("ada") is Role.VIEWER


def test_an_invitation_whose_answer_was_lost_took_place() -> None:
    world = World()
    ada = first_admin(world)
    with_doors(world, access=FailingOnce(world.access, "put_person", Unavailable("busy"), after=True))
    made = world.services.people.invite(
        actor(ada), ada, username="nina", email="n@example.com", role=Role.VIEWER, password=PASSWORD
    )
    assert world.access.get_person(made.user_id) is not None
    assert world.pool.has("nina")
