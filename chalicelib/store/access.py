"""Profiles and API keys in DynamoDB.

    pk               sk                    what
    ───────────────  ────────────────────  ─────────────────────────────────────────────────────────────
    user#<handle>    profile               a person
    user#<handle>    key#<key id>          an API key of theirs
    user#<handle>    keys                  ids of the keys that are not revoked: there is a limit
    people           <username>#<user id>  that there is such a person, in order of names
    user#<handle>    gone#<hash of id>     that this person was deleted, and never comes back under that id
    setup            first-admin           that setup is done, and by whom
    setup            admins                ids of the active admins: the last one stays

A person's handle is the first part of the ids of their keys, so a key and its owner are two items of one partition,
read in one request. Times of use are attributes of their own: noting one can't bring back an older state of the rest.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime

from pynamodb.expressions.condition import Condition, size
from pynamodb.expressions.update import Action

from chalicelib.domain.access_ports import LastAdminError, PersonGoneError, SetupDoneError
from chalicelib.domain.api_keys import LAST_USED_EVERY, ApiKey
from chalicelib.domain.people import Person
from chalicelib.domain.ports import SlotsFullError, StaleRecordError
from chalicelib.errors import Unavailable
from chalicelib.store.access_records import (
    LIVE,
    REPLACED,
    ascii_text,
    is_admin,
    key_document,
    key_of,
    key_sk,
    key_state,
    person_of,
    state_of,
    user_pk,
    vanishes,
)
from chalicelib.store.cursors import Position, decode, encode, list_kind
from chalicelib.store.faults import ConditionFailedError, TransactionFailedError
from chalicelib.store.records import Record, digest, microseconds
from chalicelib.store.table import MAX_WRITES, Check, Delete, Put, Table, Update, Write

logger = logging.getLogger(__name__)

#: Keys listed at most, and looked at for it: somebody would have to make 20 a day for three months.
MAX_LISTED, MAX_LOOKED_AT = 200, 2_000
#: Transactions that remove a person's keys: a hundred thousand.
MAX_REMOVALS = 1_000
_PROFILE, _KEYS, _PEOPLE, _SETUP, _FIRST_ADMIN, _ADMINS = "profile", "keys", "people", "setup", "first-admin", "admins"


class DynamoAccessStore:
    """``AccessStore`` over the keys table, strongly consistent. Besides what the port says, every method but
    ``touch_…`` raises ``Unavailable`` when DynamoDB can't answer; after a failed write nobody knows then whether it
    took place. A person's username never changes.

    ``sleep`` takes seconds; it is called between the tries of requests that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    # --- people ---------------------------------------------------------------------------------------------------
    def create_first_admin(self, person: Person) -> None:
        mark = self._table.new(_SETUP, _FIRST_ADMIN, user_id=person.user_id)
        writes: list[Write] = [self._not_gone(person.user_id), Put(mark, Record.pk.does_not_exist())]
        try:
            self._table.transact([*writes, *self._person_writes(person, None)])
        except TransactionFailedError as error:
            if 0 in error.failed:
                raise PersonGoneError(person.user_id) from None
            raise SetupDoneError from None

    def first_admin(self) -> str | None:
        mark = self._table.get(_SETUP, _FIRST_ADMIN)
        return mark.user_id if mark is not None else None

    def setup_done(self) -> bool:
        return self._table.get(_SETUP, _FIRST_ADMIN) is not None

    def undo_first_admin(self, user_id: str) -> None:
        person = self.get_person(user_id)
        mark = Delete(self._table.new(_SETUP, _FIRST_ADMIN), Record.user_id == user_id)
        writes: list[Write] = [mark]
        if person is not None:
            no_admin = Update(self._table.new(_SETUP, _ADMINS), [Record.holders.delete({user_id})])
            writes += [*self._removal(person), no_admin]
        try:
            self._table.transact(writes)
        except TransactionFailedError:
            # The first admin is somebody else, or nobody.
            return

    def put_person(self, person: Person, *, replaces: Person | None = None) -> None:
        writes = self._person_writes(person, replaces)
        if replaces is None:
            writes.append(self._not_gone(person.user_id))
        try:
            self._table.transact(writes)
        except TransactionFailedError as error:
            if replaces is None and len(writes) - 1 in error.failed:
                raise PersonGoneError(person.user_id) from None
            if 0 in error.failed:
                raise StaleRecordError(person.user_id) from None
            raise LastAdminError(person.user_id) from None

    def touch_person(self, person: Person, now: datetime) -> None:
        noted = [Record.last_used.set(microseconds(now))]
        for record in self._person_records(person):
            self._touch(record, noted, Record.pk.exists())

    def get_person(self, user_id: str) -> Person | None:
        record = self._table.get(user_pk(user_id), _PROFILE)
        person = person_of(record) if record is not None else None
        return person if person is not None and person.user_id == user_id else None

    def list_people(self, *, limit: int = 100, cursor: str | None = None) -> tuple[Sequence[Person], str | None]:
        kind = list_kind(_PEOPLE)
        within = Record.sk > decode(kind, cursor).sort if cursor is not None else None
        found = self._table.query(_PEOPLE, within=within, limit=limit + 1)
        rest = encode(kind, Position(found[limit - 1].sk)) if len(found) > limit else None
        return [person_of(record) for record in found[:limit]], rest

    def delete_person(self, user_id: str) -> None:
        """As the port says. A removal that was interrupted goes on when it is repeated."""
        person = self.get_person(user_id)
        if person is None:
            return
        admins = self._table.get(_SETUP, _ADMINS)
        if admins is not None and admins.holders == {user_id}:
            raise LastAdminError(user_id)
        self._remove_keys(user_id)
        slots, gone = Delete(self._table.new(user_pk(user_id), _KEYS)), Put(self._gone(user_id))
        try:
            self._table.transact([*self._removal(person), slots, self._no_admin(user_id), gone])
        except TransactionFailedError:
            raise LastAdminError(user_id) from None
        # Those that were made meanwhile; from now on none can be.
        self._remove_keys(user_id)

    def is_gone(self, user_id: str) -> bool:
        gone = self._gone(user_id)
        return self._table.get(gone.pk, gone.sk) is not None

    # --- keys -----------------------------------------------------------------------------------------------------
    def find_key(self, handle: str, key_id: str) -> tuple[ApiKey, Person] | None:
        pk = f"user#{handle}"
        found = {record.sk: record for record in self._table.get_all([(pk, _PROFILE), (pk, key_sk(key_id))])}
        if len(found) != 2:
            return None
        key, person = key_of(found[key_sk(key_id)]), person_of(found[_PROFILE])
        return (key, person) if key.user_id == person.user_id else None

    def create_key(self, key: ApiKey, *, limit: int) -> None:
        for last_try in (False, True):
            try:
                self._table.transact([self._new_key(key), self._take_place(key, limit), self._is_there(key.user_id)])
            except TransactionFailedError as error:
                if {0, 2} & set(error.failed):
                    raise StaleRecordError(key.key_id) from None
                if last_try or not self._free_places(key.user_id, key.created_at):
                    raise SlotsFullError(key.user_id) from None
                continue
            return

    def put_key(self, key: ApiKey) -> None:
        writes: list[Write] = [self._changed_key(key, LIVE, REPLACED)]
        if key.revoked_at is not None:
            writes.append(self._places(key.user_id, [Record.holders.delete({key.key_id})]))
        try:
            self._table.transact(writes)
        except TransactionFailedError:
            stored = self._table.get(user_pk(key.user_id), key_sk(key.key_id))
            if stored is None or key.revoked_at is None:
                raise StaleRecordError(key.key_id) from None

    def replace_key(self, old: ApiKey, new: ApiKey, *, limit: int) -> None:
        # Adding to a set and taking from it is two changes of one item, which a transaction does not take; the place of
        # an old key that still lives for a while is freed with its revocation, or when room is needed.
        if old.revoked_at is None:
            place = self._take_place(new, limit)
        else:
            place = self._places(new.user_id, [Record.holders.add({new.key_id})])
        for last_try in (False, True):
            try:
                self._table.transact([self._changed_key(old, LIVE), self._new_key(new), place])
                break
            except TransactionFailedError as error:
                if error.failed.keys() & {0, 1}:
                    raise StaleRecordError(old.key_id) from None
                if last_try or not self._free_places(new.user_id, new.created_at):
                    raise SlotsFullError(new.user_id) from None
        if old.revoked_at is not None:
            self._touch(self._table.new(user_pk(old.user_id), _KEYS), [Record.holders.delete({old.key_id})])

    def keys_of(self, user_id: str) -> Sequence[ApiKey]:
        keys = sorted(self._all_keys(user_id), key=lambda k: (k.ends_at, k.created_at, k.key_id), reverse=True)
        return sorted(keys[:MAX_LISTED], key=lambda k: (k.created_at, k.key_id), reverse=True)

    def touch_key(self, key: ApiKey, now: datetime) -> None:
        if key.last_used_at is not None and now - key.last_used_at < LAST_USED_EVERY:
            return
        used = microseconds(now)
        earlier = Record.last_used.does_not_exist() | (Record.last_used < used)
        record = self._table.new(user_pk(key.user_id), key_sk(key.key_id))
        self._touch(record, [Record.last_used.set(used)], Record.pk.exists() & earlier)

    # --- inside ---------------------------------------------------------------------------------------------------
    def _touch(self, record: Record, actions: Sequence[Action], condition: Condition | None = None) -> None:
        """A change that nothing depends on."""
        try:
            self._table.update(record, actions, condition)
        except ConditionFailedError:
            return
        except Unavailable:
            logger.warning("a time of use could not be noted in %s", record.sk.partition("#")[0])

    def _person_records(self, person: Person) -> tuple[Record, Record]:
        return (
            self._table.new(user_pk(person.user_id), _PROFILE),
            self._table.new(_PEOPLE, f"{ascii_text(person.username)}#{ascii_text(person.user_id)}"),
        )

    def _person_writes(self, person: Person, replaces: Person | None) -> list[Write]:
        """The first one's condition says whose profile it is, and that it is still what was read; the last one's, that
        an admin remains."""
        actions: list[Action] = [
            Record.document.set(person.model_dump_json(exclude={"last_login_at"})),
            Record.user_id.set(person.user_id),
            Record.status.set(state_of(person)),
        ]
        if person.last_login_at is not None:
            actions.append(Record.last_used.set(microseconds(person.last_login_at)))
        profile, listed = self._person_records(person)
        mine = Record.user_id == person.user_id
        if replaces is not None:
            condition = mine & (Record.status == state_of(replaces))
        else:
            condition = Record.pk.does_not_exist() | mine
        writes: list[Write] = [Update(profile, actions, condition), Update(listed, actions)]
        if is_admin(person):
            writes.append(Update(self._table.new(_SETUP, _ADMINS), [Record.holders.add({person.user_id})]))
        else:
            writes.append(self._no_admin(person.user_id))
        return writes

    def _no_admin(self, user_id: str) -> Update:
        others: Condition = size(Record.holders) > 1  # type: ignore[no-untyped-call]
        none = Record.holders.does_not_exist() | ~Record.holders.contains(user_id)
        return Update(self._table.new(_SETUP, _ADMINS), [Record.holders.delete({user_id})], none | others)

    def _removal(self, person: Person) -> list[Write]:
        return [Delete(record) for record in self._person_records(person)]

    def _remove_keys(self, user_id: str) -> None:
        for _ in range(MAX_REMOVALS):
            page = self._table.page(
                user_pk(user_id), within=Record.sk.startswith("key#"), size=MAX_WRITES, keys_only=True
            )
            if page.records:
                self._table.transact([Delete(record) for record in page.records])
            if page.last is None:
                break

    def _gone(self, user_id: str) -> Record:
        return self._table.new(user_pk(user_id), f"gone#{digest(user_id)}", user_id=user_id)

    def _not_gone(self, user_id: str) -> Check:
        return Check(self._gone(user_id), Record.pk.does_not_exist())

    def _is_there(self, user_id: str) -> Check:
        return Check(self._table.new(user_pk(user_id), _PROFILE), Record.user_id == user_id)

    def _new_key(self, key: ApiKey) -> Put:
        attributes = {"document": key_document(key), "user_id": key.user_id, "status": key_state(key)}
        used = microseconds(key.last_used_at) if key.last_used_at is not None else None
        record = self._table.new(
            user_pk(key.user_id), key_sk(key.key_id), **attributes, last_used=used, expires_at=vanishes(key)
        )
        return Put(record, Record.pk.does_not_exist())

    def _changed_key(self, key: ApiKey, *states: str) -> Update:
        """The condition is that it exists, in one of these states."""
        actions: list[Action] = [Record.document.set(key_document(key)), Record.status.set(key_state(key))]
        if key.last_used_at is not None:
            actions.append(Record.last_used.set(microseconds(key.last_used_at)))
        gone_at = vanishes(key)
        actions.append(Record.expires_at.set(gone_at) if gone_at is not None else Record.expires_at.remove())
        return Update(self._table.new(user_pk(key.user_id), key_sk(key.key_id)), actions, Record.status.is_in(*states))

    def _all_keys(self, user_id: str) -> Sequence[ApiKey]:
        records = self._table.query(user_pk(user_id), within=Record.sk.startswith("key#"), limit=MAX_LOOKED_AT)
        return [key_of(record) for record in records]

    def _places(self, user_id: str, actions: Sequence[Action], condition: Condition | None = None) -> Update:
        return Update(self._table.new(user_pk(user_id), _KEYS), actions, condition)

    def _take_place(self, key: ApiKey, limit: int) -> Update:
        room: Condition = size(Record.holders) < limit  # type: ignore[no-untyped-call]
        if limit > 0:
            room |= Record.holders.does_not_exist()
        return self._places(key.user_id, [Record.holders.add({key.key_id})], room)

    def _free_places(self, user_id: str, now: datetime) -> bool:
        """Frees the places of keys that expired or are gone; True when there was one."""
        record = self._table.get(user_pk(user_id), _KEYS)
        holders = set(record.holders or ()) if record is not None else set()
        live = {key.key_id for key in self._all_keys(user_id) if key.is_live(now)}
        if not holders - live:
            return False
        self._table.update(self._table.new(user_pk(user_id), _KEYS), [Record.holders.delete(holders - live)])
        return True
