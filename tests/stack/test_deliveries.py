"""Deliveries on the deployed stack: a trained model reaches the sandbox Hub and a bucket of somebody else's, with the
functions' own rights; what fails says why and is repeated; a function that is killed is replaced."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.kills import kill_workers, workers
from tests.support.stack import Stack, eventually, submission

DATASET, BUCKET, TOKEN = "delivered", "models-elsewhere", "hf_sandbox"
WEIGHTS = "pytorch_lora_weights.safetensors"


def hub(stack: Stack, path: str) -> bytes:
    answer = stack.sandbox.http.get(f"/hub/{path}", headers={"Authorization": f"Bearer {TOKEN}"}, follow_redirects=True)
    assert answer.status_code == 200, answer.text
    return answer.content


def hub_faults(stack: Stack, *rules: dict[str, Any]) -> None:
    answer = stack.sandbox.http.put("/hub/__sandbox__/faults", json={"rules": list(rules)})
    assert answer.status_code == 200, answer.text


def delivered(stack: Stack, job_id: str, *, seconds: float = 90) -> list[dict[str, Any]]:
    """The job's deliveries once none is open; escrow first."""

    def over() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = stack.ok("GET", f"/cloud/jobs/{job_id}/deliveries")["deliveries"]
        return found if all(d["is_over"] for d in found) else None

    return eventually(over, seconds=seconds)


@pytest.fixture(scope="module")
def elsewhere(whole_stack: Stack) -> Iterator[dict[str, str]]:
    """A bucket with a user of its own, which our functions' roles can't reach."""
    stack, iam = whole_stack, whole_stack.client("iam")
    stack.client("s3").create_bucket(Bucket=BUCKET)
    iam.create_user(UserName=BUCKET)
    place = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": place}]}
    iam.put_user_policy(UserName=BUCKET, PolicyName="own", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=BUCKET)["AccessKey"]
    stack.ok("POST", "/cloud/credentials", json={"name": "hub", "kind": "huggingface", "token": TOKEN})
    secrets = {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"]}
    stack.ok("POST", "/cloud/credentials", json={"name": "elsewhere", "kind": "s3", **secrets})
    yield {"kind": "s3", "bucket": BUCKET, "prefix": "models", "endpoint_url": stack.ports.emulator_url}
    for name in ("hub", "elsewhere"):
        stack.ok("DELETE", f"/cloud/credentials/{name}?force=true")


@pytest.fixture(scope="module")
def trained(whole_stack: Stack, elsewhere: dict[str, str]) -> str:
    """A job whose config asks for the Hub and whose request for the bucket."""
    stack = whole_stack
    stack.inspected(stack.push(DATASET))
    config = submission(DATASET, steps=6)["config"] | {"push_to_hub": True, "hub_model_id": "cats"}
    job = stack.submit(DATASET, config=config, destinations=[elsewhere], tracker_run_name="cats")
    assert [d["label"] for d in job["destinations"]] == [f"s3://{BUCKET}/models", "huggingface:cats"]
    return str(stack.wait(job["job_id"])["job_id"])


def test_a_model_arrives_everywhere_and_is_verified_there(stack: Stack, trained: str) -> None:
    escrow, bucket, repo = delivered(stack, trained)
    assert [d["state"] for d in (escrow, bucket, repo)] == ["verified"] * 3, stack.story(trained)
    job = stack.job(trained)
    assert job["deliveries"] == {"state": "verified", "verified": 2, "open": 0, "failed": 0}
    assert job["output_url"] == repo["result"]["url"]
    (line,) = [f for f in stack.ok("GET", f"/cloud/jobs/{trained}/outputs")["files"] if f["kind"] == "weights"]
    there = hub(stack, f"sandbox/cats/resolve/main/{WEIGHTS}")
    assert hashlib.sha256(there).hexdigest() == line["sha256"]
    s3 = stack.client("s3")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    (key,) = [key for key in keys if key.endswith(WEIGHTS)]
    assert key.startswith("models/")
    assert hashlib.sha256(s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest() == line["sha256"]
    assert {e["type"] for e in stack.events(trained)} >= {"delivery.started", "delivery.verified"}


def test_what_the_hub_refuses_fails_with_advice_and_is_repeated(stack: Stack, trained: str) -> None:
    hub_faults(stack, {"fault": "403", "match": "POST .*/commit/"})
    to = {"kind": "huggingface", "repo_id": "sandbox/refused"}
    try:
        (made,) = stack.ok("POST", f"/cloud/jobs/{trained}/deliver", json={"destination": to})["deliveries"]
        failed = delivered(stack, trained)[-1]
    finally:
        hub_faults(stack)
    assert (failed["delivery_id"], failed["state"]) == (made["delivery_id"], "failed")
    assert failed["problem"]["code"] == "forbidden"
    assert failed["problem"]["advice"]
    assert stack.job(trained)["deliveries"]["state"] == "partial"
    stack.ok("POST", f"/cloud/jobs/{trained}/deliveries/{made['delivery_id']}/retry")
    assert delivered(stack, trained)[-1]["state"] == "verified"
    assert stack.job(trained)["deliveries"]["state"] == "verified"


def test_a_function_that_is_killed_is_replaced_and_one_commit_is_made(stack: Stack, trained: str) -> None:
    hub_faults(stack, {"fault": "hang", "match": "POST .*/commit/", "when": "after", "times": 1, "seconds": 30})
    to = {"kind": "huggingface", "repo_id": "sandbox/killed", "include": ["weights"]}
    try:
        stack.ok("POST", f"/cloud/jobs/{trained}/deliver", json={"destination": to})
        commits = "/hub/__sandbox__/requests"
        eventually(lambda: "killed/commit/" in stack.sandbox.http.get(commits).text or None)
        assert kill_workers(w for w in workers(stack) if w.function == "deliver-model")
        killed = delivered(stack, trained)[-1]
    finally:
        hub_faults(stack)
    assert killed["state"] == "verified", killed
    assert hub(stack, f"sandbox/killed/resolve/main/{WEIGHTS}") == hub(stack, f"sandbox/cats/resolve/main/{WEIGHTS}")


def test_the_sweeper_goes_on_with_a_delivery_whose_execution_died(stack: Stack, trained: str) -> None:
    hub_faults(stack, {"fault": "429", "match": "POST .*", "times": 50, "retry_after": "20"})
    to = {"kind": "huggingface", "repo_id": "sandbox/swept", "include": ["weights"]}
    try:
        (made,) = stack.ok("POST", f"/cloud/jobs/{trained}/deliver", json={"destination": to})["deliveries"]
        route = f"/cloud/jobs/{trained}/deliveries/{made['delivery_id']}"
        eventually(lambda: stack.ok("GET", route)["delivery"]["next_try_at"])
        machine = stack.facts["state_machine_arn"].replace("-job", "-delivery")
        execution = f"{machine.replace(':stateMachine:', ':execution:')}:{made['delivery_id']}-1"
        stack.client("stepfunctions").stop_execution(executionArn=execution)
    finally:
        hub_faults(stack)
    swept = delivered(stack, trained, seconds=180)[-1]
    assert (swept["state"], swept["attempt"]) == ("verified", 2)
