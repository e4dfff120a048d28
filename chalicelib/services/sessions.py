"""Signing in and out. Passwords and tokens pass through here and are kept nowhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from chalicelib.domain.access_ports import (
    ChallengeError,
    InvalidSessionError,
    PasswordRefusedError,
    PersonGoneError,
    SetupDoneError,
    SignInError,
    Tokens,
)
from chalicelib.domain.audit import AuditAction, AuditResult
from chalicelib.domain.people import Person, Session
from chalicelib.domain.permissions import CallerKind, Principal, Role
from chalicelib.domain.ports import Clock
from chalicelib.errors import AuthenticationError, ValidationFailed
from chalicelib.services.audit import Actor, AuditService
from chalicelib.services.doors import Doors
from chalicelib.services.handover import HandoverService
from chalicelib.services.people import typed_name, weak_password
from chalicelib.services.rates import SIGN_IN_ADDRESS, SIGN_IN_NAME, RateService
from chalicelib.services.refusals import Refusals
from chalicelib.services.standing import StandingService

#: A refused sign-in takes at least this long, whatever was wrong with it.
REFUSAL_SECONDS = 0.5


@dataclass(frozen=True)
class SignedIn:
    tokens: Tokens
    person: Person


@dataclass(frozen=True)
class Wait:
    """Time as the process sees it; a test has its own."""

    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class SessionService:
    def __init__(
        self,
        doors: Doors,
        audit: AuditService,
        rates: RateService,
        standing: StandingService,
        handover: HandoverService,
        clock: Clock,
        wait: Wait | None = None,
    ) -> None:
        self._doors = doors
        self._audit = audit
        self._rates = rates
        self._standing = standing
        self._handover = handover
        self._clock = clock
        self._wait = wait or Wait()
        self._refusals = Refusals(audit, doors.rates, clock)

    def principal(self, access_token: str) -> Principal:
        """Who an access token stands for; asks nobody but at its first use. Raises AuthenticationError: see
        ``StandingService``."""
        return self._standing.principal(self._session(access_token))

    def _session(self, access_token: str) -> Session:
        try:
            return self._doors.sessions.verify(access_token, self._clock.now())
        except InvalidSessionError:
            raise AuthenticationError(
                "The session is not valid or has expired. Sign in again, or refresh it.", code="invalid_session"
            ) from None

    def sign_in(self, username: str, password: str, *, source_ip: str, request_id: str) -> SignedIn:
        """Raises AuthenticationError (``invalid_credentials``, the same for unknown, wrong and deactivated),
        ChallengeError (one more step), TooManyRequests."""
        return self._entering(
            lambda: self._doors.pool.sign_in(username, password), username, source_ip=source_ip, request_id=request_id
        )

    def answer(
        self, username: str, challenge: str, session: str, answer: str, *, source_ip: str, request_id: str
    ) -> SignedIn:
        """The next step after a ChallengeError: a new password or a code. Raises as ``sign_in``, and ValidationFailed
        (``weak_password``)."""
        return self._entering(
            lambda: self._doors.pool.answer_challenge(username, challenge, session, answer),
            username,
            source_ip=source_ip,
            request_id=request_id,
        )

    def _entering(self, step: Callable[[], Tokens], username: str, *, source_ip: str, request_id: str) -> SignedIn:
        started, name = self._wait.monotonic(), self._typed(username)
        tries = (self._rates.attempt(SIGN_IN_ADDRESS, source_ip), self._rates.attempt(SIGN_IN_NAME, name))
        actor = Actor.nobody(source_ip=source_ip, request_id=request_id, actor_id=name)

        def refused(code: str, result: AuditResult = AuditResult.DENIED) -> None:
            self._audit.note(actor, AuditAction.SIGN_IN, result, target=name, code=code)

        try:
            signed_in = self._enter(step(), actor)
        except (SignInError, InvalidSessionError):
            self._refusals.note(actor, AuditAction.SIGN_IN, target=name, code="invalid_credentials")
            self._wait.sleep(max(0.0, REFUSAL_SECONDS - (self._wait.monotonic() - started)))
            raise invalid_credentials() from None
        except PasswordRefusedError as weak:
            refused("weak_password")
            raise weak_password(weak) from None
        except ChallengeError as challenge:
            self._rates.forgive(*tries)
            refused(challenge.name.lower(), AuditResult.CHALLENGED)
            raise
        self._rates.forgive(*tries)
        self._arrived(signed_in.person, actor)
        return signed_in

    def _arrived(self, person: Person, actor: Actor) -> None:
        who = Actor(
            CallerKind.SESSION.value,
            person.user_id,
            person.username,
            person.user_id,
            actor.source_ip,
            actor.request_id,
        )
        self._audit.note(who, AuditAction.SIGN_IN, AuditResult.ALLOWED, target=f"user:{person.user_id}")
        self._doors.access.touch_person(person, self._clock.now())
        if person.role is Role.ADMIN:
            self._handover.give_to(person, actor)

    def adopt(self, access_token: str, refresh_token: str | None, *, source_ip: str, request_id: str) -> SignedIn:
        """Lets in whoever the user pool let in by itself, on its own pages: with a profile and a line in the audit.

        Raises AuthenticationError (``invalid_session``; ``account_inactive`` also for those without a role).
        """
        session = self._session(access_token)
        actor = Actor.nobody(source_ip=source_ip, request_id=request_id, kind="user_pool", actor_id=session.user_id)
        left = int((session.expires_at - self._clock.now()).total_seconds())
        try:
            signed_in = self._enter(Tokens(access=access_token, refresh=refresh_token, expires_in=left), actor)
        except (SignInError, InvalidSessionError):
            target = f"user:{session.user_id}"
            self._audit.note(actor, AuditAction.SIGN_IN, AuditResult.DENIED, target=target, code="account_inactive")
            raise AuthenticationError(
                "This account is not active here, or has no role yet: an admin puts people into a group.",
                code="account_inactive",
            ) from None
        self._arrived(signed_in.person, actor)
        return signed_in

    def refresh(self, refresh_token: str, *, source_ip: str, request_id: str) -> SignedIn:
        """A new access token; refused for whoever has been deactivated or deleted, and for who never signed in here.
        Raises AuthenticationError.

        Refusals are noted. What goes well is not: an open page does it every few minutes, and says nothing new."""
        try:
            return self._enter(self._doors.pool.refresh(refresh_token), kept=refresh_token)
        except (SignInError, InvalidSessionError):
            nobody = Actor.nobody(source_ip=source_ip, request_id=request_id)
            self._refusals.note(nobody, AuditAction.SESSION_REFRESH, target="session:unknown", code="session_ended")
            raise AuthenticationError("The session has ended. Sign in again.", code="session_ended") from None

    def _typed(self, username: str) -> str:
        return typed_name(username, self._doors.secrets.name_key())

    def _enter(self, tokens: Tokens, actor: Actor | None = None, *, kept: str | None = None) -> SignedIn:
        """The profile behind fresh tokens, and tokens that say what the profile says.

        With ``actor``, whoever the pool knows and we do not (by single sign-on, or made in the pool by its operator)
        gets a profile with the role of their group. Raises SignInError for the deactivated, the deleted and those
        without a role.
        """
        session = self._doors.sessions.verify(tokens.access, self._clock.now())
        person = self._doors.access.get_person(session.user_id)
        if person is None:
            if actor is None:
                raise SignInError
            person = self._newcomer(session, actor)
        refresh = tokens.refresh or kept
        if not person.active:
            if refresh is not None:
                self._doors.pool.sign_out(refresh)
            raise SignInError
        if session.role is not person.role and refresh is not None:
            self._doors.pool.set_role(person.username, person.role)
            fresh = self._doors.pool.refresh(refresh)
            tokens = Tokens(access=fresh.access, refresh=fresh.refresh or tokens.refresh, expires_in=fresh.expires_in)
            session = self._doors.sessions.verify(tokens.access, self._clock.now())
        self._standing.remember(session, person)
        return SignedIn(tokens, person)

    def _newcomer(self, session: Session, actor: Actor) -> Person:
        if session.role is None or self._doors.access.is_gone(session.user_id):
            raise SignInError
        person = Person(
            user_id=session.user_id,
            username=session.username,
            email="",
            role=session.role,
            created_at=self._clock.now(),
        )
        details = {"username": person.username, "role": person.role.value}
        target = f"user:{person.user_id}"
        self._audit.record(
            actor, AuditAction.USER_ADOPT, AuditResult.ALLOWED, target=target, owner=person.user_id, details=details
        )
        try:
            if person.role is Role.ADMIN:
                self._doors.access.create_first_admin(person)
                return person
        except SetupDoneError:
            pass  # not the first one
        except PersonGoneError:
            raise SignInError from None
        try:
            self._doors.access.put_person(person)
        except PersonGoneError:
            raise SignInError from None
        return person

    def sign_out(self, actor: Actor | None, *, refresh_token: str | None, everywhere: bool = False) -> None:
        """Ends this session, or with ``everywhere`` all of the actor's. An access token works until it expires.

        ``actor`` None is somebody whose access token has expired: nobody knows who, and no record is made, since any
        stranger could make as many.
        """
        if refresh_token:
            self._doors.pool.sign_out(refresh_token)
        if actor is None:
            return
        if everywhere:
            self._doors.pool.sign_out_everywhere(actor.name)
        details = {"everywhere": everywhere}
        self._audit.note(
            actor, AuditAction.SIGN_OUT, AuditResult.ALLOWED, target=f"user:{actor.actor_id}", details=details
        )

    def change_password(self, who: Principal, access_token: str, old: str, new: str) -> None:
        """Changes the caller's own password and ends their sessions everywhere. Attempts count as sign-ins.

        Raises ValidationFailed (``wrong_password``: no 401, since the session is fine; ``weak_password``),
        TooManyRequests.
        """
        tried = self._rates.attempt(SIGN_IN_NAME, self._typed(who.name))
        try:
            self._doors.pool.change_password(access_token, old, new)
        except SignInError:
            raise ValidationFailed("The present password is not right.", code="wrong_password") from None
        except PasswordRefusedError as refused:
            raise weak_password(refused) from None
        self._rates.forgive(tried)
        self._doors.pool.sign_out_everywhere(who.name)


def invalid_credentials() -> AuthenticationError:
    return AuthenticationError("Invalid username or password", code="invalid_credentials")
