"""The WorkflowRunner port: the state machine in memory and Step Functions on the emulator."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import pytest

from chalicelib.aws.ambient import SystemClock, UlidSource
from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.runner import StepFunctionsRunner, execution_arn
from chalicelib.domain.ports import ExecutionState, WorkflowRunner
from tests.fakes.clock import FakeClock
from tests.fakes.machine import VirtualMachine
from tests.support.emulator import Emulator

PATIENCE = 20.0


def until(probe: Callable[[], Any]) -> Any:
    """The first true answer of ``probe``, within PATIENCE seconds of real time."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"nothing within {PATIENCE} s")


class Stage(Protocol):
    """A runner, and what the test does in the place of the job's steps."""

    runner: WorkflowRunner

    def token(self, job_id: str, attempt: int) -> str:
        """The task token, once the execution waits."""

    def executions(self, job_id: str) -> list[str]:
        """Names of the executions that were ever started for the job."""

    def fail(self, job_id: str, attempt: int) -> None:
        """The execution dies."""


class VirtualStage:
    def __init__(self) -> None:
        self.runner = VirtualMachine(FakeClock())

    def token(self, job_id: str, attempt: int) -> str:
        execution = self.runner.executions[f"{job_id}-{attempt}"]
        execution.token = f"token of {execution.name}"
        return execution.token

    def executions(self, job_id: str) -> list[str]:
        return [name for name in self.runner.executions if name.startswith(job_id)]

    def fail(self, job_id: str, attempt: int) -> None:
        self.runner.executions[f"{job_id}-{attempt}"].status = "FAILED"


class StepFunctionsStage:
    """A machine of one step that sends its token and input to a queue and waits."""

    def __init__(self, emulator: Emulator, user: AccessKey, role: str) -> None:
        name = f"test-{uuid.uuid4().hex[:12]}"
        self._states, self._sqs = emulator.client("stepfunctions"), emulator.client("sqs")
        self._queue = self._sqs.create_queue(QueueName=name)["QueueUrl"]
        self._seen: dict[str, str] = {}
        definition = {
            "StartAt": "Wait",
            "States": {
                "Wait": {
                    "Type": "Task",
                    "Resource": "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
                    "Parameters": {
                        "QueueUrl": self._queue,
                        "MessageBody": {"token.$": "$$.Task.Token", "input.$": "$"},
                    },
                    "TimeoutSeconds": 60,
                    "ResultPath": None,
                    "End": True,
                }
            },
        }
        machine = self._states.create_state_machine(name=name, definition=json.dumps(definition), roleArn=role)
        self.arn = machine["stateMachineArn"]
        self.clients = Clients("us-east-1", endpoint_url=emulator.url, root=user)
        self.runner = StepFunctionsRunner(self.arn, self.clients.stepfunctions)

    def token(self, job_id: str, attempt: int) -> str:
        def look() -> str | None:
            answer = self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                body = json.loads(message["Body"])
                self._seen[f"{body['input']['job_id']}-{body['input']['attempt']}"] = body["token"]
            return self._seen.get(f"{job_id}-{attempt}")

        return str(until(look))

    def executions(self, job_id: str) -> list[str]:
        found = self._states.list_executions(stateMachineArn=self.arn)["executions"]
        return sorted(e["name"] for e in found if e["name"].startswith(job_id))

    def fail(self, job_id: str, attempt: int) -> None:
        self._states.stop_execution(executionArn=execution_arn(self.arn, f"{job_id}-{attempt}"))


@pytest.fixture(scope="module")
def step_functions(emulator: Emulator) -> Iterator[StepFunctionsStage]:
    """The runner signs as a user who may do what the deployed functions may do, and nothing else."""
    iam, name = emulator.client("iam"), f"test-{uuid.uuid4().hex[:12]}"
    trust = {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    )["Role"]["Arn"]
    iam.put_role_policy(
        RoleName=name, PolicyName="queue", PolicyDocument=policy({"Action": "sqs:SendMessage", "Resource": "*"})
    )
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    stage = StepFunctionsStage(emulator, AccessKey(key["AccessKeyId"], key["SecretAccessKey"]), role)
    iam.put_user_policy(
        UserName=name,
        PolicyName="runner",
        PolicyDocument=policy(
            {"Action": "states:StartExecution", "Resource": stage.arn},
            {"Action": "states:DescribeExecution", "Resource": execution_arn(stage.arn, "*")},
            {"Action": "states:SendTaskSuccess", "Resource": "*"},
        ),
    )
    yield stage
    stage.clients.close()


def policy(*statements: dict[str, str]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow"} | s for s in statements]})


@pytest.fixture(params=["virtual", "step functions"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "virtual":
        return VirtualStage()
    stage: Stage = request.getfixturevalue("step_functions")
    return stage


@pytest.fixture
def job_id() -> str:
    return UlidSource(SystemClock()).job_id()


def test_a_started_execution_runs_under_its_name(stage: Stage, job_id: str) -> None:
    assert stage.runner.state(job_id, 1) is ExecutionState.UNKNOWN
    stage.runner.start(job_id, 1)
    assert stage.runner.state(job_id, 1) is ExecutionState.RUNNING
    assert stage.runner.state(job_id, 2) is ExecutionState.UNKNOWN
    assert stage.executions(job_id) == [f"{job_id}-1"]
    assert stage.token(job_id, 1)


def test_starting_twice_is_a_no_op(stage: Stage, job_id: str) -> None:
    stage.runner.start(job_id, 1)
    stage.runner.start(job_id, 1)
    assert stage.executions(job_id) == [f"{job_id}-1"]


def test_many_starts_at_once_make_one_execution(stage: Stage, job_id: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: stage.runner.start(job_id, 1), range(24)))
    assert stage.executions(job_id) == [f"{job_id}-1"]


def test_an_execution_that_is_over_is_not_started_again(stage: Stage, job_id: str) -> None:
    stage.runner.start(job_id, 1)
    stage.token(job_id, 1)
    stage.fail(job_id, 1)
    until(lambda: stage.runner.state(job_id, 1) is ExecutionState.OVER)
    stage.runner.start(job_id, 1)
    assert stage.runner.state(job_id, 1) is ExecutionState.OVER
    stage.runner.start(job_id, 2)
    assert stage.runner.state(job_id, 2) is ExecutionState.RUNNING
    assert stage.executions(job_id) == [f"{job_id}-1", f"{job_id}-2"]


def test_waking_ends_the_wait_behind_the_token(stage: Stage, job_id: str) -> None:
    stage.runner.start(job_id, 1)
    token = stage.token(job_id, 1)
    assert stage.runner.wake(token)
    until(lambda: not stage.runner.wake(token))


@pytest.mark.parametrize("token", ["no such token", "AAAA", "x" * 900])
def test_nobody_waits_behind_an_unknown_token(stage: Stage, token: str) -> None:
    assert stage.runner.wake(token) is False


def test_waking_one_job_leaves_the_other_asleep(stage: Stage, job_id: str) -> None:
    other = UlidSource(SystemClock()).job_id()
    stage.runner.start(job_id, 1)
    stage.runner.start(other, 1)
    mine, theirs = stage.token(job_id, 1), stage.token(other, 1)
    assert mine != theirs
    assert stage.runner.wake(mine)
    until(lambda: not stage.runner.wake(mine))
    assert stage.runner.state(other, 1) is ExecutionState.RUNNING
    assert stage.runner.wake(theirs)


# --- what only Step Functions can show ----------------------------------------------------------------------------


def test_a_woken_execution_goes_on_to_its_end(step_functions: StepFunctionsStage, job_id: str) -> None:
    step_functions.runner.start(job_id, 1)
    assert step_functions.runner.wake(step_functions.token(job_id, 1))
    until(lambda: step_functions.runner.state(job_id, 1) is ExecutionState.OVER)
    found = step_functions._states.describe_execution(executionArn=execution_arn(step_functions.arn, f"{job_id}-1"))
    assert found["status"] == "SUCCEEDED"
    assert json.loads(found["output"]) == {"job_id": job_id, "attempt": 1}


def test_a_machine_that_does_not_exist_is_an_error(step_functions: StepFunctionsStage, job_id: str) -> None:
    """A wrong deployment must not look like a job that was started."""
    nowhere = StepFunctionsRunner(step_functions.arn + "-gone", step_functions.clients.stepfunctions)
    with pytest.raises(Exception, match=r"StateMachineDoesNotExist|AccessDenied"):
        nowhere.start(job_id, 1)
