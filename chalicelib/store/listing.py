"""Lists of jobs: month by month from the newest, never a scan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pynamodb.expressions.condition import Condition

from chalicelib.domain.jobs import Job
from chalicelib.domain.ports import JobFilter, JobPage
from chalicelib.store.cursors import Position, decode, encode, list_kind
from chalicelib.store.records import ACTIVE, Record, everybody_month, owner_month, owner_pk
from chalicelib.store.table import Table

#: Where the months with jobs of anybody are kept; those of one owner are kept beside the owner's slots.
EVERYBODY, MONTHS, SLOTS = "everybody", "months", "slots"
#: Records one call looks at before it hands back what it has and a cursor: some 15 MB, well within a request's time.
MAX_EXAMINED = 5_000
#: The largest offset that is skipped in one call whatever it takes, when nothing filters.
MAX_SKIPPED = 10_000
#: A record has 1 to 4 KB and a page of DynamoDB 1 MB.
FILTERED_PAGE = 300


@dataclass(frozen=True)
class _Line:
    """One way through the jobs: an index, its partitions, its sort key."""

    index: str
    sort_key: str
    months: list[str]
    owner: str | None

    def pk(self, month: str) -> str:
        return everybody_month(month) if self.owner is None else owner_month(self.owner, month)

    def before(self, sort: str) -> Condition:
        condition: Condition = getattr(Record, self.sort_key) < sort
        return condition


class JobListing:
    """``max_examined``: records that one call of ``newest_first`` looks at; ``page_size``: those of one query."""

    def __init__(self, table: Table, *, max_examined: int = MAX_EXAMINED, page_size: int = FILTERED_PAGE) -> None:
        self._table = table
        self._max_examined = max_examined
        self._page_size = page_size

    def newest_first(self, query: JobFilter, *, limit: int, cursor: str | None, offset: int) -> JobPage:
        """See ``JobStore.list``."""
        kind = list_kind("jobs", query.owner, query.status, query.provider, query.job_type)
        at = decode(kind, cursor) if cursor is not None else None
        skip = offset + (at.skip if at else 0)
        line, only = self._line(query.owner), _only(query)
        enough = self._max_examined if only is not None else max(self._max_examined, min(skip, MAX_SKIPPED) + limit + 1)
        # Sort keys begin with the time of creation, so a position is one in all months.
        within = line.before(at.sort) if at is not None else None
        found: list[Record] = []
        examined = 0
        for month in line.months:
            if at is not None and month > at.sort:
                continue
            last = None
            while True:
                missing = skip + limit + 1 - len(found)
                size = min(missing, self._page_size) if only is None else self._page_size
                page = self._table.page(
                    line.pk(month),
                    within=within,
                    index=line.index,
                    only=only,
                    newest_first=True,
                    size=size,
                    last=last,
                    keys_only=skip >= size,
                )
                examined += page.examined
                dropped = min(skip, len(page.records))
                skip -= dropped
                found += page.records[dropped:]
                if len(found) > limit:
                    position = Position(getattr(found[limit - 1], line.sort_key))
                    return JobPage(_jobs(found[:limit]), encode(kind, position))
                last = page.last
                if last is None:
                    break
                if examined >= enough:
                    position = Position(last[line.sort_key]["S"], skip)
                    return JobPage(_jobs(found), encode(kind, position))
        return JobPage(_jobs(found))

    def active(self, *, limit: int, cursor: str | None) -> JobPage:
        """See ``JobStore.list_active``."""
        kind = list_kind("active")
        within = Record.active_sk > decode(kind, cursor).sort if cursor is not None else None
        found = self._table.query(ACTIVE, within=within, index="active-index", limit=limit + 1)
        if len(found) <= limit:
            return JobPage(_jobs(found))
        return JobPage(_jobs(found[:limit]), encode(kind, Position(found[limit - 1].active_sk)))

    def _line(self, owner: str | None) -> _Line:
        everybody = owner is None
        record = self._table.get(EVERYBODY, MONTHS) if owner is None else self._table.get(owner_pk(owner), SLOTS)
        months = sorted(record.months or (), reverse=True) if record else []
        name = "month" if everybody else "owner"
        return _Line(f"{name}-index", f"{name}_sk", months, owner)


def _only(query: JobFilter) -> Condition | None:
    only: Condition | None = None
    if query.status is not None:
        only = Record.status == query.status.value
    if query.provider is not None:
        wanted = Record.provider == query.provider
        only = wanted if only is None else only & wanted
    if query.job_type is not None:
        wanted = Record.job_type == query.job_type.value
        only = wanted if only is None else only & wanted
    return only


def _jobs(records: Iterable[Record]) -> tuple[Job, ...]:
    return tuple(Job.model_validate_json(record.document) for record in records)
