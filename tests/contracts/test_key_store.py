"""``AccessStore``: API keys; and what the adapter asks of DynamoDB."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from chalicelib.domain.access_ports import AccessStore
from chalicelib.domain.api_keys import LAST_USED_EVERY, ApiKey
from chalicelib.domain.people import handle_of
from chalicelib.domain.permissions import Permission, Role
from chalicelib.domain.ports import SlotsFullError, StaleRecordError
from chalicelib.errors import Unavailable
from chalicelib.store import DynamoAccessStore
from tests.support.doors import ROOM, a_person, an_api_key
from tests.support.emulator import Emulator
from tests.support.jobs import NOW, together
from tests.support.lossy import Fail, LoseAnswer, LossyProxy, Refuse, lossy_proxy

ADA = a_person("sub-ada")
HANDLE = handle_of("sub-ada")
LATER = NOW + timedelta(days=1)


def changed(key: ApiKey, **changes: Any) -> ApiKey:
    return key.model_copy(update=changes)


def find(store: AccessStore, key: ApiKey) -> ApiKey | None:
    found = store.find_key(handle_of(key.user_id), key.key_id)
    return found[0] if found else None


@pytest.fixture
def store(access_store: AccessStore) -> AccessStore:
    access_store.put_person(ADA)
    return access_store


def test_a_key_is_found_with_its_owner(store: AccessStore) -> None:
    key = an_api_key(
        scopes=frozenset({Permission.JOB_SUBMIT, Permission.JOB_VIEW_OWN}),
        expires_at=LATER,
        budget_usd=Decimal("12.50"),
        budget_id="another",
        providers=frozenset({"replicate"}),
    )
    store.create_key(key, limit=ROOM)
    assert store.find_key(HANDLE, key.key_id) == (key, ADA)
    assert list(store.keys_of("sub-ada")) == [key]
    assert store.find_key(HANDLE, an_api_key(2).key_id) is None
    assert store.find_key(handle_of("sub-bob"), key.key_id) is None


def test_a_key_without_its_owner_is_no_key(access_store: AccessStore) -> None:
    key = an_api_key()
    with pytest.raises(StaleRecordError):
        access_store.create_key(key, limit=ROOM)
    access_store.put_person(ADA)
    assert access_store.find_key(HANDLE, key.key_id) is None
    assert list(access_store.keys_of("sub-ada")) == []
    access_store.create_key(key, limit=ROOM)
    assert access_store.find_key(HANDLE, key.key_id) == (key, ADA)


def test_what_the_owner_loses_is_seen_with_the_key(store: AccessStore) -> None:
    key = an_api_key()
    store.create_key(key, limit=ROOM)
    viewer = ADA.model_copy(update={"role": Role.VIEWER, "active": False})
    store.put_person(viewer)
    assert store.find_key(HANDLE, key.key_id) == (key, viewer)
    store.delete_person("sub-ada")
    assert store.find_key(HANDLE, key.key_id) is None
    assert list(store.keys_of("sub-ada")) == []


def test_an_id_is_taken_once(store: AccessStore) -> None:
    store.create_key(an_api_key(), limit=ROOM)
    with pytest.raises(StaleRecordError):
        store.create_key(an_api_key(name="another"), limit=ROOM)
    assert find(store, an_api_key()) == an_api_key()


def test_a_person_has_a_limited_number_of_live_keys(store: AccessStore) -> None:
    store.put_person(a_person("sub-bob"))
    store.put_person(a_person("sub-eve"))
    for number in (1, 2):
        store.create_key(an_api_key(number), limit=2)
    with pytest.raises(SlotsFullError):
        store.create_key(an_api_key(3), limit=2)
    assert find(store, an_api_key(3)) is None
    store.create_key(an_api_key(3, user_id="sub-bob"), limit=1)
    store.put_key(an_api_key(1, revoked_at=LATER))
    store.create_key(an_api_key(3), limit=2)
    with pytest.raises(SlotsFullError):
        store.create_key(an_api_key(4), limit=2)
    with pytest.raises(SlotsFullError):
        store.create_key(an_api_key(1, user_id="sub-eve"), limit=0)


def test_keys_that_expired_make_room(store: AccessStore) -> None:
    store.create_key(an_api_key(1, expires_at=NOW + timedelta(minutes=1)), limit=2)
    store.create_key(an_api_key(2, expires_at=LATER), limit=2)
    with pytest.raises(SlotsFullError):
        store.create_key(an_api_key(3), limit=2)
    at = NOW + timedelta(minutes=1)
    store.create_key(an_api_key(3, created_at=at), limit=2)
    with pytest.raises(SlotsFullError):
        store.create_key(an_api_key(4, created_at=at), limit=2)


def test_parallel_creation_never_passes_the_limit(store: AccessStore) -> None:
    results = together(12, lambda i: store.create_key(an_api_key(i), limit=4))
    assert results.count(None) == 4
    assert sum(isinstance(r, SlotsFullError) for r in results) == 8
    assert len(store.keys_of("sub-ada")) == 4


def test_a_revoked_key_never_lives_again(store: AccessStore) -> None:
    key = an_api_key()
    store.create_key(key, limit=ROOM)
    named = changed(key, name="renamed")
    store.put_key(named)
    assert find(store, key) == named
    revoked = changed(named, revoked_at=LATER)
    store.put_key(revoked)
    assert find(store, key) == revoked
    with pytest.raises(StaleRecordError):
        store.put_key(named)
    store.put_key(changed(revoked, revoked_at=LATER + timedelta(days=1), name="twice"))
    assert find(store, key) == revoked
    with pytest.raises(StaleRecordError):
        store.put_key(an_api_key(9))
    with pytest.raises(StaleRecordError):
        store.put_key(an_api_key(9, revoked_at=NOW))
    assert find(store, an_api_key(9)) is None


def test_a_use_is_noted_now_and_then_and_undoes_nothing(store: AccessStore) -> None:
    key = an_api_key()
    store.create_key(key, limit=ROOM)
    store.touch_key(key, LATER)
    used = changed(key, last_used_at=LATER)
    assert find(store, key) == used
    soon = LATER + LAST_USED_EVERY - timedelta(seconds=1)
    store.touch_key(used, soon)
    assert find(store, key) == used
    store.touch_key(used, LATER + LAST_USED_EVERY)
    used = changed(key, last_used_at=LATER + LAST_USED_EVERY)
    assert find(store, key) == used
    store.touch_key(key, LATER)
    assert find(store, key) == used, "time does not go back"
    store.put_key(changed(key, revoked_at=LATER))
    store.touch_key(key, LATER + timedelta(days=1))
    assert find(store, key) == changed(key, revoked_at=LATER, last_used_at=LATER + timedelta(days=1))
    store.touch_key(an_api_key(9), LATER)
    assert find(store, an_api_key(9)) is None


def test_a_rotation_is_one_write_and_needs_no_room(store: AccessStore) -> None:
    old, new = an_api_key(1), an_api_key(2)
    store.create_key(old, limit=1)
    store.replace_key(changed(old, revoked_at=LATER), new, limit=ROOM)
    assert find(store, old) == changed(old, revoked_at=LATER)
    assert find(store, new) == new
    with pytest.raises(SlotsFullError):
        store.create_key(an_api_key(3), limit=1)
    with pytest.raises(StaleRecordError):
        store.replace_key(changed(old, revoked_at=LATER), an_api_key(3), limit=ROOM)
    with pytest.raises(StaleRecordError):
        store.replace_key(changed(new, revoked_at=LATER), old, limit=ROOM)
    with pytest.raises(StaleRecordError):
        store.replace_key(an_api_key(8, revoked_at=LATER), an_api_key(9), limit=ROOM)
    assert find(store, an_api_key(3)) is None
    assert find(store, an_api_key(9)) is None
    assert find(store, new) == new


def test_a_rotation_may_leave_the_old_key_some_time(store: AccessStore) -> None:
    old, new = an_api_key(1), an_api_key(2)
    store.create_key(old, limit=1)
    ending = changed(old, expires_at=LATER)
    store.replace_key(ending, new, limit=ROOM)
    assert [find(store, old), find(store, new)] == [ending, new]
    with pytest.raises(SlotsFullError):
        store.create_key(an_api_key(3), limit=2)
    store.create_key(an_api_key(3, created_at=LATER), limit=2)


def test_a_key_is_replaced_once_also_while_it_still_lives(store: AccessStore) -> None:
    old, new = an_api_key(1), an_api_key(2)
    store.create_key(old, limit=ROOM)
    ending = changed(old, expires_at=LATER, replaced_by=new.key_id)
    store.replace_key(ending, new, limit=ROOM)
    for again in (ending, changed(ending, revoked_at=NOW)):
        with pytest.raises(StaleRecordError):
            store.replace_key(again, an_api_key(3), limit=ROOM)
    assert [find(store, old), find(store, an_api_key(3))] == [ending, None]
    store.put_key(changed(ending, revoked_at=NOW))
    assert find(store, old) == changed(ending, revoked_at=NOW), "it can be revoked all the same"


def test_rotations_that_leave_the_old_key_need_room(store: AccessStore) -> None:
    old, new = an_api_key(1), an_api_key(2)
    store.create_key(old, limit=1)
    ending = changed(old, expires_at=LATER, replaced_by=new.key_id)
    with pytest.raises(SlotsFullError):
        store.replace_key(ending, new, limit=1)
    assert [find(store, old), find(store, new)] == [old, None]
    store.replace_key(ending, new, limit=2)
    third = an_api_key(3)
    with pytest.raises(SlotsFullError):
        store.replace_key(changed(new, expires_at=LATER, replaced_by=third.key_id), third, limit=2)
    third = an_api_key(3, created_at=LATER)
    store.replace_key(changed(new, expires_at=LATER + timedelta(days=1), replaced_by=third.key_id), third, limit=2)
    assert find(store, third) == third, "the first one has expired, and its place is free"


def test_of_parallel_rotations_one_wins(store: AccessStore) -> None:
    old = an_api_key(0)
    store.create_key(old, limit=ROOM)
    results = together(6, lambda i: store.replace_key(changed(old, revoked_at=LATER), an_api_key(i + 1), limit=ROOM))
    assert results.count(None) == 1
    assert sum(isinstance(r, StaleRecordError) for r in results) == 5
    assert len(store.keys_of("sub-ada")) == 2


def test_keys_are_listed_newest_first_and_live_ones_before_old_ones(store: AccessStore) -> None:
    store.create_key(an_api_key(0), limit=ROOM)
    for number in range(1, 206):
        store.create_key(an_api_key(number), limit=ROOM)
        store.put_key(an_api_key(number, revoked_at=LATER + timedelta(seconds=number)))
    keys = store.keys_of("sub-ada")
    assert [k.name for k in keys] == [f"key {n}" for n in range(205, 6, -1)] + ["key 0"]


# --- what the adapter asks of DynamoDB ----------------------------------------------------------------------------
@pytest.fixture
def proxy(emulator: Emulator, aws_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[LossyProxy]:
    with lossy_proxy(emulator.port) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


@pytest.fixture
def dynamo(
    proxy: LossyProxy,
    keys_table: str,
    sleeps: tuple[list[float], Callable[[float], None]],
    monkeypatch: pytest.MonkeyPatch,
) -> DynamoAccessStore:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
    store = DynamoAccessStore(keys_table, sleep=sleeps[1])
    store.put_person(ADA)
    store.create_key(an_api_key(), limit=ROOM)
    proxy.calls.clear()
    return store


def test_a_key_and_its_owner_are_one_request(dynamo: DynamoAccessStore, proxy: LossyProxy) -> None:
    assert dynamo.find_key(HANDLE, an_api_key().key_id) is not None
    assert proxy.calls == ["BatchGetItem"]
    assert dynamo.find_key(HANDLE, "x" * 5000) is None
    dynamo.touch_key(an_api_key(last_used_at=NOW), NOW)
    assert proxy.calls == ["BatchGetItem", "BatchGetItem"]


def test_lost_answers_and_refusals(dynamo: DynamoAccessStore, proxy: LossyProxy) -> None:
    proxy.plan += [LoseAnswer("BatchGetItem"), LoseAnswer("TransactWriteItems")]
    assert dynamo.find_key(HANDLE, an_api_key().key_id) is not None
    dynamo.create_key(an_api_key(2), limit=2)
    assert not proxy.plan
    with pytest.raises(SlotsFullError):
        dynamo.create_key(an_api_key(3), limit=2)
    proxy.plan += [Fail("BatchGetItem", "InternalServerError", 500) for _ in range(3)]
    with pytest.raises(Unavailable):
        dynamo.find_key(HANDLE, an_api_key().key_id)
    proxy.plan += [Refuse("UpdateItem") for _ in range(3)]
    dynamo.touch_key(an_api_key(), LATER)
    assert not proxy.plan
    assert find(dynamo, an_api_key()) == an_api_key()


def test_a_first_admin_whose_answer_is_lost_is_not_refused(dynamo: DynamoAccessStore, proxy: LossyProxy) -> None:
    proxy.plan.append(LoseAnswer("TransactWriteItems"))
    dynamo.create_first_admin(a_person("sub-root", role=Role.ADMIN))
    assert proxy.calls.count("TransactWriteItems") == 2


def test_dead_keys_vanish_and_live_ones_do_not(emulator: Emulator, keys_table: str) -> None:
    store = DynamoAccessStore(keys_table)
    store.put_person(ADA)
    store.create_key(an_api_key(1), limit=ROOM)
    store.create_key(an_api_key(2, expires_at=LATER), limit=ROOM)
    store.create_key(an_api_key(3), limit=ROOM)
    store.put_key(an_api_key(3, revoked_at=NOW))
    items = emulator.client("dynamodb").scan(TableName=keys_table)["Items"]
    gone = {i["sk"]["S"]: int(i["expires_at"]["N"]) for i in items if "expires_at" in i}
    quarter = 90 * 24 * 3600
    assert gone == {
        f"key#{an_api_key(2).key_id}": int(LATER.timestamp()) + 1 + quarter,
        f"key#{an_api_key(3).key_id}": int(NOW.timestamp()) + 1 + quarter,
    }


def test_a_key_that_lies_with_somebody_else_is_no_key(emulator: Emulator, keys_table: str) -> None:
    client, store = emulator.client("dynamodb"), DynamoAccessStore(keys_table)
    store.put_person(ADA)
    store.put_person(a_person("sub-bob"))
    store.create_key(an_api_key(user_id="sub-bob"), limit=ROOM)
    (item,) = (i for i in client.scan(TableName=keys_table)["Items"] if i["sk"]["S"].startswith("key#"))
    client.put_item(TableName=keys_table, Item=item | {"pk": {"S": f"user#{HANDLE}"}})
    assert store.find_key(HANDLE, an_api_key(user_id="sub-bob").key_id) is None


def test_the_secret_is_not_in_the_table(emulator: Emulator, keys_table: str) -> None:
    store = DynamoAccessStore(keys_table)
    store.put_person(ADA)
    store.create_key(an_api_key(), limit=ROOM)
    assert "s" * 32 not in str(emulator.client("dynamodb").scan(TableName=keys_table)["Items"])


def test_scopes_of_a_newer_release_grant_nothing(emulator: Emulator, keys_table: str) -> None:
    client, store = emulator.client("dynamodb"), DynamoAccessStore(keys_table)
    store.put_person(ADA)
    store.create_key(an_api_key(scopes=frozenset({Permission.JOB_SUBMIT})), limit=ROOM)
    (item,) = (i for i in client.scan(TableName=keys_table)["Items"] if i["sk"]["S"].startswith("key#"))
    document = json.loads(item["document"]["S"]) | {"scopes": ["job.invented"], "later": 1}
    client.put_item(TableName=keys_table, Item=item | {"document": {"S": json.dumps(document)}})
    found = find(store, an_api_key())
    assert found is not None
    assert found.scopes == frozenset()


def test_the_store_needs_no_more_than_its_rights(
    emulator: Emulator, keys_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam, name = emulator.client("iam"), f"access-{uuid.uuid4().hex[:8]}"
    actions = ["GetItem", "BatchGetItem", "Query", "PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem"]
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [f"dynamodb:{action}" for action in actions],
                "Resource": f"arn:aws:dynamodb:us-east-1:{emulator.account}:table/{keys_table}",
            }
        ],
    }
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="access", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    store = DynamoAccessStore(keys_table)
    admin = a_person("sub-root", role=Role.ADMIN)
    store.create_first_admin(admin)
    store.put_person(ADA)
    store.put_person(ADA, replaces=ADA)
    store.touch_person(ADA, NOW)
    store.create_key(an_api_key(1), limit=1)
    store.replace_key(an_api_key(1, revoked_at=NOW), an_api_key(2), limit=ROOM)
    store.touch_key(an_api_key(2), NOW)
    store.put_key(an_api_key(2, revoked_at=NOW))
    assert len(store.keys_of("sub-ada")) == 2
    assert find(store, an_api_key(2)) is not None
    store.delete_person("sub-ada")
    assert [p.user_id for p in store.list_people()[0]] == ["sub-root"]
    store.undo_first_admin("sub-root")
    assert not store.setup_done()
