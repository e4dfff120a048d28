"""Delivery to a bucket of a user's own.

Small files go up in one request, large ones in parts by many workers, ``manifest.json`` last. Every object carries the
job and the file's SHA-256 as metadata: what is there already is not sent again, what belongs to somebody else is never
overwritten, and nothing is ever deleted but the check's own canary.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.delivery.s3_check import check_bucket
from chalicelib.delivery.s3_files import Files, work
from chalicelib.delivery.s3_notes import Notes
from chalicelib.delivery.s3_pieces import Sizes
from chalicelib.delivery.s3_read_back import ReadBack
from chalicelib.delivery.s3_send import Sending
from chalicelib.domain.delivery_ports import Advance, Budget, CheckedTarget, Shipment
from chalicelib.domain.destinations import S3Destination
from chalicelib.domain.foreign_bucket import ForeignBucket

#: A worker begins no part after so many seconds; one part may take five minutes, and a function has fifteen.
PIECE_SECONDS = 540.0
DEFAULT_SIZES = Sizes()


class S3Target:
    """The Target port. ``bucket`` is the user's, ``quick(seconds)`` the same one for a check: no repeats, short
    time-outs. ``token`` gives short random texts."""

    def __init__(
        self,
        destination: S3Destination,
        bucket: ForeignBucket,
        quick: Callable[[float], ForeignBucket],
        *,
        token: Callable[[], str] = lambda: secrets.token_hex(8),
        monotonic: Callable[[], float] = time.monotonic,
        sizes: Sizes = DEFAULT_SIZES,
    ) -> None:
        self._sizes = sizes
        self._destination = destination
        self._bucket = bucket
        self._quick = quick
        self._token = token
        self._monotonic = monotonic

    def check(self, *, seconds: float) -> CheckedTarget:
        return check_bucket(
            self._destination, self._quick(seconds), token=self._token(), seconds=seconds, monotonic=self._monotonic
        )

    def send(self, shipment: Shipment, state: Mapping[str, Any] | None, budget: Budget) -> Advance:
        return Sending(self._files(shipment), budget).go(state)

    def piece(self, shipment: Shipment, piece: Mapping[str, Any]) -> None:
        stop_at = self._monotonic() + PIECE_SECONDS
        work(self._files(shipment), piece, lambda: self._monotonic() > stop_at)

    def confirm(self, shipment: Shipment, state: Mapping[str, Any], budget: Budget) -> Advance:
        return ReadBack(self._files(shipment), budget, self._token).go(state)

    def abandon(self, shipment: Shipment, state: Mapping[str, Any] | None) -> None:  # noqa: ARG002 - notes say more
        Notes(shipment, self._token).abort_uploads(self._bucket)

    def _files(self, shipment: Shipment) -> Files:
        return Files(self._destination, shipment, self._bucket, Notes(shipment, self._token), self._sizes)
