"""Datasets on the wire."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from chalicelib.domain import datasets as domain
from chalicelib.domain.dataset_diff import Change, Diff, FileChange
from chalicelib.domain.datasets import (
    MAX_INLINE_FILES,
    MAX_MANIFEST_BYTES,
    MAX_PATH_BYTES,
    MAX_RETENTION_DAYS,
    MAX_SOURCE_PATH,
    NAME_PATTERN,
    RESERVED_NAMES,
    SHA256_PATTERN,
    Dataset,
    DatasetVersion,
    ManifestFile,
)
from chalicelib.schemas.base import RequestModel, ResponseModel, StrictRequest

#: A cursor is a path, and for a file in parts where to go on in it.
MAX_CURSOR = MAX_PATH_BYTES + 16


class NewVersionBody(StrictRequest):
    """A manifest. ``source_path`` is the folder it was pushed from, as the training config names it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "dataset_id": "my-dataset",
                    "source_path": "/data/datasets/my-dataset",
                    "files": [
                        {
                            "path": "cat.txt",
                            "size": 3,
                            "sha256": "77af778b51abd4a3c51c5ddd97204a9c3ae614ebccb75a606c3b6865aed6744e",
                        }
                    ],
                }
            ]
        }
    )

    dataset_id: str = Field(pattern=NAME_PATTERN)
    source_path: str | None = Field(None, max_length=MAX_SOURCE_PATH)
    files: list[ManifestFile] | None = Field(
        None,
        min_length=1,
        max_length=MAX_INLINE_FILES,
        description="Or `manifest_id`, for larger manifests. A file above 64 MiB also has `parts`: the SHA-256 of each "
        "of its pieces of 64 MiB.",
    )
    manifest_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9_-]{1,100}$", description="A manifest that was uploaded before."
    )

    @model_validator(mode="after")
    def _has_one_manifest(self) -> Self:
        if (self.files is None) == (self.manifest_id is None):
            raise ValueError("send either files or manifest_id")
        if self.dataset_id in RESERVED_NAMES:
            raise ValueError(f"'{self.dataset_id}' can't be the id of a dataset")
        return self


class ManifestBody(StrictRequest):
    """A manifest that is about to be uploaded: JSON lines, one file each with the fields of `files`, sorted by path in
    UTF-8 bytes."""

    size: int = Field(ge=1, le=MAX_MANIFEST_BYTES)
    sha256: str = Field(pattern=SHA256_PATTERN)


class FinishBody(StrictRequest):
    path: str = Field(min_length=1, max_length=MAX_PATH_BYTES)


class DatasetChanges(StrictRequest):
    """Versions that are not the latest are removed so many days after they were complete; null keeps them."""

    retention_days: int | None = Field(ge=1, le=MAX_RETENTION_DAYS)


class DiffQuery(RequestModel):
    base: str | None = Field(
        None, max_length=100, description="A version id; without it, the ready version made before this one."
    )
    limit: int = Field(100, ge=1, le=1000)
    cursor: str | None = Field(None, max_length=MAX_CURSOR, description="`next` of the page before.")


class UploadsBody(StrictRequest):
    """``after`` is the path to go on behind (``next`` of the last answer)."""

    after: str | None = Field(None, max_length=MAX_CURSOR, description="`next` of the batch before.")
    limit: int = Field(100, ge=1, le=500, description="URLs at most; each part of a large file has its own.")


class ListDatasetsQuery(RequestModel):
    limit: int = Field(100, ge=1, le=500)
    cursor: str | None = Field(None, max_length=2000, description="`next` of the page before.")


class VersionStatus(StrEnum):
    UPLOADING = domain.VersionStatus.UPLOADING.value
    READY = domain.VersionStatus.READY.value


class InspectionStatus(StrEnum):
    PENDING = domain.InspectionStatus.PENDING.value
    RUNNING = domain.InspectionStatus.RUNNING.value
    DONE = domain.InspectionStatus.DONE.value
    FAILED = domain.InspectionStatus.FAILED.value


class InspectionView(ResponseModel):
    """How far the inspection is, and how many findings it has. `problem` says why the inspection itself failed."""

    status: InspectionStatus
    attempt: int
    errors: int
    warnings: int
    notes: int
    asked_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    problem: str | None


class VersionView(ResponseModel):
    """`inspection` is null while the upload goes on, and for versions older than inspections."""

    dataset_id: str
    version_id: str
    status: VersionStatus
    files: int
    bytes: int
    checked: int
    merkle_root: str
    source_path: str | None
    created_at: datetime
    completed_at: datetime | None
    inspection: InspectionView | None


class VersionDetail(VersionView):
    manifest_url: str


class NewVersionResponse(VersionView):
    """``created`` is false when the same content was there before; a ``ready`` version needs no upload."""

    created: bool


class ManifestPlace(ResponseModel):
    """PUT the manifest to ``url`` with exactly ``headers``, then create a version with ``manifest_id``."""

    manifest_id: str
    url: str
    headers: dict[str, str]
    expires_at: datetime


class UploadView(ResponseModel):
    """PUT the bytes to ``url`` with exactly ``headers``. A 403 means it expired: ask for a new one."""

    path: str
    size: int
    url: str
    headers: dict[str, str]
    expires_at: datetime


class PartView(ResponseModel):
    """``size`` bytes of the file from (``number`` - 1) × 64 MiB; ``number`` counts from 1."""

    number: int
    size: int
    url: str
    headers: dict[str, str]


class PartedUploadView(ResponseModel):
    """A file above 64 MiB: PUT each of ``parts``, then finish the file. With ``more_parts`` there are further ones,
    which come first in the next batch."""

    path: str
    size: int
    parts: list[PartView]
    more_parts: bool
    expires_at: datetime


class UploadsResponse(ResponseModel):
    """``present`` counts the files passed over because they are there, ``copied`` those of them that were copied just
    now from another version. ``uploads`` may be empty while ``next`` is given; ``next`` is null on the last batch."""

    uploads: list[UploadView | PartedUploadView]
    present: int
    copied: int
    copied_bytes: int
    next: str | None


class FinishedFile(ResponseModel):
    path: str
    size: int


class DownloadView(ResponseModel):
    path: str
    size: int
    sha256: str
    url: str


class DownloadsResponse(ResponseModel):
    """Links are good for an hour; ``next`` is null on the last batch."""

    downloads: list[DownloadView]
    next: str | None


class ChangeSum(ResponseModel):
    files: int
    bytes: int


class FileChangeView(ResponseModel):
    """``size`` is null for a removed file, ``base_size`` for a new one; ``base_path`` is a renamed file's old path."""

    path: str
    change: Change
    size: int | None
    base_size: int | None
    base_path: str | None


class DiffResponse(ResponseModel):
    """``base`` is null when there is no version before; then all is new. Sums are of the whole, ``files`` one page."""

    base: str | None
    version: str
    added: ChangeSum
    removed: ChangeSum
    changed: ChangeSum
    renamed: ChangeSum
    unchanged: ChangeSum
    files: list[FileChangeView]
    next: str | None


class UsageResponse(ResponseModel):
    """What the caller's datasets take in S3, of what they may."""

    bytes: int
    quota_bytes: int
    versions: int
    datasets: int


class DatasetView(ResponseModel):
    dataset_id: str
    source_path: str | None
    latest_version: str | None
    retention_days: int | None
    created_at: datetime
    updated_at: datetime


class DatasetDetail(DatasetView):
    versions: list[VersionView]


class DatasetListResponse(ResponseModel):
    datasets: list[DatasetView]
    next: str | None = None


class DatasetDeletedResponse(ResponseModel):
    """``deleted_*`` is what this call removed; ``total_*`` what all calls did that the deletion took."""

    success: Literal[True] = True
    dataset_id: str
    deleted_objects: int
    deleted_bytes: int
    total_objects: int
    total_bytes: int


def version_view(version: DatasetVersion) -> VersionView:
    """Of a version that is not being deleted: for clients that one is gone."""
    return VersionView(
        dataset_id=version.dataset_id,
        version_id=version.version_id,
        status=VersionStatus(version.status.value),
        files=version.files,
        bytes=version.bytes,
        checked=version.checked,
        merkle_root=version.merkle_root,
        source_path=version.source_path,
        created_at=version.created_at,
        completed_at=version.completed_at,
        inspection=inspection_view(version),
    )


def inspection_view(version: DatasetVersion) -> InspectionView | None:
    found = version.inspection
    if found is None:
        return None
    shown = found.model_dump(include=set(InspectionView.model_fields) - {"status"})
    return InspectionView(**shown, status=InspectionStatus(found.status.value))


def dataset_view(dataset: Dataset) -> DatasetView:
    return DatasetView(
        **dataset.model_dump(exclude={"owner", "revision", "retention_due", "removed_objects", "removed_bytes"})
    )


def diff_view(version: str, base: str | None, found: Diff, *, limit: int, cursor: str | None) -> DiffResponse:
    """The page behind ``cursor``, a path; the two changes that one path can have stay together."""
    rest = [c for c in found.files if cursor is None or c.path.encode() > cursor.encode("utf-8", "surrogatepass")]
    end = limit
    while end < len(rest) and rest[end].path == rest[end - 1].path:
        end += 1
    sums = {change.value: ChangeSum(files=s.files, bytes=s.bytes) for change, s in found.sums.items()}
    return DiffResponse(
        base=base,
        version=version,
        **sums,
        unchanged=ChangeSum(files=found.unchanged.files, bytes=found.unchanged.bytes),
        files=[_change_view(c) for c in rest[:end]],
        next=rest[end - 1].path if end < len(rest) else None,
    )


def _change_view(change: FileChange) -> FileChangeView:
    return FileChangeView(
        path=change.path,
        change=change.change,
        size=change.size,
        base_size=change.base_size,
        base_path=change.base_path,
    )
