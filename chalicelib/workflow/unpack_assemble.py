"""Last step of unpacking: the pieces become a version, or the archive is recorded as failed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from chalicelib.domain.archive_plan import LeftOutList
from chalicelib.domain.archives import (
    ArchiveFailure,
    ArchiveKind,
    ArchiveRecord,
    ArchiveRefusedError,
    ArchiveReport,
    Taken,
)
from chalicelib.domain.datasets import (
    AbandonedPrefix,
    Dataset,
    DatasetVersion,
    ManifestFile,
    VersionStatus,
    merkle_root,
    sorted_files,
    version_id_of,
)
from chalicelib.domain.ports import Ports, QuotaExceededError, StaleRecordError
from chalicelib.errors import Conflict
from chalicelib.services.archive_ending import GAVE_UP, clear, fail_archive, finish_archive, write_report
from chalicelib.services.dataset_completion import announce_ready
from chalicelib.services.dataset_records import change_dataset
from chalicelib.services.dataset_removal import URLS_LIVE
from chalicelib.services.inspection import asked
from chalicelib.services.manifests import encode
from chalicelib.workflow.unpack import (
    SUMMARY,
    Unpacking,
    archive_gone,
    done_name,
    failure_of,
    identity,
    open_archive,
    quota_exceeded,
)

logger = logging.getLogger(__name__)

MAX_TRIES = 10


def assemble_archive(event: Mapping[str, Any], ports: Ports) -> dict[str, Any]:
    """Makes the version and ends the archive. With ``error`` in the event the workflow gave up: records that instead.

    Raises Conflict while the same content is being deleted as another version: repeat it later.
    """
    done = {**identity(event), "next": "done"}
    unpacking = open_archive(event, ports)
    if unpacking is None:
        archive = ports.archives.get(event["owner"], event["dataset_id"], event["archive_id"])
        if archive is not None and not archive.settled:
            clear(ports, archive)
        return done
    if event.get("error") is not None:
        logger.error("archive %s gave up: %s", event["archive_id"], event["error"])
        fail_archive(ports, unpacking.archive, GAVE_UP)
        return done
    try:
        _assemble(unpacking)
    except ArchiveRefusedError as refused:
        fail_archive(ports, unpacking.archive, failure_of(refused))
    return done


def _assemble(unpacking: Unpacking) -> None:
    ports, archive = unpacking.ports, unpacking.archive
    files, report = _merged(unpacking)
    if not files:
        first = report.left_out[0] if report.left_out else None
        example = f", like {first.path}: {first.reason}" if first else ""
        refused = ArchiveFailure(
            code="nothing_taken",
            message=f"None of the archive's files can be taken{example}.",
            advice="See what the report says of each, and pack the files anew.",
        )
        fail_archive(ports, archive, refused, report)
        return
    # Before the version, so that there is one whatever happens afterwards.
    write_report(ports, archive, report)
    version = _version(ports, archive, files)
    announce_ready(ports, version)
    _note_source(ports, archive)
    if version.prefix != archive.prefix:
        note = f"The same files were there already, as version {version.version_id}."
        report = report.model_copy(update={"notes": [*report.notes, note]})
    current = ports.archives.get(archive.owner, archive.dataset_id, archive.archive_id)
    if current is not None:
        finish_archive(ports, current, version, report)


def _merged(unpacking: Unpacking) -> tuple[list[ManifestFile], ArchiveReport]:
    summary = unpacking.load(SUMMARY)
    if summary is None:
        raise archive_gone()
    left_out = LeftOutList.load(summary["left_out"])
    files: list[ManifestFile] = []
    for number in range(summary["pieces"]):
        piece = unpacking.load(done_name(number))
        if piece is None or not piece["done"]:
            raise archive_gone()
        files += [ManifestFile.model_validate(_file(line)) for line in piece["taken"]]
        more = LeftOutList.load(piece["left_out"])
        left_out.merge(more.listed, more.counts)
    report = ArchiveReport(
        kind=ArchiveKind(summary["kind"]),
        taken=Taken(files=len(files), bytes=sum(f.size for f in files)),
        left_out=left_out.listed,
        left_out_counts=left_out.counts,
        encoding=summary["encoding"],
        stripped_folder=summary["strip"],
        notes=summary["notes"],
    )
    return sorted_files(files), report


def _file(line: list[Any]) -> dict[str, Any]:
    path, size, sha256, parts = line
    file = {"path": path, "size": size, "sha256": sha256}
    return file if parts is None else {**file, "parts": parts}


def _version(ports: Ports, archive: ArchiveRecord, files: list[ManifestFile]) -> DatasetVersion:
    """The version with these files: a new one that has them where they were unpacked to, or the one that was there.

    Its id is noted in the archive's record first, so that a failure from then on does not remove the files of a version
    that stands.
    """
    root = merkle_root(files)
    now = ports.clock.now()
    proposed = DatasetVersion(
        owner=archive.owner,
        dataset_id=archive.dataset_id,
        version_id=version_id_of(root),
        status=VersionStatus.UPLOADING,
        source_path=archive.source_path,
        files=len(files),
        bytes=sum(f.size for f in files),
        merkle_root=root,
        prefix=archive.prefix,
        manifest_key=archive.manifest_key,
        created_at=now,
        counted_bytes=sum(f.size for f in files),
        touched_at=now,
    )
    if archive.version_id != proposed.version_id:
        ports.archives.update(archive.changed(now, version_id=proposed.version_id))
    ports.dataset_files.put(proposed.manifest_key, encode(files), content_type="application/x-ndjson")
    for _ in range(MAX_TRIES):
        stored = _stored(ports, proposed)
        if stored.status is VersionStatus.READY:
            if stored.manifest_key != proposed.manifest_key:
                ports.dataset_files.delete([proposed.manifest_key])
            return stored
        if stored.status is VersionStatus.DELETING:
            raise Conflict(f"The same files are being deleted as version {stored.version_id}.", code="version_deleting")
        # It is ours, or somebody is uploading the same files one by one and need not go on.
        ready = stored.changed(
            status=VersionStatus.READY,
            prefix=archive.prefix,
            archive_id=archive.archive_id,
            source_path=archive.source_path or stored.source_path,
            manifest_key=proposed.manifest_key,
            checked=proposed.files,
            completed_at=now,
            touched_at=now,
            inspection=asked(now),
        )
        # What was uploaded there one by one, and still comes by URLs handed out before, goes when these have expired.
        left = stored.prefix if stored.prefix != archive.prefix else None
        leaves = AbandonedPrefix(prefix=left, due_at=now + URLS_LIVE) if left is not None else None
        try:
            ports.datasets.update_version(ready, leaves=leaves)
        except StaleRecordError:
            continue
        if stored.manifest_key != ready.manifest_key:
            ports.dataset_files.delete([stored.manifest_key])
        return ready
    raise StaleRecordError(proposed.version_id)


def _stored(ports: Ports, proposed: DatasetVersion) -> DatasetVersion:
    quota = ports.limits.dataset_quota_bytes
    try:
        return ports.datasets.create_version(proposed, quota_bytes=quota)
    except QuotaExceededError as error:
        ports.dataset_files.delete([proposed.manifest_key])
        raise quota_exceeded(error.used, quota, proposed.bytes) from None


def _note_source(ports: Ports, archive: ArchiveRecord) -> None:
    """The dataset was last pushed from where the archive says."""

    def decide(dataset: Dataset | None) -> Dataset | None:
        if dataset is None or archive.source_path in {None, dataset.source_path}:
            return None
        return dataset.changed(ports.clock.now(), source_path=archive.source_path)

    change_dataset(ports, archive.owner, archive.dataset_id, decide)
