"""The UserPool port: authenticator apps, asked for by who added one, and by everybody where they are a must."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib.domain.access_ports import SignInError, WrongCodeError
from tests.support.emulator import Emulator
from tests.support.pools import PASSWORD, CognitoStage, MemoryStage, Stage, add, asked, session_of

TOTP, SETUP = "SOFTWARE_TOKEN_MFA", "MFA_SETUP"


@pytest.fixture(scope="module")
def strict_cognito(emulator: Emulator) -> Iterator[CognitoStage]:
    stage = CognitoStage(emulator, "on")
    yield stage
    stage.clients.close()


@pytest.fixture(params=["memory", "cognito"])
def strict(request: pytest.FixtureRequest) -> Stage:
    """Nobody gets in without a second factor."""
    if request.param == "memory":
        return MemoryStage("on")
    stage: Stage = request.getfixturevalue("strict_cognito")
    return stage


def test_an_authenticator_is_asked_for_its_code(stage: Stage, name: str) -> None:
    add(stage, name)
    stage.add_authenticator(name, PASSWORD)
    question = asked(stage, name, PASSWORD)
    assert question.name == TOTP
    with pytest.raises(SignInError):
        stage.pool.answer_challenge(name, TOTP, question.session, "no code")
    with pytest.raises(SignInError):
        stage.pool.answer_challenge(name, TOTP, "A" * 40, stage.code(name))
    tokens = stage.pool.answer_challenge(name, TOTP, question.session, stage.code(name))
    assert session_of(stage, tokens).username == name


def test_a_second_factor_that_is_a_must_is_added_at_sign_in(strict: Stage, name: str) -> None:
    add(strict, name)
    add(strict, f"{name}b")
    question = asked(strict, name, PASSWORD)
    assert question.name == SETUP
    assert question.secret
    for who, state, code in (
        (name, question.session, "000000"),
        (name, "A" * 40, strict.shows(question.secret)),
        (f"{name}b", question.session, "000000"),
    ):
        with pytest.raises(SignInError):
            strict.pool.answer_challenge(who, SETUP, state, code)
    tokens = strict.pool.answer_challenge(name, SETUP, question.session, strict.shows(question.secret))
    assert session_of(strict, tokens).username == name
    with pytest.raises(SignInError):
        strict.pool.answer_challenge(name, SETUP, question.session, strict.shows(question.secret))
    again = asked(strict, name, PASSWORD)
    assert (again.name, again.secret) == (TOTP, None)
    assert strict.pool.answer_challenge(name, TOTP, again.session, strict.shows(question.secret)).access


def test_nobody_elses_second_factor_is_set_up(strict: Stage, name: str) -> None:
    add(strict, name)
    add(strict, f"{name}b")
    question = asked(strict, f"{name}b", PASSWORD)
    assert question.secret
    with pytest.raises(SignInError):
        strict.pool.answer_challenge(name, SETUP, question.session, strict.shows(question.secret))
    assert asked(strict, name, PASSWORD).name == SETUP


def test_an_authenticator_counts_from_its_first_code_until_it_is_removed(stage: Stage, name: str) -> None:
    add(stage, name)
    access = stage.pool.sign_in(name, PASSWORD).access
    with pytest.raises(WrongCodeError):
        stage.pool.enable_authenticator(access, "000000")
    secret = stage.pool.new_authenticator(access)
    assert stage.pool.sign_in(name, PASSWORD).access
    with pytest.raises(WrongCodeError):
        stage.pool.enable_authenticator(access, "no code")
    stage.pool.enable_authenticator(access, stage.shows(secret))
    assert asked(stage, name, PASSWORD).name == TOTP
    stage.pool.disable_authenticator(access)
    assert stage.pool.sign_in(name, PASSWORD).access
    for call in (
        lambda: stage.pool.new_authenticator("a.b.c"),
        lambda: stage.pool.enable_authenticator("a.b.c", "000000"),
        lambda: stage.pool.disable_authenticator("a.b.c"),
    ):
        with pytest.raises(SignInError):
            call()
