"""Datasets on the wire."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import ConfigDict, Field

from chalicelib.domain import datasets as domain
from chalicelib.domain.datasets import (
    MAX_FILES,
    MAX_PATH_BYTES,
    MAX_SOURCE_PATH,
    NAME_PATTERN,
    Dataset,
    DatasetVersion,
    ManifestFile,
)
from chalicelib.domain.ports import PresignedPut
from chalicelib.schemas.base import RequestModel, ResponseModel, StrictRequest


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
    files: list[ManifestFile] = Field(min_length=1, max_length=MAX_FILES)


class UploadsBody(StrictRequest):
    """``after`` is the path to go on behind (``next`` of the last answer)."""

    after: str | None = Field(None, max_length=MAX_PATH_BYTES, description="`next` of the batch before.")
    limit: int = Field(100, ge=1, le=500)


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


class UploadView(ResponseModel):
    """PUT the bytes to ``url`` with exactly ``headers``. A 403 means it expired: ask for a new one."""

    path: str
    size: int
    url: str
    headers: dict[str, str]
    expires_at: datetime


class UploadsResponse(ResponseModel):
    """``present`` counts the files passed over because they are there; ``next`` is null on the last batch."""

    uploads: list[UploadView]
    present: int
    next: str | None


class DatasetView(ResponseModel):
    dataset_id: str
    source_path: str | None
    latest_version: str | None
    created_at: datetime
    updated_at: datetime


class DatasetDetail(DatasetView):
    versions: list[VersionView]


class DatasetListResponse(ResponseModel):
    datasets: list[DatasetView]
    next: str | None = None


class DatasetDeletedResponse(ResponseModel):
    success: Literal[True] = True
    dataset_id: str
    deleted_objects: int


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
    return DatasetView(**dataset.model_dump(exclude={"owner", "revision"}))


def upload_view(file: ManifestFile, put: PresignedPut) -> UploadView:
    return UploadView(path=file.path, size=file.size, url=put.url, headers=dict(put.headers), expires_at=put.expires_at)
