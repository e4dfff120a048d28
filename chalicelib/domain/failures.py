"""Why a job failed: a stable code, whose fault it is, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class FaultKind(StrEnum):
    """Who has to act: the user, the GPU provider, nobody but time (capacity), the account's owner (auth), or us."""

    USER = "user"
    PROVIDER = "provider"
    CAPACITY = "capacity"
    AUTH = "auth"
    LIMIT = "limit"
    THROTTLED = "throttled"
    OURS = "ours"


class Failure(BaseModel):
    """Part of the job record. ``message`` is what happened, ``advice`` what to do; neither holds a secret."""

    model_config = ConfigDict(frozen=True)

    code: str
    kind: FaultKind
    message: str
    advice: str = ""


class ProviderFault(Exception):
    """A provider call that did not do what was asked.

    ``kind`` classifies it; ``sent`` says whether the request may have taken effect: False means the provider certainly
    did nothing (refused, not connected), True that nobody knows (time-out, connection lost, 5xx): then Launch waits
    until whatever was created must show, before it may create again. ``retry_after`` is in seconds when the provider
    said so.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: FaultKind,
        code: str,
        sent: bool,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.code = code
        self.sent = sent
        self.status = status
        self.retry_after = retry_after
