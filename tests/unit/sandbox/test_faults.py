"""A fault plan says what goes wrong, for whom and how often, and repeats."""

from __future__ import annotations

from typing import Any

import pytest

from local.sandbox.faults import API_FAULTS, KINDS, RUN_FAULTS, WEBHOOK_FAULTS, FaultPlan, PlanError


def plan(*rules: dict[str, Any], seed: int = 3) -> FaultPlan:
    return FaultPlan.parse({"seed": seed, "rules": list(rules)})


def test_an_empty_plan_does_nothing() -> None:
    assert FaultPlan().strike(KINDS, "x", prediction=1) == []


def test_every_kind_is_in_one_group() -> None:
    assert KINDS == WEBHOOK_FAULTS | API_FAULTS | RUN_FAULTS
    assert len(KINDS) == len(WEBHOOK_FAULTS) + len(API_FAULTS) + len(RUN_FAULTS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_can_be_asked_for(kind: str) -> None:
    (strike,) = plan({"fault": kind}).strike(KINDS, "key")
    assert strike.kind == kind


def test_matches_on_what_is_given() -> None:
    chosen = plan(
        {"fault": "api_500", "match": {"path": "/cancel$", "method": "POST"}},
        {"fault": "api_429", "match": {"prediction": [1, 3]}},
        {"fault": "webhook_lose", "match": {"event": "completed", "job": "job_1"}},
    )

    def kinds(**subject: Any) -> list[str]:
        return [s.kind for s in chosen.strike(KINDS, "k", **subject)]

    assert kinds(path="/v1/predictions/x/cancel", method="POST") == ["api_500"]
    assert kinds(path="/v1/predictions/x/cancel", method="GET") == []
    assert kinds(prediction=3) == ["api_429"]
    assert kinds(prediction=2) == []
    assert kinds(event="completed", job="job_1") == ["webhook_lose"]
    assert kinds(event="completed", job="job_2") == []


def test_times_bounds_the_strikes() -> None:
    chosen = plan({"fault": "api_500", "times": 2})
    assert [len(chosen.strike(API_FAULTS, i)) for i in range(4)] == [1, 1, 0, 0]
    assert chosen.to_json()["rules"][0]["struck"] == 2


def test_probability_depends_on_seed_rule_and_subject_alone() -> None:
    def struck(seed: int) -> list[bool]:
        chosen = plan({"fault": "oom", "probability": 0.3}, seed=seed)
        return [bool(chosen.strike(RUN_FAULTS, i)) for i in range(1000)]

    assert struck(1) == struck(1)
    assert struck(1) != struck(2)
    assert 250 < sum(struck(1)) < 350


def test_options_have_defaults_and_can_be_set() -> None:
    chosen = plan({"fault": "oom"}, {"fault": "nan", "at": 0.9, "then": "continue"})
    assert [dict(s.options) for s in chosen.strike(RUN_FAULTS, "k")] == [{"at": 0.2}, {"at": 0.9, "then": "continue"}]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "a fault plan is an object"),
        ({"rule": []}, "a fault plan is an object"),
        ({"rules": {}}, "rules: must be a list"),
        ({"seed": "1"}, "seed: must be a whole number"),
        ({"rules": ["oom"]}, r"rules\.0: must be an object"),
        ({"rules": [{"fault": "meteor"}]}, r"rules\.0\.fault: 'meteor' is none of"),
        ({"rules": [{"fault": "oom", "seconds": 3}]}, r"rules\.0: oom does not know seconds"),
        ({"rules": [{"fault": "oom", "at": 2}]}, r"rules\.0\.at: must be a number between 0 and 1"),
        ({"rules": [{"fault": "timeout", "seconds": None}]}, r"rules\.0\.seconds: must be a number"),
        ({"rules": [{"fault": "timeout", "seconds": True}]}, r"rules\.0\.seconds: must be a number"),
        ({"rules": [{"fault": "nan", "then": "explode"}]}, r"rules\.0\.then: must be 'fail' or 'continue'"),
        ({"rules": [{"fault": "api_500", "when": "during"}]}, r"rules\.0\.when"),
        ({"rules": [{"fault": "no_publish", "files": "some"}]}, r"rules\.0\.files"),
        ({"rules": [{"fault": "oom", "probability": 2}]}, r"rules\.0\.probability"),
        ({"rules": [{"fault": "oom", "times": 0}]}, r"rules\.0\.times"),
        ({"rules": [{"fault": "oom", "match": {"colour": 1}}]}, r"rules\.0\.match: knows"),
        ({"rules": [{"fault": "api_500", "match": {"path": "("}}]}, r"rules\.0\.match\.path"),
    ],
)
def test_a_wrong_plan_is_refused_with_the_place(document: Any, words: str) -> None:
    with pytest.raises(PlanError, match=words):
        FaultPlan.parse(document)


def test_a_plan_reads_back_what_it_shows() -> None:
    shown = plan({"fault": "api_429", "retry_after": 1.5, "times": 1}).to_json()
    for rule in shown["rules"]:
        del rule["struck"]
    assert FaultPlan.parse(shown).to_json()["rules"][0]["retry_after"] == 1.5
