"""How an archive ends: as a version, or refused with a reason; and the removal of everything that was only on the way.

A record is over first and settled last. In between functions that nobody waits for any more may still write a file or
two, so the sweeper removes what is left once more before it calls the record settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from chalicelib.domain.archives import ArchiveFailure, ArchiveRecord, ArchiveReport, ArchiveStatus, Taken
from chalicelib.domain.datasets import DatasetVersion, VersionStatus
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.errors import Conflict

#: Longer than any function runs.
ZOMBIES_LIVE = timedelta(minutes=20)
MAX_TRIES = 10
#: Pages of a dataset's archives, 100 each.
MAX_PAGES = 1_000
#: What the caller is told when a step failed again and again; the log has the reason.
GAVE_UP = ArchiveFailure(
    code="unpack_failed",
    message="The archive could not be unpacked because of a failure on our side.",
    advice="Upload it again, or push the folder: stcloud datasets push. If it fails again, the log has the reason.",
)


def fail_archive(
    ports: Ports, archive: ArchiveRecord, failure: ArchiveFailure, report: ArchiveReport | None = None
) -> None:
    """Ends the archive as FAILED and removes its bytes; no effect when it is over. When its version was made already,
    it ends as READY: what was made is whole. Safe to repeat."""
    current: ArchiveRecord | None = archive
    for _ in range(MAX_TRIES):
        if current is None:
            return
        if current.status.is_over:
            clear(ports, current)
            return
        version = own_version(ports, current)
        if version is not None:
            finish_archive(ports, current, version, report)
            return
        now = ports.clock.now()
        ended = current.changed(now, status=ArchiveStatus.FAILED, failure=failure, finished_at=now)
        write_report(ports, current, report or ArchiveReport())
        try:
            ports.archives.update(ended)
        except StaleRecordError:
            current = ports.archives.get(archive.owner, archive.dataset_id, archive.archive_id)
            continue
        clear(ports, ended)
        return
    raise StaleRecordError(archive.archive_id)


def finish_archive(ports: Ports, archive: ArchiveRecord, version: DatasetVersion, report: ArchiveReport | None) -> None:
    """Ends the archive as READY with ``version``, whichever archive or push that came from. ``report`` None: it was
    written before."""
    now = ports.clock.now()
    if report is not None:
        write_report(ports, archive, report)
    taken = report.taken if report is not None else Taken(files=version.files, bytes=version.bytes)
    ended = archive.changed(
        now, status=ArchiveStatus.READY, version_id=version.version_id, taken=taken, finished_at=now
    )
    ports.archives.update(ended)
    clear(ports, ended)


def clear(ports: Ports, archive: ArchiveRecord) -> None:
    """Removes what an archive that is over has left; marks it settled when nothing can come after that."""
    ports.dataset_files.abort_multipart(archive.key, archive.upload_id)
    ports.dataset_files.delete_prefix(archive.work_prefix)
    now = ports.clock.now()
    if _is_nobodys(ports, archive):
        _remove_files(ports, archive)
        if now - (archive.finished_at or now) < ZOMBIES_LIVE:
            return
    if not archive.settled:
        # Somebody else settled it, or it was deleted.
        with suppress(StaleRecordError):
            ports.archives.update(archive.changed(now, settled=True))


def own_version(ports: Ports, archive: ArchiveRecord) -> DatasetVersion | None:
    """The version whose files are those that were unpacked from this archive."""
    if archive.version_id is None:
        return None
    version = ports.datasets.get_version(archive.owner, archive.dataset_id, archive.version_id)
    if version is None or version.prefix != archive.prefix or version.status is VersionStatus.UPLOADING:
        return None
    return version


def _is_nobodys(ports: Ports, archive: ArchiveRecord) -> bool:
    """Whether no version has its files where this archive's are, be it one that is still to be completed."""
    if archive.version_id is None:
        return True
    version = ports.datasets.get_version(archive.owner, archive.dataset_id, archive.version_id)
    return version is None or version.prefix != archive.prefix


def _remove_files(ports: Ports, archive: ArchiveRecord) -> int:
    deleted = ports.dataset_files.delete_prefix(archive.prefix)
    if archive.version_id is not None:
        # It may have been written, and then there was no version to name it.
        ports.dataset_files.delete([archive.manifest_key])
    return deleted


def write_report(ports: Ports, archive: ArchiveRecord, report: ArchiveReport) -> None:
    ports.dataset_files.put(archive.report_key, report.model_dump_json().encode(), content_type="application/json")


def remove_archives(ports: Ports, archives: Sequence[ArchiveRecord]) -> int:
    """Deletes the records with all bytes that are not a version's; returns the number of objects. None of them may be
    UNPACKING. Raises StaleRecordError when one changed meanwhile."""
    deleted = 0
    for archive in archives:
        # Marked first, so that nobody goes on with the upload.
        ended = archive
        if not archive.status.is_over:
            now = ports.clock.now()
            failure = ArchiveFailure(code="deleted", message="It was deleted.", advice="Upload it again.")
            ended = archive.changed(now, status=ArchiveStatus.FAILED, failure=failure, finished_at=now)
            ports.archives.update(ended)
        ports.dataset_files.abort_multipart(archive.key, archive.upload_id)
        deleted += ports.dataset_files.delete_prefix(archive.work_prefix)
        deleted += ports.dataset_files.delete_prefix(archive.report_key.rpartition("/")[0] + "/")
        if _is_nobodys(ports, ended):
            deleted += _remove_files(ports, ended)
        ports.archives.delete(ended)
    return deleted


def remove_archives_of_dataset(ports: Ports, owner: str, dataset_id: str) -> int:
    """Deletes the dataset's archives; a version made of one stays. Returns the number of objects.

    Raises Conflict (``archive_unpacking``) when one would become a version of the dataset later.
    """
    deleted = 0
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        found, cursor = ports.archives.list_of(owner, dataset_id, limit=100, cursor=cursor)
        busy = next((a for a in found if a.status is ArchiveStatus.UNPACKING), None)
        if busy is not None:
            raise Conflict(
                f"Archive {busy.archive_id} is being unpacked into this dataset. Wait for that to end.",
                code="archive_unpacking",
            )
        deleted += remove_archives(ports, found)
        if cursor is None:
            break
    return deleted


def remove_archive_of_version(ports: Ports, version: DatasetVersion) -> None:
    """Deletes the archive that a version was made of, which has the names of its files; the version is gone already."""
    if version.archive_id is None:
        return
    archive = ports.archives.get(version.owner, version.dataset_id, version.archive_id)
    if archive is None or not archive.status.is_over:
        return
    # Whoever changed it at this moment removes it or what is left of it.
    with suppress(StaleRecordError):
        remove_archives(ports, [archive])
