"""The report of an inspection, as it is stored: JSON below the version's own prefix of reports."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from chalicelib.domain.aspect import Bucket, Sizing, sort_into_buckets
from chalicelib.domain.datasets import DatasetVersion
from chalicelib.domain.inspection import Collector, fit
from chalicelib.domain.inspection_facts import ReportFacts
from chalicelib.domain.inspection_findings import Finding

#: Resolutions (pixel_area, batch 1) that every report shows the fit for.
SHOWN_RESOLUTIONS = (512, 1024)
MAX_SHOWN_BUCKETS = 50
WORK = "_work/"


class ShownBucket(BaseModel):
    """``images`` that train together at ``width`` × ``height``."""

    model_config = ConfigDict(frozen=True)

    aspect: float
    width: int
    height: int
    images: int


class ShownFit(BaseModel):
    """What the trainer would make of the images at ``resolution`` (pixel_area) and batch size 1: the largest buckets,
    how many there are, and findings that only hold for this resolution."""

    model_config = ConfigDict(frozen=True)

    resolution: int
    buckets: tuple[ShownBucket, ...]
    buckets_in_all: int
    scaled_up: int
    findings: tuple[Finding, ...]


class InspectionReport(BaseModel):
    """``facts`` are what a configuration can be checked against (``domain.inspection.fit``). ``sheet_paths`` name the
    pictures of the contact sheet, row by row."""

    model_config = ConfigDict(frozen=True)

    format: int = 1
    dataset_id: str
    version_id: str
    attempt: int
    inspected_at: datetime
    facts: ReportFacts
    histograms: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]
    fits: tuple[ShownFit, ...]
    sheet_paths: tuple[str, ...] = ()


def make_report(
    version: DatasetVersion, attempt: int, collected: Collector, sheet_paths: tuple[str, ...], now: datetime
) -> InspectionReport:
    facts = collected.facts()
    return InspectionReport(
        dataset_id=version.dataset_id,
        version_id=version.version_id,
        attempt=attempt,
        inspected_at=now,
        facts=facts,
        histograms=collected.histograms(),
        findings=tuple(collected.findings()),
        fits=tuple(_shown(facts, resolution) for resolution in SHOWN_RESOLUTIONS) if facts.sizes else (),
        sheet_paths=sheet_paths,
    )


def _shown(facts: ReportFacts, resolution: int) -> ShownFit:
    found = sort_into_buckets(facts.sizes, Sizing(resolution))
    return ShownFit(
        resolution=resolution,
        buckets=tuple(_bucket(b) for b in found.buckets[:MAX_SHOWN_BUCKETS]),
        buckets_in_all=len(found.buckets),
        scaled_up=found.upscaled,
        findings=tuple(fit(facts, resolution=resolution)),
    )


def _bucket(bucket: Bucket) -> ShownBucket:
    return ShownBucket(aspect=bucket.aspect, width=bucket.width, height=bucket.height, images=bucket.images)


def reports_prefix(version: DatasetVersion) -> str:
    """Everything that inspections of this version ever wrote; ends in a slash."""
    return f"_reports/{version.owner}/{version.dataset_id}/{version.version_id}/"


def report_prefix(version: DatasetVersion, attempt: int) -> str:
    """What one inspection writes: ``report.json``, ``sheet.jpg``, and below WORK what it needs meanwhile."""
    return f"{reports_prefix(version)}{attempt}/"


def work_prefix(owner: str, dataset_id: str, version_id: str, attempt: int) -> str:
    """All that the function that decodes images may write to; no dataset is named like its last part."""
    return f"_reports/{owner}/{dataset_id}/{version_id}/{attempt}/{WORK}"
