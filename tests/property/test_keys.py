"""Properties of API keys and of audit ids."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.api_keys import (
    ALPHABET,
    KEY_PATTERN,
    SECRET_LENGTH,
    SERIAL_LENGTH,
    compose,
    parse,
    permissions_of,
)
from chalicelib.domain.audit import record_id, time_of
from chalicelib.domain.people import handle_of
from chalicelib.domain.permissions import PEOPLE_ONLY, ROLES, Permission, Role, granted
from tests.support.doors import a_person

SERIALS = st.text(ALPHABET, min_size=SERIAL_LENGTH, max_size=SERIAL_LENGTH)
SECRETS = st.text(ALPHABET, min_size=SECRET_LENGTH, max_size=SECRET_LENGTH)
SCOPES = st.none() | st.frozensets(st.sampled_from(list(Permission)))
TIMES = st.datetimes(datetime(1970, 1, 1), datetime(5000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds are naive


@settings(derandomize=True, max_examples=200)
@given(st.text(), SERIALS, SECRETS)
def test_whatever_is_composed_is_parsed_again(user_id: str, serial: str, secret: str) -> None:
    text = compose(user_id, serial, secret)
    presented = parse(text)
    assert re.fullmatch(KEY_PATTERN, text)
    assert presented is not None
    assert (presented.handle, presented.key_id) == (handle_of(user_id), handle_of(user_id) + serial)
    assert presented.secret == secret
    assert secret not in repr(presented)


@settings(derandomize=True, max_examples=300)
@given(SERIALS, SECRETS, st.integers(4, 65), st.characters())
def test_one_wrong_character_is_always_noticed(serial: str, secret: str, place: int, other: str) -> None:
    text = compose("sub-ada", serial, secret)
    wrong = text[:place] + other + text[place + 1 :]
    assert wrong == text or parse(wrong) is None


@settings(derandomize=True, max_examples=300)
@given(st.text() | st.text("stk_" + ALPHABET, min_size=60, max_size=70))
def test_any_text_may_be_sent(text: str) -> None:
    presented = parse(text)
    assert presented is None or re.fullmatch(KEY_PATTERN, text)


@settings(derandomize=True, max_examples=300)
@given(SCOPES, st.sampled_from(list(Role)), st.booleans())
def test_a_key_never_does_more_than_its_owner(scopes: frozenset[Permission] | None, role: Role, active: bool) -> None:
    held = permissions_of(scopes, a_person(role=role, active=active))
    assert held <= granted(ROLES[role]) - PEOPLE_ONLY
    assert active or not held
    assert scopes is None or held <= granted(scopes)
    assert granted(held) - PEOPLE_ONLY == held, "what it implies is part of it"


@settings(derandomize=True, max_examples=200)
@given(TIMES, TIMES, st.text(ALPHABET + "-_", min_size=1), st.text(ALPHABET + "-_", min_size=1))
def test_ids_sort_by_time(one: datetime, two: datetime, token: str, other: str) -> None:
    assert time_of(record_id(one, token)) == one
    assert one == two or (record_id(one, token) < record_id(two, other)) == (one < two)
