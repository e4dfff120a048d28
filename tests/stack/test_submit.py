"""Submitting on a deployed stack: once per key however often it is sent, never beyond the slots, and never lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.jobs import together
from tests.support.stack import Answer, Stack, eventually
from tests.support.trainings import submission

DATASET = "submitted-squares"
SUBMIT = "/cloud/jobs/submit?provider=replicate"
SLOTS = 5


@pytest.fixture(autouse=True)
def _dataset(stack: Stack) -> None:
    stack.push(DATASET)


def status_of(stack: Stack, prediction_id: str) -> str:
    return next(str(p["status"]) for p in stack.sandbox.predictions() if p["id"] == prediction_id)


@pytest.fixture(scope="module", autouse=True)
def orphan(whole_stack: Stack) -> str:
    """A waiting prediction with our webhook and the tag of a job nobody knows, as a restored one leaves it."""
    whole_stack.sandbox.faults({"fault": "slow_start", "seconds": 3000})
    token = whole_stack.layout.provider_token.read_text(encoding="ascii").strip()
    answer = whole_stack.http.post(
        f"{whole_stack.ports.sandbox_url}/v1/predictions",
        headers={"Authorization": f"Bearer {token}"},
        json={
            "version": "simpletuner/advanced-trainer-h100",
            "input": {"max_train_steps": 5},
            "webhook": f"{whole_stack.url}/api/webhooks/replicate?job=01arz3ndektsv4rrffq69g5fav",
            "webhook_events_filter": ["completed"],
        },
    )
    assert answer.status_code == 201, answer.text
    prediction_id: str = answer.json()["id"]
    whole_stack.sandbox.faults()
    whole_stack.sweep()
    assert status_of(whole_stack, prediction_id) == "starting"  # young: a launch might be about to record it
    return prediction_id


def submit(stack: Stack, key: str | None, **fields: Any) -> Answer:
    headers = {"Idempotency-Key": key} if key else {}
    return stack.api("POST", SUBMIT, json=submission(DATASET) | fields, headers=headers)


def end_all(stack: Stack) -> None:
    """Cancels whatever is active and waits until every slot is free."""
    active = [j["job_id"] for j in stack.ok("GET", "/cloud/jobs?limit=500")["jobs"] if j["is_active"]]
    for job_id in active:
        stack.api("POST", f"/cloud/jobs/{job_id}/cancel")
    for job_id in active:
        stack.wait(job_id)


def test_a_hundred_submits_with_one_key_make_one_job_and_one_prediction(stack: Stack) -> None:
    answers = together(100, lambda _: submit(stack, "one-of-a-hundred"))
    assert [a.status for a in answers if isinstance(a, Answer)] == [200] * 100, answers
    bodies = [a.json for a in answers if isinstance(a, Answer)]
    (job_id,) = {body["job_id"] for body in bodies}
    assert sum(not body["idempotent_hit"] for body in bodies) == 1
    assert [e["type"] for e in stack.events(job_id)].count("job.submitted") == 1
    stack.wait(job_id, "completed")
    assert stack.sandbox.overlap(job_id) == {"predictions": 1, "max_alive": 1, "max_running": 1}
    assert attempts(stack, job_id) == [f"{job_id}-1"]
    again = submit(stack, "one-of-a-hundred").json
    assert (again["job_id"], again["idempotent_hit"], again["status"]) == (job_id, True, "completed")


def test_the_same_key_with_another_request_is_refused_and_names_what_differs(stack: Stack) -> None:
    first = submit(stack, "same-key", tracker_run_name="first").json
    other = submission(DATASET, steps=12)
    answer = stack.api("POST", SUBMIT, json=other | {"idempotency_key": "same-key", "tracker_run_name": "second"})
    assert answer.status == 422
    problem = answer.json
    assert problem["code"] == "idempotency_mismatch"
    assert sorted(e["field"] for e in problem["errors"]) == ["config", "tracker_run_name"]
    assert problem["job_id"] == first["job_id"]
    assert (problem["success"], problem["idempotent_hit"]) == (False, False)
    assert "config" in problem["error"]
    stack.wait(first["job_id"], "completed")
    assert stack.sandbox.overlap(first["job_id"])["predictions"] == 1


def test_the_key_counts_the_same_in_header_and_body(stack: Stack) -> None:
    by_header = submit(stack, "either-way").json
    by_body = submit(stack, None, idempotency_key="either-way").json
    assert by_body["job_id"] == by_header["job_id"]
    both = submit(stack, "either-way", idempotency_key="another")
    assert (both.status, both.json["code"]) == (400, "bad_idempotency_key")
    stack.wait(by_header["job_id"], "completed")


def test_no_more_jobs_than_slots_however_many_ask_at_once(stack: Stack) -> None:
    end_all(stack)
    stack.sandbox.faults({"fault": "pace", "seconds": 1})
    answers = [a for a in together(20, lambda n: submit(stack, f"slot-{n}")) if isinstance(a, Answer)]
    taken = [a.json["job_id"] for a in answers if a.status == 200]
    refused = [a for a in answers if a.status != 200]
    assert len(answers) == 20
    assert len(set(taken)) == SLOTS
    for answer in refused:
        assert (answer.status, answer.json["code"]) == (429, "concurrency_limit")
        assert answer.json["success"] is False
        assert str(SLOTS) in answer.json["detail"]
    end_all(stack)
    stack.sandbox.faults()
    # A refused submit left nothing behind: its key makes a job now.
    key = next(f"slot-{n}" for n, a in enumerate(answers) if a.status == 429)
    late = submit(stack, key).json
    assert late["idempotent_hit"] is False
    stack.wait(late["job_id"], "completed")
    for job_id in taken:
        assert stack.sandbox.overlap(job_id).get("max_alive", 0) <= 1


def test_what_is_refused_costs_nothing_and_says_what_to_do(stack: Stack) -> None:
    before = len(stack.sandbox.predictions())
    unknown = submission("never-pushed")
    answer = stack.api("POST", SUBMIT, json=unknown)
    assert (answer.status, answer.json["code"]) == (422, "dataset_unresolved")
    assert "stcloud datasets push" in answer.json["detail"]
    secret = submission(DATASET)
    secret["config"]["--hub_token"] = "hf_" + "a" * 30
    answer = stack.api("POST", SUBMIT, json=secret)
    assert (answer.status, answer.json["code"]) == (422, "secret_in_config")
    assert "a" * 30 not in answer.text
    answer = stack.api("POST", "/cloud/jobs/submit?provider=nobody", json=submission(DATASET))
    assert (answer.status, answer.json["code"]) == (404, "provider_not_found")
    answer = stack.api("POST", SUBMIT, json={"config_name_to_load": "never-saved"})
    assert (answer.status, answer.json["code"]) == (404, "config_not_found")
    assert len(stack.sandbox.predictions()) == before


# Crashes


@contextmanager
def forbidden(stack: Stack, function: str, action: str) -> Iterator[None]:
    """The function's role may not do this meanwhile: as if it died right before it."""
    role = stack.client("lambda").get_function_configuration(FunctionName=f"stcloud-local-{function}")["Role"]
    name, iam = role.rpartition("/")[2], stack.client("iam")
    deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": action, "Resource": "*"}]}
    iam.put_role_policy(RoleName=name, PolicyName="crash", PolicyDocument=json.dumps(deny))
    try:
        yield
    finally:
        iam.delete_role_policy(RoleName=name, PolicyName="crash")


def attempts(stack: Stack, job_id: str) -> list[str]:
    pages = stack.client("stepfunctions").get_paginator("list_executions")
    found = [e for page in pages.paginate(stateMachineArn=stack.facts["state_machine_arn"]) for e in page["executions"]]
    return sorted(e["name"] for e in found if e["name"].startswith(job_id))


def test_a_job_whose_workflow_was_never_started_is_started_by_the_sweeper(stack: Stack) -> None:
    with forbidden(stack, "api-handler", "states:StartExecution"):
        answer = submit(stack, "crash-before-start")
        assert answer.status == 200, answer.text
    job_id = answer.json["job_id"]
    assert attempts(stack, job_id) == []
    # The client asks again, with its key, and learns that the job stands.
    assert submit(stack, "crash-before-start").json["job_id"] == job_id
    assert stack.sweep()["restarted"] == 0  # it might be about to be started
    stack.as_if_later(job_id, 600)
    stack.sweep()
    job = stack.wait(job_id, "completed")
    assert job["attempt"] == 2
    assert attempts(stack, job_id) == [f"{job_id}-2"]
    assert stack.sandbox.overlap(job_id) == {"predictions": 1, "max_alive": 1, "max_running": 1}
    assert "workflow.restarted" in {e["type"] for e in stack.events(job_id)}


def test_a_workflow_that_died_while_the_training_runs_is_replaced_and_adopts_it(stack: Stack) -> None:
    stack.sandbox.faults({"fault": "pace", "seconds": 0.5})
    job_id = stack.submit(DATASET, steps=12)["job_id"]
    stack.wait(job_id, "running")
    states = stack.client("stepfunctions")
    states.stop_execution(executionArn=stack.execution(job_id), error="Killed", cause="by a test")
    stack.as_if_later(job_id, 600)
    stack.sweep()
    job = stack.wait(job_id, "completed")
    assert job["attempt"] == 2
    assert stack.sandbox.overlap(job_id) == {"predictions": 1, "max_alive": 1, "max_running": 1}
    ended = eventually(
        lambda: (
            s
            if (s := states.describe_execution(executionArn=stack.execution(job_id, 2))["status"]) != "RUNNING"
            else None
        )
    )
    assert ended == "SUCCEEDED"


def test_a_workflow_that_died_before_the_launch_launches_in_the_next_attempt(stack: Stack) -> None:
    states = stack.client("stepfunctions")
    with forbidden(stack, "launch", "s3:PutObject"):
        job_id = stack.submit(DATASET)["job_id"]
        stack.wait(job_id, lambda job: job["phase"] == "launching")
        states.stop_execution(executionArn=stack.execution(job_id), error="Killed", cause="by a test")
    assert stack.sandbox.predictions(job_id) == []
    stack.as_if_later(job_id, 600)
    stack.sweep()
    job = stack.wait(job_id, "completed", seconds=120)
    assert job["attempt"] == 2
    assert stack.sandbox.overlap(job_id)["predictions"] == 1


def test_a_prediction_that_belongs_to_no_job_is_cancelled_once_it_is_no_launch_under_way(
    stack: Stack, orphan: str
) -> None:
    """Last in the file, so that little is left to wait."""

    def cancelled() -> bool:
        stack.sweep()
        return status_of(stack, orphan) == "canceled"

    eventually(cancelled, seconds=120)
