"""The one place where an error becomes HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chalice.app import Response

from chalicelib.errors import AppError

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
PROBLEM = "application/problem+json"
#: What SimpleTuner's answer to a refused submit holds beside ``success`` and ``error``; its ``status`` is null there
#: and the HTTP status here, as RFC 9457 wants it.
_REFUSED_SUBMIT: Mapping[str, Any] = {
    "data_uploaded": False,
    "upload_id": None,
    "cost_limit_warning": None,
    "quota_warnings": [],
    "idempotent_hit": False,
}
Headers = Mapping[str, str | list[str]]


def problem(error: AppError, request_id: str, *, submit: bool = False, headers: Headers | None = None) -> Response:
    """The problem document of ``error``; ``headers`` are sent as well."""
    document: dict[str, Any] = {
        "type": f"urn:problem-type:simpletuner-cloud:{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "request_id": request_id,
        "errors": [{"field": e.field, "message": e.message, "code": e.code} for e in error.errors],
        **error.extra,
    }
    document.setdefault("error", error.code)
    document.setdefault("message", error.detail)
    if submit:
        document |= {"success": False, "job_id": error.extra.get("job_id"), "error": error.detail, **_REFUSED_SUBMIT}
    sent: dict[str, str | list[str]] = {"Content-Type": PROBLEM, **SECURITY_HEADERS, **(headers or {})}
    if error.retry_after is not None:
        sent["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        sent["WWW-Authenticate"] = "Bearer"
    return Response(body=json.dumps(document, default=str), status_code=error.status, headers=sent)
