"""The edge of every HTTP route: permission, parsing, error mapping, headers. Handlers see none of it.

A handler is declared with ``Api.endpoint(...)``: method, path, permission, models of body, query and response. It is
called with a ``Call`` and its path parameters and returns a response model. The same declaration feeds the OpenAPI
document (``openapi.py``) and the test that walks all routes.

Chalice turns ordinary exceptions into a bare 500 before REST middleware sees them, so they are mapped here, around the
handler (https://aws.github.io/chalice/topics/middleware.html, "Rest APIs").
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast
from urllib.parse import unquote

from chalice.app import Blueprint, Request, Response
from pydantic import BaseModel, ValidationError

from chalicelib.domain.lifecycle import ContendedError, JobGoneError
from chalicelib.domain.permissions import Permission, Principal
from chalicelib.domain.ports import StaleRecordError
from chalicelib.errors import AppError, BadRequest, Conflict, FieldError, PermissionDenied, ValidationFailed
from chalicelib.wiring import Services

logger = logging.getLogger(__name__)

B = TypeVar("B")
Q = TypeVar("Q")
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Call(Generic[B, Q]):
    """One request, parsed: who calls, the body and query as models, the raw parts for the few that need them."""

    services: Services
    who: Principal
    body: B
    query: Q
    headers: Mapping[str, str]
    raw_body: bytes
    request_id: str


@dataclass(frozen=True)
class Reply:
    """A response model with a status other than the declared one, or with headers."""

    model: BaseModel
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoint:
    """The declaration of one route. ``permission`` None means public, which ``public_reason`` has to justify."""

    method: str
    path: str
    summary: str
    permission: Permission | None
    response: type[BaseModel]
    body: type[BaseModel] | None
    query: type[BaseModel] | None
    status: int
    statuses: tuple[int, ...]
    tag: str
    operation_id: str
    description: str
    public_reason: str
    submit_errors: bool


ENDPOINTS: list[Endpoint] = []


class Api(Blueprint):
    """A Blueprint whose routes carry their declaration."""

    def __init__(self, import_name: str, *, tag: str) -> None:
        super().__init__(import_name)
        self._tag = tag

    def endpoint(
        self,
        method: str,
        path: str,
        *,
        permission: Permission | None,
        response: type[BaseModel],
        body: type[BaseModel] | None = None,
        query: type[BaseModel] | None = None,
        status: int = 200,
        statuses: tuple[int, ...] = (),
        public_reason: str = "",
        submit_errors: bool = False,
    ) -> Callable[[Callable[..., BaseModel | Reply]], Callable[..., Response]]:
        """Registers the decorated handler; its docstring becomes summary and description in the OpenAPI document."""
        if permission is None and not public_reason:
            raise ValueError(f"{method} {path}: a public route says why")

        def register(handler: Callable[..., BaseModel | Reply]) -> Callable[..., Response]:
            summary, _, rest = (handler.__doc__ or "").strip().partition("\n")
            endpoint = Endpoint(
                method=method,
                path=path,
                summary=summary.rstrip("."),
                description=re.sub(r"\n\s+", "\n", rest).strip(),
                permission=permission,
                response=response,
                body=body,
                query=query,
                status=status,
                statuses=statuses,
                tag=self._tag,
                operation_id=handler.__name__,
                public_reason=public_reason,
                submit_errors=submit_errors,
            )
            ENDPOINTS.append(endpoint)

            @functools.wraps(handler)
            def view(**parameters: str) -> Response:
                return respond(self.current_request, endpoint, handler, parameters)

            route = self.route(path, methods=[method], name=handler.__name__, content_types=_CONTENT_TYPES)
            return cast(Callable[..., Response], route(view))

        return register


#: Bodies are read raw and parsed as JSON here, whatever the sender calls them: curl says form-urlencoded unless told.
_CONTENT_TYPES = ["application/json", "application/x-www-form-urlencoded", "text/plain", "application/octet-stream"]


class Runtime:
    """What the routes need at run time, set once by the composition root and replaced by tests."""

    services: Callable[[], Services]
    authenticate: Callable[[Services, Mapping[str, str]], Principal]


def respond(
    request: Request,
    endpoint: Endpoint,
    handler: Callable[..., BaseModel | Reply],
    parameters: Mapping[str, str],
) -> Response:
    """Runs one request through authentication, permission, parsing and the handler; maps every error to a problem."""
    request_id = (request.context or {}).get("requestId", "local")
    try:
        reply = _handle(request, endpoint, handler, parameters, request_id)
    except AppError as error:
        logger.info("%s %s -> %s %s", endpoint.method, endpoint.path, error.status, error.code)
        return problem(error, request_id, submit=endpoint.submit_errors)
    except (StaleRecordError, ContendedError, JobGoneError):
        error = Conflict("It changed at this very moment; read it again and repeat.", code="changed_meanwhile")
        return problem(error, request_id, submit=endpoint.submit_errors)
    except Exception:
        # The last net of the edge: nothing internal may reach the client, everything must reach the log.
        logger.exception("%s %s failed, request %s", endpoint.method, endpoint.path, request_id)
        error = AppError(f"Something went wrong on our side. The log has it under request id {request_id}.")
        return problem(error, request_id, submit=endpoint.submit_errors)
    logger.info("%s %s -> %s", endpoint.method, endpoint.path, reply.status)
    return Response(
        body=reply.model.model_dump_json(),
        status_code=reply.status,
        headers={"Content-Type": "application/json", **SECURITY_HEADERS, **reply.headers},
    )


def _handle(
    request: Request,
    endpoint: Endpoint,
    handler: Callable[..., BaseModel | Reply],
    parameters: Mapping[str, str],
    request_id: str,
) -> Reply:
    headers = {str(k).lower(): str(v) for k, v in (request.headers or {}).items()}
    services = Runtime.services()
    who = _PUBLIC
    if endpoint.permission is not None:
        who = Runtime.authenticate(services, headers)
        if not who.may(endpoint.permission):
            raise PermissionDenied(
                f"This needs the permission {endpoint.permission.value}.", extra={"permission": endpoint.permission}
            )
    raw = _raw_body(request)
    call: Call[Any, Any] = Call(
        services=services,
        who=who,
        body=_parse_body(endpoint.body, raw) if endpoint.body else None,
        query=_parse_query(endpoint.query, request) if endpoint.query else None,
        headers=headers,
        raw_body=raw,
        request_id=request_id,
    )
    # Path parameters arrive URL-encoded (https://github.com/aws/chalice/issues/511).
    result = handler(call, **{name: unquote(value) for name, value in parameters.items()})
    return result if isinstance(result, Reply) else Reply(result, endpoint.status)


_PUBLIC = Principal(owner="", permissions=frozenset())


def _raw_body(request: Request) -> bytes:
    raw = request.raw_body
    if isinstance(raw, str):
        return raw.encode()
    return cast(bytes, raw or b"")


def _parse_body(model: type[BaseModel], raw: bytes) -> BaseModel:
    try:
        data = json.loads(raw or b"null")
    except (ValueError, RecursionError):
        raise BadRequest("The body is not valid JSON.", code="invalid_json") from None
    if not isinstance(data, dict):
        raise ValidationFailed(
            "The body must be a JSON object.", errors=[FieldError("body", "must be a JSON object", "dict_type")]
        )
    return _validate(model, data, "body")


def _parse_query(model: type[BaseModel], request: Request) -> BaseModel:
    query = request.query_params
    return _validate(model, dict(query) if query else {}, "query")


def _validate(model: type[BaseModel], data: Mapping[str, Any], where: str) -> BaseModel:
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        errors = [
            FieldError(".".join(str(part) for part in e["loc"]) or where, e["msg"], e["type"])
            for e in invalid.errors(include_url=False, include_context=False, include_input=False)
        ]
        first = errors[0]
        raise ValidationFailed(f"{first.field}: {first.message}", errors=errors[:50]) from None


def problem(error: AppError, request_id: str, *, submit: bool = False) -> Response:
    """The one place where an error becomes HTTP."""
    document: dict[str, Any] = {
        "type": f"https://simpletuner.dev/problems/{error.code}",
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
        document |= {"success": False, "job_id": error.extra.get("job_id"), "error": error.detail}
    headers = {"Content-Type": PROBLEM, **SECURITY_HEADERS}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(body=json.dumps(document, default=str), status_code=error.status, headers=headers)


__all__ = ["ENDPOINTS", "Api", "Call", "Endpoint", "Reply", "Runtime", "problem", "respond"]
