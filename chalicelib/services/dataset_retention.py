"""Old versions end when their dataset says so. For the sweeper, at every run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.datasets import Dataset, DatasetVersion, VersionStatus
from chalicelib.domain.ports import Ports
from chalicelib.errors import AppError, Conflict
from chalicelib.services.dataset_records import change_dataset
from chalicelib.services.dataset_removal import DatasetRemoval

logger = logging.getLogger(__name__)

#: A dataset is looked at once a day at least, when nothing is due before; again so soon when something could not go.
LOOK_EVERY = timedelta(days=1)
LOOK_SOON = timedelta(hours=1)
#: Datasets looked at in one run.
MAX_DATASETS = 20


@dataclass
class RetentionReport:
    removed: int = 0
    failed: int = 0
    unfinished: bool = False


def remove_expired(ports: Ports, stop_at: datetime) -> RetentionReport:
    """Removes versions that are ready, not the latest of their dataset, complete for longer than ``retention_days``,
    and used by no active job. Starts nothing after ``stop_at``; safe to repeat and to run twice at once."""
    report = RetentionReport()
    now = ports.clock.now()
    for listed in ports.datasets.list_retained(due_before=now, limit=MAX_DATASETS):
        if ports.clock.now() > stop_at:
            report.unfinished = True
            return report
        try:
            due = _look_at(listed, ports, now, stop_at, report)
            change_dataset(ports, listed.owner, listed.dataset_id, lambda d, due=due: _reminded(d, due))  # type: ignore[misc]
        except AppError:
            logger.exception("old versions of %s could not be removed", listed.dataset_id)
            report.failed += 1
    return report


def _look_at(listed: Dataset, ports: Ports, now: datetime, stop_at: datetime, report: RetentionReport) -> datetime:
    """Removes what is due; returns when to look again."""
    dataset = ports.datasets.get_dataset(listed.owner, listed.dataset_id)
    next_look = now + LOOK_EVERY
    if dataset is None or dataset.retention_days is None:
        return next_look
    keep = timedelta(days=dataset.retention_days)
    removal = DatasetRemoval(ports)
    for version in ports.datasets.list_versions(dataset.owner, dataset.dataset_id):
        if version.status is not VersionStatus.READY or version.version_id == dataset.latest_version:
            continue
        end = (version.completed_at or version.created_at) + keep
        if end > now:
            next_look = min(next_look, max(end, now + LOOK_SOON))
        elif ports.clock.now() > stop_at:
            report.unfinished = True
            return now + LOOK_SOON
        elif not _removed(version, ports, removal, report):
            next_look = now + LOOK_SOON
    return next_look


def _removed(version: DatasetVersion, ports: Ports, removal: DatasetRemoval, report: RetentionReport) -> bool:
    current = ports.datasets.get_dataset(version.owner, version.dataset_id)
    if current is None or current.latest_version == version.version_id:
        return False  # it was pushed again at this moment
    try:
        done = removal.unchanged_version(version)
    except Conflict:
        return False  # a job uses it
    except AppError:
        logger.exception("version %s of %s could not be removed", version.version_id, version.dataset_id)
        report.failed += 1
        return False
    report.removed += done
    return done


def _reminded(dataset: Dataset | None, due: datetime) -> Dataset | None:
    if dataset is None or dataset.retention_days is None or dataset.retention_due == due:
        return None
    return dataset.changed(dataset.updated_at, retention_due=due)
