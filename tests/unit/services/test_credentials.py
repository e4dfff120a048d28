"""Credentials whose record and secret are two stores: whatever breaks off, nothing can be used by half."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.credential_secrets import Given
from chalicelib.domain.credentials import (
    MAX_CREDENTIALS,
    Credential,
    CredentialKind,
    HubSecret,
    S3Secret,
    WebhookSecret,
)
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.errors import AppError, Conflict, Unavailable, ValidationFailed
from chalicelib.services import credential_uses
from chalicelib.services.credential_handover import hand_over
from chalicelib.services.credentials import (
    SETTLES_WITHIN,
    CredentialService,
    find_credential,
    forget_owner,
    load_secret,
)
from tests.fakes.world import OWNER, World
from tests.unit.services.between import Between, FailingOnce

HUB, S3, WEBHOOK = CredentialKind.HUGGINGFACE, CredentialKind.S3, CredentialKind.WEBHOOK
BUSY = Unavailable("busy")
FIRST, SECOND = Given(token="hf_first_secret_0001"), Given(token="hf_second_secret_0002")
KEYS = Given(access_key_id="AKIAFIRST", secret_access_key="first-secret-key")


@pytest.fixture
def world() -> World:
    return World()


def service(world: World, **ports: Any) -> CredentialService:
    return CredentialService(replace(world.ports, **ports))


def token(ports: Ports, credential: Credential | None) -> str:
    assert credential is not None
    secret = load_secret(ports, credential)
    assert isinstance(secret, HubSecret)
    return secret.token.get_secret_value()


# --- finding ------------------------------------------------------------------------------------------------------
def test_the_only_one_of_its_kind_needs_no_name(world: World) -> None:
    mine = service(world)
    hub = mine.create(OWNER, "hub", HUB, FIRST).credential
    s3 = mine.create(OWNER, "s3", S3, KEYS).credential
    assert find_credential(world.ports, OWNER, HUB, None) == hub
    assert find_credential(world.ports, OWNER, S3, None) == s3
    assert find_credential(world.ports, OWNER, HUB, "hub") == hub


def test_one_is_found_by_its_access_key(world: World) -> None:
    mine = service(world)
    mine.create(OWNER, "a", S3, KEYS)
    b = mine.create(OWNER, "b", S3, Given(access_key_id="AKIASECOND", secret_access_key="x" * 20)).credential
    assert find_credential(world.ports, OWNER, S3, None, access_key_id="AKIASECOND") == b
    for known, code in ((None, "credential_ambiguous"), ("AKIATHIRD", "credential_missing")):
        with pytest.raises(ValidationFailed) as caught:
            find_credential(world.ports, OWNER, S3, None, access_key_id=known)
        assert caught.value.code == code
    assert "--access-key-id AKIATHIRD" in caught.value.detail


@pytest.mark.parametrize(
    ("kind", "name", "code", "advice"),
    [
        (HUB, "nosuch", "credential_missing", "stcloud credentials add nosuch --kind huggingface"),
        (S3, "hub1", "credential_kind", "is of kind huggingface; s3 is needed"),
        (HUB, None, "credential_ambiguous", "hub1, hub2"),
        (S3, None, "credential_missing", "stcloud credentials add NAME --kind s3 --access-key-id ID"),
        (WEBHOOK, None, "credential_missing", "stcloud credentials add NAME --kind webhook"),
    ],
)
def test_what_is_not_found_says_what_to_do(
    world: World, kind: CredentialKind, name: str | None, code: str, advice: str
) -> None:
    for of in ("hub1", "hub2"):
        service(world).create(OWNER, of, HUB, FIRST)
    service(world).create("other", "nosuch", HUB, FIRST)
    with pytest.raises(ValidationFailed) as caught:
        find_credential(world.ports, OWNER, kind, name)
    assert (caught.value.code, caught.value.errors[0].field) == (code, "credential")
    assert advice in caught.value.detail


def test_a_record_that_was_read_before_a_rotation_gives_the_new_secret(world: World) -> None:
    before = service(world).create(OWNER, "hub", HUB, FIRST).credential
    service(world).rotate(OWNER, "hub", SECOND, keep_previous=True)
    assert token(world.ports, before) == SECOND.token


def test_a_secret_that_is_gone_is_a_fault_for_good_and_a_new_one_may_only_be_late(world: World) -> None:
    made = service(world).create(OWNER, "hub", HUB, FIRST).credential
    world.credential_secrets.stored.clear()
    for passed, retry in ((timedelta(0), True), (SETTLES_WITHIN, False)):
        world.clock.advance(passed)
        with pytest.raises(DeliveryFault) as caught:
            load_secret(world.ports, made)
        assert (caught.value.code, caught.value.retry) == ("credential_missing", retry)
        assert "stcloud credentials rotate hub" in caught.value.advice


def test_a_deleted_credential_is_not_used_by_who_read_it_before(world: World) -> None:
    made = service(world).create(OWNER, "hub", HUB, FIRST).credential
    service(world).delete(OWNER, "hub", force=False)
    with pytest.raises(DeliveryFault, match="credential_missing"):
        load_secret(world.ports, made)
    service(world).create(OWNER, "hub", S3, KEYS)
    with pytest.raises(DeliveryFault, match="credential_missing"):
        load_secret(world.ports, made)


def test_what_lies_there_and_is_no_secret_of_its_kind_is_not_used(world: World) -> None:
    made = service(world).create(OWNER, "hub", HUB, FIRST).credential
    for spoiled in ("no json", '{"kind":"s3","token":"x"}', '{"kind":"huggingface","token":7}'):
        world.credential_secrets.stored[OWNER, made.secret_name] = spoiled
        with pytest.raises(DeliveryFault, match="credential_missing"):
            load_secret(world.ports, made)


# --- breaking off -------------------------------------------------------------------------------------------------
STEPS = [
    ("secrets", "put", False),
    ("secrets", "put", True),
    ("credentials", "write", False),
    ("credentials", "write", True),
    ("secrets", "names", False),
    ("secrets", "delete", False),
    ("secrets", "delete", True),
]


def broken(world: World, port: str, step: str, after: bool, write: str) -> dict[str, Any]:
    return {port: FailingOnce(getattr(world.ports, port), write if step == "write" else step, BUSY, after=after)}


def attempt(work: Callable[[], object]) -> bool:
    try:
        work()
    except AppError:
        return False
    return True


@pytest.mark.parametrize(("port", "step", "after"), STEPS)
def test_a_creation_that_broke_off_can_be_used_whole_or_not_at_all(
    world: World, port: str, step: str, after: bool
) -> None:
    creating = service(world, **broken(world, port, step, after, "create"))
    attempt(lambda: creating.create(OWNER, "hub", HUB, FIRST))
    stored = world.ports.credentials.get(OWNER, "hub")
    if stored is not None:
        assert token(world.ports, stored) == FIRST.token
        with pytest.raises(Conflict):
            service(world).create(OWNER, "hub", HUB, SECOND)
        service(world).rotate(OWNER, "hub", SECOND, keep_previous=False)
    else:
        service(world).create(OWNER, "hub", HUB, SECOND)
    assert token(world.ports, world.ports.credentials.get(OWNER, "hub")) == SECOND.token
    service(world).delete(OWNER, "hub", force=False)
    assert world.credential_secrets.stored == {}


@pytest.mark.parametrize(("port", "step", "after"), STEPS)
def test_a_rotation_that_broke_off_leaves_the_old_or_the_new_secret(
    world: World, port: str, step: str, after: bool
) -> None:
    service(world).create(OWNER, "hub", HUB, FIRST)
    rotating = service(world, **broken(world, port, step, after, "update"))
    done = attempt(lambda: rotating.rotate(OWNER, "hub", SECOND, keep_previous=True))
    now = token(world.ports, world.ports.credentials.get(OWNER, "hub"))
    assert now in {FIRST.token, SECOND.token}
    if done:
        assert now == SECOND.token
    third = Given(token="hf_third_secret_00003")
    service(world).rotate(OWNER, "hub", third, keep_previous=True)
    assert token(world.ports, world.ports.credentials.get(OWNER, "hub")) == third.token
    kept = str(world.credential_secrets.stored)
    assert str(FIRST.token) not in kept
    service(world).delete(OWNER, "hub", force=False)
    assert world.credential_secrets.stored == {}


@pytest.mark.parametrize(("port", "step", "after"), STEPS)
def test_a_deletion_that_broke_off_is_finished_by_repeating_it(world: World, port: str, step: str, after: bool) -> None:
    service(world).create(OWNER, "hub", HUB, FIRST)
    deleting = service(world, **broken(world, port, step, after, "delete"))
    attempt(lambda: deleting.delete(OWNER, "hub", force=False))
    attempt(lambda: service(world).delete(OWNER, "hub", force=False))
    assert world.ports.credentials.get(OWNER, "hub") is None
    assert world.credential_secrets.stored == {}
    assert token(world.ports, service(world).create(OWNER, "hub", HUB, SECOND).credential) == SECOND.token


# --- at the same time ---------------------------------------------------------------------------------------------
def test_who_comes_second_with_a_name_leaves_nothing(world: World) -> None:
    first = lambda: service(world).create(OWNER, "hub", HUB, FIRST)  # noqa: E731
    late = service(world, credentials=Between(world.ports.credentials, "create", first))
    with pytest.raises(Conflict) as caught:
        late.create(OWNER, "hub", HUB, SECOND)
    assert caught.value.code == "credential_exists"
    assert token(world.ports, world.ports.credentials.get(OWNER, "hub")) == FIRST.token
    assert len(world.credential_secrets.stored) == 1


def test_of_two_rotations_the_later_one_is_told(world: World) -> None:
    service(world).create(OWNER, "hub", HUB, FIRST)
    first = lambda: service(world).rotate(OWNER, "hub", SECOND, keep_previous=False)  # noqa: E731
    late = service(world, credentials=Between(world.ports.credentials, "update", first))
    with pytest.raises(Conflict) as caught:
        late.rotate(OWNER, "hub", Given(token="hf_late_secret_000004"), keep_previous=False)
    assert caught.value.code == "changed_meanwhile"
    assert token(world.ports, world.ports.credentials.get(OWNER, "hub")) == SECOND.token
    assert len(world.credential_secrets.stored) == 1


def test_cleaning_up_after_a_rotation_takes_nothing_from_the_next_one(world: World) -> None:
    service(world).create(OWNER, "hub", HUB, FIRST)
    third = Given(token="hf_third_secret_00003")
    after = lambda: service(world).rotate(OWNER, "hub", third, keep_previous=False)  # noqa: E731
    slow = service(world, secrets=Between(world.ports.secrets, "names", after))
    slow.rotate(OWNER, "hub", SECOND, keep_previous=False)
    assert token(world.ports, world.ports.credentials.get(OWNER, "hub")) == third.token
    assert len(world.credential_secrets.stored) == 1


def test_a_deletion_goes_on_when_the_credential_is_rotated_under_its_hands(world: World) -> None:
    service(world).create(OWNER, "hub", HUB, FIRST)
    meanwhile = lambda: service(world).rotate(OWNER, "hub", SECOND, keep_previous=False)  # noqa: E731
    deleting = service(world, credentials=Between(world.ports.credentials, "delete", meanwhile))
    deleting.delete(OWNER, "hub", force=False)
    assert world.ports.credentials.get(OWNER, "hub") is None
    assert world.credential_secrets.stored == {}


def test_a_deletion_does_not_go_on_for_ever(world: World) -> None:
    class Changing:
        def __init__(self, port: Any) -> None:
            self._port = port

        def __getattr__(self, name: str) -> Any:
            return getattr(self._port, name)

        def delete(self, credential: Credential) -> None:
            raise StaleRecordError(credential.name)

    service(world).create(OWNER, "hub", HUB, FIRST)
    with pytest.raises(StaleRecordError):
        service(world, credentials=Changing(world.ports.credentials)).delete(OWNER, "hub", force=False)


def test_when_there_is_no_room_the_secret_goes_again(world: World) -> None:
    for n in range(MAX_CREDENTIALS):
        service(world).create(OWNER, f"c{n}", HUB, FIRST)
    with pytest.raises(Conflict) as caught:
        service(world).create(OWNER, "more", HUB, SECOND)
    assert caught.value.code == "too_many_credentials"
    assert len(world.credential_secrets.stored) == MAX_CREDENTIALS
    service(world).create("other", "more", HUB, SECOND)


def test_credentials_whose_names_begin_alike_are_not_mixed_up(world: World) -> None:
    names = ("hub", "hub.a", "hub-a", "hub_a", "huba")
    for name in names:
        service(world).create(OWNER, name, HUB, FIRST)
    service(world).rotate(OWNER, "hub", SECOND, keep_previous=False)
    service(world).delete(OWNER, "hub", force=False)
    for name in names[1:]:
        assert token(world.ports, world.ports.credentials.get(OWNER, name)) == FIRST.token


# --- rotating -----------------------------------------------------------------------------------------------------
def test_the_last_signing_secret_signs_on_and_two_are_the_most(world: World) -> None:
    mine = service(world)
    made = [mine.create(OWNER, "hook", WEBHOOK, Given()).made]
    made += [mine.rotate(OWNER, "hook", Given(), keep_previous=True).made for _ in range(2)]
    secret = load_secret(world.ports, mine.get(OWNER, "hook"))
    assert isinstance(secret, WebhookSecret)
    assert [s.get_secret_value() for s in secret.secrets] == [made[2], made[1]]
    leaked = mine.rotate(OWNER, "hook", Given(), keep_previous=False)
    secret = load_secret(world.ports, leaked.credential)
    assert isinstance(secret, WebhookSecret)
    assert [s.get_secret_value() for s in secret.secrets] == [leaked.made]
    assert len(world.credential_secrets.stored) == 1


def test_a_secret_that_was_lost_can_be_replaced(world: World) -> None:
    mine = service(world)
    mine.create(OWNER, "hook", WEBHOOK, Given())
    world.credential_secrets.stored.clear()
    kept = mine.rotate(OWNER, "hook", Given(), keep_previous=True)
    secret = load_secret(world.ports, kept.credential)
    assert isinstance(secret, WebhookSecret)
    assert len(secret.secrets) == 1


def test_the_access_key_stays_unless_a_new_one_is_given(world: World) -> None:
    mine = service(world)
    mine.create(OWNER, "s3", S3, KEYS)
    kept = mine.rotate(OWNER, "s3", Given(secret_access_key="second-secret"), keep_previous=True).credential
    secret = load_secret(world.ports, kept)
    assert isinstance(secret, S3Secret)
    assert (kept.hint, secret.access_key_id) == ("AKIAFIRST", "AKIAFIRST")
    new = Given(access_key_id="AKIANEW", secret_access_key="third-secret")
    assert mine.rotate(OWNER, "s3", new, keep_previous=True).credential.hint == "AKIANEW"


def test_what_was_tested_is_forgotten_with_the_old_secret(world: World) -> None:
    made = service(world).create(OWNER, "hub", HUB, FIRST).credential
    now = world.clock.now()
    world.ports.credentials.update(made.changed(now, tested_at=now, test_passed=True, facts=("writes as alice",)))
    kept = service(world).rotate(OWNER, "hub", SECOND, keep_previous=True).credential
    assert (kept.tested_at, kept.test_passed, kept.facts) == (None, None, ())
    assert (kept.secret_version, kept.rotated_at, kept.created_at) == (2, now, made.created_at)


# --- people -------------------------------------------------------------------------------------------------------
def test_all_secrets_of_somebody_who_is_deleted_go(world: World) -> None:
    mine = service(world)
    for name, owner in itertools.product(("a", "b"), (OWNER, "other")):
        mine.create(owner, name, HUB, FIRST)
    world.ports.secrets.put(OWNER, "channel.1", {"secrets": ["whsec_x"]})
    world.ports.secrets.put(OWNER, "a/000009-orphan", {"token": "x"})
    broken_off = replace(world.ports, secrets=FailingOnce(world.ports.secrets, "delete", BUSY, after=True))
    with pytest.raises(Unavailable):
        forget_owner(broken_off, OWNER)
    forget_owner(world.ports, OWNER)
    assert world.ports.credentials.list_of(OWNER) == []
    assert {owner for owner, _ in world.credential_secrets.stored} == {"other"}
    forget_owner(world.ports, OWNER)
    assert len(world.ports.credentials.list_of("other")) == 2


@pytest.mark.parametrize(
    ("port", "step", "after"),
    [
        ("secrets", "put", False),
        ("secrets", "put", True),
        ("credentials", "create", False),
        ("credentials", "create", True),
        ("secrets", "delete", False),
        ("secrets", "delete", True),
        ("credentials", "delete", False),
        ("credentials", "delete", True),
    ],
)
def test_a_handover_that_broke_off_loses_nothing_and_goes_on(world: World, port: str, step: str, after: bool) -> None:
    service(world).create(OWNER, "hub", HUB, FIRST)
    broken_off = replace(world.ports, **{port: FailingOnce(getattr(world.ports, port), step, BUSY, after=after)})
    with pytest.raises(Unavailable):
        hand_over(broken_off, OWNER, "ada")
    hand_over(world.ports, OWNER, "ada")
    assert token(world.ports, world.ports.credentials.get("ada", "hub")) == FIRST.token
    assert world.ports.credentials.list_of(OWNER) == []
    assert {owner for owner, _ in world.credential_secrets.stored} == {"ada"}
    assert hand_over(world.ports, OWNER, "ada") == 0


def test_a_name_that_the_new_owner_has_already_gets_an_ending(world: World) -> None:
    mine, long = service(world), "x" * 63
    for name in ("hub", long):
        mine.create(OWNER, name, HUB, FIRST)
        mine.create("ada", name, HUB, SECOND)
    assert hand_over(world.ports, OWNER, "ada") == 2
    names = [c.name for c in world.ports.credentials.list_of("ada")]
    assert names == ["hub", "hub-local", "x" * 57 + "-local", long]
    assert token(world.ports, world.ports.credentials.get("ada", "hub-local")) == FIRST.token
    assert token(world.ports, world.ports.credentials.get("ada", "hub")) == SECOND.token


def test_what_finds_no_room_stays_where_it_is(world: World) -> None:
    for n in range(MAX_CREDENTIALS):
        service(world).create("ada", f"c{n}", HUB, SECOND)
    service(world).create(OWNER, "hub", HUB, FIRST)
    assert hand_over(world.ports, OWNER, "ada") == 0
    assert token(world.ports, world.ports.credentials.get(OWNER, "hub")) == FIRST.token
    assert len(world.credential_secrets.stored) == MAX_CREDENTIALS + 1


def test_uses_come_from_all_who_name_credentials(world: World) -> None:
    finders = (lambda _ports, owner, name: [f"{owner} {name}"], lambda *_: [], lambda *_: ["two", "three"])
    assert credential_uses.at_work(world.ports, OWNER, "hub", finders) == ["local hub", "two", "three"]
    assert credential_uses.uses(world.ports, OWNER, "hub") == []
