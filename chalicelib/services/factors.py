"""Authenticator apps of people who are signed in. The user pool keeps the secrets; they pass through here once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from chalicelib.domain.access_ports import ChallengeError, NoFactorsError, SignInError, WrongCodeError
from chalicelib.domain.permissions import Principal
from chalicelib.errors import AuthenticationError, Conflict, FieldError, ValidationFailed
from chalicelib.services.doors import Doors
from chalicelib.services.people import typed_name
from chalicelib.services.rates import SIGN_IN_NAME, RateService


class FactorService:
    """Every method raises AuthenticationError (``invalid_session``) when the session was signed out meanwhile."""

    def __init__(self, doors: Doors, rates: RateService) -> None:
        self._doors = doors
        self._rates = rates

    def begin(self, access_token: str) -> str:
        """The secret for a new app. Nothing changes until ``finish``."""
        with _own_session():
            return self._doors.pool.new_authenticator(access_token)

    def finish(self, who: Principal, access_token: str, code: str) -> None:
        """From now on sign-in asks for the app's codes. Attempts count as sign-ins.

        Raises ValidationFailed (``wrong_code``), Conflict (``mfa_off``), TooManyRequests.
        """
        tried = self._rates.attempt(SIGN_IN_NAME, typed_name(who.name, self._doors.secrets.name_key()))
        try:
            with _own_session():
                self._doors.pool.enable_authenticator(access_token, code.replace(" ", ""))
        except WrongCodeError:
            text = "That is not the code of the new app now. Wait for the next one; does the clock of the device fit?"
            raise ValidationFailed(text, code="wrong_code", errors=[FieldError("code", text, "wrong_code")]) from None
        except NoFactorsError:
            raise Conflict(
                "This stack is deployed with --mfa off: it takes no second factor.", code="mfa_off"
            ) from None
        self._rates.forgive(tried)

    def remove(self, who: Principal, access_token: str, password: str) -> None:
        """Sign-in asks for no code any more. The password is wanted again: a session that was left open must not be
        enough. Attempts count as sign-ins.

        Raises ValidationFailed (``wrong_password``), TooManyRequests.
        """
        tried = self._rates.attempt(SIGN_IN_NAME, typed_name(who.name, self._doors.secrets.name_key()))
        try:
            begun = self._doors.pool.sign_in(who.name, password)
        except SignInError:
            raise ValidationFailed("The present password is not right.", code="wrong_password") from None
        except ChallengeError:
            pass  # Only a right password is asked for more.
        else:
            if begun.refresh is not None:
                self._doors.pool.sign_out(begun.refresh)
        self._rates.forgive(tried)
        with _own_session():
            self._doors.pool.disable_authenticator(access_token)


@contextmanager
def _own_session() -> Iterator[None]:
    try:
        yield
    except SignInError:
        raise AuthenticationError("The session has ended. Sign in again.", code="invalid_session") from None
