"""The runner's names, and errors that must not be taken for answers."""

from __future__ import annotations

import json

import pytest

from chalicelib.aws.runner import StepFunctionsRunner, execution_arn
from chalicelib.domain.ports import ExecutionState
from chalicelib.errors import Unavailable
from tests.unit.aws.aws_doubles import Script, client_error

MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:stcloud-prod-job"


def test_execution_names_and_arns() -> None:
    client = Script(start_execution=[{}], describe_execution=[{"status": "SUCCEEDED"}])
    runner = StepFunctionsRunner(MACHINE, client)
    runner.start("01job", 3)
    assert runner.state("01job", 3) is ExecutionState.OVER
    started, asked = client.calls[0][1], client.calls[1][1]
    assert (started["stateMachineArn"], started["name"]) == (MACHINE, "01job-3")
    assert json.loads(started["input"]) == {"job_id": "01job", "attempt": 3}
    assert asked["executionArn"] == "arn:aws:states:eu-west-1:123456789012:execution:stcloud-prod-job:01job-3"


def test_what_is_no_machine_is_told() -> None:
    with pytest.raises(ValueError, match="state machine"):
        execution_arn("", "01job-1")


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE"])
def test_only_running_runs(status: str) -> None:
    runner = StepFunctionsRunner(MACHINE, Script(describe_execution=[{"status": status}]))
    assert runner.state("j", 1) is ExecutionState.OVER


def test_what_does_not_show_is_neither_running_nor_over() -> None:
    runner = StepFunctionsRunner(MACHINE, Script(describe_execution=[client_error("ExecutionDoesNotExist")]))
    assert runner.state("j", 1) is ExecutionState.UNKNOWN


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_nobody_to_wake(code: str) -> None:
    assert not StepFunctionsRunner(MACHINE, Script(send_task_success=[client_error(code)])).wake("t")


def test_a_failed_call_is_not_taken_for_an_answer() -> None:
    """A sweeper that takes a throttled question for 'not running' would start a second execution."""
    busy, forbidden = client_error("ThrottlingException"), client_error("AccessDeniedException")
    runner = StepFunctionsRunner(
        MACHINE,
        Script(start_execution=[busy, forbidden], describe_execution=[busy], send_task_success=[busy, forbidden]),
    )
    for call in (lambda: runner.start("j", 1), lambda: runner.state("j", 1), lambda: runner.wake("t")):
        with pytest.raises(Unavailable):
            call()
    for call in (lambda: runner.start("j", 1), lambda: runner.wake("t")):
        with pytest.raises(Exception, match="AccessDenied"):
            call()
