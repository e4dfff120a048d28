"""Routes of datasets. File bytes never pass here: clients PUT them to S3."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.datasets import VersionStatus
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import datasets as schema

api = Api(tag="datasets")


@api.endpoint(
    "POST",
    "/cloud/datasets",
    permission=Permission.DATASET_EDIT,
    body=schema.NewVersionBody,
    response=schema.NewVersionResponse,
    status=201,
    statuses=(200, 413),
    audited=Audited(AuditAction.DATASET_CREATE, "dataset:new"),
)
def create_dataset_version(call: Call[schema.NewVersionBody, None]) -> Reply:
    """Create a dataset version from a manifest, or find the one with the same content.

    Answers 201 for a new version and 200 for a known one; a known one may be `ready`, then nothing has to be uploaded.
    """
    version, created = call.services.datasets.create_version(call.who.owner, call.body)
    view = schema.NewVersionResponse(**schema.version_view(version).model_dump(), created=created)
    noted = Noted(f"dataset:{version.dataset_id}/{version.version_id}", details={"created": created})
    return Reply(view, 201 if created else 200, noted=noted)


@api.endpoint(
    "GET",
    "/cloud/datasets",
    permission=Permission.DATASET_VIEW,
    query=schema.ListDatasetsQuery,
    response=schema.DatasetListResponse,
    statuses=(400,),
)
def list_datasets(call: Call[None, schema.ListDatasetsQuery]) -> schema.DatasetListResponse:
    """List datasets by id."""
    found, cursor = call.services.datasets.list(call.who.owner, limit=call.query.limit, cursor=call.query.cursor)
    return schema.DatasetListResponse(datasets=[schema.dataset_view(d) for d in found], next=cursor)


@api.endpoint(
    "GET",
    "/cloud/datasets/{dataset_id}",
    permission=Permission.DATASET_VIEW,
    response=schema.DatasetDetail,
    statuses=(404,),
)
def get_dataset(call: Call[None, None], dataset_id: str) -> schema.DatasetDetail:
    """Get a dataset with its versions, newest first."""
    dataset, versions = call.services.datasets.get(call.who.owner, dataset_id)
    return schema.DatasetDetail(
        **schema.dataset_view(dataset).model_dump(), versions=[schema.version_view(v) for v in versions]
    )


@api.endpoint(
    "DELETE",
    "/cloud/datasets/{dataset_id}",
    permission=Permission.DATASET_EDIT,
    response=schema.DatasetDeletedResponse,
    statuses=(404, 409),
    audited=Audited(AuditAction.DATASET_DELETE, "dataset:{dataset_id}"),
)
def delete_dataset(call: Call[None, None], dataset_id: str) -> schema.DatasetDeletedResponse:
    """Delete a dataset with all versions and bytes.

    Refused while an active job uses one.
    """
    deleted = call.services.datasets.delete(call.who.owner, dataset_id)
    return schema.DatasetDeletedResponse(dataset_id=dataset_id, deleted_objects=deleted)


@api.endpoint(
    "GET",
    "/cloud/datasets/{dataset_id}/versions/{version_id}",
    permission=Permission.DATASET_VIEW,
    response=schema.VersionDetail,
    statuses=(404,),
)
def get_dataset_version(call: Call[None, None], dataset_id: str, version_id: str) -> schema.VersionDetail:
    """Get one version with a link to its manifest."""
    version, url = call.services.datasets.version(call.who.owner, dataset_id, version_id)
    return schema.VersionDetail(**schema.version_view(version).model_dump(), manifest_url=url)


@api.endpoint(
    "DELETE",
    "/cloud/datasets/{dataset_id}/versions/{version_id}",
    permission=Permission.DATASET_EDIT,
    response=schema.DatasetDeletedResponse,
    statuses=(404, 409),
    audited=Audited(AuditAction.DATASET_DELETE, "dataset:{dataset_id}/{version_id}"),
)
def delete_dataset_version(call: Call[None, None], dataset_id: str, version_id: str) -> schema.DatasetDeletedResponse:
    """Delete one version and its bytes.

    Refused while an active job uses it.
    """
    deleted = call.services.datasets.delete_version(call.who.owner, dataset_id, version_id)
    return schema.DatasetDeletedResponse(dataset_id=dataset_id, deleted_objects=deleted)


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/versions/{version_id}/uploads",
    permission=Permission.DATASET_EDIT,
    body=schema.UploadsBody,
    response=schema.UploadsResponse,
    statuses=(404,),
)
def create_uploads(call: Call[schema.UploadsBody, None], dataset_id: str, version_id: str) -> schema.UploadsResponse:
    """Get presigned PUTs for the next files that are not in S3 yet."""
    batch = call.services.datasets.uploads(
        call.who.owner, dataset_id, version_id, after=call.body.after, limit=call.body.limit
    )
    return schema.UploadsResponse(
        uploads=[schema.upload_view(file, put) for file, put in batch.uploads], present=batch.present, next=batch.next
    )


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/versions/{version_id}/complete",
    permission=Permission.DATASET_EDIT,
    response=schema.VersionView,
    statuses=(202, 404, 409),
    audited=Audited(AuditAction.DATASET_COMPLETE, "dataset:{dataset_id}/{version_id}"),
)
def complete_dataset_version(call: Call[None, None], dataset_id: str, version_id: str) -> Reply:
    """Confirm that every file is there with its checksum.

    Answers 202 while there are more files to look at: call again until `status` is `ready`.
    """
    version = call.services.datasets.complete(call.who.owner, dataset_id, version_id)
    ready = version.status is VersionStatus.READY
    return Reply(schema.version_view(version), 200 if ready else 202, noted=Noted() if ready else None)
