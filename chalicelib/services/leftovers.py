"""What is left of uploads that were given up and of deletions that were broken off. For the sweeper, at every run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.datasets import AbandonedPrefix, DatasetVersion, VersionStatus
from chalicelib.domain.escrow import job_prefix
from chalicelib.domain.ports import DeletedJob, Ports
from chalicelib.errors import AppError
from chalicelib.services.dataset_removal import DatasetRemoval

logger = logging.getLogger(__name__)

#: An upload that nobody has gone on with for so long is given up. Its owner pushes again; what is in S3 then counts.
ABANDONED_AFTER = timedelta(days=7)
#: A deletion that began less than this ago may still be going on.
BROKEN_OFF_AFTER = timedelta(hours=1)
#: Looked at in one run. More are unfinished at once only if more uploads go on at once.
MAX_LOOKED_AT = 1_000
MAX_ABANDONED = 200


@dataclass
class LeftoversReport:
    """What one run did; ``unfinished`` when its time was up."""

    uploads_removed: int = 0
    deletions_finished: int = 0
    jobs_forgotten: int = 0
    prefixes_cleared: int = 0
    failed: int = 0
    unfinished: bool = False


def remove_leftovers(ports: Ports, stop_at: datetime) -> LeftoversReport:
    """Removes uploads untouched for a week with their bytes, ends deletions of versions and jobs that died, and deletes
    what came by URLs of versions that were deleted.

    Safe to repeat and to run twice at once. Starts nothing after ``stop_at``. One failure does not keep the others.
    """
    report = LeftoversReport()
    for job in ports.jobs.list_deleted():
        if _is_over(ports, stop_at, report):
            return report
        try:
            forget_job(ports, job)
            report.jobs_forgotten += 1
        except AppError:
            logger.exception("what is left of job %s could not be removed", job.job_id)
            report.failed += 1
    now = ports.clock.now()
    removal = DatasetRemoval(ports)
    for version in ports.datasets.list_unfinished(created_before=now - BROKEN_OFF_AFTER, limit=MAX_LOOKED_AT):
        if _is_over(ports, stop_at, report):
            return report
        if not _is_left(version, now):
            continue
        try:
            removed = removal.unchanged_version(version)
        except AppError:
            logger.exception("version %s of %s could not be removed", version.version_id, version.dataset_id)
            report.failed += 1
            continue
        if version.status is VersionStatus.DELETING:
            report.deletions_finished += removed
        else:
            report.uploads_removed += removed
    for abandoned in ports.datasets.list_abandoned(due_before=now, limit=MAX_ABANDONED):
        if _is_over(ports, stop_at, report):
            return report
        try:
            clear_abandoned(ports, abandoned)
            report.prefixes_cleared += 1
        except AppError:
            logger.exception("what is left below %s could not be removed", abandoned.prefix)
            report.failed += 1
    return report


def clear_abandoned(ports: Ports, abandoned: AbandonedPrefix) -> None:
    """Deletes what came to a prefix that no version has any more. Safe to repeat."""
    store = ports.dataset_files
    for upload in store.multiparts(abandoned.prefix, limit=MAX_LOOKED_AT):
        store.abort_multipart(upload.key, upload.upload_id)
    store.delete_prefix(abandoned.prefix)
    ports.datasets.forget_abandoned(abandoned)


def forget_job(ports: Ports, job: DeletedJob) -> None:
    """Removes everything of a deleted job: outputs and log, then what the database keeps. Safe to repeat."""
    ports.outputs.delete_prefix(job_prefix(job.owner, job.job_id))
    ports.jobs.forget(job.job_id)


def _is_left(version: DatasetVersion, now: datetime) -> bool:
    patience = BROKEN_OFF_AFTER if version.status is VersionStatus.DELETING else ABANDONED_AFTER
    return now - (version.touched_at or version.created_at) > patience


def _is_over(ports: Ports, stop_at: datetime, report: LeftoversReport) -> bool:
    report.unfinished = ports.clock.now() > stop_at
    return report.unfinished
