"""The gate before the launch: a job does not go on over a dataset that its inspection found broken.

An inspection that is still going on is waited for, a bounded time. One that failed, or takes too long, says nothing
about the dataset: the job goes on, and its events say so. A submit after that failure was refused until its warning was
accepted (``preflight_known``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.datasets import DatasetVersion, InspectionStatus, VersionStatus
from chalicelib.domain.failures import Failure, FaultKind
from chalicelib.domain.jobs import DatasetRef, Job
from chalicelib.domain.lifecycle import Note
from chalicelib.domain.ports import Ports

#: How long after it was asked for an inspection is waited for.
PATIENCE = timedelta(minutes=10)
#: Of files that went up in parts S3 has not seen the whole: reading them once more takes so long besides, at most.
READ_BYTES_PER_SECOND = 40 * 1024**2
LONGEST_READING = timedelta(hours=2)


@dataclass(frozen=True)
class Verdict:
    """``failure`` ends the job at no cost. Otherwise it waits while ``waiting`` names datasets. ``notes`` are worth an
    event when it goes on."""

    failure: Failure | None = None
    waiting: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()


def judge(job: Job, ports: Ports, now: datetime) -> Verdict:
    """What the versions of a job's datasets, and their inspections, allow it."""
    waiting: list[str] = []
    notes: list[Note] = []
    for reference in job.datasets:
        version = ports.datasets.get_version(job.owner, reference.dataset_id, reference.version_id)
        if version is None or version.status is not VersionStatus.READY:
            return Verdict(failure=_gone(reference))
        inspection = version.inspection
        if inspection is None:
            continue
        if inspection.status is InspectionStatus.DONE:
            if inspection.errors:
                return Verdict(failure=_rejected(version))
        elif inspection.status is InspectionStatus.FAILED:
            notes.append(_note(reference, "failed"))
        elif now - inspection.asked_at < patience(version):
            waiting.append(reference.dataset_id)
        else:
            minutes = patience(version) // timedelta(minutes=1)
            notes.append(_note(reference, f"takes longer than {minutes} minutes"))
    return Verdict(waiting=tuple(waiting), notes=tuple(notes))


def patience(version: DatasetVersion) -> timedelta:
    """How long the inspection of this version is waited for: until large files can have been hashed."""
    return PATIENCE + min(timedelta(seconds=version.parted_bytes / READ_BYTES_PER_SECOND), LONGEST_READING)


def waiting_note(waiting: tuple[str, ...]) -> Note:
    names = ", ".join(f"'{name}'" for name in waiting)
    return Note("dataset.inspecting", f"Waiting for the inspection of {names}", {"datasets": list(waiting)})


def _gone(reference: DatasetRef) -> Failure:
    return Failure(
        code="dataset_gone",
        kind=FaultKind.USER,
        message=f"Version {reference.version_id} of dataset '{reference.dataset_id}' was deleted.",
        advice=f"Push it again (stcloud datasets push … --id {reference.dataset_id}) and submit again.",
    )


def _rejected(version: DatasetVersion) -> Failure:
    inspection = version.inspection
    assert inspection is not None  # noqa: S101 - the caller looked
    more = inspection.errors - len(inspection.first_errors)
    told = " ".join(inspection.first_errors) + (f" And {more} more." if more > 0 else "")
    return Failure(
        code="dataset_rejected",
        kind=FaultKind.USER,
        message=f"Dataset '{version.dataset_id}' ({version.version_id}) can't be trained with: {told}",
        advice=f"Nothing was paid. See the files: stcloud datasets check {version.dataset_id}. Mend them, push again "
        "and submit again.",
    )


def _note(reference: DatasetRef, what: str) -> Note:
    return Note(
        "dataset.not_inspected",
        f"The inspection of dataset '{reference.dataset_id}' {what}; going on without it. Whether its files are whole "
        "is not known",
        {"dataset_id": reference.dataset_id, "version_id": reference.version_id},
    )
