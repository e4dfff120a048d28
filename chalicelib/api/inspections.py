"""Routes of inspections: the report of a version, and asking for a new one."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import datasets
from chalicelib.schemas import inspections as schema

api = Api(tag="datasets")


@api.endpoint(
    "GET",
    "/cloud/datasets/{dataset_id}/versions/{version_id}/report",
    permission=Permission.DATASET_VIEW,
    response=schema.ReportResponse,
    statuses=(404,),
)
def get_inspection_report(call: Call[None, None], dataset_id: str, version_id: str) -> schema.ReportResponse:
    """Get what the inspection of a version found.

    An inspection begins by itself when the upload is complete. Ask again while its status is `pending` or `running`.
    """
    found = call.services.inspections.report(call.who.owner, dataset_id, version_id)
    return schema.ReportResponse(
        dataset_id=dataset_id,
        version_id=version_id,
        inspection=datasets.inspection_view(found.version),
        report=schema.report_body(found.report) if found.report is not None else None,
        contact_sheet_url=found.sheet_url,
    )


@api.endpoint(
    "POST",
    "/cloud/datasets/{dataset_id}/versions/{version_id}/inspect",
    permission=Permission.DATASET_EDIT,
    response=datasets.VersionView,
    status=202,
    statuses=(404, 409),
    audited=Audited(AuditAction.DATASET_INSPECT, "dataset:{dataset_id}/{version_id}"),
)
def inspect_dataset_version(call: Call[None, None], dataset_id: str, version_id: str) -> Reply:
    """Inspect a version again.

    Refused while an inspection of it is going on.
    """
    version = call.services.inspections.ask(call.who.owner, dataset_id, version_id)
    return Reply(datasets.version_view(version), 202)
