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

from chalice.app import Chalice, Request, Response
from pydantic import BaseModel

from chalicelib.api.cross_site import refuse_cross_site
from chalicelib.api.parsing import parse_body, parse_path, parse_query, read_body
from chalicelib.domain.lifecycle import ContendedError, JobGoneError
from chalicelib.domain.permissions import Permission, Principal
from chalicelib.domain.ports import StaleRecordError
from chalicelib.errors import AppError, Conflict, PermissionDenied
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
    """The declaration of one route. ``permission`` None means public, which ``public_reason`` has to justify.

    ``headers`` describes request headers by their aliases and ``raw_body`` a body that the handler reads itself; both
    are for the OpenAPI document only.
    """

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
    headers: type[BaseModel] | None
    raw_body: str

    @property
    def changes_something(self) -> bool:
        return self.method != "GET"


ENDPOINTS: list[Endpoint] = []


@dataclass(frozen=True)
class Runtime:
    """What the routes of one app need at run time; both are called for each request."""

    services: Callable[[], Services]
    authenticate: Callable[[Services, Mapping[str, str]], Principal]


Handler = Callable[..., BaseModel | Reply]


class Api:
    """The routes of one resource, with their declarations.

    It is no Chalice Blueprint, because one can be registered only once: its options are consumed by the first app
    (``Chalice._register_route`` pops them, https://github.com/aws/chalice/blob/1.34.0/chalice/app.py).
    """

    def __init__(self, *, tag: str) -> None:
        self._tag = tag
        self._routes: list[tuple[Endpoint, Handler]] = []

    def mount(self, app: Chalice, runtime: Runtime) -> None:
        """Registers every route on ``app``."""
        for endpoint, handler in self._routes:
            view = _view(app, runtime, endpoint, handler)
            app.route(
                endpoint.path, methods=[endpoint.method], name=endpoint.operation_id, content_types=_CONTENT_TYPES
            )(view)

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
        headers: type[BaseModel] | None = None,
        raw_body: str = "",
    ) -> Callable[[Handler], Handler]:
        """Declares the decorated handler; its docstring becomes summary and description in the OpenAPI document."""
        if permission is None and not public_reason:
            raise ValueError(f"{method} {path}: a public route says why")

        def declare(handler: Handler) -> Handler:
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
                headers=headers,
                raw_body=raw_body,
            )
            ENDPOINTS.append(endpoint)
            self._routes.append((endpoint, handler))
            return handler

        return declare


#: Bodies are read raw and parsed as JSON here, whatever the sender calls them: curl says form-urlencoded unless told.
_CONTENT_TYPES = ["*/*"]


def _view(app: Chalice, runtime: Runtime, endpoint: Endpoint, handler: Handler) -> Callable[..., Response]:
    @functools.wraps(handler)
    def view(**parameters: str) -> Response:
        request = cast(Request, app.current_request)  # Chalice sets it before it calls a view
        return respond(request, runtime, endpoint, handler, parameters)

    return view


def respond(
    request: Request,
    runtime: Runtime,
    endpoint: Endpoint,
    handler: Handler,
    parameters: Mapping[str, str],
) -> Response:
    """Runs one request through authentication, permission, parsing and the handler; maps every error to a problem."""
    request_id = (request.context or {}).get("requestId", "local")
    try:
        reply = _handle(request, runtime, endpoint, handler, parameters, request_id)
        body = reply.model.model_dump_json()
    except AppError as error:
        logger.info("%s %s -> %s %s", endpoint.method, endpoint.path, error.status, error.code)
        return problem(error, request_id, submit=endpoint.submit_errors)
    except (StaleRecordError, ContendedError, JobGoneError):
        conflict = Conflict("It changed at this very moment; read it again and repeat.", code="changed_meanwhile")
        return problem(conflict, request_id, submit=endpoint.submit_errors)
    except Exception:
        # The last net of the edge: nothing internal may reach the client, everything must reach the log.
        logger.exception("%s %s failed, request %s", endpoint.method, endpoint.path, request_id)
        unforeseen = AppError(f"Something went wrong on our side. The log has it under request id {request_id}.")
        return problem(unforeseen, request_id, submit=endpoint.submit_errors)
    logger.info("%s %s -> %s", endpoint.method, endpoint.path, reply.status)
    return Response(
        body=body,
        status_code=reply.status,
        headers={"Content-Type": "application/json", **SECURITY_HEADERS, **reply.headers},
    )


def _handle(
    request: Request,
    runtime: Runtime,
    endpoint: Endpoint,
    handler: Handler,
    parameters: Mapping[str, str],
    request_id: str,
) -> Reply:
    headers = {str(k).lower(): str(v) for k, v in (request.headers or {}).items()}
    services = runtime.services()
    who = _PUBLIC
    if endpoint.permission is not None:
        who = runtime.authenticate(services, headers)
        if not who.may(endpoint.permission):
            raise PermissionDenied(
                f"This needs the permission {endpoint.permission.value}.", extra={"permission": endpoint.permission}
            )
        if endpoint.changes_something:
            refuse_cross_site(headers, services.ports.facts.public_url)
    raw = read_body(request)
    call: Call[Any, Any] = Call(
        services=services,
        who=who,
        body=parse_body(endpoint.body, raw) if endpoint.body else None,
        query=parse_query(endpoint.query, request) if endpoint.query else None,
        headers=headers,
        raw_body=raw,
        request_id=request_id,
    )
    result = handler(call, **parse_path(parameters))
    return result if isinstance(result, Reply) else Reply(result, endpoint.status)


_PUBLIC = Principal(owner="", permissions=frozenset())
#: What SimpleTuner's answer to a refused submit holds beside ``success`` and ``error``; its ``status`` is null there
#: and the HTTP status here, as RFC 9457 wants it.
_REFUSED_SUBMIT: Mapping[str, Any] = {
    "data_uploaded": False,
    "upload_id": None,
    "cost_limit_warning": None,
    "quota_warnings": [],
    "idempotent_hit": False,
}


def problem(error: AppError, request_id: str, *, submit: bool = False) -> Response:
    """The one place where an error becomes HTTP."""
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
    headers: dict[str, str | list[str]] = {"Content-Type": PROBLEM, **SECURITY_HEADERS}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(body=json.dumps(document, default=str), status_code=error.status, headers=headers)


__all__ = ["ENDPOINTS", "Api", "Call", "Endpoint", "Reply", "Runtime", "problem", "respond"]
