"""How the answer of a preflight reads."""

from __future__ import annotations

from typing import Any

import pytest
from stcloud.preflight import accepted_lines, finding_lines, preflight_text


def finding(level: str = "note", check: str = "length", advice: str = "") -> dict[str, Any]:
    of = {"level": level, "code": "c", "check": check, "field": "", "message": "It is so."}
    return {**of, "advice": advice, "paths": [], "count": 0}


def answer(*findings: dict[str, Any], low: float = 0.0, likely: float = 0.0, high: float = 0.0) -> dict[str, Any]:
    estimate = {
        "steps": 6,
        "samples": 6,
        "images": 6,
        "passes": 1.0,
        "max_cost_usd": 0.5,
        "basis": "a guess",
        "seconds": {"low": 1, "likely": 2, "high": 3},
        "cost_usd": {"low": low, "likely": likely, "high": high},
    }
    ok = not any(f["level"] == "error" for f in findings)
    return {"ok": ok, "findings": list(findings), "checks": [], "estimate": estimate}


def test_advice_is_shown_where_something_is_to_be_done() -> None:
    assert finding_lines(finding()) == ["note     It is so."]
    assert finding_lines(finding(advice="Mend it.")) == ["note     It is so.", "         → Mend it."]
    assert accepted_lines({"warnings": [finding("warning"), finding("warning", advice="Mend it.")]}) == [
        "It is so.",
        "It is so. Mend it.",
    ]


@pytest.mark.parametrize(
    ("costs", "said"),
    [
        ({}, "under $0.01 (under $0.01); $0.50 at most."),
        ({"high": 0.02}, "under $0.01 (up to $0.02); $0.50 at most."),
        ({"low": 0.01, "likely": 0.02, "high": 0.04}, "$0.02 (from $0.01 to $0.04); $0.50 at most."),
    ],
)
def test_no_run_costs_nothing(costs: dict[str, float], said: str) -> None:
    assert said in preflight_text(answer(**costs))


@pytest.mark.parametrize(
    ("steps", "passes", "images", "said"),
    [
        (6, 1.0, 6, "6 steps, 6 samples, 1 pass over 6 pictures."),
        (1, 1.0, 1, "1 step, 1 sample, 1 pass over 1 picture."),
        (6, 1.5, 4, "6 steps, 6 samples, 1.5 passes over 4 pictures."),
    ],
)
def test_one_is_told_as_one(steps: int, passes: float, images: int, said: str) -> None:
    told = answer()
    told["estimate"] |= {"steps": steps, "samples": steps, "passes": passes, "images": images}
    assert said in preflight_text(told).splitlines()


@pytest.mark.parametrize(
    ("findings", "verdict"),
    [
        ([], "Ready to submit."),
        ([finding("warning")], "Ready, with 1 warning. Submit with --accept-warnings."),
        # Submit does not ask the Hub, nor for a place, so there is nothing to accept.
        ([finding("warning", "model"), finding("warning", "concurrency")], "Ready, with 2 warnings."),
        ([finding("error"), finding("warning")], "Not ready: 1 error."),
    ],
)
def test_the_verdict_asks_for_consent_where_submit_does(findings: list[dict[str, Any]], verdict: str) -> None:
    assert preflight_text(answer(*findings)).splitlines()[-1] == verdict
