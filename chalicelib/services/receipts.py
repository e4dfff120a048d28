"""What receivers of webhook deliveries ask and say: fresh links, and receipts. They prove themselves by the secret that
the event was signed with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from chalicelib.domain.credentials import CredentialKind, WebhookSecret
from chalicelib.domain.deliveries import Delivery, DeliveryState, state_prefix
from chalicelib.domain.delivery_ports import DeliveryFault, ShippedFile
from chalicelib.domain.destinations import WebhookDestination
from chalicelib.domain.escrow import Manifest, artifacts_prefix
from chalicelib.domain.jobs import Job
from chalicelib.domain.model_event import LINKS_LIVE, links
from chalicelib.domain.permissions import Permission, Principal
from chalicelib.domain.ports import Ports
from chalicelib.domain.receipts import Receipt, receipt_key
from chalicelib.domain.shipping import MANIFEST_NAME, manifest_file, shipment_files
from chalicelib.domain.webhook_signing import WebhookRejected, check_form, verify
from chalicelib.errors import AuthenticationError, BadRequest, NotFound, PayloadTooLarge, ValidationFailed
from chalicelib.services.credentials import find_credential, load_secret
from chalicelib.services.escrow import gone

MAX_BODY_BYTES = 4 * 1024 * 1024
#: A receiver may fetch for so long after the event, also when the delivery has ended without its receipt.
FETCHED_WITHIN = timedelta(days=7)

Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class Receiver:
    """Whoever asks about a delivery: ``headers`` with lower-case names and the raw ``body``, signed; or ``who``."""

    headers: Mapping[str, str]
    body: bytes
    who: Principal | None


@dataclass(frozen=True)
class Links:
    files: list[dict[str, Any]]
    next: str | None
    expires_at: datetime


class ReceiptService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def take(self, job_id: str, delivery_id: str, receiver: Receiver) -> Delivery:
        """Keeps a receipt; the delivery's next look, within minutes, compares it. No effect once the delivery is over.
        Returns the delivery.

        Raises AuthenticationError, which also says that there is no such delivery; BadRequest, ValidationFailed.
        """
        delivery = self._delivery(job_id, delivery_id, receiver, Permission.JOB_SUBMIT)
        receipt = _parsed(Receipt, receiver.body, delivery)
        if not delivery.is_over:
            key = receipt_key(state_prefix(delivery.owner, job_id, delivery_id))
            kept = receipt.model_copy(update={"at": self._ports.clock.now()})
            self._ports.outputs.put(key, kept.model_dump_json().encode(), content_type="application/json")
        return delivery

    def links(self, job_id: str, delivery_id: str, receiver: Receiver, after: str | None) -> Links:
        """Fresh links to the files of a delivery, within a week of its begin. Raises as ``take``; NotFound, Conflict
        (``escrow_gone``)."""
        delivery = self._delivery(job_id, delivery_id, receiver, Permission.JOB_VIEW_OWN)
        if receiver.who is None:
            _parsed(_About, receiver.body, delivery)
        job, now = self._ports.jobs.get(job_id), self._ports.clock.now()
        if job is None or delivery.state is DeliveryState.CANCELLED or now - delivery.created_at > FETCHED_WITHIN:
            raise NotFound("There are no links to this delivery any more. Deliver again.", code="links_gone")
        if job.escrow_removed_at is not None:
            raise gone(job)
        outputs = self._ports.outputs

        def presign(file: ShippedFile) -> str:
            return outputs.presign_get(file.source_key, expires=LINKS_LIVE, filename=file.path.rsplit("/", 1)[-1])

        found, more = links(self._files(job, delivery), after, presign)
        return Links(found, more, now + LINKS_LIVE)

    def _files(self, job: Job, delivery: Delivery) -> list[ShippedFile]:
        key = job.delivery.manifest_key
        data = self._ports.outputs.get(key) if key is not None else None
        if data is None:
            raise NotFound("The model is not in escrow any more.", code="links_gone")
        artifacts = artifacts_prefix(job.owner, job.job_id)
        files = shipment_files(Manifest.model_validate_json(data), delivery.destination.include, artifacts)
        listed_key = state_prefix(delivery.owner, delivery.job_id, delivery.delivery_id) + MANIFEST_NAME
        listed = self._ports.outputs.get(listed_key)
        return [*files, manifest_file(listed_key, listed)] if listed is not None else files

    def _delivery(self, job_id: str, delivery_id: str, receiver: Receiver, permission: Permission) -> Delivery:
        """The delivery, if the receiver may know of it. Whatever is wrong, the answer is the same: nobody learns here
        which jobs there are."""
        if len(receiver.body) > MAX_BODY_BYTES:
            raise PayloadTooLarge(f"A receipt may have {MAX_BODY_BYTES} bytes.")
        if receiver.who is None:
            try:
                check_form(receiver.headers, now=self._ports.clock.now())
            except WebhookRejected as rejected:
                raise AuthenticationError(str(rejected), code="invalid_signature") from None
        delivery = self._ports.deliveries.get(job_id, delivery_id)
        if delivery is None or not isinstance(delivery.destination, WebhookDestination):
            raise _refused()
        if receiver.who is None:
            self._verify(delivery, receiver)
        elif not (receiver.who.may(permission) and _sees(receiver.who, delivery)):
            raise _refused()
        return delivery

    def _verify(self, delivery: Delivery, receiver: Receiver) -> None:
        destination = delivery.destination
        try:
            credential = find_credential(
                self._ports,
                delivery.owner,
                CredentialKind.WEBHOOK,
                delivery.resolved_credential or destination.credential,
            )
            secret = load_secret(self._ports, credential)
        except (ValidationFailed, DeliveryFault):
            raise _refused() from None
        assert isinstance(secret, WebhookSecret)  # noqa: S101 - of this kind
        keys = [s.get_secret_value() for s in secret.secrets]
        try:
            verify(receiver.body, receiver.headers, keys, now=self._ports.clock.now())
        except WebhookRejected:
            raise _refused() from None


class _About(BaseModel):
    """What a signed body says it is about: one signature is good for one delivery."""

    job_id: str
    delivery_id: str


def _parsed(model: type[Body], body: bytes, delivery: Delivery) -> Body:
    try:
        document = json.loads(body)
        about = _About.model_validate(document)
        parsed = model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise ValidationFailed(f"{'.'.join(map(str, first['loc']))}: {first['msg']}", code="invalid_receipt") from None
    except (ValueError, RecursionError):
        raise BadRequest("The body is no JSON.", code="invalid_json") from None
    if (about.job_id, about.delivery_id) != (delivery.job_id, delivery.delivery_id):
        raise ValidationFailed("The body is about another delivery than the URL.", code="invalid_receipt")
    return parsed


def _sees(who: Principal, delivery: Delivery) -> bool:
    return who.owner == delivery.owner or who.may(Permission.JOB_VIEW_ALL)


def _refused() -> AuthenticationError:
    return AuthenticationError(
        "There is no delivery of this id that this signature, or this key, fits. Sign with the webhook's secret.",
        code="invalid_signature",
    )
