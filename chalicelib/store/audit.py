"""The audit in DynamoDB: a table that its role can insert into and query, and nothing else.

    pk                 sk            what
    ─────────────────  ────────────  ─────────────────────────────────────
    audit#<YYYY-MM>    <record id>   one record
    months             <YYYY-MM>     that there are records of this month
    seals              <number>      one seal

No TTL, no index. Records are found month by month. Nothing can be changed, replaced or deleted: see ``append_only``.
Only the sweeper's role may insert seals, and it may insert nothing else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from pydantic import ValidationError
from pynamodb.expressions.condition import Condition

from chalicelib.domain.access_ports import AuditFilter
from chalicelib.domain.audit import AuditRecord, Seal, id_prefix, time_of, unreadable
from chalicelib.domain.ports import InvalidCursorError, StaleRecordError
from chalicelib.store.append_only import AppendOnlyTable
from chalicelib.store.cursors import Position, decode, encode, list_kind
from chalicelib.store.faults import ConditionFailedError
from chalicelib.store.records import Record, month_of

#: Records one call of ``list`` looks at when a filter drops some, and those of one query.
MAX_EXAMINED, FILTERED_PAGE = 2_000, 250
_MONTHS, _SEALS = "months", "seals"
_MAX_MONTHS = 12 * 100
_LAST_NUMBER = 10**12 - 1
#: Before and behind the ids of all records.
_START, _END = "0" * 17, "9" * 17
#: An id as ``record_id`` makes it: its random part is URL-safe.
_RECORD_ID = re.compile(r"\d{17}-[0-9A-Za-z_-]+", re.ASCII)


class DynamoAuditStore:
    """``AuditStore`` over the audit table, strongly consistent. Needs PartiQLInsert and Query. Besides what the
    port says, every method raises ``Unavailable`` when DynamoDB can't answer; nobody knows then whether a record was
    written.

    ``sleep`` takes seconds; it is called between the tries of requests that collide. ``max_examined`` and
    ``page_size`` bound one call of ``list``.
    """

    def __init__(
        self,
        table_name: str,
        *,
        sleep: Callable[[float], None] = time.sleep,
        max_examined: int = MAX_EXAMINED,
        page_size: int = FILTERED_PAGE,
    ) -> None:
        self._table = AppendOnlyTable(table_name, sleep=sleep)
        self._max_examined = max_examined
        self._page_size = page_size
        self._marked: set[str] = set()

    def append(self, record: AuditRecord) -> None:
        """As the port says. The month's mark goes first: without it nobody would find the record."""
        if time_of(record.record_id) != record.at:
            raise ValueError("the record's id is of another time")
        month = month_of(record.at)
        if month not in self._marked:
            self._mark(month)
        self._insert(self._table.new(_pk(month), record.record_id, document=record.model_dump_json()))

    def list(
        self, query: AuditFilter, *, limit: int, cursor: str | None = None
    ) -> tuple[Sequence[AuditRecord], str | None]:
        kind = list_kind("audit", *(str(value) for value in vars(query).values()))
        end = _position(kind, cursor) if cursor is not None else _END
        if query.until is not None:
            end = min(end, id_prefix(query.until))
        start = id_prefix(query.since) if query.since is not None else _START
        found: list[AuditRecord] = []
        examined = 0
        for month in self._months(start, end, newest_first=True):
            last = None
            while True:
                page = self._table.page(
                    _pk(month), within=_between(start, end), newest_first=True, size=self._page_size, last=last
                )
                for item in page.records:
                    record = _record(item)
                    if not query.matches(record):
                        continue
                    found.append(record)
                    if len(found) > limit:
                        return found[:limit], encode(kind, Position(found[limit - 1].record_id))
                examined += page.examined
                last = page.last
                if last is None:
                    break
                if examined >= self._max_examined:
                    return found, encode(kind, Position(last["sk"]["S"]))
        return found, None

    def after(self, record_id: str | None, *, until: datetime, limit: int) -> Sequence[AuditRecord]:
        start, end = f"{record_id} " if record_id is not None else _START, id_prefix(until)
        found: list[AuditRecord] = []
        for month in self._months(start, end, newest_first=False):
            items = self._table.query(_pk(month), within=_between(start, end), limit=limit - len(found))
            found += [_record(item) for item in items]
            if len(found) >= limit:
                break
        return found

    def last_seal(self) -> Seal | None:
        found = self._table.query(_SEALS, newest_first=True, limit=1)
        return Seal.model_validate_json(found[0].document) if found else None

    def add_seal(self, seal: Seal) -> None:
        self._insert(self._table.new(_SEALS, _number(seal.number), document=seal.model_dump_json()))

    def seals(self, *, after: int = 0, limit: int = 1000) -> Sequence[Seal]:
        if after >= _LAST_NUMBER:
            return []
        within = Record.sk > _number(max(after, 0))
        return [
            Seal.model_validate_json(item.document) for item in self._table.query(_SEALS, within=within, limit=limit)
        ]

    def _mark(self, month: str) -> None:
        with suppress(ConditionFailedError):  # somebody else has
            self._table.insert(self._table.new(_MONTHS, month))
        self._marked.add(month)

    def _insert(self, record: Record) -> None:
        try:
            self._table.insert(record)
        except ConditionFailedError:
            raise StaleRecordError(record.sk) from None

    def _months(self, start: str, end: str, *, newest_first: bool) -> Sequence[str]:
        """Those with records that may lie from ``start`` on and before ``end``."""
        if start >= end:
            return []
        within = Record.sk.between(_month(start), _month(end))
        found = self._table.query(_MONTHS, within=within, newest_first=newest_first, limit=_MAX_MONTHS)
        return [record.sk for record in found]


def _pk(month: str) -> str:
    return f"audit#{month}"


def _month(position: str) -> str:
    return month_of(time_of(f"{position[: len(_START)]}-"))


def _number(number: int) -> str:
    return f"{number:012d}"


def _between(start: str, end: str) -> Condition:
    """From ``start`` on and before ``end``: no id is a prefix of time alone, or ends in a space."""
    condition: Condition = Record.sk.between(start, end)
    return condition


def _position(kind: str, cursor: str) -> str:
    """Before the record that the cursor names and behind all before it. Raises InvalidCursorError."""
    sort = decode(kind, cursor).sort
    if not _RECORD_ID.fullmatch(sort):
        raise InvalidCursorError("of no record")
    try:
        time_of(sort)
    except ValueError:
        raise InvalidCursorError("of no record") from None
    return sort[:-1] + chr(ord(sort[-1]) - 1) + "~"


def _record(item: Record) -> AuditRecord:
    """With the id that it is stored under: a text that was put elsewhere doesn't hide that."""
    try:
        record = AuditRecord.model_validate_json(item.document or "")
    except ValidationError:
        return unreadable(item.sk, time_of(item.sk))
    return record if record.record_id == item.sk else record.model_copy(update={"record_id": item.sk})
