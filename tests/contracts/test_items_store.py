"""What the stores leave in the table: sizes, TTL, sparse indexes, room for newer releases; and the rights they need."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.datasets import VersionStatus
from chalicelib.domain.idempotency import LIFETIME
from chalicelib.domain.jobs import JobStatus
from chalicelib.domain.ports import JobFilter, StaleRecordError
from chalicelib.store import DynamoConfigStore, DynamoDatasetStore, DynamoJobStore, DynamoWebhookLog
from chalicelib.store.listing import JobListing
from chalicelib.store.table import Table
from tests.contracts.test_config_store import a_config
from tests.contracts.test_dataset_store import a_dataset, a_version
from tests.contracts.test_datasets_of_jobs_store import a_job_of
from tests.support.emulator import Emulator
from tests.support.jobs import NOW, OWNER, a_job, a_key, an_event, an_input, moved, over, submit, trained
from tests.support.tables import JOBS_INDEXES

#: All that the stores may be allowed to do. No Scan, no batches.
NEEDED = ["GetItem", "PutItem", "UpdateItem", "DeleteItem", "ConditionCheckItem", "Query"]


def items(emulator: Emulator, table: str, index: str | None = None) -> list[dict[str, Any]]:
    arguments = {"TableName": table} | ({"IndexName": index} if index else {})
    found: list[dict[str, Any]] = emulator.client("dynamodb").scan(**arguments)["Items"]
    return found


def test_ttl_is_in_whole_seconds_and_never_early(emulator: Emulator, jobs_table: str) -> None:
    submit(DynamoJobStore(jobs_table), a_job(), key=a_key())
    DynamoWebhookLog(jobs_table).remember("replicate", "msg_1", now=NOW, keep=timedelta(minutes=15))
    marked = {i["sk"]["S"]: i["expires_at"] for i in items(emulator, jobs_table) if "expires_at" in i}
    second = int(NOW.timestamp()) + 1
    assert marked == {
        "idempotency": {"N": str(second + int(LIFETIME.total_seconds()))},
        "webhook": {"N": str(second + 15 * 60)},
    }


def test_only_job_records_are_in_the_indexes_and_a_job_that_is_over_leaves_one(
    emulator: Emulator, jobs_table: str
) -> None:
    store = DynamoJobStore(jobs_table)
    job = submit(store, a_job(), key=a_key(), events=[an_event("job1", 1)])
    launched = trained(job, "p1")
    store.save(launched)
    DynamoDatasetStore(jobs_table).put_dataset(a_dataset(source_path="/p"))
    DynamoConfigStore(jobs_table).save(a_config())
    for index in JOBS_INDEXES:
        assert [(i["pk"]["S"], i["sk"]["S"]) for i in items(emulator, jobs_table, index)] == [("job#job1", "record")]
    store.save(over(launched))
    assert items(emulator, jobs_table, "active-index") == []
    assert len(items(emulator, jobs_table, "owner-index")) == 1


def test_a_job_of_a_newer_release_can_be_read(emulator: Emulator, jobs_table: str) -> None:
    store = DynamoJobStore(jobs_table)
    job = submit(store, a_job())
    (item,) = (i for i in items(emulator, jobs_table) if i["sk"]["S"] == "record")
    document = json.loads(item["document"]["S"]) | {"invented_later": {"x": 1}}
    document["progress"]["also_later"] = True
    item |= {"document": {"S": json.dumps(document)}, "later_attribute": {"M": {"x": {"NULL": True}}}}
    emulator.client("dynamodb").put_item(TableName=jobs_table, Item=item)
    assert store.get("job1") == job
    assert store.list(JobFilter(owner=OWNER), limit=1).jobs == (job,)
    store.save(moved(job))
    assert store.get("job1") == moved(job)


def test_a_list_that_finds_little_hands_back_a_cursor_in_time(jobs_table: str) -> None:
    store = DynamoJobStore(jobs_table)
    for n in range(40):
        job = submit(store, a_job(f"job{n:02}", created_at=NOW - timedelta(days=2 * n)))
        if n in {19, 20, 38}:
            store.save(over(job))
    listing = JobListing(Table(jobs_table), max_examined=6, page_size=3)
    for query, offset, expected in (
        (JobFilter(OWNER, status=JobStatus.FAILED), 0, ["job19", "job20", "job38"]),
        (JobFilter(None, status=JobStatus.FAILED), 2, ["job38"]),
    ):
        seen: list[str] = []
        page = listing.newest_first(query, limit=4, cursor=None, offset=offset)
        calls = 1
        seen += [job.job_id for job in page.jobs]
        while page.cursor is not None:
            assert calls < 40, "the list does not end"
            page = listing.newest_first(query, limit=4, cursor=page.cursor, offset=0)
            calls += 1
            seen += [job.job_id for job in page.jobs]
        assert seen == expected
        assert calls > 2, "the bound was not reached"
    page = listing.newest_first(JobFilter(None), limit=4, cursor=None, offset=25)
    assert [job.job_id for job in page.jobs] == ["job25", "job26", "job27", "job28"]


def test_a_plain_save_is_one_item_and_too_many_events_are_refused_before_anything_is_sent(jobs_table: str) -> None:
    store = DynamoJobStore(jobs_table)
    job = submit(store, a_job(), key=a_key(), events=[an_event("job1", n) for n in range(1, 96)])
    with pytest.raises(ValueError, match="96 events"):
        store.save(moved(job), events=[an_event("job1", n) for n in range(96, 192)])
    assert store.get("job1") == job


def test_the_stores_need_no_more_than_their_rights(
    emulator: Emulator, jobs_table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    iam, name = emulator.client("iam"), f"store-{uuid.uuid4().hex[:8]}"
    arn = f"arn:aws:dynamodb:us-east-1:{emulator.account}:table/{jobs_table}"
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": [f"dynamodb:{action}" for action in NEEDED],
                "Resource": [arn, f"{arn}/index/*"],
            }
        ],
    }
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="store", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])

    jobs, datasets = DynamoJobStore(jobs_table), DynamoDatasetStore(jobs_table)
    configs, webhooks = DynamoConfigStore(jobs_table), DynamoWebhookLog(jobs_table)
    job = submit(jobs, a_job(idempotency_hash="k" * 64), key=a_key(), events=[an_event("job1", 1)])
    launched = trained(job, "p1")
    jobs.save(launched)
    assert jobs.find_by_prediction("replicate", "p1") == launched
    assert jobs.list(JobFilter(owner=OWNER), limit=5).jobs == jobs.list_active().jobs == (launched,)
    assert jobs.list(JobFilter(owner=None, status=launched.status), limit=5).jobs == (launched,)
    jobs.save(over(launched), events=[an_event("job1", 2)], release_slot=True)
    assert len(jobs.events("job1")) == 2
    jobs.delete(over(launched))
    assert [deleted.job_id for deleted in jobs.list_deleted()] == ["job1"]
    jobs.forget("job1")
    jobs.release_slot(OWNER, "job1")
    datasets.put_dataset(a_dataset(source_path="/p"))
    datasets.create_version(a_version())
    datasets.update_version(a_version().changed(checked=1))
    assert len(datasets.list_unfinished(created_before=NOW + LIFETIME)) == 1
    datasets.update_version(a_version().changed(checked=1).changed(status=VersionStatus.READY))
    jobs.submit(a_job_of(a_version(), job_id="job2"), an_input("job2"), [], None, 1, NOW)
    assert datasets.find_by_source(OWNER, "/p") is not None
    assert len(datasets.list_versions(OWNER, "photos")) == 1
    datasets.delete_version(OWNER, "photos", "v-1")
    datasets.delete_dataset(a_dataset(source_path="/p"))
    configs.save(a_config())
    assert configs.list(OWNER) == ([a_config()], None)
    configs.delete(OWNER, "flux")
    assert webhooks.remember("replicate", "m", now=NOW, keep=LIFETIME)
    assert webhooks.seen("replicate", "m", now=NOW)

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    denied = emulator.client(
        "dynamodb", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"]
    )
    with pytest.raises(denied.exceptions.ClientError, match="AccessDenied"):
        denied.scan(TableName=jobs_table)
    denied.close()


def test_datasets_and_versions_of_the_first_release_can_be_changed(emulator: Emulator, jobs_table: str) -> None:
    """They carry no revision, neither in the document nor beside it."""
    store = DynamoDatasetStore(jobs_table)
    dataset, version = a_dataset(source_path="/p"), a_version()
    store.put_dataset(dataset)
    store.create_version(version)
    for item in items(emulator, jobs_table):
        document = json.loads(item["document"]["S"])
        assert document.pop("revision") == 1
        item["document"] = {"S": json.dumps(document)}
        for name in ("version", "write_id"):
            item.pop(name, None)
        emulator.client("dynamodb").put_item(TableName=jobs_table, Item=item)
    assert (store.get_dataset(OWNER, "photos"), store.get_version(OWNER, "photos", "v-1")) == (dataset, version)
    store.put_dataset(dataset.changed(NOW, source_path="/q"))
    store.update_version(version.changed(status=VersionStatus.READY))
    for late in (dataset.changed(NOW), dataset):
        with pytest.raises(StaleRecordError):
            store.put_dataset(late)
    assert store.find_by_source(OWNER, "/p") is None
    assert store.list_unfinished(created_before=NOW + LIFETIME) == []
