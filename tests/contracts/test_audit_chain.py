"""The audit's seals: whatever happens to a sealed record shows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Protocol

import pytest

from chalicelib.domain.access_ports import AuditStore
from chalicelib.domain.audit import GENESIS, SEAL_AFTER, AuditRecord, Seal, next_seal
from chalicelib.domain.audit_chain import check_chain
from chalicelib.services.audit import AuditService
from chalicelib.store import DynamoAuditStore
from tests.fakes.access import InMemoryAuditStore
from tests.fakes.clock import FakeClock
from tests.support.doors import a_record
from tests.support.emulator import Emulator
from tests.support.jobs import NOW, together

SECOND = timedelta(seconds=1)


class Tampering(Protocol):
    def tamper(self, record: AuditRecord | Seal) -> None: ...

    def remove(self, record: AuditRecord | Seal) -> None: ...


class RootTampering:
    """Does with root's rights what no role of ours may."""

    def __init__(self, emulator: Emulator, table: str) -> None:
        self._client, self._table = emulator.client("dynamodb"), table

    @staticmethod
    def _key(record: AuditRecord | Seal) -> dict[str, dict[str, str]]:
        if isinstance(record, Seal):
            return {"pk": {"S": "seals"}, "sk": {"S": f"{record.number:012d}"}}
        return {"pk": {"S": f"audit#{record.at:%Y-%m}"}, "sk": {"S": record.record_id}}

    def tamper(self, record: AuditRecord | Seal) -> None:
        item = self._key(record) | {"document": {"S": record.model_dump_json()}}
        self._client.put_item(TableName=self._table, Item=item)

    def remove(self, record: AuditRecord | Seal) -> None:
        self._client.delete_item(TableName=self._table, Key=self._key(record))


Pair = tuple[AuditStore, Tampering]


@pytest.fixture(params=["memory", "dynamodb"])
def pair(request: pytest.FixtureRequest) -> Pair:
    if request.param == "memory":
        store = InMemoryAuditStore()
        return store, store
    table = request.getfixturevalue("audit_table")
    return DynamoAuditStore(table), RootTampering(request.getfixturevalue("emulator"), table)


def service(store: AuditStore, clock: FakeClock) -> AuditService:
    numbers = count()
    return AuditService(store, clock, lambda length: f"{next(numbers):0{length}d}")


def sealed(
    store: AuditStore, *, seals: int = 3, per_seal: int = 4, days: int = 12
) -> tuple[list[AuditRecord], FakeClock]:
    """Records over some months, under ``seals`` seals."""
    clock = FakeClock(NOW)
    records: list[AuditRecord] = []
    for _ in range(seals):
        for _ in range(per_seal):
            records.append(a_record(clock.now(), target=f"job:{len(records)}"))
            store.append(records[-1])
            clock.advance(timedelta(days=3))
        clock.advance(SEAL_AFTER + SECOND)
        assert service(store, clock).seal() == per_seal
    return records, clock


def test_an_empty_audit_is_sound(pair: Pair) -> None:
    report = check_chain(pair[0], NOW)
    assert (report.valid, report.seals, report.unsealed_records, report.digest) == (True, 0, 0, GENESIS)


def test_a_sealed_audit_is_sound_and_young_records_wait(pair: Pair) -> None:
    store, _ = pair
    _, clock = sealed(store)
    store.append(a_record(clock.now()))
    assert service(store, clock).seal() == 0
    report = check_chain(store, clock.now() + SECOND)
    last = store.last_seal()
    assert last is not None
    assert (report.valid, report.complete, report.broken) == (True, True, ())
    assert (report.seals, report.sealed_records, report.unsealed_records) == (3, 12, 1)
    assert (report.checked_to, report.digest) == (3, last.digest)
    clock.advance(SEAL_AFTER + SECOND)
    assert service(store, clock).seal() == 1
    assert check_chain(store, clock.now()).sealed_records == 13


def break_changed(t: Tampering, records: list[AuditRecord]) -> None:
    t.tamper(records[5].model_copy(update={"actor_name": "somebody else"}))


def break_detail(t: Tampering, records: list[AuditRecord]) -> None:
    t.tamper(records[5].model_copy(update={"details": {"provider": "another"}}))


def break_removed(t: Tampering, records: list[AuditRecord]) -> None:
    t.remove(records[5])


def break_last_removed(t: Tampering, records: list[AuditRecord]) -> None:
    t.remove(records[7])


def break_inserted(t: Tampering, records: list[AuditRecord]) -> None:
    t.tamper(a_record(records[5].at + SECOND, "slipped-in"))


def break_inserted_first(t: Tampering, records: list[AuditRecord]) -> None:
    t.tamper(a_record(records[4].at - SECOND, "slipped-in"))


def break_reordered(t: Tampering, records: list[AuditRecord]) -> None:
    one, two = records[5], records[6]
    t.tamper(two.model_copy(update={"record_id": one.record_id, "at": one.at}))
    t.tamper(one.model_copy(update={"record_id": two.record_id, "at": two.at}))


@pytest.mark.parametrize(
    "tampering",
    [
        break_changed,
        break_detail,
        break_removed,
        break_last_removed,
        break_inserted,
        break_inserted_first,
        break_reordered,
    ],
)
def test_tampering_breaks_the_seal_it_lies_under_and_no_other(
    pair: Pair, tampering: Callable[[Tampering, list[AuditRecord]], None]
) -> None:
    store, tamperer = pair
    records, clock = sealed(store)
    tampering(tamperer, records)
    report = check_chain(store, clock.now())
    assert not report.valid
    assert len(report.broken) == 1
    assert report.broken[0].startswith("seal 2: ")
    assert (report.seals, report.complete) == (3, True)


def test_a_text_moved_to_another_place_shows_even_when_the_order_stays(emulator: Emulator, audit_table: str) -> None:
    store, tamperer = DynamoAuditStore(audit_table), RootTampering(emulator, audit_table)
    records, clock = sealed(store)
    elsewhere = a_record(records[5].at + SECOND)
    item = tamperer._key(elsewhere) | {"document": {"S": records[5].model_dump_json()}}
    emulator.client("dynamodb").put_item(TableName=audit_table, Item=item)
    tamperer.remove(records[5])
    assert check_chain(store, clock.now()).broken[0].startswith("seal 2: a record between")


def test_seals_that_were_changed_removed_or_made_anew_show(pair: Pair) -> None:
    store, tamperer = pair
    records, clock = sealed(store)
    first, second, third = store.seals()
    tamperer.remove(second)
    report = check_chain(store, clock.now())
    assert report.broken[0] == "seal 3: seals 2 to 2 are missing"
    # A forged seal over forged records fits itself, and not what follows.
    forged = records[5].model_copy(update={"actor_name": "somebody else"})
    tamperer.tamper(forged)
    tamperer.tamper(next_seal(first, [records[4], forged, *records[6:8]], clock.now()))
    report = check_chain(store, clock.now())
    assert report.broken == ("seal 3: does not follow from the seal before",)
    # Whoever rewrites all of them is given away by a digest that was noted elsewhere.
    rewritten = store.seals(after=1, limit=1)[0]
    tamperer.tamper(next_seal(rewritten, records[8:], clock.now()))
    report = check_chain(store, clock.now())
    assert report.valid
    assert report.digest != third.digest


def test_records_that_are_added_while_sealing_are_sealed_next(pair: Pair) -> None:
    store, _ = pair
    clock = FakeClock(NOW + SEAL_AFTER + 10 * SECOND)

    def one(i: int) -> int:
        if i % 3 == 0:
            return service(store, clock).seal()
        store.append(a_record(clock.now(), f"w{i}"))
        return 0

    for n in range(4):
        store.append(a_record(NOW + n * SECOND))
    results = together(9, one)
    assert all(isinstance(r, int) for r in results)
    assert sum(r for r in results if isinstance(r, int)) == 4
    clock.advance(SEAL_AFTER + SECOND)
    assert service(store, clock).seal() == 6
    report = check_chain(store, clock.now())
    assert (report.valid, report.seals, report.sealed_records) == (True, 2, 10)


def test_a_long_chain_is_checked_in_parts(pair: Pair) -> None:
    store, tamperer = pair
    records, clock = sealed(store, seals=5)
    first = check_chain(store, clock.now(), max_records=8)
    assert (first.complete, first.seals, first.checked_to, first.unsealed_records) == (False, 2, 2, None)
    rest = check_chain(store, clock.now(), after=first.checked_to)
    assert (rest.complete, rest.seals, rest.checked_to, rest.valid) == (True, 3, 5, True)
    by_seals = check_chain(store, clock.now(), max_seals=4)
    assert (by_seals.complete, by_seals.checked_to) == (False, 4)
    assert check_chain(store, clock.now(), after=5).seals == 0
    tamperer.remove(records[9])
    assert check_chain(store, clock.now(), after=2).broken[0].startswith("seal 3: 1 records are missing")
    assert check_chain(store, clock.now(), after=3).valid
    missing = check_chain(store, clock.now(), after=77)
    assert (missing.valid, missing.broken) == (False, ("seal 77 is missing",))
