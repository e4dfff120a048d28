"""Jobs' workflows on AWS Step Functions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.clients import ClientSource
from chalicelib.aws.faults import answering, code_of
from chalicelib.domain.ports import ExecutionState

_SERVICE = "The workflow engine"
_NOBODY_WAITS = frozenset({"TaskTimedOut", "TaskDoesNotExist", "InvalidToken"})


class StepFunctionsRunner:
    """The WorkflowRunner port over one STANDARD state machine.

    Needs states:StartExecution on the machine, states:DescribeExecution on its executions and states:SendTaskSuccess.
    Raises Unavailable when Step Functions is busy, botocore's ClientError when the deployment is wrong.
    """

    def __init__(self, state_machine_arn: str, client: ClientSource) -> None:
        self._machine = state_machine_arn
        self._client = client

    def start(self, job_id: str, attempt: int) -> None:
        start_once(self._client, self._machine, execution_name(job_id, attempt), {"job_id": job_id, "attempt": attempt})

    def state(self, job_id: str, attempt: int) -> ExecutionState:
        return state_of(self._client, self._machine, execution_name(job_id, attempt))

    def wake(self, task_token: str) -> bool:
        with answering(_SERVICE):
            try:
                self._client().send_task_success(taskToken=task_token, output="{}")
            except ClientError as error:
                if code_of(error) in _NOBODY_WAITS:
                    return False
                raise
        return True


def start_once(client: ClientSource, state_machine_arn: str, name: str, payload: Mapping[str, Any]) -> None:
    """Starts the execution of that name, unless it was ever started."""
    with answering(_SERVICE):
        try:
            client().start_execution(stateMachineArn=state_machine_arn, name=name, input=json.dumps(payload))
        except ClientError as error:
            # Running or over: a name stays taken for 90 days, so this execution was started, by whomever.
            if code_of(error) != "ExecutionAlreadyExists":
                raise


def state_of(client: ClientSource, state_machine_arn: str, name: str) -> ExecutionState:
    with answering(_SERVICE):
        try:
            found = client().describe_execution(executionArn=execution_arn(state_machine_arn, name))
        except ClientError as error:
            if code_of(error) == "ExecutionDoesNotExist":
                return ExecutionState.UNKNOWN
            raise
    return ExecutionState.RUNNING if found["status"] == "RUNNING" else ExecutionState.OVER


def execution_name(job_id: str, attempt: int) -> str:
    return f"{job_id}-{attempt}"


def execution_arn(state_machine_arn: str, name: str) -> str:
    """The ARN of an execution: ``…:stateMachine:<machine>`` becomes ``…:execution:<machine>:<name>``."""
    head, kind, machine = state_machine_arn.rpartition(":stateMachine:")
    if not kind:
        raise ValueError(f"not the ARN of a state machine: {state_machine_arn!r}")
    return f"{head}:execution:{machine}:{name}"
