"""What a session's token may do here: what it says, held once against the profile of its person.

A token is good without asking anybody but says what its person was when Cognito made it, and Cognito makes new ones for
whoever holds a refresh token, past our API. So the first request with a token, in each process, reads the profile; the
others cost nothing. A token lives 15 minutes, and so does what was read for it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from datetime import datetime

from chalicelib.domain.access_ports import AccessStore
from chalicelib.domain.people import Person, Session
from chalicelib.domain.permissions import ROLES, CallerKind, Principal, Role
from chalicelib.domain.ports import Clock
from chalicelib.errors import AuthenticationError

#: Tokens remembered at once; the one that was quiet longest goes first.
MAX_REMEMBERED = 2_000


class StandingService:
    """Safe to share between threads."""

    def __init__(self, access: AccessStore, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[datetime, Role | None]] = OrderedDict()

    def principal(self, session: Session) -> Principal:
        """Who a verified session stands for. Of the role in the token and that of the profile the weaker counts.

        Raises AuthenticationError: ``account_inactive`` for the deactivated and deleted, ``profile_needed`` for those
        whom the user pool knows and we have never met; Unavailable when the profile can't be read.
        """
        now = self._clock.now()
        with self._lock:
            known = self._known.get(session.token_id)
            if known is not None and now < known[0]:
                self._known.move_to_end(session.token_id)
                return _principal(session, known[1])
        person = self._access.get_person(session.user_id)
        if person is None and not self._access.is_gone(session.user_id):
            raise AuthenticationError(
                "You have not been here before. Send this token once to POST /api/auth/login/pool-token.",
                code="profile_needed",
            )
        if person is None or not person.active:
            raise AuthenticationError("This account is not active any more.", code="account_inactive")
        return self.remember(session, person)

    def remember(self, session: Session, person: Person) -> Principal:
        """Notes the profile of an active person that was read just now for this session."""
        role = None if session.role is None else min(session.role, person.role, key=lambda r: len(ROLES[r]))
        with self._lock:
            self._known[session.token_id] = (session.expires_at, role)
            self._known.move_to_end(session.token_id)
            while len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return _principal(session, role)


def _principal(session: Session, role: Role | None) -> Principal:
    """A session without a role of ours may do nothing."""
    return Principal(
        owner=session.user_id,
        permissions=frozenset() if role is None else ROLES[role],
        kind=CallerKind.SESSION,
        name=session.username,
    )
