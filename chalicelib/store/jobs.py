"""Job records, inputs, events, idempotency records and slots in DynamoDB."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

from pynamodb.expressions.condition import Condition, size

from chalicelib.domain.budgets import BudgetExceededError, BudgetHold, checked_hold
from chalicelib.domain.datasets import VersionStatus
from chalicelib.domain.idempotency import IdempotencyRecord
from chalicelib.domain.jobs import Job, JobEvent, JobInput
from chalicelib.domain.notification_events import outbox_items
from chalicelib.domain.ports import (
    DatasetGoneError,
    DeletedJob,
    EscrowMark,
    IdempotencyHitError,
    JobFilter,
    JobPage,
    SlotsFullError,
    StaleRecordError,
)
from chalicelib.store.faults import ConditionFailedError, TransactionFailedError
from chalicelib.store.listing import EVERYBODY, MONTHS, SLOTS, JobListing
from chalicelib.store.outbox import outbox_puts
from chalicelib.store.records import (
    Record,
    budget_pk,
    event_sk,
    idempotency_pk,
    job_attributes,
    job_pk,
    microdollars,
    microseconds,
    moment_of,
    month_of,
    owner_pk,
    prediction_pk,
    stamp,
    ttl_seconds,
    version_sk,
    versions_pk,
)
from chalicelib.store.table import MAX_WRITES, Check, Delete, Put, Table, Update, Write

#: Events of one write; beside them a transaction holds at most job, input, idempotency record, slot and budget.
MAX_EVENTS = MAX_WRITES - 5
#: Transactions that one removal of a job takes at most: a hundred thousand events.
MAX_REMOVALS = 1000
_LAST_SEQ = 10**10 - 1
_RECORD, _INPUT, _IDEMPOTENCY, _BUDGET = "record", "input", "idempotency", "budget"
_DELETED = "deleted"
_ESCROW = "escrow-retention"
_MICRODOLLARS = 1_000_000


class DynamoJobStore:
    """``JobStore`` over the jobs table. Besides what the port says, every method raises ``Unavailable`` when DynamoDB
    can't answer; after a failed write nobody knows then whether it took place, and repeating it is safe.

    Events that people may want to be told of go into the outbox of notifications in the same transaction; then
    ``told`` is called, which must not raise.

    ``sleep`` takes seconds; it is called between the tries of writes that collide.
    """

    def __init__(
        self,
        table_name: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        self._table = Table(table_name, sleep=sleep)
        self._listing = JobListing(self._table)
        self._told = told

    def submit(
        self,
        job: Job,
        job_input: JobInput,
        events: Sequence[JobEvent],
        idempotency: IdempotencyRecord | None,
        slot_limit: int,
        now: datetime,
        budget: BudgetHold | None = None,
    ) -> None:
        """As the port says; StaleRecordError when the job id exists. At most 95 events, one less for each dataset and
        each event that people are told of.

        The month marker of everybody is written first, outside the transaction: one item that every submit has to
        lock would make them all wait for each other, and a marker without a job only costs a list one query.
        """
        outbox = self._outbox(job, events)
        hold = checked_hold(job, budget)
        self._mark_month(month_of(job.created_at))
        writes: list[Write] = [
            Put(self._job(job), Record.pk.does_not_exist()),
            Put(self._table.new(job_pk(job.job_id), _INPUT, document=job_input.model_dump_json())),
            Update(
                self._table.new(owner_pk(job.owner), SLOTS),
                [Record.holders.add({job.job_id}), Record.months.add({month_of(job.created_at)})],
                _has_room(slot_limit),
            ),
        ]
        slot = len(writes) - 1
        if idempotency is not None:
            writes.append(
                Put(
                    self._idempotency(idempotency),
                    Record.pk.does_not_exist() | (Record.valid_until <= microseconds(now)),
                    show=True,
                )
            )
        hit = len(writes) - 1 if idempotency is not None else None
        if budget is not None:
            writes.append(self._hold(budget, hold))
        held = len(writes) - 1 if budget is not None else None
        checks = self._datasets_ready(job)
        first = len(writes)
        try:
            self._table.transact([*writes, *checks, *self._event_puts(events), *outbox])
        except TransactionFailedError as error:
            if idempotency is not None:
                known = error.failed.get(hit) if hit is not None else None
                live = _live(known, now) or self.find_idempotency(idempotency.owner, idempotency.key_hash, now)
                if live is not None:
                    raise IdempotencyHitError(live) from None
            if budget is not None and held in error.failed:
                raise BudgetExceededError(_left(budget, error.failed[held])) from None
            if slot in error.failed:
                raise SlotsFullError(job.owner) from None
            if error.failed.keys() & set(range(first, first + len(checks))):
                raise DatasetGoneError(job.job_id) from None
            raise StaleRecordError(job.job_id) from None
        if outbox:
            self._told()

    def get(self, job_id: str) -> Job | None:
        record = self._table.get(job_pk(job_id), _RECORD)
        return Job.model_validate_json(record.document) if record else None

    def get_input(self, job_id: str) -> JobInput | None:
        """Strongly consistent."""
        record = self._table.get(job_pk(job_id), _INPUT)
        return JobInput.model_validate_json(record.document) if record else None

    def save(self, job: Job, *, events: Sequence[JobEvent] = (), release_slot: bool = False) -> None:
        """As the port says; at most 95 events, of which each that people are told of counts twice. Without events and
        slot this is one plain write, half the price."""
        outbox = self._outbox(job, events)
        record, unchanged = self._job(job), Record.version == job.version - 1
        try:
            if not events and not release_slot:
                self._table.put(record, unchanged)
                return
            writes: list[Write] = [Put(record, unchanged), *self._event_puts(events), *outbox]
            if release_slot:
                slots = self._table.new(owner_pk(job.owner), SLOTS)
                writes.append(Update(slots, [Record.holders.delete({job.job_id})]))
                writes += self._settlement(job)
            self._table.transact(writes)
        except (ConditionFailedError, TransactionFailedError):
            raise StaleRecordError(job.job_id) from None
        if outbox:
            self._told()

    def find_idempotency(self, owner: str, key_hash: str, now: datetime) -> IdempotencyRecord | None:
        return _live(self._table.get(idempotency_pk(owner, key_hash), _IDEMPOTENCY), now)

    def list(self, query: JobFilter, *, limit: int, cursor: str | None = None, offset: int = 0) -> JobPage:
        """As the port says; eventually consistent. Looks at a bounded number of records: a page may be short, or empty,
        and still have a cursor."""
        return self._listing.newest_first(query, limit=limit, cursor=cursor, offset=offset)

    def list_active(self, *, limit: int = 100, cursor: str | None = None) -> JobPage:
        return self._listing.active(limit=limit, cursor=cursor)

    def find_by_prediction(self, provider: str, prediction_id: str) -> Job | None:
        found = self._table.query(prediction_pk(provider, prediction_id), index="prediction-index", limit=1)
        return Job.model_validate_json(found[0].document) if found else None

    def events(self, job_id: str, *, after: int = 0, limit: int = 100) -> Sequence[JobEvent]:
        """As the port says, strongly consistent."""
        if after >= _LAST_SEQ:
            return []
        within = Record.sk.between(event_sk(max(after, 0) + 1), event_sk(_LAST_SEQ))
        found = self._table.query(job_pk(job_id), within=within, limit=limit)
        return [JobEvent.model_validate_json(record.document) for record in found]

    def delete(self, job: Job) -> None:
        unchanged = Record.pk.does_not_exist() | (Record.version == job.version)
        mark = self._table.new(_DELETED, job.job_id, document=job.owner)
        try:
            self._table.transact([Delete(self._table.new(job_pk(job.job_id), _RECORD), unchanged), Put(mark)])
        except TransactionFailedError:
            raise StaleRecordError(job.job_id) from None

    def list_deleted(self, *, limit: int = 100, after: str | None = None) -> Sequence[DeletedJob]:
        """As the port says, strongly consistent."""
        within = Record.sk > after if after is not None else None
        found = self._table.query(_DELETED, within=within, limit=limit)
        return [DeletedJob(job_id=record.sk, owner=record.document) for record in found]

    def forget(self, job_id: str) -> None:
        # Nothing is added any more: events are only written together with the record.
        for _ in range(MAX_REMOVALS):
            page = self._table.page(job_pk(job_id), size=MAX_WRITES, keys_only=True)
            if page.records:
                self._table.transact([Delete(record) for record in page.records])
            if page.last is None:
                self._table.delete(_DELETED, job_id)
                return

    def slot_holders(self, owner: str) -> frozenset[str]:
        """Strongly consistent."""
        record = self._table.get(owner_pk(owner), SLOTS)
        return frozenset(record.holders or ()) if record else frozenset()

    def release_slot(self, owner: str, job_id: str) -> None:
        self._table.update(self._table.new(owner_pk(owner), SLOTS), [Record.holders.delete({job_id})])

    def mark_escrow(self, mark: EscrowMark) -> None:
        self._table.put(
            self._table.new(_ESCROW, _escrow_sk(mark), document=mark.job_id, valid_until=microseconds(mark.due))
        )

    def list_escrow_due(self, *, due_before: datetime, limit: int = 100) -> Sequence[EscrowMark]:
        """As the port says, to the microsecond."""
        found = self._table.query(_ESCROW, within=Record.sk < stamp(due_before), limit=limit)
        return [EscrowMark(record.document, moment_of(int(record.valid_until))) for record in found]

    def unmark_escrow(self, mark: EscrowMark) -> None:
        self._table.delete(_ESCROW, _escrow_sk(mark))

    def budget_used(self, budget_id: str) -> Decimal:
        record = self._table.get(budget_pk(budget_id), _BUDGET)
        return _dollars(record)

    def _hold(self, budget: BudgetHold, hold: Decimal) -> Update:
        amount = microdollars(hold)
        # Rounded down, as the hold is rounded up.
        room = int(budget.limit_usd * _MICRODOLLARS) - amount
        fits = Record.used <= room
        if room >= 0:
            fits |= Record.used.does_not_exist()
        return Update(self._table.new(budget_pk(budget.budget_id), _BUDGET), [Record.used.add(amount)], fits, show=True)

    def _settlement(self, job: Job) -> Sequence[Write]:
        """What a job that is over counts in place of its hold; exactly once, as a job ends once."""
        charge, hold = job.budget_charge_usd, job.budget_hold_usd
        if job.is_active or job.budget_id is None or charge is None or hold is None:
            return []
        difference = microdollars(charge) - microdollars(hold)
        if difference == 0:
            return []
        return [Update(self._table.new(budget_pk(job.budget_id), _BUDGET), [Record.used.add(difference)])]

    def _mark_month(self, month: str) -> None:
        known = self._table.get(EVERYBODY, MONTHS)
        if known is None or month not in (known.months or ()):
            self._table.update(self._table.new(EVERYBODY, MONTHS), [Record.months.add({month})])

    def _datasets_ready(self, job: Job) -> Sequence[Check]:
        wanted = {(ref.dataset_id, ref.version_id) for ref in job.datasets}
        return [
            Check(
                self._table.new(versions_pk(job.owner, dataset_id), version_sk(version_id)),
                Record.status == VersionStatus.READY.value,
            )
            for dataset_id, version_id in sorted(wanted)
        ]

    def _job(self, job: Job) -> Record:
        return self._table.new(job_pk(job.job_id), _RECORD, **job_attributes(job))

    def _idempotency(self, record: IdempotencyRecord) -> Record:
        return self._table.new(
            idempotency_pk(record.owner, record.key_hash),
            _IDEMPOTENCY,
            document=record.model_dump_json(),
            job_id=record.job_id,
            valid_until=microseconds(record.expires_at),
            expires_at=ttl_seconds(record.expires_at),
        )

    def _event_puts(self, events: Sequence[JobEvent]) -> Sequence[Put]:
        return [Put(self._table.new(job_pk(e.job_id), event_sk(e.seq), document=e.model_dump_json())) for e in events]

    def _outbox(self, job: Job, events: Sequence[JobEvent]) -> Sequence[Put]:
        """What these events put into the outbox. Raises ValueError when it is too much for a transaction."""
        puts = outbox_puts(self._table, outbox_items(job, events))
        if len(events) + len(puts) > MAX_EVENTS:
            raise ValueError(f"{len(events)} events at once, {MAX_EVENTS - len(puts)} are possible")
        return puts


def _escrow_sk(mark: EscrowMark) -> str:
    return f"{stamp(mark.due)}#{mark.job_id}"


def _dollars(record: Record | None) -> Decimal:
    return Decimal(int(record.used or 0)) / _MICRODOLLARS if record is not None else Decimal(0)


def _left(budget: BudgetHold, stored: Record | None) -> Decimal:
    return max(Decimal(0), budget.limit_usd - _dollars(stored))


def _has_room(slot_limit: int) -> Condition:
    room: Condition = size(Record.holders) < slot_limit  # type: ignore[no-untyped-call]
    # A set that became empty is removed by DynamoDB, and a missing one has no size.
    return room | Record.holders.does_not_exist() if slot_limit > 0 else room


def _live(record: Record | None, now: datetime) -> IdempotencyRecord | None:
    if record is None or record.valid_until <= microseconds(now):
        return None
    return IdempotencyRecord.model_validate_json(record.document)
