"""Routes of a dataset version's content: filling it, completing it, comparing it, getting it back."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.datasets import VersionStatus
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import datasets as schema
from chalicelib.services.dataset_uploads import FileUpload

api = Api(tag="datasets")


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/versions/{version_id}/uploads",
    permission=Permission.DATASET_EDIT,
    body=schema.UploadsBody,
    response=schema.UploadsResponse,
    statuses=(404,),
)
def create_uploads(call: Call[schema.UploadsBody, None], dataset_id: str, version_id: str) -> schema.UploadsResponse:
    """Get presigned PUTs for the next files that are not in S3 yet.

    What other versions of the owner hold is copied inside S3 first and gets no URL. Go on with `next` until it is null;
    a batch may be empty before. Files above 64 MiB go up in parts. An expired URL is renewed by asking again from where
    its batch began.
    """
    call.services.consent.check_upload(call.who.owner)
    batch = call.services.datasets.uploads(
        call.who.owner, dataset_id, version_id, after=call.body.after, limit=call.body.limit
    )
    return schema.UploadsResponse(
        uploads=[_view(upload) for upload in batch.uploads],
        present=batch.present,
        copied=batch.copied,
        copied_bytes=batch.copied_bytes,
        next=batch.next,
    )


def _view(upload: FileUpload) -> schema.UploadView | schema.PartedUploadView:
    file = upload.file
    if upload.put is not None:
        put = upload.put
        return schema.UploadView(
            path=file.path, size=file.size, url=put.url, headers=dict(put.headers), expires_at=put.expires_at
        )
    parts = [
        schema.PartView(number=p.number, size=p.size, url=p.put.url, headers=dict(p.put.headers)) for p in upload.parts
    ]
    return schema.PartedUploadView(
        path=file.path,
        size=file.size,
        parts=parts,
        more_parts=upload.more_parts,
        expires_at=min(p.put.expires_at for p in upload.parts),
    )


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/versions/{version_id}/uploads/finish",
    permission=Permission.DATASET_EDIT,
    body=schema.FinishBody,
    response=schema.FinishedFile,
    statuses=(404, 409, 503),
)
def finish_upload(call: Call[schema.FinishBody, None], dataset_id: str, version_id: str) -> schema.FinishedFile:
    """Put the parts of one file together.

    Answers 409 with `missing_parts` when some are not there. Finishing twice is finishing once.
    """
    call.services.consent.check_upload(call.who.owner)
    file = call.services.datasets.finish_file(call.who.owner, dataset_id, version_id, call.body.path)
    return schema.FinishedFile(path=file.path, size=file.size)


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/versions/{version_id}/complete",
    permission=Permission.DATASET_EDIT,
    response=schema.VersionView,
    statuses=(202, 404, 409),
    audited=Audited(AuditAction.DATASET_COMPLETE, "dataset:{dataset_id}/{version_id}"),
)
def complete_dataset_version(call: Call[None, None], dataset_id: str, version_id: str) -> Reply:
    """Confirm that every file is there.

    Answers 202 while there are more files to look at: call again until `status` is `ready`.
    """
    call.services.consent.check_upload(call.who.owner)
    version = call.services.datasets.complete(call.who.owner, dataset_id, version_id)
    ready = version.status is VersionStatus.READY
    return Reply(schema.version_view(version), 200 if ready else 202, noted=Noted() if ready else None)


@api.endpoint(
    "GET",
    "/cloud/datasets/{dataset_id}/versions/{version_id}/diff",
    permission=Permission.DATASET_VIEW,
    query=schema.DiffQuery,
    response=schema.DiffResponse,
    statuses=(404,),
)
def diff_dataset_version(call: Call[None, schema.DiffQuery], dataset_id: str, version_id: str) -> schema.DiffResponse:
    """Compare a version with another one of the same dataset."""
    query = call.query
    version, base, found = call.services.datasets.diff(call.who.owner, dataset_id, version_id, query.base)
    base_id = base.version_id if base is not None else None
    return schema.diff_view(version.version_id, base_id, found, limit=query.limit, cursor=query.cursor)


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/versions/{version_id}/downloads",
    permission=Permission.DATASET_VIEW,
    body=schema.UploadsBody,
    response=schema.DownloadsResponse,
    statuses=(404, 409),
)
def create_downloads(
    call: Call[schema.UploadsBody, None], dataset_id: str, version_id: str
) -> schema.DownloadsResponse:
    """Get links to the next files of a version that is ready."""
    links, cursor = call.services.datasets.downloads(
        call.who.owner, dataset_id, version_id, after=call.body.after, limit=call.body.limit
    )
    views = [schema.DownloadView(path=f.path, size=f.size, sha256=f.sha256, url=url) for f, url in links]
    return schema.DownloadsResponse(downloads=views, next=cursor)
