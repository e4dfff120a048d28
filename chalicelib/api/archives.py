"""Routes of archives: a zip or tar that any HTTP client uploads, and that becomes a version of a dataset."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import archives as schema

api = Api(tag="datasets")


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/archives",
    permission=Permission.DATASET_EDIT,
    body=schema.NewArchiveBody,
    response=schema.NewArchiveResponse,
    status=201,
    statuses=(404, 409, 413),
    audited=Audited(AuditAction.ARCHIVE_CREATE, "dataset:{dataset_id}"),
)
def create_archive(call: Call[schema.NewArchiveBody, None], dataset_id: str) -> Reply:
    """Start the upload of a zip or tar.

    PUT each part to its URL, in any order, then complete. What cannot be unpacked is said before it is uploaded where
    its name and size tell.
    """
    call.services.consent.check_upload(call.who.owner)
    archive, batch = call.services.archives.create(call.who.owner, dataset_id, call.body, limit=schema.DEFAULT_PARTS)
    view = schema.NewArchiveResponse(
        **schema.archive_view(archive).model_dump(),
        part_size=archive.part_size,
        parts=[schema.part_view(*part) for part in batch.parts],
        next=batch.next,
    )
    details = {"archive_id": archive.archive_id, "size": archive.size}
    return Reply(view, noted=Noted(f"dataset:{dataset_id}", details=details))


@api.endpoint(
    "GET",
    "/cloud/datasets/{dataset_id}/archives",
    permission=Permission.DATASET_VIEW,
    query=schema.ListArchivesQuery,
    response=schema.ArchiveListResponse,
    statuses=(400, 404),
)
def list_archives(call: Call[None, schema.ListArchivesQuery], dataset_id: str) -> schema.ArchiveListResponse:
    """List a dataset's archives, newest first."""
    found, cursor = call.services.archives.list_of(
        call.who.owner, dataset_id, limit=call.query.limit, cursor=call.query.cursor
    )
    return schema.ArchiveListResponse(archives=[schema.archive_view(a) for a in found], next=cursor)


@api.endpoint(
    "GET",
    "/cloud/datasets/{dataset_id}/archives/{archive_id}",
    permission=Permission.DATASET_VIEW,
    response=schema.ArchiveDetail,
    statuses=(404,),
)
def get_archive(call: Call[None, None], dataset_id: str, archive_id: str) -> schema.ArchiveDetail:
    """Get an archive, with what was taken of it and what was left out once it is unpacked."""
    archive = call.services.archives.get(call.who.owner, dataset_id, archive_id)
    report = call.services.archives.report(archive)
    return schema.ArchiveDetail(
        **schema.archive_view(archive).model_dump(), report=schema.report_view(report) if report else None
    )


@api.endpoint(
    "DELETE",
    "/cloud/datasets/{dataset_id}/archives/{archive_id}",
    permission=Permission.DATASET_EDIT,
    response=schema.ArchiveDeletedResponse,
    statuses=(404, 409),
    audited=Audited(AuditAction.ARCHIVE_DELETE, "dataset:{dataset_id}/archives/{archive_id}"),
)
def delete_archive(call: Call[None, None], dataset_id: str, archive_id: str) -> schema.ArchiveDeletedResponse:
    """Delete an archive's upload and report.

    A version that was made of it stays. Refused while it is being unpacked.
    """
    deleted = call.services.archives.delete(call.who.owner, dataset_id, archive_id)
    return schema.ArchiveDeletedResponse(archive_id=archive_id, deleted_objects=deleted)


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/archives/{archive_id}/parts",
    permission=Permission.DATASET_EDIT,
    body=schema.ArchivePartsBody,
    response=schema.ArchivePartsResponse,
    statuses=(404, 409),
)
def create_archive_parts(
    call: Call[schema.ArchivePartsBody, None], dataset_id: str, archive_id: str
) -> schema.ArchivePartsResponse:
    """Get URLs of the next parts that are not there yet."""
    call.services.consent.check_upload(call.who.owner)
    batch = call.services.archives.parts(
        call.who.owner, dataset_id, archive_id, after=call.body.after, limit=call.body.limit
    )
    return schema.ArchivePartsResponse(
        parts=[schema.part_view(*part) for part in batch.parts], present=batch.present, next=batch.next
    )


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/archives/{archive_id}/complete",
    permission=Permission.DATASET_EDIT,
    response=schema.ArchiveView,
    status=202,
    statuses=(404, 409),
    audited=Audited(AuditAction.ARCHIVE_COMPLETE, "dataset:{dataset_id}/archives/{archive_id}"),
)
def complete_archive(call: Call[None, None], dataset_id: str, archive_id: str) -> schema.ArchiveView:
    """Put the parts together and have the archive unpacked.

    Then ask for the archive until its `status` is `ready` or `failed`.
    """
    call.services.consent.check_upload(call.who.owner)
    return schema.archive_view(call.services.archives.complete(call.who.owner, dataset_id, archive_id))
