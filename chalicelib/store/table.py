"""One DynamoDB table behind a handful of verbs: bounded, retried where that helps, with typed errors."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from pynamodb.exceptions import CancellationReason, DoesNotExist, TransactWriteError
from pynamodb.expressions.condition import Condition
from pynamodb.expressions.update import Action
from pynamodb.transactions import TransactWrite

from chalicelib.errors import Unavailable
from chalicelib.store.faults import (
    COLLISIONS,
    CONDITION_FAILED,
    TEMPORARY,
    CollisionError,
    ConditionFailedError,
    TransactionFailedError,
    code_of,
    translated,
    unavailable,
)
from chalicelib.store.records import Record, record_model

#: Tries of a write that collides with another transaction. With the pauses below this takes 3 seconds at most.
MAX_TRIES = 12
FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.4
#: Tries of a read of several items of which DynamoDB leaves some out, as it may when it is busy.
MAX_BATCHES = 4
#: DynamoDB's limit of one transaction.
MAX_WRITES = 100
#: DynamoDB's limits of a partition key and a sort key, in bytes.
_MAX_PK, _MAX_SK = 2048, 1024


@dataclass(frozen=True)
class Put:
    """Replaces the item. ``show`` asks for the item that made the condition fail."""

    record: Record
    condition: Condition | None = None
    show: bool = False


@dataclass(frozen=True)
class Update:
    """Changes attributes of the item, creates it when missing. ``show`` as for ``Put``."""

    record: Record
    actions: Sequence[Action]
    condition: Condition | None = None
    show: bool = False


@dataclass(frozen=True)
class Delete:
    record: Record
    condition: Condition | None = None


@dataclass(frozen=True)
class Check:
    """Changes nothing; the transaction fails when the condition does not hold for the item of this key."""

    record: Record
    condition: Condition


Write = Put | Update | Delete | Check


@dataclass(frozen=True)
class Page:
    """One page of a query. ``examined`` counts the items read, also those a filter dropped; ``last`` goes into the next
    call, None at the end."""

    records: list[Record]
    examined: int
    last: Mapping[str, Any] | None


class Table:
    """Every method raises Unavailable when DynamoDB can't do it now; nobody knows then whether a write took place.

    What only a wrong deployment causes (missing table, denied access) passes through as pynamodb's own exception.
    ``sleep`` takes seconds and is called between tries only.
    """

    #: botocore's clients may be shared by threads but not be made by several at once.
    _connecting = threading.Lock()

    def __init__(self, name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._name = name
        self._model = record_model(name)
        self._sleep = sleep
        self._connected = False

    def new(self, pk: str, sk: str, **attributes: Any) -> Record:
        """An item that is not stored yet; attributes that are None stay out."""
        return self._model(pk, sk, **{name: value for name, value in attributes.items() if value is not None})

    def get(self, pk: str, sk: str) -> Record | None:
        """The item, strongly consistent; None also for a key that no item can have, as clients may ask for anything."""
        if not _possible(pk, sk):
            return None
        self._connect()
        with translated():
            try:
                return self._model.get(pk, sk, consistent_read=True)
            except DoesNotExist:
                return None

    def get_all(self, keys: Sequence[tuple[str, str]]) -> list[Record]:
        """Those of at most 100 different items that exist, in no order, strongly consistent, in one request."""
        possible = [{"pk": pk, "sk": sk} for pk, sk in keys if _possible(pk, sk)]
        if not possible:
            return []
        self._connect()
        found: list[Record] = []
        for attempt in range(MAX_BATCHES):
            if attempt:
                self._pause(attempt)
            with translated():
                connection = self._model._get_connection()
                # pynamodb takes keys as its own model hands them over, and annotates them as texts.
                answer = connection.batch_get_item(possible, consistent_read=True)  # type: ignore[arg-type]
            found += [self._model.from_raw_data(item) for item in answer["Responses"].get(self._name, [])]
            rest = answer["UnprocessedKeys"].get(self._name, {}).get("Keys", [])
            if not rest:
                return found
            possible = [{"pk": key["pk"]["S"], "sk": key["sk"]["S"]} for key in rest]
        raise unavailable()

    def put(self, record: Record, condition: Condition | None = None) -> None:
        """Replaces the item. Raises ConditionFailedError, but not for a write of ours whose answer got lost and that
        the SDK repeated."""
        record.write_id = uuid.uuid4().hex
        try:
            self._again(lambda: record.save(condition=condition))
        except ConditionFailedError:
            stored = self.get(record.pk, record.sk)
            if stored is None or stored.write_id != record.write_id:
                raise

    def update(self, record: Record, actions: Sequence[Action], condition: Condition | None = None) -> Record:
        """Changes attributes of the item of this key, creates it when missing; returns the item as it is then. For
        actions that may be repeated: an answer that gets lost is asked for again. Raises ConditionFailedError."""
        self._again(lambda: record.update(actions=list(actions), condition=condition))
        return record

    def delete(self, pk: str, sk: str, condition: Condition | None = None) -> None:
        """Raises ConditionFailedError. A key that no item can have needs no removal."""
        if not _possible(pk, sk):
            return
        self._again(lambda: self.new(pk, sk).delete(condition=condition))

    def transact(self, writes: Sequence[Write]) -> None:
        """All or nothing, at most 100 writes of different items. Raises TransactionFailedError.

        All tries carry one request token, so a write whose answer got lost is not done twice.
        """
        if len(writes) > MAX_WRITES:
            raise ValueError(f"{len(writes)} writes, a transaction takes {MAX_WRITES}")
        token = uuid.uuid4().hex
        self._again(lambda: self._transact_once(writes, token))

    def page(
        self,
        pk: str,
        *,
        within: Condition | None = None,
        index: str | None = None,
        only: Condition | None = None,
        newest_first: bool = False,
        size: int,
        last: Mapping[str, Any] | None = None,
        keys_only: bool = False,
    ) -> Page:
        """At most ``size`` items of a partition, in order of the sort key, from behind ``last``; ``within`` limits the
        sort key, ``only`` drops items after they were read. Strongly consistent unless read from an index."""
        if not _possible(pk):
            return Page([], 0, None)
        self._connect()
        result = self._model.query(
            pk,
            range_key_condition=within,
            filter_condition=only,
            index_name=index,
            consistent_read=index is None,
            scan_index_forward=not newest_first,
            page_size=size,
            last_evaluated_key=dict(last) if last else None,
            attributes_to_get=["pk", "sk"] if keys_only else None,
        )
        with translated():
            raw: dict[str, Any] = next(result.page_iter)
        records = [self._model.from_raw_data(item) for item in raw["Items"]]
        return Page(records, raw["ScannedCount"], raw.get("LastEvaluatedKey"))

    def query(self, pk: str, *, limit: int, **options: Any) -> list[Record]:
        """The first ``limit`` items; options as for ``page``. A page ends at 1 MB, so this may take several."""
        found: list[Record] = []
        last: Mapping[str, Any] | None = None
        while len(found) < limit:
            page = self.page(pk, size=limit - len(found), last=last, **options)
            found += page.records
            last = page.last
            if last is None:
                break
        return found

    def _transact_once(self, writes: Sequence[Write], token: str) -> None:
        # TransactWrite needs the connection that the model already has; a second one would cost a second TLS session.
        connection = self._model._get_connection().connection
        try:
            with TransactWrite(connection=connection, client_request_token=token) as transaction:
                for write in writes:
                    _add(transaction, write)
        except TransactWriteError as error:
            if code_of(error) != "TransactionCanceledException":
                raise
            self._cancelled(writes, error)

    def _cancelled(self, writes: Sequence[Write], error: TransactWriteError) -> NoReturn:
        reasons = dict(zip(_sent_order(writes), error.cancellation_reasons, strict=True))
        codes = {reason.code for reason in reasons.values() if reason is not None}
        # A collision hides what the conditions say, so it is looked at first.
        if codes & COLLISIONS:
            raise CollisionError from error
        if codes & TEMPORARY:
            raise unavailable() from error
        if codes != {CONDITION_FAILED}:
            raise error
        raise TransactionFailedError({i: self._shown(r) for i, r in reasons.items() if r is not None}) from error

    def _shown(self, reason: CancellationReason) -> Record | None:
        return self._model.from_raw_data(reason.raw_item) if reason.raw_item else None

    def _again(self, write: Callable[[], object]) -> None:
        """Does ``write``, and again when it collides with a transaction of somebody else."""
        self._connect()
        for attempt in range(MAX_TRIES):
            try:
                with translated():
                    write()
                return
            except CollisionError:
                self._pause(attempt)
        raise Unavailable("Too many changes of the same thing at once; try again.", retry_after=1)

    def _pause(self, attempt: int) -> None:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
        # Jitter spreads out writers that collided; it protects no secret.
        self._sleep(longest * (0.5 + random.random() / 2))  # noqa: S311

    def _connect(self) -> None:
        if not self._connected:
            with self._connecting:
                _ = self._model._get_connection().connection.client
                self._connected = True


def _add(transaction: TransactWrite, write: Write) -> None:
    match write:
        case Put(record, condition, show):
            transaction.save(record, condition=condition, return_values="ALL_OLD" if show else None)
        case Update(record, actions, condition, show):
            shown = "ALL_OLD" if show else None
            transaction.update(record, actions=list(actions), condition=condition, return_values=shown)
        case Delete(record, condition):
            transaction.delete(record, condition=condition)
        case Check(record, condition):
            transaction.condition_check(type(record), record.pk, record.sk, condition)


def _sent_order(writes: Sequence[Write]) -> list[int]:
    """Positions in the order in which pynamodb sends the writes, whatever the order they were added in."""
    kinds = (Check, Delete, Put, Update)
    return sorted(range(len(writes)), key=lambda i: (kinds.index(type(writes[i])), i))


def _possible(pk: str, sk: str = "-") -> bool:
    try:
        return 0 < len(pk.encode()) <= _MAX_PK and 0 < len(sk.encode()) <= _MAX_SK
    except UnicodeEncodeError:
        return False
