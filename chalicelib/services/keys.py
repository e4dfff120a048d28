"""API keys: letting them in, making, rotating and revoking them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from chalicelib.domain.api_keys import (
    HANDLE_LENGTH,
    LAST_USED_EVERY,
    MAX_KEYS_PER_PERSON,
    SECRET_LENGTH,
    SERIAL_LENGTH,
    ApiKey,
    compose,
    parse,
    principal_of,
)
from chalicelib.domain.audit import AuditAction, AuditResult
from chalicelib.domain.people import Person, handle_of
from chalicelib.domain.permissions import PEOPLE_ONLY, ROLES, Permission, Principal, granted
from chalicelib.domain.ports import Ports, SlotsFullError, StaleRecordError
from chalicelib.errors import AuthenticationError, Conflict, FieldError, NotFound, ValidationFailed
from chalicelib.services.audit import Actor, AuditService
from chalicelib.services.doors import Doors
from chalicelib.services.people import PeopleService

#: How long a key that was read is believed: a revocation is seen everywhere within this time.
KEY_LIFETIME = timedelta(seconds=5)
MAX_REMEMBERED = 1_000
#: Live keys beyond which no rotation leaves the old one working.
MAX_KEYS_WITH_OVERLAP = 2 * MAX_KEYS_PER_PERSON


@dataclass(frozen=True)
class NewKey:
    """What a key may do. ``scopes`` and ``providers`` None mean: as its owner."""

    name: str
    expires: timedelta
    scopes: Sequence[str] | None = None
    budget_usd: Decimal | None = None
    providers: Sequence[str] | None = None


@dataclass(frozen=True)
class IssuedKey:
    """``text`` is the key itself, seen this once; ``repr`` hides it."""

    text: str = field(repr=False)
    key: ApiKey


class KeyService:
    """Safe to share between threads."""

    def __init__(
        self, ports: Ports, doors: Doors, audit: AuditService, people: PeopleService, providers: Collection[str]
    ) -> None:
        self._ports = ports
        self._doors = doors
        self._audit = audit
        self._people = people
        self._providers = frozenset(providers)
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[datetime, tuple[ApiKey, Person] | None]] = OrderedDict()

    # --- letting in -------------------------------------------------------------------------------------------
    def principal(self, text: str) -> Principal:
        """Who a key stands for, with what it and its owner may do now. Raises AuthenticationError.

        A key with a wrong checksum is refused without asking anybody, others cost at most one read every five seconds.
        Only the holder of the right secret is told what is wrong with the key.
        """
        presented = parse(text)
        if presented is None:
            raise _invalid()
        now = self._ports.clock.now()
        found = self._find(presented.handle, presented.key_id, now)
        if found is None:
            raise _invalid()
        key, person = found
        if not key.knows(presented):
            raise _invalid()
        if key.revoked_at is not None:
            raise AuthenticationError("This API key was revoked. Make a new one.", code="key_revoked")
        if not key.is_live(now):
            raise AuthenticationError("This API key has expired. Make or rotate one.", code="key_expired")
        if not person.active:
            raise AuthenticationError("The owner of this API key is not active any more.", code="account_inactive")
        if key.last_used_at is None or now - key.last_used_at >= LAST_USED_EVERY:
            self._doors.access.touch_key(key, now)
            self._amend(key.key_id, (key.model_copy(update={"last_used_at": now}), person))
        return principal_of(key, person)

    def _find(self, handle: str, key_id: str, now: datetime) -> tuple[ApiKey, Person] | None:
        with self._lock:
            known = self._known.get(key_id)
            if known is not None and now < known[0]:
                return known[1]
        found = self._doors.access.find_key(handle, key_id)
        self._remember(key_id, found, now)
        return found

    def _remember(self, key_id: str, found: tuple[ApiKey, Person] | None, now: datetime) -> None:
        with self._lock:
            self._known[key_id] = (now + KEY_LIFETIME, found)
            self._known.move_to_end(key_id)
            while len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)

    def _amend(self, key_id: str, found: tuple[ApiKey, Person]) -> None:
        """What is remembered, without being believed for longer."""
        with self._lock:
            if key_id in self._known:
                self._known[key_id] = (self._known[key_id][0], found)

    def _forget(self, key_id: str) -> None:
        with self._lock:
            self._known.pop(key_id, None)

    # --- keeping ----------------------------------------------------------------------------------------------
    def list(self, who: Principal, user_id: str | None = None) -> Sequence[ApiKey]:
        """The caller's keys, or another person's for whoever may manage all. Newest first. Raises NotFound."""
        if user_id is None or user_id == who.owner:
            return self._doors.access.keys_of(who.owner)
        if not who.may(Permission.KEYS_ALL):
            raise NotFound(f"User not found: {user_id}", code="user_not_found")
        self._people.get(user_id)
        return self._doors.access.keys_of(user_id)

    def get(self, who: Principal, key_id: str) -> tuple[ApiKey, Decimal | None]:
        """A key and what its jobs have cost so far, None without a budget. Raises NotFound, for others' alike."""
        key = self._own(who, key_id)
        return key, None if key.budget_usd is None else self._ports.jobs.budget_used(key.spends_as)

    def create(self, actor: Actor, who: Principal, new: NewKey) -> IssuedKey:
        """Makes a key for the caller. It never holds more than its owner does.

        Raises ValidationFailed (``invalid_scopes``, ``unknown_provider``), Conflict (``too_many_keys``,
        ``setup_needed``).
        """
        person = self._people.standing(who, Permission.KEYS_OWN)
        now = self._ports.clock.now()
        issued = self._issue(
            person,
            now,
            name=new.name,
            scopes=None if new.scopes is None else _scopes(new.scopes, person),
            expires_at=now + new.expires,
            budget_usd=new.budget_usd,
            providers=None if new.providers is None else self._known_providers(new.providers),
        )
        self._record(actor, AuditAction.KEY_CREATE, issued.key, _facts(issued.key))
        try:
            self._doors.access.create_key(issued.key, limit=MAX_KEYS_PER_PERSON)
        except SlotsFullError:
            raise _too_many() from None
        return issued

    def rotate(self, actor: Actor, who: Principal, key_id: str, *, overlap: timedelta) -> IssuedKey:
        """A new secret with the same rights, the same length of life and what is left of the budget.

        The old key ends now, or after ``overlap``. Only its owner can: an admin who could would hold somebody else's
        key. A key is rotated once: the next rotation is that of its successor. Raises NotFound, Conflict
        (``key_not_live``, ``key_rotated``, ``too_many_keys``).
        """
        person = self._people.standing(who, Permission.KEYS_OWN)
        old = self._own(who, key_id)
        if old.user_id != who.owner:
            raise _not_found(key_id)
        now = self._ports.clock.now()
        if not old.is_live(now):
            raise _not_live()
        if old.replaced_by is not None:
            raise _rotated(old.replaced_by)
        issued = self._issue(
            person,
            now,
            name=old.name,
            scopes=old.scopes,
            expires_at=None if old.expires_at is None else now + (old.expires_at - old.created_at),
            budget_usd=old.budget_usd,
            providers=old.providers,
            budget_id=old.spends_as,
        )
        if overlap > timedelta(0):
            end = now + overlap
            ended = old.model_copy(update={"expires_at": min(old.expires_at or end, end)})
        else:
            ended = old.model_copy(update={"revoked_at": now})
        ended = ended.model_copy(update={"replaced_by": issued.key.key_id})
        details = {"replaces": old.key_id, "overlap_seconds": int(overlap.total_seconds()), **_facts(issued.key)}
        self._record(actor, AuditAction.KEY_ROTATE, issued.key, details)
        try:
            self._doors.access.replace_key(ended, issued.key, limit=MAX_KEYS_WITH_OVERLAP)
        except StaleRecordError:
            raise _not_live() from None
        except SlotsFullError:
            raise _too_many() from None
        self._forget(old.key_id)
        return issued

    def revoke(self, actor: Actor, who: Principal, key_id: str) -> ApiKey:
        """Ends a key, the caller's own or anybody's for whoever may manage all; ending it twice changes nothing.

        Seen everywhere within KEY_LIFETIME. Raises NotFound.
        """
        key = self._own(who, key_id)
        if key.revoked_at is None:
            self._record(actor, AuditAction.KEY_REVOKE, key, {})
            key = key.model_copy(update={"revoked_at": self._ports.clock.now()})
            try:
                self._doors.access.put_key(key)
            except StaleRecordError:
                raise _not_found(key_id) from None
            self._forget(key_id)
        return key

    def _own(self, who: Principal, key_id: str) -> ApiKey:
        found = self._doors.access.find_key(key_id[:HANDLE_LENGTH], key_id)
        if found is None or not (found[0].user_id == who.owner or who.may(Permission.KEYS_ALL)):
            raise _not_found(key_id)
        return found[0]

    def _issue(
        self,
        person: Person,
        now: datetime,
        *,
        name: str,
        scopes: frozenset[Permission] | None,
        expires_at: datetime | None,
        budget_usd: Decimal | None,
        providers: frozenset[str] | None,
        budget_id: str | None = None,
    ) -> IssuedKey:
        serial, secret = self._doors.random_text(SERIAL_LENGTH), self._doors.random_text(SECRET_LENGTH)
        text = compose(person.user_id, serial, secret)
        presented = parse(text)
        if presented is None:
            raise ValueError("the source of random text gives other characters than base 62")
        key_id = handle_of(person.user_id) + serial
        key = ApiKey(
            key_id=key_id,
            user_id=person.user_id,
            name=name,
            prefix=f"stk_{key_id}",
            secret_sha256=presented.secret_sha256,
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
            budget_usd=budget_usd,
            budget_id=budget_id,
            providers=providers,
        )
        return IssuedKey(text, key)

    def _known_providers(self, names: Sequence[str]) -> frozenset[str]:
        unknown = sorted(set(names) - self._providers)
        if unknown:
            raise ValidationFailed(
                f"There is no provider '{unknown[0]}'. Providers: {', '.join(sorted(self._providers))}.",
                code="unknown_provider",
                errors=[FieldError("providers", f"'{name}' is unknown", "unknown") for name in unknown],
            )
        return frozenset(names)

    def _record(self, actor: Actor, action: AuditAction, key: ApiKey, details: dict[str, object]) -> None:
        self._audit.record(
            actor, action, AuditResult.ALLOWED, target=f"key:{key.key_id}", owner=key.user_id, details=details
        )


def _facts(key: ApiKey) -> dict[str, object]:
    """For the audit; the key's name is free text of its owner and stays out."""
    return {
        "scopes": None if key.scopes is None else sorted(key.scopes),
        "expires_at": None if key.expires_at is None else key.expires_at.isoformat(),
        "budget_usd": None if key.budget_usd is None else str(key.budget_usd),
        "providers": None if key.providers is None else sorted(key.providers),
    }


def _scopes(names: Sequence[str], person: Person) -> frozenset[Permission]:
    owned, known = granted(ROLES[person.role]), {p.value for p in Permission}
    grantable = sorted(owned - PEOPLE_ONLY)
    problems: list[FieldError] = []
    for i, name in enumerate(names):
        if name not in known:
            problems.append(FieldError(f"scoped_permissions.{i}", "is no permission", "unknown"))
        elif name in PEOPLE_ONLY:
            problems.append(FieldError(f"scoped_permissions.{i}", f"{name} is for people only, not for keys", "people"))
        elif name not in owned:
            problems.append(FieldError(f"scoped_permissions.{i}", f"you don't have {name} yourself", "not_owned"))
    if problems:
        raise ValidationFailed(
            f"{problems[0].field}: {problems[0].message}. A key of yours may have: {', '.join(grantable)}.",
            code="invalid_scopes",
            errors=problems,
        )
    return frozenset(Permission(name) for name in names)


def _invalid() -> AuthenticationError:
    return AuthenticationError("The API key is not valid.", code="invalid_key")


def _not_found(key_id: str) -> NotFound:
    return NotFound(f"API key not found: {key_id}", code="key_not_found")


def _too_many() -> Conflict:
    return Conflict(
        f"You have {MAX_KEYS_PER_PERSON} live keys or more, which is the limit. Revoke one you don't need.",
        code="too_many_keys",
    )


def _rotated(successor: str) -> Conflict:
    return Conflict(
        f"This key was rotated already: {successor} took its place. Rotate that one; if its text was lost, revoke it.",
        code="key_rotated",
        extra={"replaced_by": successor},
    )


def _not_live() -> Conflict:
    return Conflict("This key is revoked or has expired; make a new one instead.", code="key_not_live")
