"""The user pool on Amazon Cognito. Passwords, challenges and tokens pass through and are kept nowhere."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from botocore.exceptions import ClientError, ParamValidationError

from chalicelib.aws.clients import ClientSource
from chalicelib.aws.faults import answering, code_of
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
from chalicelib.errors import FieldError, TooManyRequests, ValidationFailed

_SERVICE = "The user pool"
#: Challenges that can be answered here, and the name of the answer.
ANSWERS = {"NEW_PASSWORD_REQUIRED": "NEW_PASSWORD", "SOFTWARE_TOKEN_MFA": "SOFTWARE_TOKEN_MFA_CODE"}
MFA_SETUP = "MFA_SETUP"
#: The first code of an authenticator app does not fit what it was told, or there is none that waits for it.
_WRONG_CODE = frozenset({"CodeMismatchException", "EnableSoftwareTokenMFAException"})
#: All mean "no" to somebody who signs in; which one it was is not for them to know. InvalidParameter: a name, token or
#: challenge state that Cognito could never have given.
_NOT_IN = frozenset(
    {
        "CodeMismatchException",
        "EnableSoftwareTokenMFAException",
        "ExpiredCodeException",
        "InvalidParameterException",
        "NotAuthorizedException",
        "PasswordResetRequiredException",
        "RefreshTokenReuseException",
        "UserNotConfirmedException",
        "UserNotFoundException",
    }
)
_PASSWORD_REFUSED = frozenset({"InvalidPasswordException", "PasswordHistoryPolicyViolationException"})
_POLICY_PREFIX = "Password did not conform with policy: "
#: A user's groups are at most a handful; pages have 60.
_MAX_GROUP_PAGES = 5
#: Cognito's own pause after too many wrong old passwords, about.
_LOCKED_SECONDS = 900


class CognitoUserPool:
    """The UserPool port over one pool and one app client without a secret.

    Needs the ``cognito-idp:Admin…`` actions of the API's role on the pool. Raises Unavailable when Cognito is busy or
    silent, TooManyRequests when it has had enough of this person's tries, botocore's ClientError when the deployment is
    wrong. No error of ours holds a password, a code or a token.
    """

    def __init__(self, client: ClientSource, pool_id: str, client_id: str) -> None:
        self._client = client
        self._pool = pool_id
        self._app = client_id

    def sign_in(self, username: str, password: str) -> Tokens:
        with _signing_in():
            return self._outcome(
                self._client().admin_initiate_auth(
                    UserPoolId=self._pool,
                    ClientId=self._app,
                    AuthFlow="ADMIN_USER_PASSWORD_AUTH",
                    AuthParameters={"USERNAME": _name(username), "PASSWORD": password},
                )
            )

    def answer_challenge(self, username: str, challenge: str, session: str, answer: str) -> Tokens:
        if challenge == MFA_SETUP:
            return self._set_up(username, session, answer)
        field = ANSWERS.get(challenge)
        if field is None:
            raise SignInError
        with _signing_in():
            return self._outcome(
                self._client().admin_respond_to_auth_challenge(
                    UserPoolId=self._pool,
                    ClientId=self._app,
                    ChallengeName=challenge,
                    Session=session,
                    ChallengeResponses={"USERNAME": self._name_behind(username), field: answer},
                )
            )

    def refresh(self, refresh_token: str) -> Tokens:
        with _signing_in():
            return self._outcome(
                self._client().admin_initiate_auth(
                    UserPoolId=self._pool,
                    ClientId=self._app,
                    AuthFlow="REFRESH_TOKEN_AUTH",
                    AuthParameters={"REFRESH_TOKEN": refresh_token},
                )
            )

    def sign_out(self, refresh_token: str) -> None:
        with _without_effect_when(
            "InvalidParameterException",
            "NotAuthorizedException",
            "UnauthorizedException",
            "UnsupportedTokenTypeException",
        ):
            self._client().revoke_token(Token=refresh_token, ClientId=self._app)

    def sign_out_everywhere(self, username: str) -> None:
        with _without_effect_when("UserNotFoundException"):
            self._client().admin_user_global_sign_out(UserPoolId=self._pool, Username=_name(username))

    def change_password(self, access_token: str, old: str, new: str) -> None:
        with _signing_in():
            self._client().change_password(AccessToken=access_token, PreviousPassword=old, ProposedPassword=new)

    def new_authenticator(self, access_token: str) -> str:
        with _signing_in():
            return str(self._client().associate_software_token(AccessToken=access_token)["SecretCode"])

    def enable_authenticator(self, access_token: str, code: str) -> None:
        with _signing_in():
            try:
                self._client().verify_software_token(AccessToken=access_token, UserCode=code)
            except ParamValidationError:
                raise WrongCodeError from None
            except ClientError as error:
                if code_of(error) in _WRONG_CODE | {"InvalidParameterException"}:
                    raise WrongCodeError from None
                raise
            self._prefer(access_token, enabled=True)

    def disable_authenticator(self, access_token: str) -> None:
        with _signing_in():
            self._prefer(access_token, enabled=False)

    def _prefer(self, access_token: str, *, enabled: bool) -> None:
        wanted = {"Enabled": enabled, "PreferredMfa": enabled}
        try:
            self._client().set_user_mfa_preference(AccessToken=access_token, SoftwareTokenMfaSettings=wanted)
        except ClientError as error:
            # InvalidParameter: "User has not set up software token mfa", or a pool without.
            if code_of(error) not in {"InvalidParameterException", "SoftwareTokenMFANotFoundException"}:
                raise
            if enabled:
                raise NoFactorsError from None

    def create(self, username: str, email: str, *, password: str | None, role: Role, temporary: bool = False) -> str:
        self._refuse_known_address(email)
        request: dict[str, Any] = {
            "UserPoolId": self._pool,
            "Username": _name(username),
            # Whoever may invite vouches for the address; a reset of the password goes there.
            "UserAttributes": [{"Name": "email", "Value": email}, {"Name": "email_verified", "Value": "true"}],
        }
        if password is None:
            request["DesiredDeliveryMediums"] = ["EMAIL"]
        else:
            # As the temporary one it is held against the policy before there is a user.
            request |= {"MessageAction": "SUPPRESS", "TemporaryPassword": password}
        with _creating():
            made = self._client().admin_create_user(**request)["User"]
        attributes = {a["Name"]: a["Value"] for a in made["Attributes"]}
        try:
            if password is not None and not temporary:
                self._set_password(username, password, permanent=True)
            self._group("admin_add_user_to_group", username, role)
        except BaseException:
            # Half a user would keep the name from being used again. This one was made here and now, by nobody else.
            self.delete(username)
            raise
        return str(attributes["sub"])

    def reset_password(self, username: str, password: str | None) -> None:
        """By mail: a random password replaces the old one first. It makes the user one who has been invited and has not
        signed in yet; only to those does Cognito send another invitation, with a temporary password of its own.
        """
        with _of_known_user():
            self._set_password(username, password or _unknown_password(), permanent=False)
        # Afterwards, so that no session of a sign-in with the old password outlives it.
        self.sign_out_everywhere(username)
        if password is None:
            with _of_known_user():
                self._client().admin_create_user(
                    UserPoolId=self._pool,
                    Username=_name(username),
                    MessageAction="RESEND",
                    DesiredDeliveryMediums=["EMAIL"],
                )

    def set_role(self, username: str, role: Role) -> None:
        """Out of the other groups first: when it breaks off half way there is less to do, never more."""
        with _of_known_user():
            held = self._groups_of(username)
            for other in (r for r in Role if r is not role and r.value in held):
                self._group("admin_remove_user_from_group", username, other)
            if role.value not in held:
                self._group("admin_add_user_to_group", username, role)

    def set_enabled(self, username: str, *, enabled: bool) -> None:
        call: Callable[..., Any] = self._client().admin_enable_user if enabled else self._client().admin_disable_user
        with _of_known_user():
            call(UserPoolId=self._pool, Username=_name(username))
        if not enabled:
            # Afterwards, so that no session of a sign-in in between lives again when the user is enabled.
            self.sign_out_everywhere(username)

    def delete(self, username: str, *, only: str | None = None) -> None:
        with _without_effect_when("UserNotFoundException"):
            if only is not None:
                known = self._client().admin_get_user(UserPoolId=self._pool, Username=_name(username))
                if {"Name": "sub", "Value": only} not in known["UserAttributes"]:
                    return
            self._client().admin_delete_user(UserPoolId=self._pool, Username=_name(username))

    def _set_password(self, username: str, password: str, *, permanent: bool) -> None:
        with _creating():
            self._client().admin_set_user_password(
                UserPoolId=self._pool, Username=_name(username), Password=password, Permanent=permanent
            )

    def _outcome(self, answer: Mapping[str, Any]) -> Tokens:
        challenge = answer.get("ChallengeName")
        if challenge:
            session, secret = str(answer.get("Session", "")), None
            if challenge == MFA_SETUP:
                told = self._client().associate_software_token(Session=session)
                session, secret = str(told["Session"]), str(told["SecretCode"])
            raise ChallengeError(str(challenge), session, secret)
        result = answer["AuthenticationResult"]
        return Tokens(
            access=result["AccessToken"], refresh=result.get("RefreshToken"), expires_in=int(result["ExpiresIn"])
        )

    def _set_up(self, username: str, session: str, code: str) -> Tokens:
        with _signing_in():
            verified = self._client().verify_software_token(Session=session, UserCode=code)
            return self._outcome(
                self._client().admin_respond_to_auth_challenge(
                    UserPoolId=self._pool,
                    ClientId=self._app,
                    ChallengeName=MFA_SETUP,
                    Session=verified["Session"],
                    ChallengeResponses={"USERNAME": self._name_behind(username)},
                )
            )

    def _name_behind(self, username: str) -> str:
        """A challenge is answered under the user's own name, not under the address that signs in as well."""
        if "@" not in username:
            return _name(username)
        return str(self._client().admin_get_user(UserPoolId=self._pool, Username=_name(username))["Username"])

    def _refuse_known_address(self, email: str) -> None:
        # Cognito refuses a second user of a verified address too; asking first gives the same answer on the emulator,
        # which does not (ministack 1.5.33).
        quoted = email.replace("\\", "\\\\").replace('"', '\\"')
        with answering(_SERVICE):
            found = self._client().list_users(UserPoolId=self._pool, Filter=f'email = "{quoted}"', Limit=1)
        if found["Users"]:
            raise UserExistsError

    def _groups_of(self, username: str) -> set[str]:
        found: set[str] = set()
        token: dict[str, str] = {}
        for _ in range(_MAX_GROUP_PAGES):
            page = self._client().admin_list_groups_for_user(
                UserPoolId=self._pool, Username=_name(username), Limit=60, **token
            )
            found |= {group["GroupName"] for group in page["Groups"]}
            if not page.get("NextToken"):
                break
            token = {"NextToken": page["NextToken"]}
        return found

    def _group(self, call: str, username: str, role: Role) -> None:
        with answering(_SERVICE):
            getattr(self._client(), call)(UserPoolId=self._pool, Username=_name(username), GroupName=role.value)


@contextmanager
def _signing_in() -> Iterator[None]:
    """Around what somebody does with a password, code or token of their own. Causes are dropped here and below: the SDK
    may quote what was sent."""
    with answering(_SERVICE):
        try:
            yield
        except ParamValidationError:
            # An empty value.
            raise SignInError from None
        except ClientError as error:
            code = code_of(error)
            if code in _NOT_IN and "flow not enabled" not in _message(error):
                raise SignInError from None
            if code in _PASSWORD_REFUSED:
                _refuse_password(error)
            if code == "LimitExceededException":
                raise TooManyRequests(
                    "There were too many wrong passwords. Wait a quarter of an hour, then try again.",
                    retry_after=_LOCKED_SECONDS,
                ) from None
            raise


@contextmanager
def _creating() -> Iterator[None]:
    with answering(_SERVICE):
        try:
            yield
        except ParamValidationError:
            raise PasswordRefusedError(_UNFIT) from None
        except ClientError as error:
            code = code_of(error)
            if code in {"UsernameExistsException", "AliasExistsException"}:
                raise UserExistsError from None
            if code in _PASSWORD_REFUSED:
                _refuse_password(error)
            if code == "InvalidParameterException":
                _refuse_parameter(error)
            raise


@contextmanager
def _of_known_user() -> Iterator[None]:
    try:
        with answering(_SERVICE):
            yield
    except ClientError as error:
        if code_of(error) != "UserNotFoundException":
            raise
        raise UnknownUserError from None


@contextmanager
def _without_effect_when(*codes: str) -> Iterator[None]:
    try:
        with answering(_SERVICE):
            yield
    except ParamValidationError:
        return
    except ClientError as error:
        if code_of(error) not in codes:
            raise


_UNFIT = "A password may have 256 characters at most, and no space at its beginning or end."


def _unknown_password() -> str:
    """One that fits every policy and that nobody gets to know."""
    return f"Aa1-{secrets.token_urlsafe(48)}"


def _name(username: str) -> str:
    """Names of the pool are the same in any case; the emulator takes them apart (ministack 1.5.33)."""
    return username.lower()


def _message(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))


def _refuse_parameter(error: ClientError) -> NoReturn:
    """Cognito is stricter than we are about names and addresses; what is left is a password of the wrong form."""
    message = _message(error).lower()
    for field in ("email", "username"):
        if field in message:
            text = f"The user pool does not take this {field}. Check it for typing errors."
            raise ValidationFailed(text, errors=[FieldError(field, text)]) from None
    if "password" in message:
        raise PasswordRefusedError(_UNFIT) from None
    raise error


def _refuse_password(error: ClientError) -> NoReturn:
    """Cognito's own words about what is missing; they never hold the password."""
    if code_of(error) == "PasswordHistoryPolicyViolationException":
        raise PasswordRefusedError("This password was used before. Choose another one.") from None
    raise PasswordRefusedError(_message(error).removeprefix(_POLICY_PREFIX) or "The password is too weak.") from None
