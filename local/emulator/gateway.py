"""API Gateway's binary media types and own answers, and a guard that keeps web pages away from the emulator's port.

Gaps of https://github.com/ministackorg/ministack 1.5.33.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from importlib import import_module
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from local.emulator.pins import require_source

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
_OWN_SITE = frozenset({"same-origin", "none"})
_PRESIGNED_PARAMETERS = ("x-amz-", "response-")
_API_PATH = "/_aws/execute-api/"
_OPEN_ADMIN_PATHS = ("/_ministack/health", "/_ministack/ready")


def patch_api_import() -> None:
    """Takes from the OpenAPI body what Chalice and SAM write there and ministack leaves: the binary media types (else
    every binary answer arrives as base64 text) and the gateway's own answers (else an unknown route is a bare 403)."""
    apis: Any = import_module("ministack.services.apigateway_v1")
    require_source(apis._import_rest_api, "data = dict(base_data or {})", "_create_rest_api(data)", "return api_id")
    require_source(apis._create_rest_api, '"binaryMediaTypes": data.get("binaryMediaTypes", [])')
    require_source(apis._put_gateway_response, "(api_id, response_type, data)", 'data.get("responseTemplates")')
    create = apis._import_rest_api

    def patched(spec: dict[str, Any], base_data: dict[str, Any] | None = None) -> Any:
        data = dict(base_data or {})
        declared = spec.get("x-amazon-apigateway-binary-media-types") or []
        data["binaryMediaTypes"] = [*dict.fromkeys([*(data.get("binaryMediaTypes") or []), *declared])]
        api_id = create(spec, data)
        for kind, answer in (spec.get("x-amazon-apigateway-gateway-responses") or {}).items():
            apis._put_gateway_response(api_id, kind, answer)
        return api_id

    apis._import_rest_api = patched


def _host_name(authority: str) -> str:
    name = authority.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def refusal(method: str, path: str, query: str, headers: dict[str, str]) -> str | None:
    """Why a request is not served, or None. ``headers`` have lower-case names; ``query`` is as sent.

    The emulator is root for whoever reaches it (key ``test``, any secret) and can be wiped by one request, so a page of
    another site must not reach it: neither by its own origin, nor by a name of its own that resolves to this computer,
    nor by an address in an image or a link, which a browser sends without an Origin (``Sec-Fetch-Site`` says so:
    https://www.w3.org/TR/fetch-metadata/).
    """
    name = _host_name(headers.get("host", ""))
    if not (name in LOOPBACK_NAMES or name.endswith((".localhost", ".cloudfront.net"))):
        return "This address answers on loopback names only."
    origin = headers.get("origin")
    if origin is not None:
        parts = urlsplit(origin)
        if _host_name(parts.netloc) not in LOOPBACK_NAMES:
            return "This address doesn't answer pages of other sites."
    sent = parse_qsl(query, keep_blank_values=True)
    names = {key.lower(): value for key, value in sent}
    # A deployed API has parameters of its own: `action`, but not AWS's `Action`.
    of_an_api = name.endswith(".cloudfront.net") or path.startswith(_API_PATH)
    if "action" in names and not (of_an_api and "Action" not in dict(sent)):
        # SDKs send an action in the body of a POST; in an address anybody could put it into a link.
        return "Actions are taken in the body of a POST only."
    # A distribution's name is no name of this computer for a browser: such a request comes through the front door,
    # which has looked at it.
    site = headers.get("sec-fetch-site", "none").strip().lower()
    if site not in _OWN_SITE and not name.endswith(".cloudfront.net") and not _is_presigned(method, path, names):
        return "Pages get presigned S3 objects only from this address."
    if path.startswith(("/_ministack/", "/_localstack/")) and path not in _OPEN_ADMIN_PATHS:
        return "Its administration is closed; use `make reset`."
    return None


def _is_presigned(method: str, path: str, query: Mapping[str, str]) -> bool:
    """Whether this reads or writes one S3 object by a presigned address, as the console's pages do; ``query`` has
    lower-case names. Writing (and asking for leave to, with OPTIONS) a browser never does without an Origin."""
    bucket, _, key = path.removeprefix("/").partition("/")
    scope = query.get("x-amz-credential", "").split("/")
    return (
        method in {"GET", "HEAD", "PUT", "OPTIONS"}
        and bool(bucket and key)
        and bool(query.get("x-amz-signature"))
        and len(scope) == 5
        and scope[3:] == ["s3", "aws4_request"]
        and all(name.startswith(_PRESIGNED_PARAMETERS) or name == "x-id" for name in query)
    )


def guarded(app: Asgi) -> Asgi:
    """``app`` behind ``refusal``."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            query = scope.get("query_string", b"").decode("latin-1")
            reason = refusal(scope["method"], scope.get("path", ""), query, headers)
            if reason is not None:
                await _forbid(send, reason)
                return
        await app(scope, receive, send)

    return wrapped


async def _forbid(send: Send, reason: str) -> None:
    document = {
        "type": "urn:problem-type:simpletuner-cloud:not_served_here",
        "title": "Forbidden",
        "status": 403,
        "detail": reason,
        "code": "not_served_here",
        "request_id": "local",
        "errors": [],
        "error": "not_served_here",
        "message": reason,
    }
    body = json.dumps(document).encode()
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
