"""Errors as Replicate answers them: ``application/problem+json`` with title, detail and status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse


class Problem(Exception):
    """Ends a request with this HTTP status and problem document; ``extra`` members join the document."""

    def __init__(
        self, status: int, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.document: dict[str, Any] = {"title": title, "detail": detail, "status": status, **extra}

    def response(self) -> JSONResponse:
        return JSONResponse(
            self.document, status_code=self.status, headers=self.headers, media_type="application/problem+json"
        )


def unauthenticated() -> Problem:
    return Problem(401, "Unauthenticated", "You did not pass a valid authentication token")


def not_found() -> Problem:
    return Problem(404, "Not found", "The requested resource does not exist, or you don't have permission to see it.")


def invalid(*messages: str, fields: list[str] | None = None, title: str = "Input validation failed") -> Problem:
    """422; ``messages`` are listed as Replicate lists them, one ``- `` line each."""
    return Problem(422, title, "\n".join(f"- {m}" for m in messages), invalid_fields=fields or [])


def throttled(seconds: float) -> Problem:
    """429 with the text Replicate documents. It documents no Retry-After header, so none is sent."""
    wait = max(1, round(seconds))
    return Problem(429, "Too many requests", f"Request was throttled. Your rate limit resets in ~{wait}s.")
