"""Inspections of dataset versions: asking for one, reading its report, and keeping its record while it goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.datasets import DatasetVersion, InspectionStatus, InspectionSummary, VersionStatus
from chalicelib.domain.inspection_report import InspectionReport, report_prefix
from chalicelib.domain.ports import ExecutionState, Ports, StaleRecordError
from chalicelib.domain.wording import count_text
from chalicelib.errors import AppError, Conflict, NotFound, Unavailable

logger = logging.getLogger(__name__)

#: Executions of one inspection: the first, and those the sweeper starts after one that died.
MAX_TRIES = 3
#: An execution that does not show yet may be starting.
STARTING = timedelta(minutes=1)
#: Compare-and-set tries; writers of one version are few.
MAX_WRITES = 20
#: Inspections looked after in one sweep.
MAX_TENDED = 200
URL_LIFETIME = timedelta(hours=1)


def asked(now: datetime, before: InspectionSummary | None = None) -> InspectionSummary:
    """What the record of a version says that is to be inspected (again)."""
    attempt = 1 if before is None else before.attempt + 1
    return InspectionSummary(status=InspectionStatus.PENDING, attempt=attempt, asked_at=now, tried_at=now)


def start(ports: Ports, version: DatasetVersion) -> None:
    """Starts the inspection that the version's record asks for. What can't be started now, the sweeper starts."""
    if version.inspection is None or version.inspection.status.is_over:
        return
    try:
        ports.dataset_runner.start_inspection(version, version.inspection.attempt)
    except Exception:
        # Whatever is wrong, the version is complete all the same.
        logger.exception("inspection of %s/%s is left to the sweeper", version.dataset_id, version.version_id)


def change(
    ports: Ports,
    owner: str,
    dataset_id: str,
    version_id: str,
    decide: Callable[[InspectionSummary], InspectionSummary | None],
) -> DatasetVersion | None:
    """Stores what ``decide`` makes of the version's inspection and returns the version. None when there is nothing to
    change: the version is gone or going, was never inspected, or ``decide`` says None."""
    for _ in range(MAX_WRITES):
        version = ports.datasets.get_version(owner, dataset_id, version_id)
        if version is None or version.status is not VersionStatus.READY or version.inspection is None:
            return None
        new = decide(version.inspection)
        if new is None:
            return None
        changed = version.changed(inspection=new)
        with suppress(StaleRecordError):
            ports.datasets.update_version(changed)
            return changed
    raise Unavailable(f"Version '{version_id}' is being changed by several clients at once; try again.", retry_after=1)


@dataclass(frozen=True)
class ReadReport:
    """``report`` is None until there is one; ``sheet_url`` when there are no pictures to show."""

    version: DatasetVersion
    report: InspectionReport | None = None
    sheet_url: str | None = None


class InspectionService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def ask(self, owner: str, dataset_id: str, version_id: str) -> DatasetVersion:
        """Has a version inspected again. Raises NotFound, Conflict (``version_not_ready``, ``inspection_running``)."""
        now = self._ports.clock.now()
        for _ in range(MAX_WRITES):
            version = self._version(owner, dataset_id, version_id)
            if version.status is not VersionStatus.READY:
                raise Conflict(
                    f"Version '{version_id}' is not complete yet. Finish its upload; its inspection then begins by "
                    "itself.",
                    code="version_not_ready",
                )
            if version.inspection is not None and not version.inspection.status.is_over:
                raise Conflict(
                    "An inspection of this version is going on. Wait for its report.", code="inspection_running"
                )
            wanted = version.changed(inspection=asked(now, version.inspection))
            with suppress(StaleRecordError):
                self._ports.datasets.update_version(wanted)
                start(self._ports, wanted)
                return wanted
        raise Unavailable(f"Version '{version_id}' is being changed by several clients at once; try again.")

    def report(self, owner: str, dataset_id: str, version_id: str) -> ReadReport:
        """The version's report, with a link to its contact sheet that is good for an hour. Raises NotFound."""
        version = self._version(owner, dataset_id, version_id)
        inspection = version.inspection
        if inspection is None or inspection.report_key is None:
            return ReadReport(version)
        data = self._ports.dataset_files.get(inspection.report_key)
        if data is None:
            return ReadReport(version)
        report = InspectionReport.model_validate_json(data)
        if not report.sheet_paths:
            return ReadReport(version, report)
        key = f"{report_prefix(version, inspection.attempt)}sheet.jpg"
        return ReadReport(version, report, self._ports.dataset_files.presign_get(key, expires=URL_LIFETIME))

    def _version(self, owner: str, dataset_id: str, version_id: str) -> DatasetVersion:
        version = self._ports.datasets.get_version(owner, dataset_id, version_id)
        if version is None or version.status is VersionStatus.DELETING:
            raise NotFound(f"Version '{version_id}' of dataset '{dataset_id}' not found.", code="version_not_found")
        return version


@dataclass
class InspectionsReport:
    """What a sweep did for inspections."""

    restarted: int = 0
    given_up: int = 0
    failed: int = 0
    unfinished: bool = False


def tend_inspections(ports: Ports, stop_at: datetime) -> InspectionsReport:
    """Starts inspections again that have no execution, a few times; then gives them up. Starts nothing after
    ``stop_at``."""
    report = InspectionsReport()
    for listed in ports.datasets.list_inspecting(asked_before=ports.clock.now(), limit=MAX_TENDED):
        if ports.clock.now() > stop_at:
            report.unfinished = True
            break
        try:
            _tend(listed, ports, report)
        except AppError:
            logger.exception("the inspection of %s/%s could not be looked after", listed.dataset_id, listed.version_id)
            report.failed += 1
    return report


def _tend(listed: DatasetVersion, ports: Ports, report: InspectionsReport) -> None:
    now, before = ports.clock.now(), listed.inspection
    if before is None or now - (before.tried_at or before.asked_at) < STARTING:
        return
    if ports.dataset_runner.inspection_state(listed, before.attempt) is ExecutionState.RUNNING:
        return

    def decide(current: InspectionSummary) -> InspectionSummary | None:
        if current.status.is_over or current.attempt != before.attempt:
            return None
        if current.tries >= MAX_TRIES:
            problem = f"The inspection ended {count_text(current.tries, 'time')} without a report."
            return current.model_copy(
                update={"status": InspectionStatus.FAILED, "finished_at": now, "problem": problem}
            )
        return current.model_copy(
            update={
                "status": InspectionStatus.PENDING,
                "attempt": current.attempt + 1,
                "tries": current.tries + 1,
                "tried_at": now,
            }
        )

    changed = change(ports, listed.owner, listed.dataset_id, listed.version_id, decide)
    if changed is None or changed.inspection is None:
        return
    if changed.inspection.status is InspectionStatus.FAILED:
        report.given_up += 1
        return
    start(ports, changed)
    report.restarted += 1
