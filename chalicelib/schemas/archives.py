"""Archives on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict, Field

from chalicelib.domain.archives import (
    MAX_ARCHIVE_BYTES,
    MAX_FILENAME,
    MAX_HASHED_BYTES,
    ArchiveFailure,
    ArchiveKind,
    ArchiveRecord,
    ArchiveReport,
    ArchiveStatus,
)
from chalicelib.domain.datasets import MAX_SOURCE_PATH, SHA256_PATTERN
from chalicelib.domain.ports import PresignedPut
from chalicelib.schemas.base import RequestModel, ResponseModel, StrictRequest

#: URLs in the answer that creates an archive, and in later ones unless asked otherwise.
DEFAULT_PARTS = 200
MAX_PARTS = 1_000


class NewArchiveBody(StrictRequest):
    """``filename`` is for people: what the archive is, its content tells. ``sha256`` is that of the whole archive and
    is compared once it is here; for archives above 20 GiB leave it out. ``source_path`` is the folder that was packed,
    as the training config names it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"filename": "photos.zip", "size": 73400320, "source_path": "/data/datasets/my-dataset"}]
        }
    )

    filename: str = Field(min_length=1, max_length=MAX_FILENAME)
    size: int = Field(ge=1, le=MAX_ARCHIVE_BYTES)
    sha256: str | None = Field(None, pattern=SHA256_PATTERN)
    source_path: str | None = Field(None, max_length=MAX_SOURCE_PATH)

    @property
    def hash_is_too_much(self) -> bool:
        return self.sha256 is not None and self.size > MAX_HASHED_BYTES


class ArchivePartsBody(StrictRequest):
    """``after`` is the number to go on behind (``next`` of the last answer)."""

    after: int = Field(0, ge=0, le=10_000, description="`next` of the batch before.")
    limit: int = Field(DEFAULT_PARTS, ge=1, le=MAX_PARTS)


class ListArchivesQuery(RequestModel):
    limit: int = Field(100, ge=1, le=500)
    cursor: str | None = Field(None, max_length=2000, description="`next` of the page before.")


class ArchivePartView(ResponseModel):
    """PUT bytes ``(number - 1) * part_size`` to that plus ``size`` to ``url``, with ``headers`` if there are any. A 403
    means that the URL expired: ask for a new one."""

    number: int
    size: int
    url: str
    headers: dict[str, str]
    expires_at: datetime


class ArchivePartsResponse(ResponseModel):
    """``present`` counts the parts passed over because they are there; ``next`` is null on the last batch."""

    parts: list[ArchivePartView]
    present: int
    next: int | None


class ArchiveView(ResponseModel):
    """``failure`` says why it was refused and what to do; ``version_id`` is the version once it is ``ready``."""

    archive_id: str
    dataset_id: str
    filename: str
    size: int
    status: ArchiveStatus
    source_path: str | None
    version_id: str | None
    failure: ArchiveFailure | None
    created_at: datetime
    finished_at: datetime | None


class LeftOutView(ResponseModel):
    path: str
    code: str
    reason: str


class TakenView(ResponseModel):
    files: int
    bytes: int


class ArchiveReportView(ResponseModel):
    """``left_out`` names the first 1,000 entries that are not in the version, ``left_out_counts`` counts all by code.
    ``encoding`` is how names were read that do not say it themselves."""

    kind: ArchiveKind | None
    taken: TakenView
    left_out: list[LeftOutView]
    left_out_counts: dict[str, int]
    encoding: str | None
    stripped_folder: str | None
    notes: list[str]


class ArchiveDetail(ArchiveView):
    """``report`` is there once the archive is ``ready`` or ``failed``."""

    report: ArchiveReportView | None


class NewArchiveResponse(ArchiveView):
    part_size: int
    parts: list[ArchivePartView]
    next: int | None


class ArchiveListResponse(ResponseModel):
    archives: list[ArchiveView]
    next: str | None = None


class ArchiveDeletedResponse(ResponseModel):
    success: Literal[True] = True
    archive_id: str
    deleted_objects: int


def archive_view(archive: ArchiveRecord) -> ArchiveView:
    return ArchiveView(
        archive_id=archive.archive_id,
        dataset_id=archive.dataset_id,
        filename=archive.filename,
        size=archive.size,
        status=archive.status,
        source_path=archive.source_path,
        # The record names it before the version is there.
        version_id=archive.version_id if archive.status is ArchiveStatus.READY else None,
        failure=archive.failure,
        created_at=archive.created_at,
        finished_at=archive.finished_at,
    )


def report_view(report: ArchiveReport) -> ArchiveReportView:
    return ArchiveReportView.model_validate(report.model_dump())


def part_view(number: int, size: int, put: PresignedPut) -> ArchivePartView:
    return ArchivePartView(number=number, size=size, url=put.url, headers=dict(put.headers), expires_at=put.expires_at)
