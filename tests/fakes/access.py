"""In-memory stores of the doors with the exact semantics of the ports; thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from chalicelib.domain.access_ports import (
    AuditFilter,
    LastAdminError,
    PersonGoneError,
    RateVerdict,
    SetupDoneError,
)
from chalicelib.domain.api_keys import LAST_USED_EVERY, ApiKey
from chalicelib.domain.audit import AuditRecord, Seal, id_prefix, time_of
from chalicelib.domain.people import Person, handle_of
from chalicelib.domain.permissions import Role
from chalicelib.domain.ports import InvalidCursorError, SlotsFullError, StaleRecordError
from chalicelib.domain.storage import UploadTokens

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InMemoryAccessStore:
    """``calls`` names the methods called, in order: a test may count the reads of a request."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._people: dict[str, Person] = {}
        self._keys: dict[tuple[str, str], ApiKey] = {}
        self._first_admin: str | None = None
        self._gone: set[str] = set()
        self.calls: list[str] = []

    def create_first_admin(self, person: Person) -> None:
        with self._lock:
            self.calls.append("create_first_admin")
            if person.user_id in self._gone:
                raise PersonGoneError(person.user_id)
            if self._first_admin is not None:
                raise SetupDoneError
            self._first_admin = person.user_id
            self._people[person.user_id] = person

    def first_admin(self) -> str | None:
        with self._lock:
            self.calls.append("first_admin")
            return self._first_admin

    def setup_done(self) -> bool:
        with self._lock:
            self.calls.append("setup_done")
            return self._first_admin is not None

    def undo_first_admin(self, user_id: str) -> None:
        with self._lock:
            self.calls.append("undo_first_admin")
            if self._first_admin == user_id:
                self._first_admin = None
                self._people.pop(user_id, None)

    def put_person(self, person: Person, *, replaces: Person | None = None) -> None:
        with self._lock:
            self.calls.append("put_person")
            stored = self._people.get(person.user_id)
            if replaces is not None and (
                stored is None or (stored.role, stored.active) != (replaces.role, replaces.active)
            ):
                raise StaleRecordError(person.user_id)
            if replaces is None and person.user_id in self._gone:
                raise PersonGoneError(person.user_id)
            if not _is_admin(person):
                self._keep_an_admin(person.user_id)
            if person.last_login_at is None and stored is not None:
                person = person.model_copy(update={"last_login_at": stored.last_login_at})
            self._people[person.user_id] = person

    def touch_person(self, person: Person, now: datetime) -> None:
        with self._lock:
            self.calls.append("touch_person")
            stored = self._people.get(person.user_id)
            if stored is not None:
                self._people[person.user_id] = stored.model_copy(update={"last_login_at": now})

    def get_person(self, user_id: str) -> Person | None:
        with self._lock:
            self.calls.append("get_person")
            return self._people.get(user_id)

    def list_people(self, *, limit: int = 100, cursor: str | None = None) -> tuple[list[Person], str | None]:
        with self._lock:
            self.calls.append("list_people")
            people = sorted(self._people.values(), key=_place)
        if cursor is not None:
            if not cursor.startswith("people|"):
                raise InvalidCursorError(cursor)
            people = [p for p in people if _place(p) > cursor[len("people|") :]]
        return people[:limit], f"people|{_place(people[limit - 1])}" if len(people) > limit else None

    def delete_person(self, user_id: str) -> None:
        with self._lock:
            self.calls.append("delete_person")
            self._keep_an_admin(user_id)
            for key in [k for k in self._keys.values() if k.user_id == user_id]:
                del self._keys[handle_of(user_id), key.key_id]
            if self._people.pop(user_id, None) is not None:
                self._gone.add(user_id)

    def is_gone(self, user_id: str) -> bool:
        with self._lock:
            self.calls.append("is_gone")
            return user_id in self._gone

    def find_key(self, handle: str, key_id: str) -> tuple[ApiKey, Person] | None:
        with self._lock:
            self.calls.append("find_key")
            key = self._keys.get((handle, key_id))
            person = self._people.get(key.user_id) if key is not None else None
            return (key, person) if key is not None and person is not None else None

    def create_key(self, key: ApiKey, *, limit: int) -> None:
        with self._lock:
            self.calls.append("create_key")
            if _address(key) in self._keys or key.user_id not in self._people:
                raise StaleRecordError(key.key_id)
            if self._live_keys(key.user_id, key.created_at) >= limit:
                raise SlotsFullError(key.user_id)
            self._keys[_address(key)] = key

    def put_key(self, key: ApiKey) -> None:
        with self._lock:
            self.calls.append("put_key")
            stored = self._keys.get(_address(key))
            if stored is None or (stored.revoked_at is not None and key.revoked_at is None):
                raise StaleRecordError(key.key_id)
            if stored.revoked_at is None:
                self._keys[_address(key)] = _merged(key, stored)

    def replace_key(self, old: ApiKey, new: ApiKey, *, limit: int) -> None:
        with self._lock:
            self.calls.append("replace_key")
            stored = self._keys.get(_address(old))
            if stored is None or stored.revoked_at or stored.replaced_by or _address(new) in self._keys:
                raise StaleRecordError(old.key_id)
            if old.revoked_at is None and self._live_keys(new.user_id, new.created_at) >= limit:
                raise SlotsFullError(new.user_id)
            self._keys[_address(old)] = _merged(old, stored)
            self._keys[_address(new)] = new

    def keys_of(self, user_id: str) -> Sequence[ApiKey]:
        with self._lock:
            self.calls.append("keys_of")
            keys = [k for k in self._keys.values() if k.user_id == user_id]
        keys.sort(key=lambda k: (k.ends_at, k.created_at, k.key_id), reverse=True)
        return sorted(keys[:200], key=lambda k: (k.created_at, k.key_id), reverse=True)

    def touch_key(self, key: ApiKey, now: datetime) -> None:
        with self._lock:
            if key.last_used_at is not None and now - key.last_used_at < LAST_USED_EVERY:
                return
            self.calls.append("touch_key")
            stored = self._keys.get(_address(key))
            if stored is not None and (stored.last_used_at is None or stored.last_used_at < now):
                self._keys[_address(key)] = stored.model_copy(update={"last_used_at": now})

    def _live_keys(self, user_id: str, now: datetime) -> int:
        return sum(k.user_id == user_id and k.is_live(now) for k in self._keys.values())

    def _keep_an_admin(self, user_id: str) -> None:
        stored = self._people.get(user_id)
        if stored is not None and _is_admin(stored) and sum(map(_is_admin, self._people.values())) == 1:
            raise LastAdminError(user_id)


def _is_admin(person: Person) -> bool:
    return person.active and person.role is Role.ADMIN


def _place(person: Person) -> str:
    return f"{person.username}#{person.user_id}"


def _address(key: ApiKey) -> tuple[str, str]:
    return handle_of(key.user_id), key.key_id


def _merged(key: ApiKey, stored: ApiKey) -> ApiKey:
    return key.model_copy(update={"last_used_at": key.last_used_at or stored.last_used_at})


class InMemoryAuditStore:
    """``tamper`` and ``remove`` do what the port forbids, for tests of the seals; ``broken`` makes appends fail."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._records: dict[str, AuditRecord] = {}
        self._seals: dict[int, Seal] = {}
        self.broken: Exception | None = None

    @property
    def records(self) -> list[AuditRecord]:
        """All, ascending."""
        with self._lock:
            return [self._records[i] for i in sorted(self._records)]

    def append(self, record: AuditRecord) -> None:
        if time_of(record.record_id) != record.at:
            raise ValueError("the record's id is of another time")
        with self._lock:
            if self.broken is not None:
                raise self.broken
            if record.record_id in self._records:
                raise StaleRecordError(record.record_id)
            # As it comes back from a real store.
            self._records[record.record_id] = AuditRecord.model_validate_json(record.model_dump_json())

    def list(
        self, query: AuditFilter, *, limit: int, cursor: str | None = None
    ) -> tuple[Sequence[AuditRecord], str | None]:
        kind = f"audit:{query}|"
        if cursor is not None and not cursor.startswith(kind):
            raise InvalidCursorError(cursor)
        before = cursor[len(kind) :] if cursor is not None else None
        found = [r for r in reversed(self.records) if query.matches(r) and (before is None or r.record_id < before)]
        return found[:limit], f"{kind}{found[limit - 1].record_id}" if len(found) > limit else None

    def after(self, record_id: str | None, *, until: datetime, limit: int) -> Sequence[AuditRecord]:
        end = id_prefix(until)
        return [r for r in self.records if (record_id is None or r.record_id > record_id) and r.record_id < end][:limit]

    def last_seal(self) -> Seal | None:
        with self._lock:
            return self._seals[max(self._seals)] if self._seals else None

    def add_seal(self, seal: Seal) -> None:
        with self._lock:
            if seal.number in self._seals:
                raise StaleRecordError(str(seal.number))
            self._seals[seal.number] = seal

    def seals(self, *, after: int = 0, limit: int = 1000) -> Sequence[Seal]:
        with self._lock:
            return [self._seals[n] for n in sorted(self._seals) if n > after][:limit]

    def tamper(self, record: AuditRecord | Seal) -> None:
        with self._lock:
            if isinstance(record, Seal):
                self._seals[record.number] = record
            else:
                self._records[record.record_id] = record

    def remove(self, record: AuditRecord | Seal) -> None:
        with self._lock:
            if isinstance(record, Seal):
                del self._seals[record.number]
            else:
                del self._records[record.record_id]


class InMemoryRateStore:
    """``calls`` are the subjects counted, in order."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._counts: dict[tuple[str, timedelta, int], int] = {}
        self.calls: list[str] = []

    def take(self, subject: str, *, limit: int, window: timedelta, now: datetime, amount: int = 1) -> RateVerdict:
        number, into = divmod(now - _EPOCH, window)
        reset = max(1, -(-(window - into) // timedelta(seconds=1)))
        with self._lock:
            self.calls.append(subject)
            place = (subject, window, number)
            used = self._counts.get(place, 0)
            if used >= limit:
                return RateVerdict(allowed=False, limit=limit, remaining=0, reset_seconds=reset)
            self._counts[place] = used + amount
            return RateVerdict(
                allowed=True,
                limit=limit,
                remaining=max(0, limit - used - amount),
                reset_seconds=reset,
                granted=min(amount, limit - used),
            )

    def give_back(self, subject: str, *, window: timedelta, taken_at: datetime) -> None:
        place = (subject, window, (taken_at - _EPOCH) // window)
        with self._lock:
            if self._counts.get(place, 0) > 0:
                self._counts[place] -= 1


class InMemoryUploadTokenStore:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._tokens: dict[str, UploadTokens] = {}

    def get(self, job_id: str) -> UploadTokens:
        return self._tokens.get(job_id) or UploadTokens(job_id=job_id)

    def put(self, tokens: UploadTokens) -> None:
        with self._lock:
            if self.get(tokens.job_id).revision != tokens.revision - 1:
                raise StaleRecordError(tokens.job_id)
            self._tokens[tokens.job_id] = tokens
