"""Errors of the command line and the exit codes they end with.

    StcloudError
    ├── UsageError             2    the command line or a local file is wrong
    ├── ApiError               4    the server refused
    │   ├── AuthenticationError     401
    │   ├── PermissionDenied        403
    │   ├── NotFound                404
    │   ├── Conflict                409
    │   ├── ValidationFailed        400, 413, 422
    │   ├── RateLimited             429
    │   └── ServerError             5xx
    ├── TransferError          4    a file could not be stored or is not what the server says it is
    ├── LocalError             1    this computer could not do its part (full disk, no permission)
    ├── NetworkError           5    the server can't be reached
    └── Interrupted          130    stopped by the user

Messages never hold a token. ``advice`` is the next thing to do, in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Self


class ExitCode(IntEnum):
    """What a command ends with; also what ``jobs watch`` says about the job."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    API = 4
    NETWORK = 5
    #: The job completed, and its model is safe in escrow, but did not arrive at one of its destinations.
    NOT_DELIVERED = 6
    INTERRUPTED = 130


@dataclass(frozen=True)
class FieldProblem:
    """One wrong field of a request, as the server names it."""

    field: str
    message: str
    code: str = "invalid"


class StcloudError(Exception):
    """Base of everything a command ends with on purpose. ``code`` is stable and machine readable."""

    exit_code: ClassVar[ExitCode] = ExitCode.FAILED
    code: str = "error"

    def __init__(self, message: str, *, advice: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice
        if code is not None:
            self.code = code

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints about it."""
        return {
            "code": self.code,
            "message": self.message,
            "advice": self.advice,
            "exit_code": int(self.exit_code),
        }


class UsageError(StcloudError):
    exit_code = ExitCode.USAGE
    code = "usage"


class LocalError(StcloudError):
    code = "local_error"


class TransferError(StcloudError):
    exit_code = ExitCode.API
    code = "transfer_failed"


class NetworkError(StcloudError):
    exit_code = ExitCode.NETWORK
    code = "unreachable"


class Interrupted(StcloudError):
    exit_code = ExitCode.INTERRUPTED
    code = "interrupted"


class ApiError(StcloudError):
    """The server's answer was an error. ``extra`` holds the whole problem document."""

    exit_code = ExitCode.API
    code = "api_error"

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        code: str,
        errors: Sequence[FieldProblem] = (),
        request_id: str | None = None,
        advice: str | None = None,
        retry_after: float | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail or title, advice=advice, code=code)
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = tuple(errors)
        self.request_id = request_id
        self.retry_after = retry_after
        self.extra = extra or {}

    def said(self, message: str) -> Self:
        """The same error in other words."""
        return type(self)(
            self.status,
            self.title,
            message,
            code=self.code,
            errors=self.errors,
            request_id=self.request_id,
            advice=self.advice,
            retry_after=self.retry_after,
            extra=self.extra,
        )

    def as_dict(self) -> dict[str, Any]:
        return {
            **super().as_dict(),
            "status": self.status,
            "title": self.title,
            "errors": [{"field": e.field, "message": e.message, "code": e.code} for e in self.errors],
            "request_id": self.request_id,
        }


class AuthenticationError(ApiError):
    pass


class PermissionDenied(ApiError):
    pass


class NotFound(ApiError):
    pass


class Conflict(ApiError):
    pass


class ValidationFailed(ApiError):
    pass


class RateLimited(ApiError):
    pass


class ServerError(ApiError):
    pass


def api_error_class(status: int) -> type[ApiError]:
    """The class for an HTTP status."""
    if status >= 500:
        return ServerError
    return {
        400: ValidationFailed,
        401: AuthenticationError,
        403: PermissionDenied,
        404: NotFound,
        409: Conflict,
        413: ValidationFailed,
        422: ValidationFailed,
        429: RateLimited,
    }.get(status, ApiError)
