"""``AuditStore``: appending, listing, sealing; and that its role can do nothing else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pynamodb.exceptions import PynamoDBException

from chalicelib.domain.access_ports import AuditFilter, AuditStore
from chalicelib.domain.audit import AuditAction, AuditResult, Seal, next_seal, record_id
from chalicelib.domain.ports import InvalidCursorError, StaleRecordError
from chalicelib.errors import Unavailable
from chalicelib.store import DynamoAuditStore
from chalicelib.store.cursors import Position, encode, list_kind
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


@pytest.mark.parametrize(
    "sort", ["0" * 17 + "-\x00", "0" * 17 + "-", "0" * 17, "9" * 17 + "-a", "x-a", "0" * 17 + "-a\n"]
)
def test_a_cursor_that_was_made_up_with_care_is_refused(audit_table: str, sort: str) -> None:
    kind = list_kind("audit", *(str(value) for value in vars(EVERYTHING).values()))
    made_up = encode(kind, Position(sort))
    if sort == "9" * 17 + "-a":  # a time to come, and so before all records
        assert DynamoAuditStore(audit_table).list(EVERYTHING, limit=1, cursor=made_up) == ([], None)
        return
    with pytest.raises(InvalidCursorError):
        DynamoAuditStore(audit_table).list(EVERYTHING, limit=1, cursor=made_up)


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
    assert proxy.calls == ["ExecuteStatement"]
    proxy.plan.append(LoseAnswer("ExecuteStatement"))
    store.append(a_record(NOW + 2 * SECOND))
    assert not proxy.plan
    assert len(store.list(EVERYTHING, limit=10)[0]) == 3
    proxy.plan += [Fail("ExecuteStatement", "InternalServerError", 500) for _ in range(3)]
    with pytest.raises(Unavailable):
        store.append(a_record(NOW + 3 * SECOND))


@pytest.fixture
def as_user(emulator: Emulator, audit_table: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Makes this process somebody with these statements and no more; gives a client of theirs."""
    iam, clients = emulator.client("iam"), []

    def become(*statements: dict[str, Any]) -> Any:
        name, arn = (
            f"audit-{uuid.uuid4().hex[:8]}",
            f"arn:aws:dynamodb:us-east-1:{emulator.account}:table/{audit_table}",
        )
        policy = {"Version": "2012-10-17", "Statement": [{"Resource": arn} | statement for statement in statements]}
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="audit", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        credentials = {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}
        for variable, value in credentials.items():
            monkeypatch.setenv(variable.upper(), value)
        clients.append(emulator.client("dynamodb", **credentials))
        return clients[-1]

    yield become
    for client in clients:
        client.close()


APPEND = {"Effect": "Allow", "Action": ["dynamodb:PartiQLInsert", "dynamodb:Query"]}
NO_SEALS = {
    "Effect": "Deny",
    "Action": "dynamodb:PartiQLInsert",
    "Condition": {"ForAnyValue:StringEquals": {"dynamodb:LeadingKeys": ["seals"]}},
}


def test_whoever_may_append_can_neither_replace_nor_change_nor_remove(
    as_user: Callable[..., Any], audit_table: str
) -> None:
    """By IAM alone: nothing here is denied but what was not allowed."""
    client, store = as_user(APPEND), DynamoAuditStore(audit_table)
    store.append(a_record())
    with pytest.raises(StaleRecordError):
        store.append(a_record(target="job:another"))
    store.add_seal(next_seal(None, [a_record()], NOW))
    assert store.last_seal() is not None
    assert store.list(EVERYTHING, limit=10) == ([a_record()], None)
    at = {"pk": {"S": "audit#2026-11"}, "sk": {"S": a_record().record_id}}
    item = at | {"document": {"S": "{}"}}
    insert = {"Statement": f"INSERT INTO \"{audit_table}\" VALUE {{'pk': ?, 'sk': ?}}", "Parameters": list(at.values())}
    where = f"WHERE pk = '{at['pk']['S']}' AND sk = '{at['sk']['S']}'"
    statements = {
        "update": f"UPDATE \"{audit_table}\" SET document = '{{}}' {where}",
        "delete": f'DELETE FROM "{audit_table}" {where}',
        "select": f'SELECT * FROM "{audit_table}" {where}',
    }
    attempts: dict[str, Callable[[], Any]] = {
        "put": lambda: client.put_item(TableName=audit_table, Item=item),
        "delete": lambda: client.delete_item(TableName=audit_table, Key=at),
        "update": lambda: client.update_item(
            TableName=audit_table,
            Key=at,
            UpdateExpression="SET document = :d",
            ExpressionAttributeValues={":d": {"S": "{}"}},
        ),
        "batch put": lambda: client.batch_write_item(RequestItems={audit_table: [{"PutRequest": {"Item": item}}]}),
        "batch delete": lambda: client.batch_write_item(RequestItems={audit_table: [{"DeleteRequest": {"Key": at}}]}),
        "put in a transaction": lambda: client.transact_write_items(
            TransactItems=[{"Put": {"TableName": audit_table, "Item": item}}]
        ),
        "get": lambda: client.get_item(TableName=audit_table, Key=at),
        "scan": lambda: client.scan(TableName=audit_table),
        "delete the table": lambda: client.delete_table(TableName=audit_table),
        **{
            f"{name} by statement": lambda text=text: client.execute_statement(Statement=text)
            for name, text in statements.items()
        },
        **{
            f"{name} in a batch of statements": lambda text=text: client.batch_execute_statement(
                Statements=[insert, {"Statement": text}]
            )
            for name, text in statements.items()
        },
        "delete in a transaction of statements": lambda: client.execute_transaction(
            TransactStatements=[{"Statement": statements["delete"]}]
        ),
    }
    codes = {name: code_of(attempt) for name, attempt in attempts.items()}
    assert codes == dict.fromkeys(attempts, "AccessDeniedException")
    assert code_of(lambda: client.execute_statement(**insert)) == "DuplicateItemException"
    answered = client.batch_execute_statement(Statements=[insert])["Responses"]
    assert [answer["Error"]["Code"] for answer in answered] == ["DuplicateItem"]
    assert code_of(lambda: client.execute_transaction(TransactStatements=[insert])) == "TransactionCanceledException"
    assert store.list(EVERYTHING, limit=10) == ([a_record()], None)


def test_a_role_can_be_kept_from_the_seals(as_user: Callable[..., Any], audit_table: str) -> None:
    client, store = as_user(APPEND, NO_SEALS), DynamoAuditStore(audit_table)
    store.append(a_record())
    with pytest.raises(PynamoDBException, match="AccessDenied"):
        store.add_seal(next_seal(None, [a_record()], NOW))
    hidden = f"INSERT INTO \"{audit_table}\" VALUE {{'sk': '1', 'pk': 'seals'}}"
    assert code_of(lambda: client.execute_statement(Statement=hidden)) == "AccessDeniedException"
    both = [{"Statement": hidden.replace("'seals'", "'audit#1'")}, {"Statement": hidden}]
    assert code_of(lambda: client.execute_transaction(TransactStatements=both)) == "AccessDeniedException"
    assert store.last_seal() is None


def code_of(attempt: Callable[[], Any]) -> str:
    """The code of the error that an attempt ends with, "" for one that works."""
    try:
        attempt()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""
