"""The main job on a deployed stack: a dataset goes in, a verified model comes out; and what becomes of a job when the
provider or the way to it fails."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.stack import OVER, Job, Stack, eventually

DATASET = "squares"
#: Prepare, Launch, two looks with their waits, Deliver, Verify, Finish, and the choice behind each step.
MAX_TRANSITIONS = 17
#: Seconds. A lost answer is looked into after the await state's half minute and the settling time.
SLOW = 150.0


def objects(stack: Stack, bucket: str, prefix: str = "") -> dict[str, str]:
    """Key → ETag."""
    pages = stack.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return {item["Key"]: item["ETag"] for page in pages for item in page.get("Contents", [])}


@dataclass
class Finished:
    """A job that was watched from submit to end."""

    job: Job
    seen: list[dict[str, Any]] = field(default_factory=list)
    dataset_before: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return str(self.job["job_id"])

    def route(self, tail: str = "") -> str:
        return f"/cloud/jobs/{self.id}{tail}"


@pytest.fixture(scope="module")
def finished(whole_stack: Stack) -> Finished:
    stack = whole_stack
    stack.inspected(stack.push(DATASET))
    before = objects(stack, stack.facts["datasets_bucket"])
    stack.sandbox.faults({"fault": "pace", "seconds": 0.12})
    job = stack.submit(DATASET, steps=60, tracker_run_name="main")
    seen: list[dict[str, Any]] = []

    def watch(current: Job) -> bool:
        seen.append(stack.ok("GET", f"/cloud/jobs/{current['job_id']}/inline-progress"))
        return bool(current["status"] in OVER)

    job = stack.wait(job["job_id"], watch)
    stack.sandbox.faults()
    return Finished(job, seen, before)


def test_the_job_completes_with_every_file_verified(stack: Stack, finished: Finished) -> None:
    job = stack.job(finished.id)
    assert (job["status"], job["phase"], job["failure"]) == ("completed", "finished", None), stack.story(finished.id)
    assert job["run_name"] == "main"
    assert job["delivery"]["verified_files"] == job["delivery"]["files"] > 0
    assert job["delivery"]["verified_at"] is not None
    assert len(job["delivery"]["weights"]) == 1
    assert job["progress"]["step"] == job["progress"]["total_steps"] == 60
    assert job["logs_complete"] is True
    assert job["attempt"] == 1
    assert stack.sandbox.overlap(finished.id) == {"predictions": 1, "max_alive": 1, "max_running": 1}


def test_steps_loss_time_left_and_cost_were_there_while_it_ran(finished: Finished) -> None:
    running = [s for s in finished.seen if s["status"] == "running" and s["phase"] == "training" and s["step"]]
    steps = [s["step"] for s in running]
    assert len(set(steps)) >= 2, finished.seen
    assert steps == sorted(steps)
    halfway = [s for s in running if s["step"] < 60]
    assert halfway, steps
    for look in halfway:
        assert look["total_steps"] == 60
        assert 0 < look["progress"] < 100
        assert look["loss"] > 0
        assert look["eta_seconds"] >= 0
        assert look["cost_usd"] > 0
    costs = [s["cost_usd"] for s in running]
    assert costs == sorted(costs)


def test_the_cost_is_the_providers_run_time_at_the_hardwares_price(stack: Stack, finished: Finished) -> None:
    (prediction,) = stack.sandbox.predictions(finished.id)
    expected = prediction["metrics"]["predict_time"] * finished.job["price_per_hour"] / 3600
    assert finished.job["cost_usd"] == pytest.approx(expected, abs=1e-5)


def test_what_is_downloaded_has_the_hash_of_outputs_and_manifest(stack: Stack, finished: Finished) -> None:
    outputs = stack.ok("GET", finished.route("/outputs"))
    assert outputs["verified"] is True
    assert outputs["complete"] is True
    manifest = stack.http.get(outputs["manifest_url"]).json()
    assert manifest["complete"] is True
    hashes = {f["path"]: f["sha256"] for f in manifest["files"]}
    kinds = set()
    for file in outputs["files"]:
        data = stack.http.get(file["url"]).content
        assert len(data) == file["size"]
        assert hashlib.sha256(data).hexdigest() == file["sha256"] == hashes[file["path"]]
        kinds.add(file["kind"])
    assert len(outputs["files"]) == len(hashes)
    assert {"weights", "sample"} <= kinds
    assert sum(f["size"] for f in outputs["files"]) == outputs["total_bytes"] == finished.job["delivery"]["bytes"]


def test_the_timeline_tells_it_in_order_without_gaps(stack: Stack, finished: Finished) -> None:
    events = stack.events(finished.id)
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    assert [e["at"] for e in events] == sorted(e["at"] for e in events)
    order = [
        "job.submitted", "job.launch_intent", "job.launched", "job.running", "job.checkpoint", "provider.finished",
        "job.delivering", "job.verifying", "job.verified", "job.completed",
    ]  # fmt: skip
    assert [e["type"] for e in events] == order
    tail = stack.ok("GET", finished.route(f"/events?after={len(events) - 2}&limit=1"))
    assert [e["type"] for e in tail["events"]] == ["job.verified"]
    assert tail["next"] == len(events) - 1


def test_the_log_read_in_parts_is_the_whole_log(stack: Stack, finished: Finished) -> None:
    parts, offset = [], 0
    for _ in range(200):
        part = stack.ok("GET", finished.route(f"/logs?offset={offset}&limit=301"))
        assert part["offset"] == offset
        parts.append(part["logs"])
        offset = part["next_offset"]
        if offset == part["size"]:
            break
    whole = "".join(parts)
    assert len(whole.encode()) == part["size"] == stack.job(finished.id)["log_bytes"]
    assert part["complete"] is True
    assert whole == stack.ok("GET", finished.route("/logs?offset=0"))["logs"]
    assert "60/60 [" in whole
    (kept,) = objects(stack, stack.facts["outputs_bucket"], f"local/{finished.id}/logs/")
    assert int(kept.rpartition("/")[2].removesuffix(".log")) == part["size"]


def test_a_job_with_webhooks_takes_few_transitions(stack: Stack, finished: Finished) -> None:
    pages = stack.client("stepfunctions").get_paginator("get_execution_history")
    found = [e for page in pages.paginate(executionArn=stack.execution(finished.id)) for e in page["events"]]
    entered = [e["stateEnteredEventDetails"]["name"] for e in found if e["type"].endswith("StateEntered")]
    assert len(entered) <= MAX_TRANSITIONS, entered
    assert entered.count("Observe") <= 2  # at the start and at the end, whatever a client that watches sees in between
    assert found[-1]["type"] == "ExecutionSucceeded"


def test_the_trainers_credentials_are_with_the_provider_and_nowhere_else(stack: Stack, finished: Finished) -> None:
    (prediction,) = stack.sandbox.predictions(finished.id)
    publishing = json.loads(prediction["input"]["config_json"])["publishing_config"][0]
    secrets = [str(v) for k, v in publishing.items() if k in {"access_key", "secret_key", "session_token"}]
    assert len(secrets) == 3, sorted(publishing)
    answers = [stack.api("GET", finished.route(tail)).text for tail in ("", "/events", "/logs", "/outputs")]
    pages = stack.client("dynamodb").get_paginator("scan").paginate(TableName=stack.facts["jobs_table"])
    items = [item for page in pages for item in page["Items"]]
    assert items
    history = stack.client("stepfunctions").get_execution_history(
        executionArn=stack.execution(finished.id), maxResults=1000
    )
    logs = stack.client("logs")
    groups = [g["logGroupName"] for g in logs.describe_log_groups()["logGroups"]]
    lines = [e["message"] for g in groups for e in logs.filter_log_events(logGroupName=g)["events"]]
    assert any("POST /cloud/jobs/submit -> 200" in line for line in lines)
    kept = "\n".join([*answers, repr(items), repr(history["events"]), *lines])
    assert [secret for secret in secrets if secret in kept] == []
    assert stack.layout.provider_token.read_text().strip() not in kept


def test_the_scratch_space_is_gone_and_the_dataset_as_it_was(stack: Stack, finished: Finished) -> None:
    bucket = stack.facts["datasets_bucket"]
    assert objects(stack, bucket, f"_scratch/local/{finished.id}/") == {}
    after = objects(stack, bucket)
    assert {key: after.get(key) for key in finished.dataset_before} == finished.dataset_before
    assert finished.dataset_before


def test_the_provider_was_given_a_deadline_of_its_own(stack: Stack, finished: Finished) -> None:
    (prediction,) = stack.sandbox.predictions(finished.id)
    given = datetime.fromisoformat(prediction["deadline"]) - datetime.fromisoformat(prediction["created_at"])
    assert given == timedelta(seconds=finished.job["max_run_seconds"])
    assert datetime.fromisoformat(finished.job["deadline"]) == datetime.fromisoformat(prediction["deadline"])


def test_deleting_the_job_removes_its_outputs_and_nothing_else(stack: Stack) -> None:
    job = stack.wait(stack.submit(DATASET, steps=2)["job_id"], "completed")
    bucket, datasets = stack.facts["outputs_bucket"], objects(stack, stack.facts["datasets_bucket"])
    assert objects(stack, bucket, f"local/{job['job_id']}/")
    others = {k: v for k, v in objects(stack, bucket).items() if job["job_id"] not in k}
    assert stack.ok("DELETE", f"/cloud/jobs/{job['job_id']}")["success"] is True
    assert objects(stack, bucket) == others
    assert objects(stack, stack.facts["datasets_bucket"]) == datasets
    assert stack.api("GET", f"/cloud/jobs/{job['job_id']}").status == 404
    assert job["job_id"] not in {j["job_id"] for j in stack.ok("GET", "/cloud/jobs?limit=500")["jobs"]}


# What goes wrong


def batch(stack: Stack, *rules: dict[str, Any], steps: int = 6) -> list[Job]:
    """Submits a job for each rule, all at once, rule n for the n-th prediction to come; waits for their ends. The jobs
    come in the order of their predictions."""
    stack.push(DATASET)
    first = max((p["ordinal"] for p in stack.sandbox.predictions()), default=0) + 1
    stack.sandbox.faults(
        *[{**rule, "match": {**rule.get("match", {}), "prediction": first + i}} for i, rule in enumerate(rules)]
    )
    submitted = [stack.submit(DATASET, steps=steps)["job_id"] for _ in rules]
    ended = [stack.wait(job_id, seconds=SLOW) for job_id in submitted]
    ordinals = {p["job"]: p["ordinal"] for p in stack.sandbox.predictions()}
    return sorted(ended, key=lambda job: ordinals[job["job_id"]])


def check_once(stack: Stack, *jobs: Job) -> None:
    """At most one prediction ever, nothing running for a job that is over, every slot free, no execution left."""
    for job in jobs:
        assert stack.sandbox.overlap(job["job_id"])["predictions"] == 1, stack.story(job["job_id"])
        (prediction,) = stack.sandbox.predictions(job["job_id"])
        assert prediction["status"] not in {"starting", "processing"}, stack.story(job["job_id"])
        assert prediction["id"] == job["metadata"]["prediction_id"]
        arn = stack.execution(job["job_id"], job["attempt"])
        assert eventually(lambda arn=arn: ended_execution(stack, arn)) == "SUCCEEDED"
        assert objects(stack, stack.facts["datasets_bucket"], f"_scratch/local/{job['job_id']}/") == {}


def ended_execution(stack: Stack, arn: str) -> str | None:
    status: str = stack.client("stepfunctions").describe_execution(executionArn=arn)["status"]
    return None if status == "RUNNING" else status


def failure(job: Job) -> tuple[str, str]:
    assert job["status"] == "failed", job
    assert job["failure"]["message"]
    assert job["failure"]["advice"]
    assert job["error_message"] == job["failure"]["message"]
    return job["failure"]["code"], job["failure"]["kind"]


def test_trainings_that_end_badly_fail_with_the_reason_and_keep_what_was_published(stack: Stack) -> None:
    oom, aborted, no_weights, nothing, torn = batch(
        stack,
        {"fault": "oom", "at": 0.5},
        {"fault": "abort"},
        {"fault": "no_publish", "files": "weights"},
        {"fault": "no_publish", "files": "all"},
        {"fault": "truncate"},
    )
    assert failure(oom) == ("out_of_memory", "user")
    assert oom["cost_usd"] > 0
    assert "CUDA out of memory" in stack.ok("GET", f"/cloud/jobs/{oom['job_id']}/logs")["logs"]
    assert failure(aborted) == ("aborted_before_start", "capacity")
    assert not aborted["cost_usd"]
    assert failure(no_weights) == ("model_missing", "provider")
    kept = stack.ok("GET", f"/cloud/jobs/{no_weights['job_id']}/outputs")
    assert kept["files"]
    assert kept["verified"] is False
    assert all(len(stack.http.get(f["url"]).content) == f["size"] for f in kept["files"])
    assert failure(nothing) == ("model_missing", "provider")
    assert stack.ok("GET", f"/cloud/jobs/{nothing['job_id']}/outputs")["files"] == []
    assert failure(torn) == ("model_corrupt", "provider")
    (weights,) = [f for f in stack.ok("GET", f"/cloud/jobs/{torn['job_id']}/outputs")["files"] if f["problem"]]
    assert weights["verified"] is False
    assert weights["path"].endswith(".safetensors")
    check_once(stack, oom, aborted, no_weights, nothing, torn)


def test_a_loss_that_is_no_number_and_webhooks_that_come_late_twice_or_in_disorder(stack: Stack) -> None:
    diverged, carried_on, delayed, doubled, disordered = batch(
        stack,
        {"fault": "nan", "at": 0.5},
        {"fault": "nan", "at": 0.5, "then": "continue"},
        {"fault": "webhook_delay", "seconds": 2},
        {"fault": "webhook_duplicate"},
        {"fault": "webhook_reorder", "seconds": 2},
    )
    assert failure(diverged) == ("loss_diverged", "user")
    assert carried_on["progress"]["loss"] is None
    assert [j["status"] for j in (delayed, doubled, disordered)] == ["completed"] * 3
    for job in (delayed, doubled, disordered):
        types = [e["type"] for e in stack.events(job["job_id"])]
        assert len(types) == len(set(types)), types
    check_once(stack, diverged, carried_on, delayed, doubled, disordered)


CREATE = {"method": "POST", "path": "^/v1/predictions$"}


def test_a_create_whose_answer_fails_or_is_lost_makes_one_prediction(stack: Stack) -> None:
    jobs = batch(
        stack,
        {"fault": "api_429", "times": 1, "match": CREATE},
        {"fault": "api_500", "times": 1, "match": CREATE},
        {"fault": "api_500", "when": "after", "times": 1, "match": CREATE},
        {"fault": "api_hang", "when": "after", "seconds": 1, "times": 1, "match": CREATE},
        {"fault": "api_close", "when": "after", "times": 1, "match": CREATE},
    )
    assert stack.sandbox.struck() == [1] * 5
    assert [j["status"] for j in jobs] == ["completed"] * 5, [stack.story(j["job_id"]) for j in jobs]
    check_once(stack, *jobs)
    adopted = [j for j in jobs if "job.adopted" in {e["type"] for e in stack.events(j["job_id"])}]
    assert len(adopted) == 3


def test_a_create_that_never_arrived_and_a_job_without_webhooks(stack: Stack) -> None:
    jobs = batch(
        stack,
        {"fault": "api_hang", "seconds": 1, "times": 1, "match": CREATE},
        {"fault": "api_close", "times": 1, "match": CREATE},
        {"fault": "webhook_lose"},
    )
    assert stack.sandbox.struck()[:2] == [1, 1]
    assert [j["status"] for j in jobs] == ["completed"] * 3, [stack.story(j["job_id"]) for j in jobs]
    check_once(stack, *jobs)


def test_the_end_that_no_webhook_tells_is_seen_by_whoever_looks_first(stack: Stack) -> None:
    stack.push(DATASET)
    stack.sandbox.faults({"fault": "webhook_lose", "match": {"event": "completed"}}, {"fault": "pace", "seconds": 0.5})
    watched, unwatched = (stack.submit(DATASET, steps=8)["job_id"] for _ in range(2))
    for job_id in (watched, unwatched):
        stack.wait(job_id, "running")
    for job_id in (watched, unwatched):
        eventually(lambda job_id=job_id: stack.sandbox.predictions(job_id)[0]["status"] == "succeeded")
    stack.ok("GET", f"/cloud/jobs/{watched}/inline-progress")
    stack.wait(watched, "completed")
    assert stack.job(unwatched)["phase"] == "training"
    stack.as_if_later(unwatched, 600)
    stack.sweep()
    check_once(stack, stack.job(watched), stack.wait(unwatched, "completed"))


# Ended on request


def test_a_running_training_is_cancelled_at_the_provider_before_the_job_is_over(stack: Stack) -> None:
    stack.push(DATASET)
    stack.sandbox.faults({"fault": "pace", "seconds": 1})
    job_id = stack.submit(DATASET, steps=200)["job_id"]
    stack.wait(job_id, "running")
    answer = stack.ok("POST", f"/cloud/jobs/{job_id}/cancel")
    assert answer["cancel_requested"] is True
    job = stack.wait(job_id, "cancelled")
    (prediction,) = stack.sandbox.predictions(job_id)
    assert prediction["status"] == "canceled"
    assert datetime.fromisoformat(prediction["completed_at"]) <= datetime.fromisoformat(job["completed_at"])
    assert job["failure"] is None
    assert job["cost_usd"] > 0
    check_once(stack, job)
    again = stack.api("POST", f"/cloud/jobs/{job_id}/cancel")
    assert (again.status, again.json["code"]) == (409, "invalid_job_state")


def test_a_job_that_waits_for_a_machine_can_be_cancelled_and_an_active_one_not_deleted(stack: Stack) -> None:
    stack.push(DATASET)
    stack.sandbox.faults({"fault": "slow_start", "seconds": 60})
    job_id = stack.submit(DATASET)["job_id"]
    stack.wait(job_id, lambda job: job["metadata"]["prediction_id"] is not None)
    refused = stack.api("DELETE", f"/cloud/jobs/{job_id}")
    assert (refused.status, refused.json["code"]) == (400, "job_active")
    stack.ok("POST", f"/cloud/jobs/{job_id}/cancel")
    job = stack.wait(job_id, "cancelled")
    assert not job["cost_usd"]
    check_once(stack, job)
