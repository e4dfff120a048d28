"""What is known of a dataset version at all: what its record says when its report can't be read, and what nobody knows.

A dataset of which something could not be looked at is never taken for one that passed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.datasets import DatasetVersion, InspectionStatus
from chalicelib.domain.entry_checks import Entry
from chalicelib.services.dataset_facts import FileNames, Report

DATASETS = "datasets"


def told_by_record(entry: Entry, version: DatasetVersion, report: Report | None) -> Iterator[Finding]:
    """What the version's own record says of its inspection, where the report does not say it."""
    inspection = version.inspection
    if inspection is None:
        return
    if inspection.status is InspectionStatus.FAILED:
        found = entry.finding(
            Level.WARNING,
            "not_inspected",
            "",
            f"its files could not be inspected. {inspection.problem or ''}".rstrip(),
            f"Have them inspected again: stcloud datasets check {version.dataset_id} --again",
        )
        yield replace(found, check=DATASETS)
    elif inspection.status is InspectionStatus.DONE and inspection.errors:
        if report is not None and any(one.level is Level.ERROR for one in report.findings):
            return
        more = inspection.errors - len(inspection.first_errors)
        told = " ".join(inspection.first_errors) + (f" And {more} more." if more > 0 else "")
        found = entry.error(
            "dataset_rejected",
            "",
            f"its inspection found it broken. {told}".strip(),
            f"Mend the files and push again. See: stcloud datasets check {version.dataset_id}",
        )
        yield replace(found, check=DATASETS, count=inspection.errors)


def gap_of(entry: Entry, version: DatasetVersion, names: FileNames | None, report: Report | None) -> str | None:
    """What could not be looked at and why; None when all could, or an inspection that goes on will."""
    name, inspection = f"'{version.dataset_id}'", version.inspection
    unread = names is None and (report is None or report.facts is None)
    if unread:
        return (
            f"the list of the files of {name} is too long to be read here, or can't be, and there is no report of its "
            "inspection: nothing is known of its files"
        )
    if names is None and (entry.data.get("metadata_backend") == "parquet" or entry.caption_strategy == "parquet"):
        return f"the list of the files of {name} is too long to be read here: whether its table is there is not known"
    if inspection is None:
        return f"{name} was never inspected: what its files hold is not known"
    if inspection.status is InspectionStatus.DONE and report is None:
        return f"the report of the inspection of {name} can't be read: what its files hold is not known"
    if inspection.status is InspectionStatus.FAILED:
        return f"the inspection of {name} failed: what its files hold is not known"
    return None


def gap_finding(entry: Entry, version: DatasetVersion, gap: str) -> Iterator[Finding]:
    """The gap as a note, so that it stays with the job; an inspection that failed is told as a warning already."""
    if version.inspection is not None and version.inspection.status is InspectionStatus.FAILED:
        return
    advice = f"Have it inspected: stcloud datasets check {version.dataset_id} --again"
    found = entry.finding(Level.NOTE, "not_checked", "", f"{gap}.", advice)
    yield replace(found, check=DATASETS)
