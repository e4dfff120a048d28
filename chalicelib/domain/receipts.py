"""What a receiver says of a delivery by webhook: which files it has, with which SHA-256. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.domain.delivery_ports import ShippedFile
from chalicelib.domain.shipping import MANIFEST_NAME

#: Files of one receipt; a training publishes a few hundred.
MAX_RECEIPT_FILES = 20_000
MAX_ERROR_CHARS = 500
#: How many paths a message names.
_SHOWN = 3
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")]


class ReceiptStatus(StrEnum):
    """SAVED: everything is there, read back. FAILED: the receiver could not keep it, and wants it sent again."""

    SAVED = "saved"
    FAILED = "failed"


class ReceivedFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str = Field(min_length=1, max_length=1024)
    size: int = Field(ge=0)
    sha256: Sha256


class Receipt(BaseModel):
    """``error`` is the receiver's own words when it failed."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: ReceiptStatus = ReceiptStatus.SAVED
    files: tuple[ReceivedFile, ...] = Field((), max_length=MAX_RECEIPT_FILES)
    error: str | None = Field(None, max_length=MAX_ERROR_CHARS)
    at: datetime | None = None

    @property
    def said(self) -> str:
        """Its error, fit for a message."""
        return _UNPRINTABLE.sub(" ", self.error or "").strip() or "it gave no reason"


def receipt_key(state_prefix: str) -> str:
    """Where the API puts it and the delivery finds it, in the outputs bucket."""
    return f"{state_prefix}receipt.json"


def differences(receipt: Receipt, files: Iterable[ShippedFile]) -> list[str]:
    """What of ``files`` the receiver does not have as it was sent, in words. The manifest need not be in a receipt."""
    has = {file.path: (file.size, file.sha256.lower()) for file in receipt.files}
    missing, other = [], []
    for file in files:
        found = has.get(file.path)
        if found is None and file.path != MANIFEST_NAME:
            missing.append(file.path)
        elif found is not None and found != (file.size, file.sha256):
            other.append(file.path)
    said = []
    if missing:
        said.append(f"{len(missing)} files are missing ({_some(missing)})")
    if other:
        said.append(f"{len(other)} files differ ({_some(other)})")
    return said


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")
