"""Routes of deliveries."""

from __future__ import annotations

from chalicelib.api.routing import Api, Audited, Call, Noted, Reply
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.permissions import Permission
from chalicelib.schemas import deliveries as schema
from chalicelib.services.deliveries import described

api = Api(tag="deliveries")


@api.endpoint(
    "POST",
    "/cloud/jobs/{job_id}/deliver",
    permission=Permission.JOB_SUBMIT,
    body=schema.DeliverBody,
    response=schema.DeliverResponse,
    status=202,
    statuses=(404, 409, 422, 503),
    audited=Audited(AuditAction.JOB_DELIVER, "job:{job_id}"),
)
def deliver_job(call: Call[schema.DeliverBody, None], job_id: str) -> Reply:
    """Deliver a completed job's model from escrow.

    At any time after the job's end, without a GPU, as long as escrow holds the model. A place that an open delivery
    goes to already is not delivered to twice: that delivery is returned, and 200 when none is new.
    """
    requested = call.services.deliveries.deliver(call.who, job_id, call.body.wanted(), call.body.include)
    made = sum(one.made for one in requested)
    view = schema.DeliverResponse(
        job_id=job_id, deliveries=[schema.delivery_view(one.delivery) for one in requested], made=made
    )
    details = {"destinations": [described(one.delivery) for one in requested], "made": made}
    return Reply(view, status=202 if made else 200, noted=Noted(details=details))


@api.endpoint(
    "GET",
    "/cloud/jobs/{job_id}/deliveries",
    permission=Permission.JOB_VIEW_OWN,
    response=schema.DeliveriesResponse,
    statuses=(404,),
)
def list_deliveries(call: Call[None, None], job_id: str) -> schema.DeliveriesResponse:
    """List a job's deliveries, in order of creation.

    The first is escrow, this stack's own bucket, where every model goes.
    """
    job, deliveries = call.services.deliveries.of_job(call.who, job_id)
    return schema.DeliveriesResponse(
        job_id=job_id,
        summary=schema.summary_view(job.deliveries),
        deliveries=[schema.escrow_delivery(job), *map(schema.delivery_view, deliveries)],
    )


@api.endpoint(
    "GET",
    "/cloud/jobs/{job_id}/deliveries/{delivery_id}",
    permission=Permission.JOB_VIEW_OWN,
    response=schema.DeliveryResponse,
    statuses=(404,),
)
def get_delivery(call: Call[None, None], job_id: str, delivery_id: str) -> schema.DeliveryResponse:
    """Get one delivery."""
    delivery = call.services.deliveries.get(call.who, job_id, delivery_id)
    return schema.DeliveryResponse(delivery=schema.delivery_view(delivery))


@api.endpoint(
    "POST",
    "/cloud/jobs/{job_id}/deliveries/{delivery_id}/cancel",
    permission=Permission.JOB_SUBMIT,
    response=schema.DeliveryResponse,
    status=202,
    statuses=(404, 409, 503),
    audited=Audited(AuditAction.DELIVERY_CANCEL, "delivery:{delivery_id}"),
)
def cancel_delivery(call: Call[None, None], job_id: str, delivery_id: str) -> Reply:
    """Cancel a delivery.

    It is `cancelled` at once when nothing was sent yet, else after its present step, which may take minutes; until then
    `cancel_requested` is true. What has arrived at the destination stays there. Escrow is not touched.
    """
    delivery = call.services.deliveries.cancel(call.who, job_id, delivery_id)
    view = schema.DeliveryResponse(delivery=schema.delivery_view(delivery))
    return Reply(view, noted=Noted(details={"destination": described(delivery)}))


@api.endpoint(
    "POST",
    "/cloud/jobs/{job_id}/deliveries/{delivery_id}/retry",
    permission=Permission.JOB_SUBMIT,
    response=schema.DeliveryResponse,
    status=202,
    statuses=(404, 409, 422, 503),
    audited=Audited(AuditAction.DELIVERY_RETRY, "delivery:{delivery_id}"),
)
def retry_delivery(call: Call[None, None], job_id: str, delivery_id: str) -> Reply:
    """Deliver to the same destination again.

    One that is over is repeated by a new delivery; one that waits for its next try is tried now.
    """
    requested = call.services.deliveries.retry(call.who, job_id, delivery_id)
    view = schema.DeliveryResponse(delivery=schema.delivery_view(requested.delivery))
    details = {"destination": described(requested.delivery), "delivery": requested.delivery.delivery_id}
    return Reply(view, noted=Noted(details=details))


@api.endpoint(
    "GET",
    "/cloud/delivery/defaults",
    permission=Permission.JOB_VIEW_OWN,
    response=schema.DefaultsResponse,
)
def get_delivery_defaults(call: Call[None, None]) -> schema.DefaultsResponse:
    """Get where the caller's models go when a submission says nothing."""
    found = call.services.deliveries.defaults(call.who.owner)
    return schema.DefaultsResponse(destinations=[schema.destination_view(d) for d in found])


@api.endpoint(
    "PUT",
    "/cloud/delivery/defaults",
    permission=Permission.JOB_SUBMIT,
    body=schema.DefaultsBody,
    response=schema.DefaultsResponse,
    statuses=(409, 422),
    audited=Audited(AuditAction.DELIVERY_DEFAULTS, "delivery:defaults"),
)
def set_delivery_defaults(call: Call[schema.DefaultsBody, None]) -> Reply:
    """Set where the caller's models go when a submission says nothing.

    Holds for jobs that are submitted from now on.
    """
    stored = call.services.deliveries.set_defaults(call.who.owner, call.body.destinations)
    views = [schema.destination_view(d) for d in stored]
    return Reply(
        schema.DefaultsResponse(destinations=views), noted=Noted(details={"destinations": [v.label for v in views]})
    )
