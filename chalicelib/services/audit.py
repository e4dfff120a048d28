"""The audit: writing records, reading them, sealing and checking the chain."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chalicelib.domain.access_ports import AuditFilter, AuditStore
from chalicelib.domain.audit import (
    SEAL_AFTER,
    AuditAction,
    AuditRecord,
    AuditResult,
    ChainReport,
    next_seal,
    record_id,
)
from chalicelib.domain.audit_chain import check_chain
from chalicelib.domain.permissions import Principal
from chalicelib.domain.ports import Clock, InvalidCursorError, StaleRecordError
from chalicelib.errors import BadRequest

logger = logging.getLogger(__name__)

#: Records under one seal, and seals of one run. A busier minute is sealed by the next runs.
SEAL_BATCH = 1_000
MAX_SEALS = 20
_RANDOM_CHARS = 20
#: Longest text of a record that came from outside.
MAX_TEXT = 200


@dataclass(frozen=True)
class Actor:
    """Who did it, and from where. ``source_ip`` is what API Gateway saw."""

    kind: str
    actor_id: str
    name: str
    owner: str
    source_ip: str
    request_id: str
    key_id: str | None = None

    @classmethod
    def of(cls, who: Principal, *, source_ip: str, request_id: str) -> Actor:
        return cls(who.kind.value, who.owner, who.name, who.owner, source_ip, request_id, who.key_id)

    @classmethod
    def nobody(cls, *, source_ip: str, request_id: str, kind: str = "anonymous", actor_id: str = "") -> Actor:
        """Somebody who has not said yet, or not proved, who they are."""
        return cls(kind, actor_id, "", "", source_ip, request_id)


class AuditService:
    def __init__(self, store: AuditStore, clock: Clock, random_text: Callable[[int], str]) -> None:
        self._store = store
        self._clock = clock
        self._random_text = random_text

    def record(
        self,
        actor: Actor,
        action: AuditAction,
        result: AuditResult,
        *,
        target: str,
        owner: str | None = None,
        code: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Writes one record, or raises: for what must not happen unrecorded. ``owner`` is the target's, the actor's
        unless given. ``details`` hold no secrets."""
        now = self._clock.now()
        self._store.append(
            AuditRecord(
                record_id=record_id(now, self._random_text(_RANDOM_CHARS)),
                at=now,
                action=action,
                result=result,
                actor_kind=actor.kind,
                actor_id=actor.actor_id[:MAX_TEXT],
                actor_name=actor.name[:MAX_TEXT],
                key_id=actor.key_id,
                target=target[:MAX_TEXT],
                owner=(actor.owner if owner is None else owner)[:MAX_TEXT],
                source_ip=actor.source_ip[:MAX_TEXT],
                request_id=actor.request_id[:MAX_TEXT],
                code=code,
                details=dict(details or {}),
            )
        )

    def note(self, actor: Actor, action: AuditAction, result: AuditResult, *, target: str, **facts: Any) -> None:
        """As ``record``, for what has happened already: a lost record is logged as ``audit_record_lost``, to be counted
        by an alarm, and never turns what was done into an error."""
        try:
            self.record(actor, action, result, target=target, **facts)
        except Exception:
            # Whatever went wrong: the caller's action stands, and an error would make them repeat it.
            logger.exception("audit_record_lost: %s %s by %s, request %s", action, result, actor.kind, actor.request_id)

    def list(self, query: AuditFilter, *, limit: int, cursor: str | None) -> tuple[Sequence[AuditRecord], str | None]:
        """Newest first; a page may be short and still have a cursor. Raises BadRequest (cursor)."""
        try:
            return self._store.list(query, limit=limit, cursor=cursor)
        except InvalidCursorError:
            raise BadRequest("The cursor is not one of this list.", code="invalid_cursor") from None

    def verify(self, *, after: int = 0) -> ChainReport:
        """Holds the seals behind number ``after`` against the records; bounded: see ``ChainReport.complete``."""
        return check_chain(self._store, self._clock.now(), after=after)

    def seal(self, *, until: datetime | None = None) -> int:
        """Seals what is old enough; returns the number of records sealed.

        Two sealers at once do no harm: one of them finds its number taken and stops. ``until`` is when to stop.
        """
        sealed = 0
        for _ in range(MAX_SEALS):
            now = self._clock.now()
            if until is not None and now >= until:
                break
            last = self._store.last_seal()
            records = self._store.after(last.last if last else None, until=now - SEAL_AFTER, limit=SEAL_BATCH)
            if not records:
                break
            seal = next_seal(last, records, now)
            try:
                self._store.add_seal(seal)
            except StaleRecordError:
                break
            # A copy that no right on the table reaches: whoever rewrote the audit would have to rewrite the log too.
            logger.info(
                "audit_seal: number %s over %s records to %s: %s", seal.number, seal.count, seal.last, seal.digest
            )
            sealed += len(records)
            if len(records) < SEAL_BATCH:
                break
        return sealed
