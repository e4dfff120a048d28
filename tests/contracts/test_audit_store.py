"""``AuditStore``: appending, listing, sealing; and that its role can do nothing else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.domain.access_ports import AuditFilter, AuditStore
from chalicelib.domain.audit import AuditAction, AuditResult, Seal, next_seal, record_id
from chalicelib.domain.ports import InvalidCursorError, StaleRecordError
from chalicelib.errors import Unavailable
from chalicelib.store import DynamoAuditStore
from tests.support.doors import a_record
from tests.support.emulator import Emulator
from tests.support.jobs import NOW, together
from tests.support.lossy import Fail, LoseAnswer, LossyProxy, lossy_proxy

SECOND = timedelta(seconds=1)
LATER = NOW + timedelta(days=365)
EVERYTHING = AuditFilter()


def ids(found: Any) -> list[str]:
    return [record.record_id for record in found]


def everything(store: AuditStore, query: AuditFilter, limit: int) -> list[str]:
    """All pages."""
    seen, cursor = [], None
    for _ in range(60):
        page, cursor = store.list(query, limit=limit, cursor=cursor)
        assert len(page) <= limit
        seen += ids(page)
        if cursor is None:
            return seen
    raise AssertionError("the list does not end")


# --- append and list ----------------------------------------------------------------------------------------------
def test_a_record_comes_back_as_it_was(audit_store: AuditStore) -> None:
    assert audit_store.list(EVERYTHING, limit=10) == ([], None)
    record = a_record(key_id="key1", code="denied", result=AuditResult.DENIED, target="job:ü")
    audit_store.append(record)
    assert audit_store.list(EVERYTHING, limit=10) == ([record], None)
    assert list(audit_store.after(None, until=LATER, limit=10)) == [record]


def test_an_id_is_taken_once_and_must_fit_the_time(audit_store: AuditStore) -> None:
    audit_store.append(a_record())
    with pytest.raises(StaleRecordError):
        audit_store.append(a_record(target="job:another"))
    for wrong in (record_id(NOW + SECOND, "x"), "made-up", "", "0" * 17):
        with pytest.raises(ValueError, match="id"):
            audit_store.append(a_record(record_id=wrong))
    assert audit_store.list(EVERYTHING, limit=10) == ([a_record()], None)


def test_records_are_listed_newest_first_over_months_in_pages(audit_store: AuditStore) -> None:
    times = [NOW - timedelta(days=20 * n) for n in range(7)] + [NOW - timedelta(microseconds=1)]
    records = [a_record(at, token) for at in times for token in ("a", "b", "-")]
    for record in records:
        audit_store.append(record)
    expected = sorted(ids(records), reverse=True)
    assert ids(audit_store.list(EVERYTHING, limit=100)[0]) == expected
    for limit in (1, 4, 23, 24):
        assert everything(audit_store, EVERYTHING, limit) == expected


def test_filters(audit_store: AuditStore) -> None:
    by_ada = a_record(NOW, "a")
    by_key = a_record(NOW + SECOND, "b", actor_id="sub-bob", actor_name="bob", key_id="key1", owner="sub-bob")
    denied = a_record(NOW + 2 * SECOND, "c", action=AuditAction.SIGN_IN, result=AuditResult.DENIED, target="user:eve")
    old = a_record(NOW - timedelta(days=70), "d")
    for record in (by_ada, by_key, denied, old):
        audit_store.append(record)
    cases = [
        (AuditFilter(actor="ada"), [denied, by_ada, old]),
        (AuditFilter(actor="sub-bob"), [by_key]),
        (AuditFilter(actor="key1"), [by_key]),
        (AuditFilter(actor="nobody"), []),
        (AuditFilter(action=AuditAction.SIGN_IN), [denied]),
        (AuditFilter(result=AuditResult.ALLOWED), [by_key, by_ada, old]),
        (AuditFilter(target="job:job1", owner="sub-ada"), [by_ada, old]),
        (AuditFilter(since=NOW), [denied, by_key, by_ada]),
        (AuditFilter(since=NOW + SECOND, until=NOW + 2 * SECOND), [by_key]),
        (AuditFilter(until=NOW), [old]),
        (AuditFilter(since=NOW, until=NOW), []),
        (AuditFilter(since=LATER), []),
        (AuditFilter(until=NOW - timedelta(days=30_000)), []),
        (AuditFilter(since=NOW - timedelta(days=30_000)), [denied, by_key, by_ada, old]),
    ]
    for query, expected in cases:
        assert ids(audit_store.list(query, limit=10)[0]) == ids(expected), query
        assert everything(audit_store, query, 1) == ids(expected), query


def test_a_cursor_belongs_to_its_list(audit_store: AuditStore) -> None:
    for n in range(3):
        audit_store.append(a_record(NOW + n * SECOND))
    _, cursor = audit_store.list(EVERYTHING, limit=1)
    assert cursor is not None
    with pytest.raises(InvalidCursorError):
        audit_store.list(AuditFilter(actor="ada"), limit=1, cursor=cursor)
    for wrong in ("", "made up", cursor[:-4], cursor + "AAAA"):
        with pytest.raises(InvalidCursorError):
            audit_store.list(AuditFilter(actor="ada"), limit=1, cursor=wrong)


def test_what_is_added_meanwhile_does_not_shift_the_pages(audit_store: AuditStore) -> None:
    for n in range(4):
        audit_store.append(a_record(NOW + n * SECOND))
    first, cursor = audit_store.list(EVERYTHING, limit=2)
    audit_store.append(a_record(NOW + 9 * SECOND))
    rest, _ = audit_store.list(EVERYTHING, limit=9, cursor=cursor)
    assert ids(first) + ids(rest) == [record_id(NOW + n * SECOND, "a") for n in (3, 2, 1, 0)]


# --- in order -----------------------------------------------------------------------------------------------------
def test_records_behind_a_position_ascend_over_months_up_to_a_time(audit_store: AuditStore) -> None:
    records = [a_record(NOW + timedelta(days=25 * n), token) for n in range(4) for token in ("a", "a-b")]
    for record in reversed(records):
        audit_store.append(record)
    assert ids(audit_store.after(None, until=LATER, limit=100)) == ids(records)
    assert ids(audit_store.after(None, until=LATER, limit=3)) == ids(records[:3])
    for i, record in enumerate(records):
        assert ids(audit_store.after(record.record_id, until=LATER, limit=3)) == ids(records[i + 1 : i + 4])
    until = records[4].at
    assert ids(audit_store.after(None, until=until, limit=100)) == ids(records[:4])
    assert ids(audit_store.after(records[3].record_id, until=until, limit=100)) == []
    assert ids(audit_store.after(records[5].record_id, until=until, limit=100)) == []


# --- seals --------------------------------------------------------------------------------------------------------
def test_seals_are_kept_in_order_and_each_number_is_taken_once(audit_store: AuditStore) -> None:
    assert audit_store.last_seal() is None
    assert list(audit_store.seals()) == []
    made: list[Seal] = []
    for n in range(12):
        made.append(next_seal(made[-1] if made else None, [a_record(NOW + n * SECOND)], LATER))
        audit_store.add_seal(made[-1])
    assert audit_store.last_seal() == made[-1]
    assert list(audit_store.seals()) == made
    assert list(audit_store.seals(after=3, limit=2)) == made[3:5]
    assert list(audit_store.seals(after=12)) == []
    assert list(audit_store.seals(after=10**15)) == []
    with pytest.raises(StaleRecordError):
        audit_store.add_seal(made[4])


def test_of_two_sealers_one_wins(audit_store: AuditStore) -> None:
    def one(i: int) -> int:
        audit_store.add_seal(next_seal(None, [a_record(NOW, str(i))], LATER))
        return i

    results = together(6, one)
    assert sum(isinstance(r, int) for r in results) == 1
    assert sum(isinstance(r, StaleRecordError) for r in results) == 5


# --- the adapter --------------------------------------------------------------------------------------------------
def test_a_list_that_finds_little_hands_back_a_cursor_in_time(audit_table: str) -> None:
    store = DynamoAuditStore(audit_table, max_examined=6, page_size=3)
    for n in range(40):
        result = AuditResult.DENIED if n in {5, 20, 38} else AuditResult.ALLOWED
        store.append(a_record(NOW - timedelta(days=2 * n), result=result))
    query = AuditFilter(result=AuditResult.DENIED)
    page, cursor = store.list(query, limit=5)
    assert cursor is not None, "the bound was not reached"
    assert len(page) == 1
    expected = [record_id(NOW - timedelta(days=2 * n), "a") for n in (5, 20, 38)]
    assert everything(store, query, 5) == expected
    assert everything(store, EVERYTHING, 5) == [record_id(NOW - timedelta(days=2 * n), "a") for n in range(40)]


def test_a_damaged_record_is_shown_as_such(emulator: Emulator, audit_table: str) -> None:
    client, store = emulator.client("dynamodb"), DynamoAuditStore(audit_table)
    store.append(a_record())
    (item,) = (i for i in client.scan(TableName=audit_table)["Items"] if i["pk"]["S"].startswith("audit#"))
    client.put_item(TableName=audit_table, Item=item | {"document": {"S": "garbage"}})
    (shown,), _ = store.list(EVERYTHING, limit=10)
    assert (shown.record_id, shown.at, shown.action) == (a_record().record_id, NOW, "unreadable")


def test_records_of_a_newer_release_keep_what_this_one_does_not_know(emulator: Emulator, audit_table: str) -> None:
    client, store = emulator.client("dynamodb"), DynamoAuditStore(audit_table)
    store.append(a_record())
    (item,) = (i for i in client.scan(TableName=audit_table)["Items"] if i["pk"]["S"].startswith("audit#"))
    document = json.loads(item["document"]["S"]) | {"action": "thing.invented", "device": "phone"}
    client.put_item(TableName=audit_table, Item=item | {"document": {"S": json.dumps(document)}})
    (shown,), _ = store.list(EVERYTHING, limit=10)
    assert shown.action == "thing.invented"
    assert shown.model_dump()["device"] == "phone"


@pytest.fixture
def proxy(emulator: Emulator, aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LossyProxy]:
    with lossy_proxy(emulator.port) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


def test_a_record_whose_answer_is_lost_is_written_once_and_one_write_is_all_it_takes(
    proxy: LossyProxy, audit_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    store = DynamoAuditStore(audit_table)
    store.append(a_record(NOW))
    proxy.calls.clear()
    store.append(a_record(NOW + SECOND))
    assert proxy.calls == ["PutItem"]
    proxy.plan.append(LoseAnswer("PutItem"))
    store.append(a_record(NOW + 2 * SECOND))
    assert not proxy.plan
    assert len(store.list(EVERYTHING, limit=10)[0]) == 3
    proxy.plan += [Fail("PutItem", "InternalServerError", 500) for _ in range(3)]
    with pytest.raises(Unavailable):
        store.append(a_record(NOW + 3 * SECOND))


def test_the_role_of_the_audit_can_add_and_read_and_nothing_else(
    emulator: Emulator, audit_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam, name = emulator.client("iam"), f"audit-{uuid.uuid4().hex[:8]}"
    arn = f"arn:aws:dynamodb:us-east-1:{emulator.account}:table/{audit_table}"
    denied = ["UpdateItem", "DeleteItem", "BatchWriteItem", "PartiQLInsert", "PartiQLUpdate", "PartiQLDelete"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": ["dynamodb:PutItem", "dynamodb:Query"], "Resource": arn},
            {"Effect": "Deny", "Action": [f"dynamodb:{action}" for action in denied], "Resource": arn},
        ],
    }
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="audit", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    store = DynamoAuditStore(audit_table)
    store.append(a_record())
    with pytest.raises(StaleRecordError):
        store.append(a_record(target="job:another"))
    store.add_seal(next_seal(None, [a_record()], NOW))
    assert store.last_seal() is not None
    assert store.list(EVERYTHING, limit=10) == ([a_record()], None)
    client = emulator.client(
        "dynamodb", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"]
    )
    at = {"pk": {"S": "audit#2026-11"}, "sk": {"S": a_record().record_id}}
    attempts: list[tuple[str, dict[str, Any]]] = [
        ("delete_item", {"TableName": audit_table, "Key": at}),
        (
            "update_item",
            {
                "TableName": audit_table,
                "Key": at,
                "UpdateExpression": "SET document = :d",
                "ExpressionAttributeValues": {":d": {"S": "{}"}},
            },
        ),
        ("batch_write_item", {"RequestItems": {audit_table: [{"DeleteRequest": {"Key": at}}]}}),
        ("transact_write_items", {"TransactItems": [{"Delete": {"TableName": audit_table, "Key": at}}]}),
        ("get_item", {"TableName": audit_table, "Key": at}),
        ("scan", {"TableName": audit_table}),
        ("delete_table", {"TableName": audit_table}),
    ]
    try:
        for operation, arguments in attempts:
            with pytest.raises(ClientError) as refused:
                getattr(client, operation)(**arguments)
            assert refused.value.response["Error"]["Code"] == "AccessDeniedException", operation
    finally:
        client.close()
    assert store.list(EVERYTHING, limit=10) == ([a_record()], None)
