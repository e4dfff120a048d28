"""Routes of consent to uploads."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import consent as schema
from chalicelib.services.consent import LocalDataset

api = Api(tag="datasets")

_MEGABYTE = 1024 * 1024


@api.endpoint(
    "GET",
    "/cloud/data-consent/setting",
    permission=Permission.DATASET_VIEW,
    response=schema.ConsentResponse,
)
def get_data_consent(call: Call[None, None]) -> schema.ConsentResponse:
    """Get whether the caller's data may be uploaded: asked each time, always, never."""
    return schema.ConsentResponse(consent=call.services.consent.get(call.who.owner))


@api.endpoint(
    "PUT",
    "/cloud/data-consent/setting",
    permission=Permission.DATASET_EDIT,
    body=schema.ConsentBody,
    response=schema.ConsentSavedResponse,
    statuses=(400,),
    audited=Audited(AuditAction.CONSENT_CHANGE, "consent:uploads"),
)
def set_data_consent(call: Call[schema.ConsentBody, None]) -> Reply:
    """Set whether the caller's data may be uploaded.

    With `deny` this service takes no data: datasets and archives are refused with `consent_denied`. `ask` and `allow`
    are for the clients, which ask before they send, or don't.
    """
    consent = call.services.consent.set(call.who.owner, call.body.consent)
    return Reply(schema.ConsentSavedResponse(consent=consent), noted=Noted(details={"consent": consent}))


@api.endpoint(
    "POST",
    "/cloud/data-consent/preview",
    permission=Permission.DATASET_VIEW,
    body=schema.PreviewBody,
    response=schema.PreviewResponse,
)
def preview_upload(call: Call[schema.PreviewBody, None]) -> schema.PreviewResponse:
    """See which local datasets of a dataloader are uploaded and which are not. Sends and changes nothing.

    This service sees no disk of yours: what a push would send, file by file, says `stcloud datasets push --list`.
    """
    preview = call.services.consent.preview(call.who.owner, call.body.root)
    there = [d.uploaded for d in preview.datasets if d.uploaded is not None]
    return schema.PreviewResponse(
        requires_upload=len(there) < len(preview.datasets),
        consent_mode=preview.consent,
        datasets=[_view(d) for d in preview.datasets],
        total_files=sum(version.files for version in there),
        total_size_mb=round(sum(version.bytes for version in there) / _MEGABYTE, 2),
        message=preview.message,
    )


def _view(dataset: LocalDataset) -> schema.PreviewedDataset:
    version = dataset.uploaded
    return schema.PreviewedDataset(
        id=dataset.entry_id,
        type="local",
        instance_data_dir=dataset.folder,
        uploaded=version is not None,
        dataset_id=version.dataset_id if version else None,
        version_id=version.version_id if version else None,
        file_count=version.files if version else None,
        total_size_mb=round(version.bytes / _MEGABYTE, 2) if version else None,
    )
