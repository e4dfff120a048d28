"""Findings and preflight on the wire."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from chalicelib.domain.check_results import CheckResult, CheckStatus, Finding, Level
from chalicelib.schemas.base import ResponseModel


class PreflightFinding(ResponseModel):
    """``field`` is a dotted path into the request, empty when the finding is about none. ``paths`` are examples of the
    ``count`` files it is about."""

    level: Level
    code: str = Field(description="Stable, for programs.")
    check: str
    field: str
    message: str
    advice: str = Field(description="What to do about it; empty for a note that asks for nothing.")
    paths: list[str] = Field(default_factory=list)
    count: int = 0


class CheckView(ResponseModel):
    """``reason`` says why a check was skipped or is pending."""

    name: str
    status: CheckStatus
    reason: str | None = None


class RangeView(ResponseModel):
    low: float
    likely: float
    high: float


class EstimateView(ResponseModel):
    """An estimate, whatever it looks like; ``basis`` says where it comes from and ``measured`` whether from runs of
    yours. ``max_cost_usd`` alone is certain: the provider ends the run after ``max_run_seconds``."""

    steps: int
    samples: int
    images: int | None = Field(description="Samples of one pass over all data, repeats counted; null when unknown.")
    passes: float | None
    seconds: RangeView
    cost_usd: RangeView
    max_run_seconds: int
    max_cost_usd: float
    price_per_hour: float
    hardware_profile: str
    basis: str
    measured: bool


class PreflightResponse(ResponseModel):
    """``ok``: submit would not refuse on errors. ``findings`` are in order: errors, warnings, notes."""

    ok: bool
    findings: list[PreflightFinding]
    checks: list[CheckView]
    estimate: EstimateView | None


def finding_view(finding: Finding) -> PreflightFinding:
    return PreflightFinding(
        level=finding.level,
        code=finding.code,
        check=finding.check,
        field=finding.field,
        message=finding.message,
        advice=finding.advice,
        paths=list(finding.paths),
        count=finding.count,
    )


def preflight_view(
    *,
    ok: bool,
    findings: Iterable[Finding],
    checks: Iterable[CheckResult],
    estimate: EstimateView | None,
) -> PreflightResponse:
    return PreflightResponse(
        ok=ok,
        findings=[finding_view(f) for f in findings],
        checks=[CheckView(name=c.name, status=c.status, reason=c.reason) for c in checks],
        estimate=estimate,
    )
