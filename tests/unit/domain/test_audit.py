"""Audit records: ids in order of time, hashes that outlive releases, what a filter lets through."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from chalicelib.domain.access_ports import AuditFilter
from chalicelib.domain.audit import (
    GENESIS,
    AuditAction,
    AuditRecord,
    AuditResult,
    chain_digest,
    id_prefix,
    next_seal,
    record_hash,
    record_id,
    time_of,
    unreadable,
)
from tests.support.doors import a_record
from tests.support.jobs import NOW

TICK = timedelta(microseconds=1)


def test_ids_are_in_order_of_time_and_give_it_back() -> None:
    times = [datetime(1970, 1, 1, tzinfo=UTC), NOW - TICK, NOW, NOW + TICK, datetime(4000, 1, 1, tzinfo=UTC)]
    ids = [record_id(at, "token") for at in times]
    assert ids == sorted(ids)
    assert [time_of(i) for i in ids] == times
    assert id_prefix(NOW) < record_id(NOW, "token") < id_prefix(NOW + TICK)
    assert id_prefix(NOW.astimezone(timezone(timedelta(hours=9)))) == id_prefix(NOW)
    assert id_prefix(datetime(1900, 1, 1, tzinfo=UTC)) == "0" * 17


@pytest.mark.parametrize("text", ["", "0" * 17, "x" * 17 + "-a", "1" * 16 + "-a", "٣" * 17 + "-a", "-" * 18])
def test_what_is_no_id(text: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        time_of(text)


def test_the_hash_covers_every_field() -> None:
    record = a_record(key_id="key1", code="code")
    changes = {
        "record_id": record_id(NOW, "b"),
        "at": NOW + TICK,
        "action": AuditAction.SIGN_IN,
        "result": AuditResult.DENIED,
        "details": {},
    }
    for name in AuditRecord.model_fields:
        changed = record.model_copy(update={name: changes.get(name, "changed")})
        assert record_hash(changed) != record_hash(record), name


def test_the_hash_is_that_of_what_comes_back_from_a_store() -> None:
    record = a_record(details={"roles": ("admin", "lead"), "cost": 1.5, "nested": {"b": 1, "a": None}})
    assert record_hash(AuditRecord.model_validate_json(record.model_dump_json())) == record_hash(record)


def test_the_hash_outlives_releases() -> None:
    """Seals of years ago must still fit: this value never changes."""
    assert record_hash(a_record()) == "6f233762347a8d637f3e875360d4f508f7d87aaac9a72ce705f3f76688573380"
    newer = json.loads(a_record().model_dump_json()) | {"invented_later": [1], "action": "thing.invented"}
    kept = AuditRecord.model_validate(newer)
    assert kept.action == "thing.invented"
    assert json.loads(kept.model_dump_json()) == newer
    assert record_hash(kept) != record_hash(a_record())


def test_known_actions_are_read_as_such() -> None:
    read = AuditRecord.model_validate_json(a_record().model_dump_json())
    assert isinstance(read.action, AuditAction)


def test_a_seal_holds_its_records_in_order_and_the_seal_before() -> None:
    one, two = a_record(NOW, "a"), a_record(NOW, "b")
    first = next_seal(None, [one, two], NOW)
    assert (first.number, first.previous, first.count) == (1, GENESIS, 2)
    assert (first.first, first.last) == (one.record_id, two.record_id)
    second = next_seal(first, [one], NOW)
    assert (second.number, second.previous) == (2, first.digest)
    digests = {chain_digest(GENESIS, r) for r in ([one, two], [two, one], [one], [two], [one, one, two], [])}
    assert len(digests) == 6
    assert chain_digest(first.digest, [one]) != chain_digest(GENESIS, [one])


def test_a_damaged_record_fits_no_seal() -> None:
    assert record_hash(unreadable(a_record().record_id, NOW)) != record_hash(a_record())


def test_a_filter_without_fields_lets_everything_through() -> None:
    assert AuditFilter().matches(a_record())
    assert AuditFilter(since=NOW, until=NOW + TICK).matches(a_record())
    assert not AuditFilter(since=NOW + TICK).matches(a_record())
    assert not AuditFilter(until=NOW).matches(a_record())
    assert not AuditFilter(actor="sub-eve").matches(a_record())
