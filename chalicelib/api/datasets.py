"""Routes of datasets. File bytes never pass here: clients PUT them to S3."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import datasets as schema
from chalicelib.services.dataset_removal import Removal

api = Api(tag="datasets")


@api.endpoint(
    "POST",
    "/cloud/datasets",
    permission=Permission.DATASET_EDIT,
    body=schema.NewVersionBody,
    response=schema.NewVersionResponse,
    status=201,
    statuses=(200, 404, 409, 413),
    audited=Audited(AuditAction.DATASET_CREATE, "dataset:new"),
)
def create_dataset_version(call: Call[schema.NewVersionBody, None]) -> Reply:
    """Create a dataset version from a manifest, or find the one with the same content.

    Answers 201 for a new version and 200 for a known one; a known one may be `ready`, then nothing has to be uploaded.
    A manifest of more than 20,000 files is uploaded first, see `/manifests`. Answers 413 with `quota_exceeded` when the
    owner's datasets would take more than they may.
    """
    call.services.consent.check_upload(call.who.owner)
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
    "/cloud/datasets/usage",
    permission=Permission.DATASET_VIEW,
    response=schema.UsageResponse,
)
def get_dataset_usage(call: Call[None, None]) -> schema.UsageResponse:
    """Get what the caller's datasets take of their quota."""
    usage, datasets = call.services.datasets.usage(call.who.owner)
    quota = call.services.datasets.quota_bytes
    return schema.UsageResponse(bytes=usage.bytes, quota_bytes=quota, versions=usage.versions, datasets=datasets)


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
    "PATCH",
    "/cloud/datasets/{dataset_id}",
    permission=Permission.DATASET_EDIT,
    body=schema.DatasetChanges,
    response=schema.DatasetView,
    statuses=(404,),
    audited=Audited(AuditAction.DATASET_RETENTION, "dataset:{dataset_id}"),
)
def change_dataset(call: Call[schema.DatasetChanges, None], dataset_id: str) -> Reply:
    """Say how long old versions of a dataset are kept.

    The latest version and those that an active job uses always stay.
    """
    days = call.body.retention_days
    dataset = call.services.datasets.set_retention(call.who.owner, dataset_id, days)
    return Reply(schema.dataset_view(dataset), 200, noted=Noted(details={"retention_days": days}))


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/manifests",
    permission=Permission.DATASET_EDIT,
    body=schema.ManifestBody,
    response=schema.ManifestPlace,
    status=201,
)
def stage_manifest(call: Call[schema.ManifestBody, None], dataset_id: str) -> Reply:
    """Get a presigned PUT for a manifest that is too large for a request.

    It is kept for a day; a version that is made of it keeps its own copy.
    """
    call.services.consent.check_upload(call.who.owner)
    body = call.body
    manifest_id, put = call.services.datasets.stage_manifest(
        call.who.owner, dataset_id, size=body.size, sha256=body.sha256
    )
    place = schema.ManifestPlace(
        manifest_id=manifest_id, url=put.url, headers=dict(put.headers), expires_at=put.expires_at
    )
    return Reply(place, 201)


@api.endpoint(
    "DELETE",
    "/cloud/datasets/{dataset_id}",
    permission=Permission.DATASET_EDIT,
    response=schema.DatasetDeletedResponse,
    statuses=(404, 409, 503),
    audited=Audited(AuditAction.DATASET_DELETE, "dataset:{dataset_id}"),
)
def delete_dataset(call: Call[None, None], dataset_id: str) -> schema.DatasetDeletedResponse:
    """Delete a dataset with all versions and bytes.

    Refused while an active job uses one. Of a large dataset a call answers 503 when its time is up: repeat it.
    """
    deleted = call.services.datasets.delete(call.who.owner, dataset_id)
    return _deleted_view(dataset_id, deleted)


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
    statuses=(404, 409, 503),
    audited=Audited(AuditAction.DATASET_DELETE, "dataset:{dataset_id}/{version_id}"),
)
def delete_dataset_version(call: Call[None, None], dataset_id: str, version_id: str) -> schema.DatasetDeletedResponse:
    """Delete one version and its bytes.

    Refused while an active job uses it.
    """
    deleted = call.services.datasets.delete_version(call.who.owner, dataset_id, version_id)
    return _deleted_view(dataset_id, deleted)


def _deleted_view(dataset_id: str, removal: Removal) -> schema.DatasetDeletedResponse:
    return schema.DatasetDeletedResponse(
        dataset_id=dataset_id,
        deleted_objects=removal.call.objects,
        deleted_bytes=removal.call.bytes,
        total_objects=removal.in_all.objects,
        total_bytes=removal.in_all.bytes,
    )
