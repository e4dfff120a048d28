"""The DatasetRunner port: the fake, and Step Functions on the emulator with IAM on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import pytest

from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.dataset_runner import StepFunctionsDatasetRunner, inspection_name, unpack_name
from chalicelib.aws.runner import execution_arn
from chalicelib.domain.datasets import DatasetVersion, VersionStatus
from chalicelib.domain.ports import DatasetRunner, ExecutionState
from tests.fakes.dataset_runner import FakeDatasetRunner
from tests.support.emulator import Emulator


def a_version(version_id: str, *, owner: str = "local", born: int = 1) -> DatasetVersion:
    return DatasetVersion(
        owner=owner, dataset_id="photos", version_id=version_id, status=VersionStatus.READY, files=1, bytes=1,
        merkle_root="0" * 64, prefix=f"{owner}/photos/{version_id}/", manifest_key="m",
        created_at=datetime(2026, 11, born, tzinfo=UTC),
    )  # fmt: skip


class Stage(Protocol):
    runner: DatasetRunner

    def end(self, version: DatasetVersion, attempt: int) -> None: ...

    def end_unpack(self, archive_id: str, attempt: int) -> None: ...

    def started(self) -> int: ...


class InMemory:
    def __init__(self) -> None:
        self.runner = FakeDatasetRunner()

    def end(self, version: DatasetVersion, attempt: int) -> None:
        self.runner.end_inspection(version, attempt)

    def end_unpack(self, archive_id: str, attempt: int) -> None:
        self.runner.end_unpack("local", "photos", archive_id, attempt)

    def started(self) -> int:
        return len(self.runner.inspections) + len(self.runner.unpacks)


class OnStepFunctions:
    """Two machines of one state that waits; the runner may start them and look at their executions, nothing else."""

    def __init__(self, emulator: Emulator) -> None:
        self._states, iam = emulator.client("stepfunctions"), emulator.client("iam")
        name = f"test-{uuid.uuid4().hex[:12]}"
        trust = {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
        wait = {"StartAt": "Wait", "States": {"Wait": {"Type": "Wait", "Seconds": 600, "End": True}}}
        self._machines = [
            self._states.create_state_machine(name=f"{name}-{kind}", definition=json.dumps(wait), roleArn=role)[
                "stateMachineArn"
            ]
            for kind in ("inspection", "unpack")
        ]
        executions = [f"{arn.replace(':stateMachine:', ':execution:')}:*" for arn in self._machines]
        allowed = [
            {"Effect": "Allow", "Action": "states:StartExecution", "Resource": self._machines},
            {"Effect": "Allow", "Action": "states:DescribeExecution", "Resource": executions},
        ]
        iam.create_user(UserName=name)
        policy = json.dumps({"Version": "2012-10-17", "Statement": allowed})
        iam.put_user_policy(UserName=name, PolicyName="runner", PolicyDocument=policy)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        user = AccessKey(key["AccessKeyId"], key["SecretAccessKey"])
        clients = Clients("us-east-1", endpoint_url=emulator.url, root=user)
        self.runner = StepFunctionsDatasetRunner(
            inspection_arn=self._machines[0], unpack_arn=self._machines[1], client=clients.stepfunctions
        )

    def end(self, version: DatasetVersion, attempt: int) -> None:
        self._stop(0, inspection_name(version, attempt))

    def end_unpack(self, archive_id: str, attempt: int) -> None:
        self._stop(1, unpack_name("local", "photos", archive_id, attempt))

    def _stop(self, machine: int, name: str) -> None:
        self._states.stop_execution(executionArn=execution_arn(self._machines[machine], name))

    def started(self) -> int:
        return sum(len(self._states.list_executions(stateMachineArn=m)["executions"]) for m in self._machines)


@pytest.fixture(params=["memory", "step functions"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "memory":
        return InMemory()
    return OnStepFunctions(request.getfixturevalue("emulator"))


def test_an_inspection_is_unknown_then_running_then_over(stage: Stage) -> None:
    version = a_version("v-1")
    assert stage.runner.inspection_state(version, 1) is ExecutionState.UNKNOWN
    stage.runner.start_inspection(version, 1)
    assert stage.runner.inspection_state(version, 1) is ExecutionState.RUNNING
    stage.end(version, 1)
    assert stage.runner.inspection_state(version, 1) is ExecutionState.OVER
    assert stage.runner.inspection_state(version, 2) is ExecutionState.UNKNOWN


def test_an_unpacking_is_unknown_then_running_then_over(stage: Stage) -> None:
    def state() -> ExecutionState:
        return stage.runner.unpack_state("local", "photos", "arc1", 1)

    assert state() is ExecutionState.UNKNOWN
    stage.runner.start_unpack("local", "photos", "arc1", 1)
    assert state() is ExecutionState.RUNNING
    stage.end_unpack("arc1", 1)
    assert state() is ExecutionState.OVER


def test_starting_twice_is_one_execution_also_when_it_is_over(stage: Stage) -> None:
    version = a_version("v-1")
    starts: list[Callable[[], None]] = [
        lambda: stage.runner.start_inspection(version, 1),
        lambda: stage.runner.start_unpack("local", "photos", "arc1", 1),
    ]
    for start in (*starts, *starts):
        start()
    stage.end(version, 1)
    starts[0]()
    assert stage.started() == 2
    assert stage.runner.inspection_state(version, 1) is ExecutionState.OVER


def test_attempts_owners_and_a_version_pushed_anew_are_told_apart(stage: Stage) -> None:
    """Names of executions stay taken for 90 days: a version that was deleted and pushed again must get one."""
    for version in (a_version("v-1"), a_version("v-1", born=2), a_version("v-1", owner="rita"), a_version("v-2")):
        stage.runner.start_inspection(version, 1)
    stage.runner.start_inspection(a_version("v-1"), 2)
    assert stage.started() == 5


def test_names_fit_what_step_functions_takes() -> None:
    version = a_version("v-" + "a" * 20, owner="an owner with spaces and ümlauts " * 5)
    assert len(inspection_name(version, 1_000)) <= 80
    assert inspection_name(version, 1).isascii()
