"""API keys: their text, their life, and what they may do."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from decimal import Decimal

import pytest

from chalicelib.domain.api_keys import (
    ALPHABET,
    KEY_PATTERN,
    checksum,
    compose,
    parse,
    permissions_of,
    principal_of,
)
from chalicelib.domain.people import handle_of
from chalicelib.domain.permissions import PEOPLE_ONLY, ROLES, CallerKind, Permission, Role, granted
from tests.support.doors import a_key_text, a_person, an_api_key
from tests.support.jobs import NOW

SECRET = "s" * 32


def test_a_key_says_whose_it_is_and_which() -> None:
    text = a_key_text()
    presented = parse(text)
    assert presented is not None
    assert re.fullmatch(KEY_PATTERN, text)
    assert presented.handle == handle_of("sub-ada")
    assert presented.key_id == handle_of("sub-ada") + "0000000001"
    assert text == f"stk_{presented.key_id}_{SECRET}{checksum(text[:-6])}"


def test_a_known_key_keeps_its_form_for_ever() -> None:
    """Keys out there and scanners depend on it."""
    text = compose("0f8fad5b-d9cb-469f-a165-70867728950e", "0123456789", "Abcdefghijklmnopqrstuvwxyz012345")
    assert text == "stk_mxbau6bsgfxtc0123456789_Abcdefghijklmnopqrstuvwxyz0123450iic1H"
    presented = parse(text)
    assert presented is not None
    assert presented.secret_sha256 == "99ace9ac249ad4adce3e97d48cf9e52fd415e937dbe66c07e4c03f954a2d3ac1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "stk_",
        a_key_text()[:-1],
        a_key_text() + "0",
        a_key_text() + "\n",
        " " + a_key_text(),
        a_key_text().replace("stk_", "sk_"),
        a_key_text().upper(),
        a_key_text().replace("s" * 32, "s" * 31 + "t"),
        a_key_text().replace("_", "-"),
        a_key_text()[:-1] + ("0" if a_key_text()[-1] != "0" else "1"),
        "stk_" + "a" * 13 + "é" * 10 + "_" + "s" * 38,
        "stk_" + "x" * 100_000,
    ],
)
def test_what_is_no_key_is_none(text: str) -> None:
    assert parse(text) is None


def test_every_single_wrong_character_is_noticed() -> None:
    text = a_key_text()
    for i in range(4, len(text)):
        for other in ALPHABET[::7]:
            if other != text[i]:
                assert parse(text[:i] + other + text[i + 1 :]) is None


def test_no_secret_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    presented, key = parse(a_key_text()), an_api_key()
    logging.getLogger(__name__).warning("%s %r %s %r", presented, presented, key, key)
    for text in (repr(presented), str(presented), repr(key), str(key), caplog.text):
        assert SECRET not in text
        assert key.secret_sha256 not in text


def test_a_key_knows_its_secret_and_no_other() -> None:
    key = an_api_key()
    presented, other = parse(a_key_text()), parse(a_key_text(secret="t" * 32))
    another = parse(a_key_text(serial="0000000002"))
    assert presented is not None
    assert other is not None
    assert another is not None
    assert key.knows(presented)
    assert not key.knows(other)
    assert not key.knows(another)


def test_a_key_lives_until_it_is_revoked_or_expires() -> None:
    tick = timedelta(microseconds=1)
    assert an_api_key().is_live(NOW + timedelta(days=10_000))
    assert an_api_key(expires_at=NOW).is_live(NOW - tick)
    assert not an_api_key(expires_at=NOW).is_live(NOW)
    assert not an_api_key(revoked_at=NOW, expires_at=NOW + tick).is_live(NOW)
    assert an_api_key(revoked_at=NOW, expires_at=NOW + tick).ends_at == NOW
    assert an_api_key().ends_at > NOW + timedelta(days=100_000)


@pytest.mark.parametrize("role", list(Role))
def test_a_key_may_what_its_owner_may_but_for_what_is_for_people(role: Role) -> None:
    owned = granted(ROLES[role])
    person = a_person(role=role)
    assert permissions_of(None, person) == owned - PEOPLE_ONLY
    assert permissions_of(frozenset(Permission), person) == owned - PEOPLE_ONLY
    assert permissions_of(frozenset(), person) == frozenset()
    assert permissions_of(None, a_person(role=role, active=False)) == frozenset()
    for wanted in Permission:
        held = permissions_of({wanted}, person)
        assert held <= granted({wanted}) & owned
        assert not held & PEOPLE_ONLY


def test_a_scope_for_all_falls_back_to_own_when_the_owner_may_no_more() -> None:
    assert permissions_of({Permission.JOB_VIEW_ALL}, a_person(role=Role.RESEARCHER)) == {Permission.JOB_VIEW_OWN}


def test_the_caller_behind_a_key() -> None:
    key = an_api_key(
        scopes=frozenset({Permission.JOB_SUBMIT}), budget_usd=Decimal(5), providers=frozenset({"replicate"})
    )
    who = principal_of(key, a_person())
    assert (who.owner, who.kind, who.name, who.key_id) == ("sub-ada", CallerKind.KEY, "ada", key.key_id)
    assert who.permissions == {Permission.JOB_SUBMIT}
    assert (who.providers, who.budget_usd) == (frozenset({"replicate"}), Decimal(5))
    assert who.budget_id == key.key_id
    assert principal_of(an_api_key(2, budget_id=key.key_id), a_person()).budget_id == key.key_id
