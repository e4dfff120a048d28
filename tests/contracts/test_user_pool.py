"""The UserPool and SessionVerifier ports: the pool in memory, and Cognito on the emulator with the API's own rights."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import ClientError

from chalicelib.aws.cognito import CognitoUserPool
from chalicelib.aws.jwks import pool_verifier
from chalicelib.domain.access_ports import (
    InvalidSessionError,
    PasswordRefusedError,
    SignInError,
    UnknownUserError,
    UserExistsError,
)
from chalicelib.domain.permissions import Role
from tests.support.emulator import Emulator
from tests.support.pools import PASSWORD, CognitoStage, Stage, add, asked, mail, session_of

OTHER, WEAK = "Battery-Staple-2", "short"
NEW, TOTP = "NEW_PASSWORD_REQUIRED", "SOFTWARE_TOKEN_MFA"


def test_a_new_user_signs_in_with_the_role_it_was_made_with(stage: Stage, name: str) -> None:
    sub = add(stage, name, Role.LEAD)
    tokens = stage.pool.sign_in(name, PASSWORD)
    session = session_of(stage, tokens)
    assert (session.user_id, session.username, session.role) == (sub, name, Role.LEAD)
    assert tokens.expires_in == 900
    assert tokens.refresh
    assert 890 <= (session.expires_at - stage.now()).total_seconds() <= 901
    assert session_of(stage, stage.pool.sign_in(name, PASSWORD)).token_id != session.token_id


@pytest.mark.parametrize("password", ["Wrong-Password-1", "", PASSWORD.lower(), PASSWORD + " ", "x" * 300, "\x00"])
def test_a_wrong_password_and_an_unknown_name_are_refused_alike(stage: Stage, name: str, password: str) -> None:
    add(stage, name)
    refusals = []
    for who in (name, f"no-{name}"):
        with pytest.raises(SignInError) as caught:
            stage.pool.sign_in(who, password)
        refusals.append((type(caught.value), caught.value.args))
    assert refusals[0] == refusals[1]


def test_names_are_the_same_in_any_case(stage: Stage, name: str) -> None:
    sub = add(stage, name.capitalize())
    assert session_of(stage, stage.pool.sign_in(name.upper(), PASSWORD)).user_id == sub
    with pytest.raises(UserExistsError):
        stage.pool.create(name.upper(), "other@example.com", password=PASSWORD, role=Role.VIEWER)


def test_names_and_addresses_are_taken_once(stage: Stage, name: str) -> None:
    add(stage, name)
    with pytest.raises(UserExistsError):
        stage.pool.create(name, f"other-{mail(name)}", password=PASSWORD, role=Role.ADMIN)
    with pytest.raises(UserExistsError):
        stage.pool.create(f"{name}b", mail(name), password=PASSWORD, role=Role.ADMIN)
    assert session_of(stage, stage.pool.sign_in(name, PASSWORD)).role is Role.RESEARCHER


def test_many_at_once_make_one_user(stage: Stage, name: str) -> None:
    def create(_: int) -> str | None:
        try:
            return add(stage, name)
        except UserExistsError:
            return None

    with ThreadPoolExecutor(6) as threads:
        made = [sub for sub in threads.map(create, range(6)) if sub]
    assert len(made) == 1
    assert session_of(stage, stage.pool.sign_in(name, PASSWORD)).user_id == made[0]


@pytest.mark.parametrize("password", [WEAK, "", "lower-case-only-1", "Letters-Alone-Here"])
def test_a_password_against_the_policy_makes_no_user(stage: Stage, name: str, password: str) -> None:
    with pytest.raises(PasswordRefusedError) as caught:
        stage.pool.create(name, mail(name), password=password, role=Role.ADMIN)
    assert caught.value.args[0]
    assert not password or password not in caught.value.args[0]
    assert add(stage, name)


def test_an_invited_user_chooses_a_password_first(stage: Stage, name: str) -> None:
    sub = stage.pool.create(name, mail(name), password=None, role=Role.VIEWER)
    question = asked(stage, name, stage.invitation(name))
    assert question.name == NEW
    with pytest.raises(PasswordRefusedError):
        stage.pool.answer_challenge(name, NEW, question.session, WEAK)
    tokens = stage.pool.answer_challenge(name, NEW, question.session, OTHER)
    assert (session_of(stage, tokens).user_id, session_of(stage, tokens).role) == (sub, Role.VIEWER)
    assert stage.pool.sign_in(name, OTHER).refresh
    # The state is used up.
    with pytest.raises(SignInError):
        stage.pool.answer_challenge(name, NEW, question.session, PASSWORD)


def test_a_challenge_is_answered_by_who_was_asked_alone(stage: Stage, name: str) -> None:
    other = f"{name}b"
    add(stage, name, Role.ADMIN)
    stage.pool.create(other, mail(other), password=None, role=Role.VIEWER)
    question = asked(stage, other, stage.invitation(other))
    for state in (question.session, "A" * 40, ""):
        with pytest.raises(SignInError):
            stage.pool.answer_challenge(name, NEW, state, OTHER)
    # Nor with the state of another question.
    with pytest.raises(SignInError):
        stage.pool.answer_challenge(other, TOTP, question.session, "000000")
    with pytest.raises(SignInError):
        stage.pool.answer_challenge(other, "CUSTOM_CHALLENGE", question.session, OTHER)
    with pytest.raises(SignInError):
        stage.pool.answer_challenge(f"no-{name}", NEW, question.session, OTHER)
    assert stage.pool.sign_in(name, PASSWORD).access
    with pytest.raises(SignInError):
        stage.pool.sign_in(name, OTHER)


def test_only_the_user_that_is_meant_is_deleted(stage: Stage, name: str) -> None:
    sub = add(stage, name)
    stage.pool.delete(name, only="another-sub")
    assert stage.pool.sign_in(name, PASSWORD).access
    stage.pool.delete(name, only=sub)
    stage.pool.delete(name, only=sub)
    with pytest.raises(SignInError):
        stage.pool.sign_in(name, PASSWORD)


def test_a_refreshed_session_is_the_same_person_with_the_role_of_now(stage: Stage, name: str) -> None:
    sub = add(stage, name)
    first = stage.pool.sign_in(name, PASSWORD)
    assert first.refresh
    stage.pool.set_role(name, Role.VIEWER)
    # The one before keeps its role until it ends.
    assert session_of(stage, first).role is Role.RESEARCHER
    renewed = stage.pool.refresh(first.refresh)
    assert renewed.refresh is None
    session = session_of(stage, renewed)
    assert (session.user_id, session.role) == (sub, Role.VIEWER)
    assert session.token_id != session_of(stage, first).token_id


@pytest.mark.parametrize("token", ["", "junk", "a.b.c", "x" * 5000])
def test_what_is_no_refresh_token_refreshes_nothing_and_signs_nobody_out(stage: Stage, token: str) -> None:
    with pytest.raises(SignInError):
        stage.pool.refresh(token)
    stage.pool.sign_out(token)


def test_signing_out_ends_that_session_alone(stage: Stage, name: str) -> None:
    add(stage, name)
    here, there = stage.pool.sign_in(name, PASSWORD), stage.pool.sign_in(name, PASSWORD)
    assert here.refresh
    assert there.refresh
    stage.pool.sign_out(here.refresh)
    with pytest.raises(SignInError):
        stage.pool.refresh(here.refresh)
    with pytest.raises(SignInError):
        stage.pool.change_password(here.access, PASSWORD, OTHER)
    assert stage.pool.refresh(there.refresh).access
    stage.pool.sign_out(here.refresh)


def test_signing_out_everywhere_ends_all_of_one_person(stage: Stage, name: str) -> None:
    add(stage, name)
    add(stage, f"{name}b")
    mine = [stage.pool.sign_in(name, PASSWORD).refresh for _ in range(2)]
    theirs = stage.pool.sign_in(f"{name}b", PASSWORD).refresh
    stage.pool.sign_out_everywhere(name)
    for token in mine:
        with pytest.raises(SignInError):
            stage.pool.refresh(str(token))
    assert stage.pool.refresh(str(theirs)).access


def test_a_password_is_changed_by_who_knows_the_old_one(stage: Stage, name: str) -> None:
    add(stage, name)
    access = stage.pool.sign_in(name, PASSWORD).access
    with pytest.raises(SignInError):
        stage.pool.change_password(access, OTHER, OTHER)
    with pytest.raises(SignInError):
        stage.pool.change_password("a.b.c", PASSWORD, OTHER)
    with pytest.raises(PasswordRefusedError):
        stage.pool.change_password(access, PASSWORD, WEAK)
    stage.pool.change_password(access, PASSWORD, OTHER)
    assert stage.pool.sign_in(name, OTHER).access
    with pytest.raises(SignInError):
        stage.pool.sign_in(name, PASSWORD)


def test_a_disabled_user_is_out_and_old_sessions_stay_dead(stage: Stage, name: str) -> None:
    add(stage, name)
    before = stage.pool.sign_in(name, PASSWORD)
    stage.pool.set_enabled(name, enabled=False)
    with pytest.raises(SignInError):
        stage.pool.sign_in(name, PASSWORD)
    stage.pool.set_enabled(name, enabled=True)
    with pytest.raises(SignInError):
        stage.pool.refresh(str(before.refresh))
    assert stage.pool.sign_in(name, PASSWORD).access


def test_a_deleted_user_is_gone_and_the_name_free(stage: Stage, name: str) -> None:
    first = add(stage, name)
    before = stage.pool.sign_in(name, PASSWORD)
    stage.pool.delete(name)
    stage.pool.delete(name)
    for refused in (
        lambda: stage.pool.sign_in(name, PASSWORD),
        lambda: stage.pool.refresh(str(before.refresh)),
    ):
        with pytest.raises(SignInError):
            refused()
    # Another person, whatever the name.
    assert add(stage, name) != first
    with pytest.raises(SignInError):
        stage.pool.refresh(str(before.refresh))


def test_unknown_users_are_told_to_who_manages_them(stage: Stage, name: str) -> None:
    with pytest.raises(UnknownUserError):
        stage.pool.set_role(name, Role.ADMIN)
    for enabled in (True, False):
        with pytest.raises(UnknownUserError):
            stage.pool.set_enabled(name, enabled=enabled)
    stage.pool.sign_out_everywhere(name)


@pytest.mark.parametrize("text", ["", "junk", "a.b.c", "stk_x"])
def test_what_is_no_access_token_is_no_session(stage: Stage, text: str) -> None:
    with pytest.raises(InvalidSessionError):
        stage.verifier.verify(text, stage.now())


def test_refresh_tokens_are_no_sessions(stage: Stage, name: str) -> None:
    add(stage, name)
    with pytest.raises(InvalidSessionError):
        stage.verifier.verify(str(stage.pool.sign_in(name, PASSWORD).refresh), stage.now())


# --- what only Cognito can show -----------------------------------------------------------------------------------


def test_the_address_signs_in_as_well(cognito: CognitoStage, name: str) -> None:
    sub = add(cognito, name)
    assert session_of(cognito, cognito.pool.sign_in(mail(name), PASSWORD)).user_id == sub


def test_id_tokens_and_other_clients_are_no_sessions(cognito: CognitoStage, name: str) -> None:
    add(cognito, name)
    result = cognito._root.admin_initiate_auth(
        UserPoolId=cognito.pool_id,
        ClientId=cognito.client_id,
        AuthFlow="ADMIN_USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": name, "PASSWORD": PASSWORD},
    )["AuthenticationResult"]
    assert cognito.verifier.verify(result["AccessToken"], cognito.now()).username == name
    with pytest.raises(InvalidSessionError):
        cognito.verifier.verify(result["IdToken"], cognito.now())
    another = pool_verifier(cognito.pool_id, "another-client", cognito.jwks_url)
    with pytest.raises(InvalidSessionError):
        another.verify(result["AccessToken"], cognito.now())


def test_a_user_is_in_the_group_of_the_role_and_no_other(cognito: CognitoStage, name: str) -> None:
    add(cognito, name, Role.ADMIN)
    for role in (Role.VIEWER, Role.VIEWER, Role.LEAD):
        cognito.pool.set_role(name, role)
        assert cognito.groups(name) == [role.value]


def test_nobody_tries_passwords_past_our_api(cognito: CognitoStage, emulator: Emulator, name: str) -> None:
    add(cognito, name)
    unsigned = Config(signature_version=UNSIGNED, proxies={}, connect_timeout=5, read_timeout=30)
    public = boto3.client("cognito-idp", endpoint_url=emulator.url, region_name="us-east-1", config=unsigned)
    given = {"USERNAME": name, "PASSWORD": PASSWORD}
    try:
        # With the right password even: the public flow is closed, and the other one needs the API's role.
        with pytest.raises(ClientError, match="flow not enabled"):
            public.initiate_auth(ClientId=cognito.client_id, AuthFlow="USER_PASSWORD_AUTH", AuthParameters=given)
        with pytest.raises(ClientError, match="Authentication"):
            public.admin_initiate_auth(
                UserPoolId=cognito.pool_id,
                ClientId=cognito.client_id,
                AuthFlow="ADMIN_USER_PASSWORD_AUTH",
                AuthParameters=given,
            )
    finally:
        public.close()


def test_the_rights_are_for_one_pool(cognito: CognitoStage, emulator: Emulator, name: str) -> None:
    other = emulator.client("cognito-idp").create_user_pool(PoolName=name)["UserPool"]["Id"]
    elsewhere = CognitoUserPool(cognito.clients.cognito, other, cognito.client_id)
    with pytest.raises(ClientError, match="AccessDenied"):
        elsewhere.create(name, mail(name), password=PASSWORD, role=Role.ADMIN)
    assert not cognito.has(name)


def test_a_temporary_password_lets_in_to_choose_another(stage: Stage, name: str) -> None:
    stage.pool.create(name, mail(name), password=PASSWORD, role=Role.RESEARCHER, temporary=True)
    challenge = asked(stage, name, PASSWORD)
    assert challenge.name == NEW
    assert stage.pool.answer_challenge(name, NEW, challenge.session, OTHER).refresh
    assert stage.pool.sign_in(name, OTHER).access


def test_a_reset_ends_the_old_password_and_the_sessions(stage: Stage, name: str) -> None:
    add(stage, name)
    before = stage.pool.sign_in(name, PASSWORD)
    stage.pool.reset_password(name, OTHER)
    for refused in (lambda: stage.pool.sign_in(name, PASSWORD), lambda: stage.pool.refresh(before.refresh or "")):
        with pytest.raises(SignInError):
            refused()
    assert asked(stage, name, OTHER).name == NEW


def test_a_reset_by_mail_leaves_no_password_that_was_known(stage: Stage, name: str) -> None:
    add(stage, name)
    stage.pool.reset_password(name, None)
    with pytest.raises(SignInError):
        stage.pool.sign_in(name, PASSWORD)
    assert asked(stage, name, stage.invitation(name)).name == NEW


def test_a_reset_holds_to_the_policy_and_to_who_is_there(stage: Stage, name: str) -> None:
    with pytest.raises(UnknownUserError):
        stage.pool.reset_password(name, OTHER)
    add(stage, name)
    with pytest.raises(PasswordRefusedError):
        stage.pool.reset_password(name, WEAK)
    assert stage.pool.sign_in(name, PASSWORD).access
