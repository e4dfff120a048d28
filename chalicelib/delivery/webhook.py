"""Delivery to a machine of the user's: a signed event with links, and the receiver's word on what it has.

The event is taken when the receiver answers 2xx. That says nothing of the files, so the delivery goes on: a receiver
that sends a receipt (``domain/receipts.py``) is compared with the manifest. One that announces a receipt in its answer,
``{"receipt": "expected"}``, is given a day; any other may send one within ten minutes, and after that its 2xx is all
there is: the result says ``confirmed: false``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from chalicelib.delivery.safe_http import Answer, SafeClient
from chalicelib.domain.credentials import Secret, WebhookSecret
from chalicelib.domain.delivery_ports import Advance, Budget, CheckedTarget, DeliveryFault, Shipment, ShippedFile
from chalicelib.domain.destinations import WebhookDestination, label
from chalicelib.domain.model_event import LINKS_LIVE, model_event, ping_event
from chalicelib.domain.receipts import Receipt, ReceiptStatus, differences, receipt_key
from chalicelib.domain.webhook_signing import WebhookRejected, sign

#: How long a receipt is waited for: when the receiver announced it, and when it did not.
ANNOUNCED: Final = timedelta(hours=24)
UNANNOUNCED: Final = timedelta(minutes=10)
#: Pauses between looks for it.
FIRST_LOOK, LAST_LOOK = timedelta(seconds=15), timedelta(minutes=5)
_LONGEST_RETRY_AFTER = 24 * 3600
_HEADERS = {"Content-Type": "application/json", "User-Agent": "SimpleTuner-Cloud"}


class WebhookTarget:
    """``public_url`` is the stack's own, without a slash at its end; ``now`` is an aware time."""

    def __init__(
        self,
        destination: WebhookDestination,
        secret: Secret | None,
        *,
        client: SafeClient,
        public_url: Callable[[], str],
        now: Callable[[], datetime],
    ) -> None:
        if not isinstance(secret, WebhookSecret) or not secret.secrets:
            raise DeliveryFault(
                "credential_missing",
                "There is no secret to sign the event with.",
                "Store one: stcloud credentials add NAME --kind webhook",
                retry=False,
            )
        self._destination = destination
        self._secrets = [s.get_secret_value() for s in secret.secrets]
        self._client = client
        self._public_url = public_url
        self._now = now

    def check(self, *, seconds: float) -> CheckedTarget:
        """A signed ping; any 2xx will do."""
        now = self._now()
        answer = self._post(ping_event(now), f"ping_{int(now.timestamp() * 1_000_000)}", now, seconds=seconds)
        return CheckedTarget(facts=[f"{label(self._destination)} answered a signed ping with {answer.status}"])

    def send(self, shipment: Shipment, state: Mapping[str, Any] | None, budget: Budget) -> Advance:  # noqa: ARG002 - it is one request
        now = self._now()

        def presign(file: ShippedFile) -> str:
            name = file.path.rsplit("/", 1)[-1]
            return shipment.escrow.presign_get(file.source_key, expires=LINKS_LIVE, filename=name)

        event = model_event(
            job_id=shipment.job_id,
            run_name=shipment.run_name,
            delivery_id=shipment.delivery_id,
            files=shipment.files,
            presign=presign,
            public_url=self._public_url(),
            now=now,
        )
        # The same id at every try: the receiver knows by it that this is no other model.
        answer = self._post(event, shipment.delivery_id, now)
        taken = self._now()
        sent = {"taken_at": taken.isoformat(), "status": answer.status, "announced": _announces(answer)}
        return Advance(state=sent, done=True, files_done=len(shipment.files), bytes_done=shipment.bytes)

    def piece(self, shipment: Shipment, piece: Mapping[str, Any]) -> None:
        """There are none: one event is all that is sent."""

    def confirm(self, shipment: Shipment, state: Mapping[str, Any], budget: Budget) -> Advance:  # noqa: ARG002 - it only looks
        receipt = self._receipt(shipment)
        if receipt is not None:
            return self._confirmed(shipment, state, receipt)
        taken = datetime.fromisoformat(state["taken_at"])
        waited = self._now() - taken
        patience = ANNOUNCED if state["announced"] else UNANNOUNCED
        if waited < patience:
            pause = min(max(FIRST_LOOK, waited / 4), LAST_LOOK, patience - waited)
            return Advance(
                state=state,
                files_done=len(shipment.files),
                bytes_done=shipment.bytes,
                wait=max(pause, timedelta(seconds=1)),
            )
        if state["announced"]:
            raise DeliveryFault(
                "timeout",
                f"The receiver announced a receipt, and sent none within {_hours(patience)} hours.",
                "Look at the receiver. The event is sent again, with new links.",
                retry=True,
                restart=True,
            )
        result = {**self._taken(state), "confirmed": False}
        return Advance(state=state, done=True, files_done=len(shipment.files), bytes_done=shipment.bytes, result=result)

    def abandon(self, shipment: Shipment, state: Mapping[str, Any] | None) -> None:
        """An event can't be taken back; its links die by themselves."""

    def _receipt(self, shipment: Shipment) -> Receipt | None:
        data = shipment.escrow.get(receipt_key(shipment.state_prefix))
        try:
            return None if data is None else Receipt.model_validate_json(data)
        except ValidationError:
            return None  # of a release that writes others; the receiver may send another one

    def _confirmed(self, shipment: Shipment, state: Mapping[str, Any], receipt: Receipt) -> Advance:
        if receipt.status is ReceiptStatus.FAILED:
            raise DeliveryFault(
                "unavailable",
                f"The receiver could not save the files: {receipt.said}",
                "Put it right there. The event is sent again.",
                retry=True,
                restart=True,
            )
        wrong = differences(receipt, shipment.files)
        if wrong:
            raise DeliveryFault(
                "corrupt_at_target",
                f"The receiver's files are not those that were sent: {'; '.join(wrong)}.",
                "The event is sent again. If it happens again, look at the receiver's disk, and at what is between.",
                retry=True,
                restart=True,
            )
        result = {
            **self._taken(state),
            "confirmed": True,
            "receipt_at": receipt.at.isoformat() if receipt.at else None,
        }
        return Advance(state=state, done=True, files_done=len(shipment.files), bytes_done=shipment.bytes, result=result)

    @staticmethod
    def _taken(state: Mapping[str, Any]) -> dict[str, Any]:
        return {"taken": f"HTTP {state['status']}", "taken_at": state["taken_at"]}

    def _post(
        self, event: Mapping[str, Any], webhook_id: str, now: datetime, *, seconds: float | None = None
    ) -> Answer:
        body = json.dumps(event, separators=(",", ":")).encode()
        try:
            signature = sign(body, webhook_id=webhook_id, at=now, secrets=self._secrets)
        except WebhookRejected:
            raise DeliveryFault(
                "credential_missing",
                "The stored signing secret can't be used.",
                "Rotate it: stcloud credentials rotate NAME",
                retry=False,
            ) from None
        headers = {**_HEADERS, **signature}
        answer = self._client.send("POST", self._destination.url, headers=headers, content=body, seconds=seconds)
        if not answer.is_success:
            raise fault_of_answer(answer)
        return answer


def _announces(answer: Answer) -> bool:
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("receipt") == "expected"


def _hours(span: timedelta) -> int:
    return int(span.total_seconds() // 3600)


#: Status to code, advice, and whether trying again can help.
_ANSWERS: Mapping[int, tuple[str, str, bool]] = {
    400: ("bad_destination", "The receiver does not know this event; look at its log.", False),
    401: ("unauthorized", "Give the receiver the secret of this credential, or rotate it.", False),
    403: ("forbidden", "The receiver forbids it; look at its log, and at what is before it.", False),
    404: ("not_found", "Check the path of the webhook's URL.", False),
    405: ("bad_destination", "The URL does not take POST; check it.", False),
    408: ("timeout", "The receiver was too slow.", True),
    409: ("conflict", "The receiver works on it already; it is asked again.", True),
    410: ("gone", "The receiver wants no more events. Deliver to another URL.", False),
    413: ("too_large", "Let the receiver take bodies of 1 MB.", False),
    425: ("unavailable", "The receiver asks to be sent it again.", True),
    429: ("throttled", "The receiver asks for patience.", True),
}


def fault_of_answer(answer: Answer) -> DeliveryFault:
    """An answer that is not 2xx. 3xx and most 4xx will be the same tomorrow; 5xx may not."""
    status = answer.status
    if 300 <= status < 400:
        return DeliveryFault(
            "bad_destination",
            f"The receiver answered {status}, a redirect, which is not followed.",
            "Give the URL that it leads to.",
            retry=False,
        )
    code, advice, retry = _ANSWERS.get(
        status,
        ("unavailable", "The receiver is out of order; it is tried again.", True)
        if status >= 500
        else ("bad_destination", "Look at the receiver's log.", False),
    )
    message = f"The receiver answered {status}."
    return DeliveryFault(code, message, advice, retry=retry, retry_after=_retry_after(answer) if retry else None)


def _retry_after(answer: Answer) -> timedelta | None:
    value = answer.headers.get("retry-after", "").strip()
    if not (value.isascii() and value.isdigit()):
        return None
    return timedelta(seconds=min(int(value[:9]), _LONGEST_RETRY_AFTER))
