"""The cache of keys: short, bounded, and never longer than it says."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from chalicelib.domain.api_keys import compose
from chalicelib.domain.permissions import CallerKind, Permission, Principal
from chalicelib.errors import AuthenticationError, Conflict
from chalicelib.services.keys import KEY_LIFETIME, MAX_REMEMBERED, IssuedKey, NewKey
from tests.fakes.world import World
from tests.unit.services.test_people import actor, first_admin

NEW = NewKey("ci", timedelta(days=1))


def issued(world: World) -> tuple[Principal, IssuedKey]:
    ada = first_admin(world)
    return ada, world.services.keys.create(actor(ada), ada, NEW)


def test_using_a_key_does_not_make_it_believed_for_longer() -> None:
    world = World()
    ada, key = issued(world)
    keys = world.services.keys
    keys.principal(key.text)
    world.access.put_key(key.key.model_copy(update={"revoked_at": world.clock.now()}))
    for _ in range(4):
        world.clock.advance(1)
        assert keys.principal(key.text).key_id == key.key.key_id
    world.clock.advance(KEY_LIFETIME - timedelta(seconds=4))
    with pytest.raises(AuthenticationError) as caught:
        keys.principal(key.text)
    assert caught.value.code == "key_revoked"
    assert ada.owner


def test_keys_that_are_not_there_are_remembered_too_and_not_without_bound() -> None:
    world = World()
    issued(world)
    keys = world.services.keys
    forged = [compose("somebody", f"{n:010d}", "0" * 32) for n in range(MAX_REMEMBERED + 50)]
    world.access.calls.clear()
    for text in (*forged, forged[-1], forged[-1]):
        with pytest.raises(AuthenticationError):
            keys.principal(text)
    assert world.access.calls.count("find_key") == len(forged)
    assert len(keys._known) == MAX_REMEMBERED


def test_a_key_of_one_persons_handle_and_anothers_serial_is_none() -> None:
    world = World()
    _, key = issued(world)
    with pytest.raises(AuthenticationError):
        world.services.keys.principal(compose("somebody else", key.key.key_id[13:], key.text.split("_")[2][:32]))


def test_two_rotations_at_once_give_one_new_key() -> None:
    world = World()
    ada, key = issued(world)
    outcomes: list[object] = []

    def rotate() -> None:
        try:
            outcomes.append(world.services.keys.rotate(actor(ada), ada, key.key.key_id, overlap=timedelta(0)))
        except Conflict as refused:
            outcomes.append(refused.code)

    threads = [threading.Thread(target=rotate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sum(isinstance(o, IssuedKey) for o in outcomes) == 1
    assert outcomes.count("key_not_live") == 3


def test_the_secret_is_in_no_repr() -> None:
    _, key = issued(World())
    secret = key.text.split("_")[2][:32]
    assert secret not in repr(key)
    assert key.key.secret_sha256 not in repr(key)


def test_a_principal_of_a_key_holds_what_binds_its_jobs() -> None:
    world = World()
    ada = first_admin(world)
    new = NewKey("ci", timedelta(days=1), scopes=["job.submit"], providers=["replicate"])
    who = world.services.keys.principal(world.services.keys.create(actor(ada), ada, new).text)
    assert (who.kind, who.permissions, who.providers) == (
        CallerKind.KEY,
        {Permission.JOB_SUBMIT},
        {"replicate"},
    )
    assert (who.budget_usd, who.name) == (None, "ada")
