"""Receipts and links of webhook deliveries, on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from chalicelib.domain.deliveries import DeliveryState
from chalicelib.domain.escrow import FileKind
from chalicelib.schemas.base import RequestModel, ResponseModel


class ReceiverHeaders(RequestModel):
    """Of a signed request; with an API key none of them is needed."""

    webhook_id: str | None = Field(None, alias="webhook-id", max_length=256)
    webhook_timestamp: str | None = Field(None, alias="webhook-timestamp", max_length=20)
    webhook_signature: str | None = Field(None, alias="webhook-signature", max_length=4096)


class ReceiptTaken(ResponseModel):
    """``state`` is the delivery's, as it is now; the receipt is compared within minutes."""

    success: Literal[True] = True
    state: DeliveryState


class LinksQuery(RequestModel):
    after: str | None = Field(None, max_length=1024, description="`next` of the answer or event before.")


class LinkView(ResponseModel):
    path: str
    size: int
    sha256: str
    kind: FileKind
    url: str


class LinksResponse(ResponseModel):
    """``url`` is a presigned GET, good until ``expires_at`` at most; ``next`` is the value for ``after`` when there are
    more, else null."""

    files: list[LinkView]
    next: str | None
    expires_at: datetime
