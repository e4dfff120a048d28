"""The first admin: once, race-free, and on a hosted stack only for whoever deployed it."""

from __future__ import annotations

import hashlib
import hmac
import threading
from datetime import datetime, timedelta

from chalicelib.domain.access_ports import (
    ChallengeError,
    InvalidSessionError,
    PasswordRefusedError,
    SetupDoneError,
    SignInError,
    UserExistsError,
)
from chalicelib.domain.audit import AuditAction, AuditResult
from chalicelib.domain.people import Person
from chalicelib.domain.permissions import Principal, Role
from chalicelib.domain.ports import Clock
from chalicelib.errors import AppError, AuthenticationError, Conflict
from chalicelib.services.audit import Actor, AuditService
from chalicelib.services.doors import Doors
from chalicelib.services.handover import HandoverService
from chalicelib.services.people import user_exists, weak_password
from chalicelib.services.rates import SETUP, RateService

#: How long it is believed that there is a first admin. That there is none is asked anew each time: local mode and the
#: deploy token end with the first admin, in every process.
DONE_LIFETIME = timedelta(minutes=1)


class SetupService:
    """Safe to share between threads."""

    def __init__(
        self, doors: Doors, audit: AuditService, rates: RateService, handover: HandoverService, clock: Clock
    ) -> None:
        self._doors = doors
        self._handover = handover
        self._audit = audit
        self._rates = rates
        self._clock = clock
        self._lock = threading.Lock()
        self._done_until: datetime | None = None

    def done(self) -> bool:
        """Whether there is a first admin; a yes is believed for DONE_LIFETIME. Raises Unavailable: a guess lets nobody
        in."""
        now = self._clock.now()
        with self._lock:
            if self._done_until is not None and now < self._done_until:
                return True
        answer = self._doors.access.setup_done()
        with self._lock:
            self._done_until = now + DONE_LIFETIME if answer else None
        return answer

    def first_admin(
        self,
        caller: Principal | None,
        *,
        username: str,
        email: str,
        password: str,
        display_name: str | None,
        setup_code: str | None,
        source_ip: str,
        request_id: str,
    ) -> Person:
        """Creates the first admin. ``caller`` is the local admin or the holder of the deploy token; anybody else needs
        the setup code.

        Raises Conflict (``setup_done``, ``user_exists``), AuthenticationError (``invalid_setup_code``),
        TooManyRequests, ValidationFailed (``weak_password``).
        """
        if caller is not None:
            actor = Actor.of(caller, source_ip=source_ip, request_id=request_id)
        else:
            actor = Actor.nobody(source_ip=source_ip, request_id=request_id, kind="setup_code")
        target = f"user:{username}"
        recorded = False
        try:
            self._check(caller, setup_code)
            self._audit.record(actor, AuditAction.SETUP_FIRST_ADMIN, AuditResult.ALLOWED, target=target)
            recorded = True
            person = self._create(username, email, password, display_name)
            self._handover.give_to(person, actor)
            return person
        except AppError as error:
            # Guesses are noted, and limited; other refusals of strangers are not: they could fill the audit.
            if recorded or error.code == "invalid_setup_code":
                result = AuditResult.FAILED if recorded else AuditResult.DENIED
                self._audit.note(actor, AuditAction.SETUP_FIRST_ADMIN, result, target=target, code=error.code)
            raise
        except Exception:
            # Unforeseen, and handled by the edge; the record that says "allowed" must not be the last word.
            failed = AuditResult.FAILED
            self._audit.note(actor, AuditAction.SETUP_FIRST_ADMIN, failed, target=target, code="internal_error")
            raise
        finally:
            with self._lock:
                self._done_until = None

    def _check(self, caller: Principal | None, setup_code: str | None) -> None:
        if self._doors.access.setup_done():
            raise _done()
        if caller is not None:
            return
        if not setup_code:
            raise AuthenticationError(
                "Send setup_code, the one-time code that the deploy program printed.",
                code="setup_code_needed",
            )
        known = self._doors.secrets.setup_code_sha256()
        given = hashlib.sha256(setup_code.strip().encode("utf-8", "replace")).hexdigest()
        # Compared first: it has 192 bits, so nobody guesses it, but anybody could use up the tries of who holds it.
        if not hmac.compare_digest((known or "").encode(), given.encode()):
            self._rates.attempt(SETUP, "code")
            raise AuthenticationError("The setup code is not valid.", code="invalid_setup_code")

    def _create(self, username: str, email: str, password: str, display_name: str | None) -> Person:
        """The user is nobody special until the one transaction that decides who came first. A role that was not given
        in the end is given at the first sign-in. What broke off half way is gone on with when setup is repeated."""
        pool, access = self._doors.pool, self._doors.access
        try:
            user_id, made = pool.create(username, email, password=password, role=Role.VIEWER), True
        except UserExistsError:
            user_id, made = self._made_before(username, password), False
        except PasswordRefusedError as refused:
            raise weak_password(refused) from None
        person = Person(
            user_id=user_id,
            username=username,
            email=email,
            display_name=display_name,
            role=Role.ADMIN,
            created_at=self._clock.now(),
        )
        try:
            access.create_first_admin(person)
        except SetupDoneError:
            if made:
                pool.delete(username, only=user_id)
            raise _done() from None
        except Exception:
            # The answer may be lost and the admin made. When that can't be found out, the user stays: whoever repeats
            # this with the same password goes on from there.
            if access.first_admin() != user_id:
                if made:
                    pool.delete(username, only=user_id)
                raise
        try:
            pool.set_role(username, Role.ADMIN)
        except Exception:
            # Without its role the user can't do what setup is for: back to the beginning, so that it can be repeated.
            access.undo_first_admin(user_id)
            if made:
                pool.delete(username, only=user_id)
            raise
        return person

    def _made_before(self, username: str, password: str) -> str:
        """The id of a user that an earlier try left behind, for who knows the password. Raises Conflict."""
        try:
            tokens = self._doors.pool.sign_in(username, password)
            return self._doors.sessions.verify(tokens.access, self._clock.now()).user_id
        except (SignInError, ChallengeError, InvalidSessionError):
            raise user_exists() from None


def _done() -> Conflict:
    return Conflict("Setup already completed. Sign in, or ask an admin for an invitation.", code="setup_done")
