"""API Gateway's binary media types and own answers, and a guard that keeps web pages away from the emulator's port.

Gaps of https://github.com/ministackorg/ministack 1.5.33.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from local.emulator.pins import require_source

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
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


def refusal(path: str, headers: dict[str, str]) -> str | None:
    """Why a request is not served, or None. ``headers`` have lower-case names.

    The emulator is root for whoever reaches it (key ``test``, any secret) and can be wiped by one POST, so a page of
    another site must not reach it: neither by its own origin nor by a name of its own that resolves to this computer.
    """
    name = _host_name(headers.get("host", ""))
    if not (name in LOOPBACK_NAMES or name.endswith((".localhost", ".cloudfront.net"))):
        return "This emulator answers on loopback names only."
    origin = headers.get("origin")
    if origin is not None:
        parts = urlsplit(origin)
        if _host_name(parts.netloc) not in LOOPBACK_NAMES:
            return "This emulator doesn't answer pages of other sites."
    if path.startswith(("/_ministack/", "/_localstack/")) and path not in _OPEN_ADMIN_PATHS:
        return "The emulator's administration is closed; use `make reset`."
    return None


def guarded(app: Asgi) -> Asgi:
    """``app`` behind ``refusal``."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            reason = refusal(scope.get("path", ""), headers)
            if reason is not None:
                await _forbid(send, reason)
                return
        await app(scope, receive, send)

    return wrapped


async def _forbid(send: Send, reason: str) -> None:
    body = json.dumps({"message": reason}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
