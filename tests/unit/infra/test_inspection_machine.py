"""The state machine of inspections: bounded, its failures recorded, and nothing large passed from state to state."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.workflow.inspection import MAX_BATCHES
from tests.unit.infra.described import FUNCTIONS

ROOT = Path(__file__).parents[3]
MACHINE: dict[str, Any] = json.loads((ROOT / "infra" / "inspection.asl.json").read_text())
STATES: dict[str, dict[str, Any]] = MACHINE["States"]
WITHIN: dict[str, dict[str, Any]] = STATES["Batches"]["ItemProcessor"]["States"]
ALL = STATES | WITHIN
TASKS = [name for name, state in ALL.items() if state["Type"] == "Task"]


@pytest.mark.parametrize("name", TASKS)
def test_a_task_outlasts_its_function_and_is_tried_again_a_bounded_number_of_times(name: str) -> None:
    task = ALL[name]
    arn = task["Parameters"]["FunctionName"]
    function = next(f for f in FUNCTIONS if arn == "${" + "".join(p.capitalize() for p in f.split("_")) + "Arn}")
    assert task["TimeoutSeconds"] > FUNCTIONS[function]["lambda_timeout"]
    assert [r["ErrorEquals"] for r in task["Retry"]][-1] == ["States.ALL"]
    assert all(0 < r["MaxAttempts"] <= 5 and r["MaxDelaySeconds"] <= 60 for r in task["Retry"])


def test_whatever_fails_is_recorded_and_the_execution_fails_too() -> None:
    for name in ("Plan", "Batches", "Sheet", "Report"):
        (catch,) = STATES[name]["Catch"]
        assert (catch["ErrorEquals"], catch["Next"], catch["ResultPath"]) == (["States.ALL"], "Fail", "$.error")
    assert STATES["Fail"]["Parameters"]["Payload"]["step"] == "fail"
    assert STATES[STATES["Fail"]["Next"]]["Type"] == "Fail"


def test_a_batch_that_fails_is_gone_through_without_decoding_and_the_report_is_made() -> None:
    (catch,) = WITHIN["Batch"]["Catch"]
    assert (catch["ErrorEquals"], catch["Next"], catch["ResultPath"]) == (["States.ALL"], "Skip", "$.error")
    payload = WITHIN["Skip"]["Parameters"]["Payload"]
    assert payload["blind"] is True
    assert set(payload) == {"blind", *STATES["Batches"]["ItemSelector"]} - {"at"} | {"at.$"}
    assert "Catch" not in WITHIN["Skip"]
    assert WITHIN["MoreToSkip"]["Default"] == "Skip"


def test_all_states_of_both_levels_are_reached() -> None:
    for states, start in ((STATES, MACHINE["StartAt"]), (WITHIN, STATES["Batches"]["ItemProcessor"]["StartAt"])):
        seen: set[str] = set()
        todo = [start]
        while todo:
            name = todo.pop()
            if name in seen:
                continue
            seen.add(name)
            state = states[name]
            todo += [state[key] for key in ("Next", "Default") if key in state]
            todo += [branch["Next"] for key in ("Choices", "Catch") for branch in state.get(key, [])]
        assert seen == set(states)


def test_the_history_of_the_largest_version_fits() -> None:
    # Of each batch: iteration, a task with one retry and a second call, choices and the pass: AWS keeps 25,000 events.
    per_batch = 2 + 3 * 5 + 2 * 2 + 2
    assert MAX_BATCHES * per_batch < 25_000


def test_the_longest_inspection_ends() -> None:
    assert MACHINE["TimeoutSeconds"] <= 6 * 3600
    assert 1 <= STATES["Batches"]["MaxConcurrency"] <= 40


def test_what_the_map_gives_back_is_dropped() -> None:
    # A state's output may have 256 KB.
    assert STATES["Batches"]["ResultPath"] is None
    assert WITHIN["Looked"]["Parameters"] == {"batch.$": "$.batch"}
