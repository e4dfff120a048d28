"""Reports of inspections on the wire."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from chalicelib.domain.inspection_findings import Finding, Level
from chalicelib.domain.inspection_report import InspectionReport
from chalicelib.schemas.base import ResponseModel
from chalicelib.schemas.datasets import InspectionView


class FindingLevel(StrEnum):
    ERROR = Level.ERROR.value
    WARNING = Level.WARNING.value
    NOTE = Level.NOTE.value


class FindingView(ResponseModel):
    """`count` files, of which `paths` names up to 20. An error keeps jobs from training with this version."""

    level: FindingLevel
    code: str
    message: str
    advice: str
    count: int
    paths: list[str]


class CountsView(ResponseModel):
    files: int
    bytes: int
    images: int
    captions: int
    video: int
    audio: int
    metadata: int
    other: int


class CaptionsView(ResponseModel):
    """`missing`: images and videos without a caption of their name. `orphans`: captions without a file. Tokens are
    estimated."""

    missing: int
    empty: int
    orphans: int
    distinct: int
    over_clip: int = Field(description="Longer than the 77 tokens of CLIP.")
    over_t5_short: int = Field(description="Longer than 256 tokens.")
    over_t5_long: int = Field(description="Longer than 512 tokens.")
    longest_tokens: int


class SizeView(ResponseModel):
    width: int
    height: int
    images: int


class BucketView(SizeView):
    aspect: float


class FitView(ResponseModel):
    """What the trainer makes of the images at this resolution (`pixel_area`, batch size 1)."""

    resolution: int
    buckets: list[BucketView]
    buckets_in_all: int
    scaled_up: int
    findings: list[FindingView]


class ReportBody(ResponseModel):
    """`histograms` count images by smaller side and by aspect, and captions by tokens. `contact_sheet_paths` name the
    pictures of the contact sheet, row by row."""

    inspected_at: datetime
    counts: CountsView
    captions: CaptionsView
    histograms: dict[str, dict[str, int]]
    sizes: list[SizeView]
    sizes_exact: bool
    findings: list[FindingView]
    fits: list[FitView]
    contact_sheet_paths: list[str]


class ReportResponse(ResponseModel):
    """`report` is null until `inspection.status` is `done`; `inspection` is null for a version that was never
    inspected. `contact_sheet_url` is good for an hour."""

    dataset_id: str
    version_id: str
    inspection: InspectionView | None
    report: ReportBody | None
    contact_sheet_url: str | None


#: Sizes that one answer lists.
MAX_SIZES = 500


def report_body(report: InspectionReport) -> ReportBody:
    facts = report.facts
    return ReportBody(
        inspected_at=report.inspected_at,
        counts=CountsView(**facts.counts.model_dump()),
        captions=CaptionsView(**facts.captions.model_dump(exclude={"captions"})),
        histograms=report.histograms,
        sizes=[SizeView(**size.model_dump()) for size in facts.sizes[:MAX_SIZES]],
        sizes_exact=facts.sizes_exact and len(facts.sizes) <= MAX_SIZES,
        findings=[_finding(f) for f in report.findings],
        fits=[
            FitView(
                resolution=fit.resolution,
                buckets=[BucketView(**bucket.model_dump()) for bucket in fit.buckets],
                buckets_in_all=fit.buckets_in_all,
                scaled_up=fit.scaled_up,
                findings=[_finding(f) for f in fit.findings],
            )
            for fit in report.fits
        ],
        contact_sheet_paths=list(report.sheet_paths),
    )


def _finding(finding: Finding) -> FindingView:
    return FindingView(
        level=FindingLevel(finding.level.value),
        code=finding.code,
        message=finding.message,
        advice=finding.advice,
        count=finding.count,
        paths=list(finding.paths),
    )
