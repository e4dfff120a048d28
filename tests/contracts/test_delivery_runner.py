"""The DeliveryRunner port: the fake, and Step Functions on the emulator with IAM on; and the real definition there."""

from __future__ import annotations

import io
import json
import time
import uuid
import zipfile
from pathlib import Path
from typing import Any, Protocol

import pytest

from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.delivery_runner import StepFunctionsDeliveryRunner, execution_name
from chalicelib.aws.runner import execution_arn
from chalicelib.domain.deliveries import MAX_DELIVERIES, Delivery, delivery_id
from chalicelib.domain.ports import DeliveryRunner, ExecutionState
from chalicelib.services.delivery_care import MAX_ATTEMPTS
from tests.contracts.test_delivery_store import a_delivery
from tests.fakes.clock import FakeClock
from tests.fakes.delivery_runner import FakeDeliveryRunner
from tests.support.emulator import Emulator

DEFINITION = Path(__file__).parents[2] / "infra" / "delivery.asl.json"
#: What stands for the two functions: a step that waits, sends pieces of which one dies, and then tells what it saw.
FUNCTION = """
def step(event, context):
    steps = event.get("steps", 0) + 1
    known = {name: event[name] for name in ("job_id", "delivery_id", "attempt")}
    if steps == 1:
        return {**known, "steps": steps, "next": "wait", "seconds": 1}
    if steps == 2:
        return {**known, "steps": steps, "next": "again"}
    if steps == 3:
        items = [{**known, "piece": {"n": n}} for n in range(3)]
        return {**known, "steps": steps, "next": "pieces", "items": items}
    return {"next": "done", "steps": steps, "saw": event}

def piece(event, context):
    if event["piece"]["n"] == 1:
        raise ValueError("dies")
    return {"fault": {"code": "throttled"}} if event["piece"]["n"] == 2 else {}
"""


class Stage(Protocol):
    runner: DeliveryRunner

    def end(self, delivery: Delivery) -> None: ...

    def started(self) -> int: ...


class InMemory:
    def __init__(self) -> None:
        self.runner = FakeDeliveryRunner(FakeClock())

    def end(self, delivery: Delivery) -> None:
        self.runner.executions[execution_name(delivery)].status = "SUCCEEDED"

    def started(self) -> int:
        return len(self.runner.executions)


class OnStepFunctions:
    """A machine of one state that waits; the runner may start it and look at its executions, nothing else."""

    def __init__(self, emulator: Emulator) -> None:
        self._states, iam = emulator.client("stepfunctions"), emulator.client("iam")
        name = f"test-{uuid.uuid4().hex[:12]}"
        wait = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}}}
        self._machine = self._states.create_state_machine(
            name=name, definition=json.dumps(wait), roleArn=a_role(emulator, "states.amazonaws.com")
        )["stateMachineArn"]
        executions = f"{self._machine.replace(':stateMachine:', ':execution:')}:*"
        allowed = [
            {"Effect": "Allow", "Action": "states:StartExecution", "Resource": self._machine},
            {"Effect": "Allow", "Action": "states:DescribeExecution", "Resource": executions},
        ]
        iam.create_user(UserName=name)
        policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        iam.put_user_policy(UserName=name, PolicyName="runner", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        user = AccessKey(key["AccessKeyId"], key["SecretAccessKey"])
        clients = Clients("us-east-1", endpoint_url=emulator.url, root=user)
        self.runner = StepFunctionsDeliveryRunner(self._machine, clients.stepfunctions)

    def end(self, delivery: Delivery) -> None:
        self._states.stop_execution(executionArn=execution_arn(self._machine, execution_name(delivery)))

    def started(self) -> int:
        return len(self._states.list_executions(stateMachineArn=self._machine)["executions"])


def a_role(emulator: Emulator, service: str, *actions: str) -> str:
    name = f"test-{uuid.uuid4().hex[:12]}"
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    iam = emulator.client("iam")
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    if actions:
        allowed = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_role_policy(RoleName=name, PolicyName="work", PolicyDocument=policy)
    return role


@pytest.fixture(params=["memory", "step functions"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "memory":
        return InMemory()
    return OnStepFunctions(request.getfixturevalue("emulator"))


def test_a_delivery_is_unknown_then_running_then_over(stage: Stage) -> None:
    delivery = a_delivery()
    assert stage.runner.state(delivery) is ExecutionState.UNKNOWN
    stage.runner.start(delivery)
    assert stage.runner.state(delivery) is ExecutionState.RUNNING
    stage.end(delivery)
    assert stage.runner.state(delivery) is ExecutionState.OVER
    assert stage.runner.state(a_delivery(attempt=2)) is ExecutionState.UNKNOWN


def test_starting_twice_is_one_execution_also_when_it_is_over(stage: Stage) -> None:
    delivery = a_delivery()
    stage.runner.start(delivery)
    stage.runner.start(delivery)
    stage.end(delivery)
    stage.runner.start(delivery)
    assert stage.started() == 1
    assert stage.runner.state(delivery) is ExecutionState.OVER


def test_attempts_and_deliveries_are_told_apart(stage: Stage) -> None:
    for delivery in (a_delivery(), a_delivery(attempt=2), a_delivery(2), a_delivery(job_id="j2")):
        stage.runner.start(delivery)
    assert stage.started() == 4


def test_names_fit_what_step_functions_takes() -> None:
    longest = a_delivery(delivery_id=delivery_id("0" * 26, MAX_DELIVERIES), attempt=MAX_ATTEMPTS)
    assert len(execution_name(longest)) <= 80


def test_the_definition_runs(emulator: Emulator) -> None:
    """With functions that answer as ours do: waits of so many seconds, pieces, one that dies, one with a fault."""
    definition: dict[str, Any] = json.loads(DEFINITION.read_text())
    for task in (definition["States"]["Advance"], definition["States"]["Pieces"]["ItemProcessor"]["States"]["Piece"]):
        task["Retry"] = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    text = json.dumps(definition)
    functions = emulator.client("lambda")
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("probe.py", FUNCTION)
    role = a_role(emulator, "lambda.amazonaws.com")
    for variable, handler in (("DeliverModelArn", "step"), ("DeliverPieceArn", "piece")):
        made = functions.create_function(
            FunctionName=f"test-{uuid.uuid4().hex[:12]}",
            Runtime="python3.11",
            Role=role,
            Handler=f"probe.{handler}",
            Code={"ZipFile": code.getvalue()},
        )
        text = text.replace("${" + variable + "}", made["FunctionArn"])
    states = emulator.client("stepfunctions")
    machine = states.create_state_machine(
        name=f"test-{uuid.uuid4().hex[:12]}",
        definition=text,
        roleArn=a_role(emulator, "states.amazonaws.com", "lambda:InvokeFunction"),
    )["stateMachineArn"]
    event = {"job_id": "j1", "delivery_id": "d-j1-001", "attempt": 1}
    execution = states.start_execution(stateMachineArn=machine, input=json.dumps(event))["executionArn"]
    until = time.monotonic() + 60
    while (found := states.describe_execution(executionArn=execution))["status"] == "RUNNING":
        assert time.monotonic() < until
        time.sleep(0.2)
    assert found["status"] == "SUCCEEDED", found
    saw = json.loads(found["output"])["saw"]
    assert saw == {**event, "steps": 3, "pieces": [{}, {"fault": {}}, {"fault": {"code": "throttled"}}]}
