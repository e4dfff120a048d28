"""What Cognito's errors mean, what is undone when a step fails, and that no secret gets into an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, ParamValidationError

from chalicelib.aws.cognito import CognitoUserPool
from chalicelib.domain.access_ports import (
    ChallengeError,
    NoFactorsError,
    PasswordRefusedError,
    SignInError,
    Tokens,
    UnknownUserError,
    UserExistsError,
    WrongCodeError,
)
from chalicelib.domain.permissions import Role
from chalicelib.errors import TooManyRequests, Unavailable, ValidationFailed
from tests.unit.aws.aws_doubles import Script, timed_out

SECRET = "Canary-Password-123"
TOKENS = {"AuthenticationResult": {"AccessToken": "acc", "RefreshToken": "ref", "IdToken": "id", "ExpiresIn": 900}}
NOBODY: dict[str, Any] = {"Users": []}
MADE = {"User": {"Attributes": [{"Name": "email", "Value": "a@x.io"}, {"Name": "sub", "Value": "sub-1"}]}}


def refused(code: str, message: str = "no", status: int = 400) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Op")


def pool(**answers: Any) -> tuple[CognitoUserPool, Script]:
    script = Script(**answers)
    return CognitoUserPool(script, "eu-west-1_Abc", "client"), script


Call = Callable[[CognitoUserPool], Any]
CALLS: dict[str, tuple[str, Call]] = {
    "sign in": ("admin_initiate_auth", lambda p: p.sign_in("alice", SECRET)),
    "refresh": ("admin_initiate_auth", lambda p: p.refresh(SECRET)),
    "answer": (
        "admin_respond_to_auth_challenge",
        lambda p: p.answer_challenge("alice", "SOFTWARE_TOKEN_MFA", "state", SECRET),
    ),
    "change": ("change_password", lambda p: p.change_password("acc", SECRET, SECRET)),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "error",
    [
        *[
            refused(code, f"quotes {SECRET}")
            for code in (
                "NotAuthorizedException",
                "UserNotFoundException",
                "UserNotConfirmedException",
                "PasswordResetRequiredException",
                "CodeMismatchException",
                "ExpiredCodeException",
                "InvalidParameterException",
            )
        ],
        ParamValidationError(report=f"quotes {SECRET}"),
    ],
    ids=lambda e: getattr(e, "response", {}).get("Error", {}).get("Code", "SDK"),
)
def test_every_refusal_is_the_same_one_and_quotes_nothing(name: str, error: Exception) -> None:
    method, call = CALLS[name]
    made, _ = pool(**{method: [error]})
    with pytest.raises(SignInError) as caught:
        call(made)
    assert caught.value.args == ()
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("name", CALLS)
def test_a_busy_or_silent_pool_is_no_wrong_password(name: str) -> None:
    method, call = CALLS[name]
    for error in (refused("TooManyRequestsException"), refused("InternalErrorException", status=500), timed_out()):
        made, _ = pool(**{method: [error]})
        with pytest.raises(Unavailable):
            call(made)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    "error",
    [
        refused("ResourceNotFoundException", "User pool does not exist."),
        refused("AccessDeniedException", "not authorized to perform: cognito-idp:AdminInitiateAuth"),
        refused("InvalidParameterException", "Auth flow not enabled for this client"),
    ],
)
def test_a_wrong_deployment_is_no_wrong_password(name: str, error: ClientError) -> None:
    method, call = CALLS[name]
    made, _ = pool(**{method: [error]})
    with pytest.raises(ClientError):
        call(made)


def test_a_password_is_sent_to_the_flow_that_needs_our_role() -> None:
    made, script = pool(admin_initiate_auth=[TOKENS])
    assert made.sign_in("Alice", SECRET) == Tokens(access="acc", refresh="ref", expires_in=900)
    ((_, sent),) = script.calls
    assert sent["AuthFlow"] == "ADMIN_USER_PASSWORD_AUTH"
    assert sent["AuthParameters"] == {"USERNAME": "alice", "PASSWORD": SECRET}


def test_tokens_hide_themselves() -> None:
    made, _ = pool(admin_initiate_auth=[TOKENS])
    text = repr(made.sign_in("alice", SECRET))
    assert "acc" not in text
    assert "ref" not in text


def test_a_next_step_is_told_with_its_state() -> None:
    made, _ = pool(admin_initiate_auth=[{"ChallengeName": "SOFTWARE_TOKEN_MFA", "Session": "state"}])
    with pytest.raises(ChallengeError) as caught:
        made.sign_in("alice", SECRET)
    assert (caught.value.name, caught.value.session) == ("SOFTWARE_TOKEN_MFA", "state")


def test_an_answer_may_lead_to_another_step() -> None:
    made, script = pool(
        admin_respond_to_auth_challenge=[{"ChallengeName": "SOFTWARE_TOKEN_MFA", "Session": "next"}],
        admin_get_user=[{"Username": "alice"}],
    )
    with pytest.raises(ChallengeError) as caught:
        made.answer_challenge("Alice@X.io", "NEW_PASSWORD_REQUIRED", "state", SECRET)
    assert caught.value.session == "next"
    # Under the name behind the address: Cognito takes no alias here.
    assert script.calls[-1][1]["ChallengeResponses"] == {"USERNAME": "alice", "NEW_PASSWORD": SECRET}


@pytest.mark.parametrize("challenge", ["CUSTOM_CHALLENGE", "SMS_MFA", "PASSWORD_VERIFIER", "DEVICE_SRP_AUTH", ""])
def test_other_challenges_are_not_passed_on(challenge: str) -> None:
    made, script = pool()
    with pytest.raises(SignInError):
        made.answer_challenge("alice", challenge, "state", SECRET)
    assert script.calls == []


def test_what_the_policy_misses_is_said_without_the_password() -> None:
    weak = refused("InvalidPasswordException", "Password did not conform with policy: Password not long enough")
    made, _ = pool(change_password=[weak, refused("PasswordHistoryPolicyViolationException", SECRET)])
    with pytest.raises(PasswordRefusedError, match=r"^Password not long enough$"):
        made.change_password("acc", SECRET, "short")
    with pytest.raises(PasswordRefusedError, match="used before"):
        made.change_password("acc", SECRET, SECRET)


def test_too_many_wrong_old_passwords_are_a_pause() -> None:
    made, _ = pool(change_password=[refused("LimitExceededException")])
    with pytest.raises(TooManyRequests) as caught:
        made.change_password("acc", SECRET, SECRET)
    assert caught.value.retry_after == 900


def test_a_user_is_made_with_a_confirmed_address_in_one_group() -> None:
    made, script = pool(
        list_users=[NOBODY], admin_create_user=[MADE], admin_set_user_password=[{}], admin_add_user_to_group=[{}]
    )
    assert made.create("Alice", "a@x.io", password=SECRET, role=Role.LEAD) == "sub-1"
    sent = dict(script.calls)
    assert sent["admin_create_user"]["MessageAction"] == "SUPPRESS"
    assert {"Name": "email_verified", "Value": "true"} in sent["admin_create_user"]["UserAttributes"]
    assert sent["admin_set_user_password"]["Permanent"] is True
    assert sent["admin_add_user_to_group"]["GroupName"] == "lead"


def test_without_a_password_the_pool_invites() -> None:
    made, script = pool(list_users=[NOBODY], admin_create_user=[MADE], admin_add_user_to_group=[{}])
    made.create("alice", "a@x.io", password=None, role=Role.VIEWER)
    sent = dict(script.calls)["admin_create_user"]
    assert sent["DesiredDeliveryMediums"] == ["EMAIL"]
    assert not {"MessageAction", "TemporaryPassword"} & set(sent)


@pytest.mark.parametrize(
    "answers",
    [
        {"admin_set_user_password": [refused("InternalErrorException", status=500)]},
        {"admin_set_user_password": [{}], "admin_add_user_to_group": [refused("ResourceNotFoundException")]},
        {"admin_set_user_password": [{}], "admin_add_user_to_group": [timed_out()]},
    ],
    ids=["password", "group", "silence"],
)
def test_half_a_user_is_removed(answers: dict[str, Any]) -> None:
    made, script = pool(list_users=[NOBODY], admin_create_user=[MADE], admin_delete_user=[{}], **answers)
    with pytest.raises((Unavailable, ClientError)):
        made.create("alice", "a@x.io", password=SECRET, role=Role.ADMIN)
    assert script.calls[-1] == ("admin_delete_user", {"UserPoolId": "eu-west-1_Abc", "Username": "alice"})


@pytest.mark.parametrize("code", ["UsernameExistsException", "AliasExistsException"])
def test_somebody_elses_user_is_left_alone(code: str) -> None:
    made, script = pool(list_users=[NOBODY], admin_create_user=[refused(code)])
    with pytest.raises(UserExistsError):
        made.create("alice", "a@x.io", password=SECRET, role=Role.ADMIN)
    assert "admin_delete_user" not in dict(script.calls)


def test_a_known_address_is_refused_before_anything_is_made() -> None:
    made, script = pool(list_users=[{"Users": [{}]}])
    with pytest.raises(UserExistsError):
        made.create("alice", 'a" or "b\\@x.io', password=SECRET, role=Role.ADMIN)
    ((_, sent),) = script.calls
    assert sent["Filter"] == 'email = "a\\" or \\"b\\\\@x.io"'


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refused("InvalidParameterException", "Invalid email address format."), ValidationFailed),
        (refused("InvalidParameterException", "1 error: Value at 'username' failed"), ValidationFailed),
        (refused("InvalidParameterException", "1 error: Value at 'temporaryPassword' failed"), PasswordRefusedError),
        (refused("InvalidParameterException", "Something of the deployment"), ClientError),
        (refused("InvalidPasswordException", "Password did not conform with policy: too short"), PasswordRefusedError),
        (ParamValidationError(report="x"), PasswordRefusedError),
    ],
)
def test_what_a_new_user_may_be_refused_for(error: Exception, kind: type[Exception]) -> None:
    made, _ = pool(list_users=[NOBODY], admin_create_user=[error])
    with pytest.raises(kind):
        made.create("alice", "a@x.io", password=SECRET, role=Role.ADMIN)


def test_a_change_of_role_takes_before_it_gives() -> None:
    groups = [
        {"Groups": [{"GroupName": "admin"}, {"GroupName": "eu-west-1_Abc_okta"}], "NextToken": "t"},
        {"Groups": [{"GroupName": "lead"}]},
    ]
    made, script = pool(
        admin_list_groups_for_user=groups, admin_remove_user_from_group=[{}, {}], admin_add_user_to_group=[{}]
    )
    made.set_role("alice", Role.VIEWER)
    assert [(name, sent.get("GroupName")) for name, sent in script.calls[2:]] == [
        ("admin_remove_user_from_group", "admin"),
        ("admin_remove_user_from_group", "lead"),
        ("admin_add_user_to_group", "viewer"),
    ]


def test_who_has_the_role_already_is_left_in_it() -> None:
    made, script = pool(admin_list_groups_for_user=[{"Groups": [{"GroupName": "lead"}]}])
    made.set_role("alice", Role.LEAD)
    assert [name for name, _ in script.calls] == ["admin_list_groups_for_user"]


def test_disabling_ends_the_sessions_afterwards() -> None:
    made, script = pool(admin_disable_user=[{}], admin_enable_user=[{}], admin_user_global_sign_out=[{}])
    made.set_enabled("alice", enabled=False)
    assert [name for name, _ in script.calls] == ["admin_disable_user", "admin_user_global_sign_out"]


def test_unknown_users_are_told_apart_where_an_admin_asks() -> None:
    gone = refused("UserNotFoundException")
    made, _ = pool(
        admin_list_groups_for_user=[gone],
        admin_disable_user=[gone],
        admin_enable_user=[gone],
        admin_delete_user=[gone],
        admin_user_global_sign_out=[gone],
    )
    with pytest.raises(UnknownUserError):
        made.set_role("alice", Role.LEAD)
    for enabled in (True, False):
        pool_of_one, _ = pool(admin_disable_user=[gone], admin_enable_user=[gone])
        with pytest.raises(UnknownUserError):
            pool_of_one.set_enabled("alice", enabled=enabled)
    made.delete("alice")
    made.sign_out_everywhere("alice")


@pytest.mark.parametrize(
    "code", ["UnsupportedTokenTypeException", "InvalidParameterException", "NotAuthorizedException"]
)
def test_signing_out_with_what_is_no_token_has_no_effect(code: str) -> None:
    made, _ = pool(revoke_token=[refused(code)])
    made.sign_out("junk")


def test_a_sign_out_that_did_not_happen_is_told() -> None:
    made, _ = pool(revoke_token=[timed_out()])
    with pytest.raises(Unavailable):
        made.sign_out("ref")


# --- second factors -----------------------------------------------------------------------------------------------
SETUP = {"ChallengeName": "MFA_SETUP", "Session": "one", "ChallengeParameters": {"MFAS_CAN_SETUP": "[]"}}


def test_who_needs_a_second_factor_is_told_its_secret() -> None:
    told = {"SecretCode": "ABC", "Session": "two"}
    made, script = pool(admin_initiate_auth=[SETUP], associate_software_token=[told])
    with pytest.raises(ChallengeError) as caught:
        made.sign_in("alice", SECRET)
    assert (caught.value.name, caught.value.session, caught.value.secret) == ("MFA_SETUP", "two", "ABC")
    assert script.calls[-1] == ("associate_software_token", {"Session": "one"})
    assert "ABC" not in str(caught.value)


def test_the_first_code_ends_the_sign_in() -> None:
    verified = {"Status": "SUCCESS", "Session": "three"}
    made, script = pool(verify_software_token=[verified], admin_respond_to_auth_challenge=[TOKENS])
    assert made.answer_challenge("Alice", "MFA_SETUP", "two", "123456").access == "acc"
    (_, verify), (_, respond) = script.calls
    assert verify == {"Session": "two", "UserCode": "123456"}
    assert (respond["ChallengeName"], respond["Session"]) == ("MFA_SETUP", "three")
    assert respond["ChallengeResponses"] == {"USERNAME": "alice"}


@pytest.mark.parametrize("code", ["EnableSoftwareTokenMFAException", "CodeMismatchException", "NotAuthorizedException"])
def test_a_wrong_first_code_lets_nobody_in(code: str) -> None:
    made, script = pool(verify_software_token=[refused(code)])
    with pytest.raises(SignInError):
        made.answer_challenge("alice", "MFA_SETUP", "two", "000000")
    assert len(script.calls) == 1


def test_an_authenticator_counts_with_its_first_code_and_is_asked_for_then() -> None:
    made, script = pool(
        associate_software_token=[{"SecretCode": "ABC"}], verify_software_token=[{}], set_user_mfa_preference=[{}, {}]
    )
    assert made.new_authenticator("acc") == "ABC"
    made.enable_authenticator("acc", "123456")
    made.disable_authenticator("acc")
    assert [sent for _, sent in script.calls] == [
        {"AccessToken": "acc"},
        {"AccessToken": "acc", "UserCode": "123456"},
        {"AccessToken": "acc", "SoftwareTokenMfaSettings": {"Enabled": True, "PreferredMfa": True}},
        {"AccessToken": "acc", "SoftwareTokenMfaSettings": {"Enabled": False, "PreferredMfa": False}},
    ]


@pytest.mark.parametrize(
    "error",
    [
        refused("EnableSoftwareTokenMFAException"),
        refused("CodeMismatchException"),
        refused("InvalidParameterException"),
        ParamValidationError(report="x"),
    ],
)
def test_a_wrong_code_of_a_new_authenticator(error: Exception) -> None:
    made, _ = pool(verify_software_token=[error])
    with pytest.raises(WrongCodeError):
        made.enable_authenticator("acc", "000000")


def test_a_session_that_ended_adds_and_removes_nothing() -> None:
    gone = refused("NotAuthorizedException")
    made, _ = pool(associate_software_token=[gone], verify_software_token=[gone], set_user_mfa_preference=[gone])
    for call in (
        lambda: made.new_authenticator("acc"),
        lambda: made.enable_authenticator("acc", "123456"),
        lambda: made.disable_authenticator("acc"),
    ):
        with pytest.raises(SignInError):
            call()


def test_a_pool_without_second_factors() -> None:
    off = refused("SoftwareTokenMFANotFoundException")
    made, _ = pool(verify_software_token=[{}], set_user_mfa_preference=[off, off])
    with pytest.raises(NoFactorsError):
        made.enable_authenticator("acc", "123456")
    made.disable_authenticator("acc")


def test_only_the_user_that_is_meant_is_removed() -> None:
    user = {"UserAttributes": [{"Name": "sub", "Value": "sub-2"}]}
    made, script = pool(admin_get_user=[user, user], admin_delete_user=[{}])
    made.delete("alice", only="sub-1")
    assert [name for name, _ in script.calls] == ["admin_get_user"]
    made.delete("alice", only="sub-2")
    assert script.calls[-1] == ("admin_delete_user", {"UserPoolId": "eu-west-1_Abc", "Username": "alice"})
    nobody, _ = pool(admin_get_user=[refused("UserNotFoundException")])
    nobody.delete("alice", only="sub-1")
