"""Checking the audit's seals against its records, over the ``AuditStore`` port alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice

from chalicelib.domain.access_ports import AuditStore
from chalicelib.domain.audit import GENESIS, AuditRecord, ChainReport, Seal, chain_digest

#: Records that one check reads, some seconds of work, and what it reads at once.
MAX_CHECKED, PAGE = 20_000, 500
#: Breaks that a report names; the first is what matters.
MAX_NAMED = 20


def check_chain(
    store: AuditStore, now: datetime, *, after: int = 0, max_records: int = MAX_CHECKED, max_seals: int = 1_000
) -> ChainReport:
    """Compares the seals behind number ``after`` with the records as they are now.

    Every record up to the last seal must lie under exactly one seal, unchanged and in its place. What was changed,
    removed, slipped in or put elsewhere breaks the seal it belongs to; a seal that was changed or removed breaks the
    one behind it. A check goes on after ``after`` without looking at what was before; begin at 0 to prove everything.
    """
    before = _anchor(store, after)
    if before is None:
        return ChainReport(
            valid=False,
            seals=0,
            sealed_records=0,
            unsealed_records=None,
            broken=(f"seal {after} is missing",),
            checked_to=after,
        )
    number, digest, position = before
    seals = store.seals(after=after, limit=max_seals + 1)
    records = _Line(store, position, now)
    broken: list[str] = []
    sealed = checked = 0
    for seal in seals[:max_seals]:
        if checked and sealed + seal.count > max_records:
            break
        covered = records.up_to(seal.last, seal.count + 1)
        problem = _problem(seal, number, digest, covered)
        if problem is not None:
            broken.append(f"seal {seal.number}: {problem}")
        records.skip_to(seal.last)
        # On with what this seal says of itself: one break is reported once, not again at every later seal.
        number, digest = seal.number, seal.digest
        sealed += len(covered)
        checked += 1
    complete = checked == len(seals)
    return ChainReport(
        valid=not broken,
        seals=checked,
        sealed_records=sealed,
        unsealed_records=records.count_rest(max_records) if complete else None,
        broken=tuple(broken[:MAX_NAMED]),
        complete=complete,
        checked_to=number,
        digest=digest,
    )


def _anchor(store: AuditStore, after: int) -> tuple[int, str, str | None] | None:
    """Number, digest and last record of the seal that the check goes on behind; None when it is missing."""
    if after <= 0:
        return 0, GENESIS, None
    found = store.seals(after=after - 1, limit=1)
    if not found or found[0].number != after:
        return None
    return after, found[0].digest, found[0].last


def _problem(seal: Seal, number: int, digest: str, covered: list[AuditRecord]) -> str | None:
    if seal.number != number + 1:
        return f"seals {number + 1} to {seal.number - 1} are missing"
    if seal.previous != digest:
        return "does not follow from the seal before"
    if len(covered) != seal.count:
        more = "records were added" if len(covered) > seal.count else f"{seal.count - len(covered)} records are missing"
        return f"{more} between {seal.first} and {seal.last}"
    if chain_digest(digest, covered) != seal.digest:
        return f"a record between {seal.first} and {seal.last} was changed"
    return None


class _Line:
    """All records behind a position, ascending, read in pages, each looked at once."""

    def __init__(self, store: AuditStore, position: str | None, until: datetime) -> None:
        self._records = self._read(store, position, until)
        self._next = next(self._records, None)

    @staticmethod
    def _read(store: AuditStore, position: str | None, until: datetime) -> Iterator[AuditRecord]:
        while True:
            page = store.after(position, until=until, limit=PAGE)
            yield from page
            if len(page) < PAGE:
                return
            position = page[-1].record_id

    def up_to(self, last: str, limit: int) -> list[AuditRecord]:
        """The records not looked at yet up to the id ``last``; at most ``limit``, so a flood can't fill the memory."""
        found: list[AuditRecord] = []
        while self._next is not None and self._next.record_id <= last and len(found) < limit:
            found.append(self._next)
            self._next = next(self._records, None)
        return found

    def skip_to(self, last: str) -> None:
        while self._next is not None and self._next.record_id <= last:
            self._next = next(self._records, None)

    def count_rest(self, limit: int) -> int:
        """At most ``limit``."""
        rest = sum(1 for _ in islice(self._records, limit - 1)) if self._next is not None else -1
        return rest + 1
