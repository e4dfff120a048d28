"""What checks of a submission found, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stcloud.render import count_text, duration_text, money_text

LEVELS = ("error", "warning", "note")
#: Checks that submit does not make: what they warn of needs no consent there.
_PREFLIGHT_ONLY = frozenset({"provider", "model", "budget", "time", "concurrency"})
#: What a check that was not made is called.
_NOT_MADE = {"skipped": "not checked", "pending": "not yet"}


def finding_lines(finding: Mapping[str, Any]) -> list[str]:
    """What it says, and what to do about it where something is to be done."""
    where = f" ({finding['field']})" if finding["field"] else ""
    lines = [f"{finding['level']:<8} {finding['message']}{where}"]
    if finding["paths"]:
        more = finding["count"] - len(finding["paths"])
        named = ", ".join(finding["paths"][:5]) + (" …" if more > 0 or len(finding["paths"]) > 5 else "")
        lines.append(f"         {named}")
    if finding["advice"]:
        lines.append(f"         → {finding['advice']}")
    return lines


def preflight_text(answer: Mapping[str, Any]) -> str:
    """Errors first, then warnings, then notes; then what was not checked, the estimate, and whether it may go."""
    lines: list[str] = []
    for finding in sorted(answer["findings"], key=lambda f: LEVELS.index(f["level"]) if f["level"] in LEVELS else 9):
        lines += finding_lines(finding)
    for check in answer["checks"]:
        if check["status"] in _NOT_MADE:
            lines.append(f"{_NOT_MADE[check['status']]}: {check['name']}: {check['reason'] or 'no reason given'}.")
    if answer["estimate"]:
        lines += _estimate(answer["estimate"])
    lines.append(_verdict(answer))
    return "\n".join(lines)


def _estimate(estimate: Mapping[str, Any]) -> list[str]:
    seconds, cost = estimate["seconds"], estimate["cost_usd"]
    passes = ""
    if estimate["passes"] is not None:
        number = f"{estimate['passes']:,.1f}".removesuffix(".0")
        passes = f", {number} {'pass' if number == '1' else 'passes'} over {count_text(estimate['images'], 'picture')}"
    most = _cents(estimate["max_cost_usd"])
    return [
        f"{count_text(estimate['steps'], 'step')}, {count_text(estimate['samples'], 'sample')}{passes}.",
        f"Estimate ({estimate['basis']}): {duration_text(seconds['likely'])}, {_cents(cost['likely'])} "
        f"({_range(cost)}); {most} at most.",
    ]


def _cents(usd: float) -> str:
    """A price that was rounded to cents; every run costs something."""
    return money_text(usd) if usd >= 0.005 else "under $0.01"


def _range(cost: Mapping[str, Any]) -> str:
    low, high = (_cents(cost[end]) for end in ("low", "high"))
    return high if low == high else f"up to {high}" if cost["low"] < 0.005 else f"from {low} to {high}"


def _verdict(answer: Mapping[str, Any]) -> str:
    errors, warnings = (sum(f["level"] == level for f in answer["findings"]) for level in ("error", "warning"))
    if not answer["ok"]:
        return f"Not ready: {count_text(errors, 'error')}."
    if warnings:
        ready = f"Ready, with {count_text(warnings, 'warning')}."
        held = any(f["level"] == "warning" and f["check"] not in _PREFLIGHT_ONLY for f in answer["findings"])
        return f"{ready} Submit with --accept-warnings." if held else ready
    return "Ready to submit."


def accepted_lines(done: Mapping[str, Any]) -> list[str]:
    """The warnings that a submit went over."""
    return [f"{w['message']} {w['advice']}".strip() for w in done.get("warnings") or ()]
