"""Whose answer to a sign-in challenge counts on the emulator (itself: tests/contracts/test_user_pool.py)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from local.emulator.challenges import VALID_SECONDS, Asked, Challenges

ASKED = Asked("pool", "client", "ada", "NEW_PASSWORD_REQUIRED")


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_question_is_open_for_who_was_asked_until_it_is_answered(clock: Clock) -> None:
    challenges = Challenges(clock)
    challenges.ask("state", ASKED)
    assert challenges.is_open("state", ASKED)
    assert challenges.is_open("state", ASKED)
    challenges.close("state")
    assert not challenges.is_open("state", ASKED)
    challenges.close("state")


@pytest.mark.parametrize(
    "other",
    [
        replace(ASKED, user="ben"),
        replace(ASKED, pool="another"),
        replace(ASKED, client="another"),
        replace(ASKED, challenge="SOFTWARE_TOKEN_MFA"),
    ],
)
def test_nobody_else_and_no_other_question(clock: Clock, other: Asked) -> None:
    challenges = Challenges(clock)
    challenges.ask("state", ASKED)
    assert not challenges.is_open("state", other)
    assert not challenges.is_open("another state", ASKED)
    assert not challenges.is_open("", ASKED)


def test_questions_are_forgotten_after_three_minutes(clock: Clock) -> None:
    challenges = Challenges(clock)
    challenges.ask("old", ASKED)
    clock.seconds += VALID_SECONDS
    assert not challenges.is_open("old", ASKED)
    challenges.ask("new", ASKED)
    assert list(challenges._open) == ["new"]
