"""Errors of the product, with machine codes.

    AppError
    ├── BadRequest            400  the request can't be read
    ├── AuthenticationError   401  no or wrong credentials
    ├── PermissionDenied      403  known caller, missing permission
    ├── NotFound              404  no such thing, or not the caller's
    ├── Conflict              409  the thing is in a state that forbids it
    ├── PayloadTooLarge       413
    ├── ValidationFailed      422  readable but wrong; ``errors`` names the fields
    ├── TooManyRequests       429  a limit of the caller; may carry ``retry_after`` seconds
    ├── UpstreamError         502  the GPU provider answered badly
    └── Unavailable           503  ours to fix or to wait for

``detail`` is safe to show to the caller: it never holds a secret and says what to do. The HTTP status lives here and is
applied in one place, ``chalicelib.api.routing``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class FieldError:
    """One wrong field: ``field`` is a dotted path into the body or the query, ``message`` says what to do."""

    field: str
    message: str
    code: str = "invalid"


class AppError(Exception):
    """Base of everything that reaches a client on purpose.

    ``code`` is stable and machine readable, ``detail`` is for people, ``errors`` names fields, ``extra`` holds further
    JSON members of the problem document.
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        code: str | None = None,
        errors: Sequence[FieldError] = (),
        extra: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.errors = tuple(errors)
        self.extra = dict(extra or {})
        self.retry_after = retry_after


class BadRequest(AppError):
    status, default_code, title = 400, "bad_request", "Bad request"


class AuthenticationError(AppError):
    status, default_code, title = 401, "unauthenticated", "Authentication required"


class PermissionDenied(AppError):
    status, default_code, title = 403, "permission_denied", "Permission denied"


class NotFound(AppError):
    status, default_code, title = 404, "not_found", "Not found"


class Conflict(AppError):
    status, default_code, title = 409, "conflict", "Conflict"


class PayloadTooLarge(AppError):
    status, default_code, title = 413, "payload_too_large", "Payload too large"


class ValidationFailed(AppError):
    status, default_code, title = 422, "validation_failed", "Validation failed"


class TooManyRequests(AppError):
    status, default_code, title = 429, "too_many_requests", "Too many requests"


class UpstreamError(AppError):
    status, default_code, title = 502, "provider_error", "Provider error"


class Unavailable(AppError):
    status, default_code, title = 503, "unavailable", "Temporarily unavailable"
