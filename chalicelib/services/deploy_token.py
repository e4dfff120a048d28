"""The deploy token: the way into a hosted stack until it has an admin, and no longer."""

from __future__ import annotations

import hashlib
import hmac
import threading
from datetime import datetime, timedelta

from chalicelib.domain.audit import AuditAction, AuditResult
from chalicelib.domain.permissions import CallerKind, Principal, administrator
from chalicelib.domain.ports import Clock
from chalicelib.errors import AuthenticationError
from chalicelib.services.audit import Actor, AuditService
from chalicelib.services.doors import DoorSecrets
from chalicelib.services.setup import SetupService

OWNER = "admin"
#: What the deploy program's tokens begin with, so that they are told from sessions.
PREFIX = "stc_"
#: A use is noted at most this often by one process; what is done with it is in the audit anyway.
NOTED_EVERY = timedelta(minutes=5)


class DeployTokenService:
    """Safe to share between threads."""

    def __init__(self, secrets: DoorSecrets, setup: SetupService, audit: AuditService, clock: Clock) -> None:
        self._secrets = secrets
        self._setup = setup
        self._audit = audit
        self._clock = clock
        self._lock = threading.Lock()
        self._noted: dict[AuditResult, datetime] = {}

    def principal(self, token: str, *, source_ip: str, request_id: str) -> Principal:
        """The administrator behind the token; compared by SHA-256 in constant time. Raises AuthenticationError
        (``invalid_token``, ``deploy_token_retired``)."""
        known = self._secrets.deploy_token_sha256()
        given = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        if known is None or not hmac.compare_digest(known.encode(), given.encode()):
            raise AuthenticationError("The token is not valid.", code="invalid_token")
        who = administrator(OWNER, CallerKind.DEPLOY_TOKEN)
        actor = Actor.of(who, source_ip=source_ip, request_id=request_id)
        if self._setup.done():
            self._note(actor, AuditResult.DENIED, code="deploy_token_retired")
            raise AuthenticationError(
                "The deploy token ended when the first admin was made. Sign in, or use an API key.",
                code="deploy_token_retired",
            )
        self._note(actor, AuditResult.ALLOWED)
        return who

    def _note(self, actor: Actor, result: AuditResult, *, code: str | None = None) -> None:
        now = self._clock.now()
        with self._lock:
            last = self._noted.get(result)
            if last is not None and now - last < NOTED_EVERY:
                return
            self._noted[result] = now
        self._audit.note(actor, AuditAction.DEPLOY_TOKEN_USE, result, target="stack:api", code=code)
