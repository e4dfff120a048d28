"""The life of a prediction: statuses, deadlines, what is shown of it, and how overlaps are counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from local.sandbox.contract import REDACTED, check_input, resolve_version
from local.sandbox.predictions import (
    ALLOWED,
    Prediction,
    Status,
    TransitionError,
    most_at_once,
    parse_cancel_after,
)
from local.sandbox.problems import Problem

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def prediction(**changes: object) -> Prediction:
    given = {"hf_token": "hf_secret", "max_train_steps": 5, "s3_secret_key": None}
    base = Prediction(id="p1", ordinal=1, model="m", version="v", input=given, created_at=NOW)
    return Prediction.from_record(base.to_record() | changes)


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_transitions(before: Status, after: Status) -> None:
    subject = prediction(status=before)
    if after in ALLOWED.get(before, frozenset()):
        subject.move(after, NOW)
        assert subject.status is after
    else:
        with pytest.raises(TransitionError):
            subject.move(after, NOW)
        assert subject.status is before


def test_nothing_leaves_a_terminal_status() -> None:
    assert not any(status.is_over for status in ALLOWED)
    assert {s for s in Status if s.is_over} == {Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.ABORTED}


def test_a_record_is_read_back_as_it_was() -> None:
    subject = prediction(webhook="http://x/?job=a", deadline="2026-11-24T13:00:00Z")
    assert Prediction.from_record(subject.to_record()) == subject
    assert subject.deadline == NOW + timedelta(hours=1)


def test_secrets_are_never_shown() -> None:
    subject = prediction()
    shown = subject.public("http://s", None)["input"]
    assert shown == {"hf_token": REDACTED, "max_train_steps": 5, "s3_secret_key": None}
    assert subject.input["hf_token"] == "hf_secret", "the trainer still needs it"
    subject.move(Status.CANCELED, NOW)
    assert subject.input["hf_token"] == REDACTED


def test_metrics_count_queue_and_run_apart() -> None:
    subject = prediction()
    subject.move(Status.PROCESSING, NOW + timedelta(seconds=10))
    assert subject.metrics() == {}
    subject.move(Status.SUCCEEDED, NOW + timedelta(seconds=40), output="done")
    assert subject.metrics() == {"total_time": 40.0, "predict_time": 30.0}


def test_an_aborted_one_has_no_run_time() -> None:
    subject = prediction()
    subject.move(Status.ABORTED, NOW + timedelta(seconds=10))
    assert subject.metrics() == {"total_time": 10.0}
    assert "started_at" not in subject.public("http://s", "")


def test_removed_data_leaves_status_and_metrics() -> None:
    subject = prediction()
    subject.move(Status.PROCESSING, NOW)
    subject.move(Status.SUCCEEDED, NOW, output="done")
    subject.remove_data()
    shown = subject.public("http://s", "log")
    assert (shown["data_removed"], shown["input"], shown["output"]) == (True, {}, None)
    assert shown["status"] == "succeeded"
    assert "logs" not in shown
    assert shown["metrics"]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("90s", 90), ("15m", 900), ("2h30m", 9000), ("1h30m45s", 5445), (" 5s ", 5), ("24h", 86400)],
)
def test_cancel_after(header: str, seconds: int) -> None:
    assert parse_cancel_after(header) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "header", ["", "4s", "0", "-5s", "5.5s", "soon", "1d", "30s1h", "٣٠", "9" * 30, "999999999999h", "9000h"]
)
def test_cancel_after_refused(header: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_cancel_after(header)
    assert caught.value.status == 422


def at(second: float) -> datetime:
    return NOW + timedelta(seconds=second)


@pytest.mark.parametrize(
    ("spans", "most"),
    [
        ([], 0),
        ([(0, 5)], 1),
        ([(0, 5), (5, 9)], 1),
        ([(0, 5), (4, 9)], 2),
        ([(0, None), (1, None)], 2),
        ([(0, 2), (1, None), (3, None)], 2),
        ([(0, 10), (1, 2), (3, 4)], 2),
        ([(0, 0), (0, 0)], 2),
        ([(0, 10), (5, 5)], 2),
        ([(0, 5), (5, 5), (5, 9)], 2),
        ([(0, 0)], 1),
    ],
)
def test_overlaps(spans: list[tuple[float, float | None]], most: int) -> None:
    assert most_at_once((at(a), None if b is None else at(b)) for a, b in spans) == most


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "input: Invalid type"),
        ({"webhook_config": "[]"}, "input.webhook_config: is not an input of this model"),
        ({"config_json": {"a": 1}}, "input.config_json: Invalid type. Expected: string, given: dict"),
        ({"max_train_steps": "5"}, "input.max_train_steps: Invalid type. Expected: integer"),
        ({"max_train_steps": True}, "input.max_train_steps: Invalid type. Expected: integer"),
        ({"hf_token": None}, "input.hf_token: Invalid type. Expected: string, given: null"),
        ({"images": "ftp://x/y"}, "input.images: Does not match format 'uri'"),
    ],
)
def test_undeclared_and_ill_typed_inputs_are_refused(given: object, words: str) -> None:
    with pytest.raises(Problem) as caught:
        check_input(given)
    assert words in caught.value.document["detail"]


def test_versions_are_found_by_all_their_names() -> None:
    machine = resolve_version("simpletuner/advanced-trainer-h100")
    assert resolve_version(machine.version) is machine
    assert resolve_version(f"{machine.model}:{machine.version}") is machine
    other = resolve_version("simpletuner/advanced-trainer-l40s-x2")
    for wrong in ("", None, 5, "simpletuner/none", f"{machine.model}:{other.version}", f"{machine.model}:"):
        with pytest.raises(Problem):
            resolve_version(wrong)
