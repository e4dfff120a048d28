"""Archives that nobody goes on with: workflows that died, uploads that were given up, what is left of those that ended.

For the sweeper, at every run.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from chalicelib.domain.archives import ArchiveRecord, ArchiveStatus
from chalicelib.domain.ports import ExecutionState, Ports, StaleRecordError
from chalicelib.errors import AppError
from chalicelib.services.archive_ending import GAVE_UP, ZOMBIES_LIVE, clear, fail_archive, remove_archives

logger = logging.getLogger(__name__)

#: So long nobody has asked for URLs. S3 throws parts that no record names any more away after seven days.
ABANDONED_AFTER = timedelta(days=3)
#: An execution that does not show yet may be starting.
STARTING = timedelta(minutes=1)
#: Executions of one archive; each goes on where the one before came to.
MAX_ATTEMPTS = 5
MAX_LOOKED_AT = 200


@dataclass
class ArchiveCareReport:
    """What one run did; ``unfinished`` when its time was up."""

    restarted: int = 0
    given_up: int = 0
    abandoned: int = 0
    settled: int = 0
    failed: int = 0
    unfinished: bool = False

    def as_dict(self) -> dict[str, int | bool]:
        return asdict(self)


def tend_archives(ports: Ports, stop_at: datetime) -> ArchiveCareReport:
    """Safe to repeat and to run twice at once. Starts nothing after ``stop_at``. One failure does not keep the
    others."""
    report = ArchiveCareReport()
    now = ports.clock.now()
    for archive in ports.archives.list_unsettled(created_before=now, limit=MAX_LOOKED_AT):
        if ports.clock.now() > stop_at:
            report.unfinished = True
            break
        try:
            # Somebody else is at it.
            with suppress(StaleRecordError):
                _tend(ports, archive, now, report)
        except AppError:
            logger.exception("archive %s of %s could not be looked after", archive.archive_id, archive.dataset_id)
            report.failed += 1
    return report


def _tend(ports: Ports, archive: ArchiveRecord, now: datetime, report: ArchiveCareReport) -> None:
    if archive.status is ArchiveStatus.UPLOADING:
        if now - archive.touched_at > ABANDONED_AFTER:
            remove_archives(ports, [archive])
            report.abandoned += 1
    elif archive.status is ArchiveStatus.UNPACKING:
        _tend_unpacking(ports, archive, now, report)
    elif now - archive.touched_at > ZOMBIES_LIVE:
        clear(ports, archive)
        report.settled += 1


def _tend_unpacking(ports: Ports, archive: ArchiveRecord, now: datetime, report: ArchiveCareReport) -> None:
    owner, dataset_id, archive_id = archive.owner, archive.dataset_id, archive.archive_id
    if now - (archive.attempt_at or archive.touched_at) < STARTING:
        return
    state = ports.dataset_runner.unpack_state(owner, dataset_id, archive_id, archive.attempt)
    if state is ExecutionState.RUNNING:
        return
    if state is ExecutionState.UNKNOWN:
        # It never started. Should it only not show yet, starting it again is a no-op.
        ports.dataset_runner.start_unpack(owner, dataset_id, archive_id, archive.attempt)
        report.restarted += 1
        return
    if archive.attempt >= MAX_ATTEMPTS:
        fail_archive(ports, archive, GAVE_UP)
        report.given_up += 1
        return
    # Noted first: an attempt that is not noted would not be looked after.
    ports.archives.update(archive.changed(now, attempt=archive.attempt + 1, attempt_at=now))
    ports.dataset_runner.start_unpack(owner, dataset_id, archive_id, archive.attempt + 1)
    report.restarted += 1
