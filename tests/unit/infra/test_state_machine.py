"""The state machine against the code it runs: same routes, same waits, bounded retries, bounded history."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.jobs import Job, Phase
from chalicelib.workflow.outcome import WAITS, Next
from chalicelib.workflow.routing import route
from tests.fakes.machine import MAX_TRIES, RETRY_AFTER, STEPS

ROOT = Path(__file__).parents[3]
MACHINE: dict[str, Any] = json.loads((ROOT / "infra" / "state_machine.asl.json").read_text())
STATES: dict[str, dict[str, Any]] = MACHINE["States"]
FUNCTIONS: dict[str, dict[str, int]] = json.loads((ROOT / ".chalice" / "config.json").read_text())["lambda_functions"]
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
#: Events that one visit of a state writes into the history; AWS keeps 25,000 of an execution.
HISTORY = {"Choice": 2, "Wait": 2, "Succeed": 2, "step": 5, "await": 6}


def camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def is_wait(state: dict[str, Any]) -> bool:
    return str(state.get("Resource", "")).endswith(".waitForTaskToken")


STEP_NAMES = [str(name) for name in STEPS]
WAIT_NAMES = [name.value for name in WAITS]


def test_every_state_is_a_route_of_the_code_or_known_plumbing() -> None:
    expected = {camel(name) for name in (*STEP_NAMES, *WAIT_NAMES)} | {
        "Route",
        "Done",
        "Pause",
        "PauseInspection",
        "UnknownRoute",
    }
    assert set(STATES) == expected


def test_the_choice_knows_every_route_and_nothing_else() -> None:
    choices = STATES["Route"]["Choices"]
    assert {c["StringEquals"]: c["Next"] for c in choices} == {n.value: camel(n.value) for n in Next}
    assert all(c["Variable"] == "$.next" for c in choices)
    assert STATES[STATES["Route"]["Default"]]["Type"] == "Fail"


def test_it_begins_with_prepare_and_every_step_answers_to_the_choice() -> None:
    assert MACHINE["StartAt"] == "Prepare"
    assert {STATES[camel(name)]["Next"] for name in STEP_NAMES} == {"Route"}


@pytest.mark.parametrize("name", WAIT_NAMES)
def test_a_wait_lasts_as_long_as_the_code_says_and_leads_to_another_look(name: str) -> None:
    # What waits for an inspection has nothing at the provider yet, and must not get past the gate.
    look, pause = ("Prepare", "PauseInspection") if name == Next.AWAIT_INSPECTION else ("Observe", "Pause")
    state = STATES[camel(name)]
    assert is_wait(state)
    assert state["TimeoutSeconds"] == WAITS[Next(name)]
    assert state["Parameters"]["Payload"] == {
        "job_id.$": "$.job_id",
        "attempt.$": "$.attempt",
        "next": name,
        "wakes_seen.$": "$.wakes_seen",
        "task_token.$": "$$.Task.Token",
    }
    assert state["Parameters"]["FunctionName"] == "${AwaitChangeArn}"
    assert state["Next"] == look
    timed_out, failed = state["Catch"]
    assert (timed_out["ErrorEquals"], timed_out["Next"]) == (["States.Timeout"], look)
    assert (failed["ErrorEquals"], failed["Next"]) == (["States.ALL"], pause)
    assert STATES[pause]["Next"] == look
    assert STATES[pause]["Seconds"] == RETRY_AFTER.total_seconds()
    # The next step needs the job's id, whatever the wake-up or the error said.
    assert state["ResultPath"] is None
    assert all(catch["ResultPath"] is None for catch in state["Catch"])


@pytest.mark.parametrize("name", STEP_NAMES)
def test_a_step_passes_its_input_on_and_hands_back_the_answer(name: str) -> None:
    state = STATES[camel(name)]
    assert state["Resource"] == "arn:aws:states:::lambda:invoke"
    assert state["Parameters"] == {"FunctionName": f"${{{camel(name)}Arn}}", "Payload.$": "$"}
    assert state["OutputPath"] == "$.Payload"


@pytest.mark.parametrize("name", STEP_NAMES)
def test_a_step_is_tried_again_a_bounded_number_of_times_then_the_execution_fails(name: str) -> None:
    state = STATES[camel(name)]
    service, anything = state["Retry"]
    assert "Lambda.TooManyRequestsException" in service["ErrorEquals"]
    assert anything["ErrorEquals"] == ["States.ALL"]
    assert anything["MaxAttempts"] == MAX_TRIES
    assert anything["IntervalSeconds"] == RETRY_AFTER.total_seconds() * anything["BackoffRate"]
    for retry in (service, anything):
        assert 0 < retry["MaxAttempts"] <= 5
        assert retry["BackoffRate"] > 1
        assert retry["MaxDelaySeconds"] <= 60
    # An error is not swallowed: the sweeper starts the next attempt of a failed execution.
    assert "Catch" not in state


@pytest.mark.parametrize("name", STEP_NAMES)
def test_the_state_machine_waits_longer_than_the_function_may_run(name: str) -> None:
    assert STATES[camel(name)]["TimeoutSeconds"] > FUNCTIONS[name]["lambda_timeout"]


def test_every_state_can_be_reached_and_none_leads_nowhere() -> None:
    seen: set[str] = set()
    todo = [MACHINE["StartAt"]]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        state = STATES[name]
        todo += [state[key] for key in ("Next", "Default") if key in state]
        todo += [branch["Next"] for key in ("Choices", "Catch") for branch in state.get(key, [])]
    assert seen == set(STATES)


def training(launched_at: datetime, **changes: Any) -> Job:
    return Job(
        job_id="j",
        owner="o",
        provider="replicate",
        created_at=launched_at,
        updated_at=launched_at,
        hardware_profile="h100",
        hardware_type="H100",
        model="m",
        price_per_second=Decimal("0.001"),
        max_run_seconds=24 * 3600,
        phase=Phase.TRAINING,
        prediction_id="p",
        launched_at=launched_at,
        provider_status="processing",
    ).model_copy(update=changes)


def walk(job: Job, length: timedelta) -> tuple[int, dict[int, int]]:
    """Goes Observe, Route, wait, Observe, … as the definition says, no wake-ups. Returns the number of history events
    and the state transitions of each hour."""
    now, events, transitions = NOW, 1, {}
    state = "Observe"
    while now < NOW + length:
        definition = STATES[state]
        kind = definition["Type"] if definition["Type"] != "Task" else "await" if is_wait(definition) else "step"
        events += HISTORY[kind]
        hour = int((now - NOW).total_seconds() // 3600)
        transitions[hour] = transitions.get(hour, 0) + 1
        if kind == "Choice":
            wanted = route(job, now)
            state = next(c["Next"] for c in definition["Choices"] if c["StringEquals"] == wanted)
        elif kind == "await":
            now += timedelta(seconds=definition["TimeoutSeconds"])
            state = next(c["Next"] for c in definition["Catch"] if c["ErrorEquals"] == ["States.Timeout"])
        else:
            state = definition["Next"]
    return events, transitions


def test_a_day_of_polling_stays_far_below_the_limit_of_the_history() -> None:
    events, transitions = walk(training(NOW), timedelta(hours=24))
    assert 3_000 < events < 5_000
    assert set(transitions) == set(range(24))
    assert max(count for hour, count in transitions.items() if hour > 0) <= 36
    assert transitions[0] < 90


def test_a_day_with_working_webhooks_takes_about_a_dozen_transitions() -> None:
    events, transitions = walk(training(NOW, webhook_seen_at=NOW), timedelta(hours=24))
    assert sum(transitions.values()) <= 12
    assert events < 60


def test_an_execution_outlives_the_longest_training() -> None:
    assert MACHINE["TimeoutSeconds"] > timedelta(hours=36 + 24).total_seconds()
