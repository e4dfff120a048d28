"""Routes that receivers of webhook deliveries call: fresh links, and receipts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from chalicelib.api.routing import Api, Call
from chalicelib.errors import AuthenticationError
from chalicelib.schemas import receipts as schema
from chalicelib.services.rates import REFUSED, RateLimited
from chalicelib.services.receipts import Receiver

api = Api(tag="deliveries")
T = TypeVar("T")

_WHY = "the receiver signs with the secret of the webhook, or shows an API key of the job's owner"
_BODY = "JSON with `job_id`, `delivery_id`; signed byte by byte as Standard Webhooks are, unless an API key is shown."


@api.endpoint(
    "POST",
    "/cloud/jobs/{job_id}/deliveries/{delivery_id}/receipt",
    permission=None,
    response=schema.ReceiptTaken,
    statuses=(400, 401, 413, 429),
    headers=schema.ReceiverHeaders,
    raw_body=_BODY + " Also `status` (`saved` or `failed`), `files` (each `path`, `size`, `sha256`), `error`.",
    public_reason=_WHY,
    from_machines=True,
)
def post_delivery_receipt(call: Call[None, None], job_id: str, delivery_id: str) -> schema.ReceiptTaken:
    """Say which files of a webhook delivery were received.

    The delivery is verified when all are there with the SHA-256 that was sent; otherwise the event is sent again.
    """
    delivery = _guarded(call, lambda receiver: call.services.receipts.take(job_id, delivery_id, receiver))
    return schema.ReceiptTaken(state=delivery.state)


@api.endpoint(
    "POST",
    "/cloud/jobs/{job_id}/deliveries/{delivery_id}/links",
    permission=None,
    query=schema.LinksQuery,
    response=schema.LinksResponse,
    statuses=(400, 401, 404, 409, 413, 429),
    headers=schema.ReceiverHeaders,
    raw_body=_BODY,
    public_reason=_WHY,
    from_machines=True,
)
def post_delivery_links(call: Call[None, schema.LinksQuery], job_id: str, delivery_id: str) -> schema.LinksResponse:
    """Get fresh links to the files of a webhook delivery, within a week of its begin."""
    after = call.query.after
    found = _guarded(call, lambda receiver: call.services.receipts.links(job_id, delivery_id, receiver, after))
    return schema.LinksResponse(
        files=[schema.LinkView.model_validate(file) for file in found.files],
        next=found.next,
        expires_at=found.expires_at,
    )


def _receiver(call: Call[Any, Any]) -> Receiver:
    """Whoever signed, or whoever shows a key. Cookies don't count: a page elsewhere could make a browser send them."""
    if "webhook-signature" in call.headers:
        return Receiver(call.headers, call.raw_body, None)
    if call.headers.keys().isdisjoint(("authorization", "x-api-key")):
        raise AuthenticationError("Sign the request with the webhook's secret, or send an API key.")
    return Receiver(call.headers, call.raw_body, call.identify().who)


def _guarded(call: Call[Any, Any], act: Callable[[Receiver], T]) -> T:
    """``act``; who is refused is counted by source address, so that guessing costs us no more than other guesses."""
    rates, address = call.services.rates, call.facts.source_ip
    worn = rates.refused(REFUSED, address)
    if worn is not None:
        raise RateLimited(worn)
    try:
        return act(_receiver(call))
    except AuthenticationError:
        rates.require(REFUSED, address)
        raise
