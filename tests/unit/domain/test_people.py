"""Handles, names and addresses."""

from __future__ import annotations

import re

import pytest

from chalicelib.domain.people import USERNAME_PATTERN, handle_of, is_email


def test_a_handle_is_short_stable_and_fits_into_a_key() -> None:
    assert handle_of("sub-ada") == handle_of("sub-ada")
    assert re.fullmatch(r"[a-z2-7]{13}", handle_of("sub-ada"))
    assert len({handle_of(f"sub-{n}") for n in range(1000)}) == 1000
    assert re.fullmatch(r"[a-z2-7]{13}", handle_of("\ud800"))


@pytest.mark.parametrize("text", ["a@b", "ada@example.com", "a.b+c@ex-ample.co.jp", "ü@例え.jp"])
def test_addresses(text: str) -> None:
    assert is_email(text)


@pytest.mark.parametrize("text", ["", "ada", "@b", "a@", "a b@c", "a@b@c", "a@b\n", "a\x00@b", "x" * 65 + "@b"])
def test_what_is_no_address(text: str) -> None:
    assert not is_email(text)


@pytest.mark.parametrize(("name", "good"), [("ada", True), ("a.b-c_9", True), ("a", False), ("-ada", False)])
@pytest.mark.parametrize("tail", ["", "#", " ", "@x", "/", "é"])
def test_usernames_hold_nothing_that_separates(name: str, good: bool, tail: str) -> None:
    assert bool(re.fullmatch(USERNAME_PATTERN, name + tail)) == (good and not tail)
