"""The state machine of deliveries: bounded, it loses no fault, and what passes from state to state stays small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chalicelib.workflow.delivering import (
    LONGEST_WAIT,
    MAX_FAULT_TEXT,
    MAX_PIECES,
    MAX_PIECES_BYTES,
    MAX_STEPS,
    STEP_BUDGET,
)
from tests.unit.infra.described import FUNCTIONS

ROOT = Path(__file__).parents[3]
MACHINE: dict[str, Any] = json.loads((ROOT / "infra" / "delivery.asl.json").read_text())
STATES: dict[str, dict[str, Any]] = MACHINE["States"]
WITHIN: dict[str, dict[str, Any]] = STATES["Pieces"]["ItemProcessor"]["States"]
TASKS = {"Advance": (STATES["Advance"], "deliver_model"), "Piece": (WITHIN["Piece"], "deliver_piece")}
STATE_BYTES = 256 * 1024


@pytest.mark.parametrize("name", TASKS)
def test_a_task_outlasts_its_function_and_is_tried_again_a_bounded_number_of_times(name: str) -> None:
    task, function = TASKS[name]
    arn = "${" + "".join(part.capitalize() for part in function.split("_")) + "Arn}"
    assert task["Parameters"]["FunctionName"] == arn
    assert task["TimeoutSeconds"] > FUNCTIONS[function]["lambda_timeout"]
    assert [r["ErrorEquals"] for r in task["Retry"]][-1] == ["States.ALL"]
    assert all(0 < r["MaxAttempts"] <= 5 and r["MaxDelaySeconds"] <= 60 for r in task["Retry"])


def test_a_step_ends_well_before_its_function_and_in_little_memory() -> None:
    for function in ("deliver_model", "deliver_piece"):
        assert STEP_BUDGET.total_seconds() + 300 <= FUNCTIONS[function]["lambda_timeout"]
        assert FUNCTIONS[function]["lambda_memory_size"] == 512


def test_every_answer_of_a_step_leads_somewhere() -> None:
    choice = STATES["Advanced"]
    ways = {branch["StringEquals"]: branch["Next"] for branch in choice["Choices"]}
    assert ways == {"again": "Advance", "pieces": "Pieces", "wait": "Wait"}
    assert choice["Default"] == "Done"
    assert all(branch["Variable"] == "$.next" for branch in choice["Choices"])
    assert STATES["Wait"] == {**STATES["Wait"], "Type": "Wait", "SecondsPath": "$.seconds", "Next": "Advance"}
    assert LONGEST_WAIT <= 300


def test_a_piece_that_dies_becomes_a_fault_that_the_next_step_sees() -> None:
    (catch,) = WITHIN["Piece"]["Catch"]
    assert (catch["ErrorEquals"], catch["Next"]) == (["States.ALL"], "PieceDied")
    assert WITHIN["PieceDied"]["Result"] == {"fault": {}}
    assert STATES["Pieces"]["Next"] == "Gathered"
    assert STATES["Gathered"]["Next"] == "Advance"
    assert STATES["Gathered"]["Parameters"]["pieces.$"] == STATES["Pieces"]["ResultPath"] == "$.items"


def test_all_states_of_both_levels_are_reached() -> None:
    for states, start in ((STATES, MACHINE["StartAt"]), (WITHIN, STATES["Pieces"]["ItemProcessor"]["StartAt"])):
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


def test_the_history_of_the_longest_execution_fits() -> None:
    # Entered, scheduled, started, succeeded, left, the choice, a wait; of a piece also its iteration. AWS keeps 25,000
    # events; a round of pieces that begins just before the end has room as well.
    assert (MAX_STEPS + MAX_PIECES) * 9 < 25_000
    # A step is tried again a few times.
    assert MACHINE["TimeoutSeconds"] <= 14 * 86400


def test_what_passes_between_states_fits() -> None:
    fault = {
        "fault": {"code": "c" * 30, "message": "写" * MAX_FAULT_TEXT, "advice": "x" * MAX_FAULT_TEXT, "more": "x" * 100}
    }
    assert MAX_PIECES * len(json.dumps(fault, ensure_ascii=False).encode()) < STATE_BYTES
    assert MAX_PIECES_BYTES < STATE_BYTES
    assert 1 <= STATES["Pieces"]["MaxConcurrency"] <= 8
