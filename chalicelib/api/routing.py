"""Declaring routes. Handlers see nothing of permission, parsing, error mapping, headers, rates and audit.

A handler is declared with ``Api.endpoint(...)``: method, path, permission, models of body, query and response. It is
called with a ``Call`` and its path parameters and returns a response model. The same declaration feeds the OpenAPI
document (``openapi.py``) and the test that walks all routes. What happens around a handler is in ``handling.py``.

Chalice turns ordinary exceptions into a bare 500 before REST middleware sees them, so they are mapped there, around the
handler (https://aws.github.io/chalice/topics/middleware.html, "Rest APIs").
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import cast

from chalice.app import Chalice, Request, Response
from pydantic import BaseModel

from chalicelib.api.declarations import (
    ENDPOINTS,
    Audited,
    Call,
    Endpoint,
    Handler,
    Noted,
    Reply,
    Runtime,
)
from chalicelib.api.handling import respond
from chalicelib.api.problems import PROBLEM, SECURITY_HEADERS, problem
from chalicelib.domain.permissions import Permission


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
        any_caller: bool = False,
        from_machines: bool = False,
        submit_errors: bool = False,
        headers: type[BaseModel] | None = None,
        raw_body: str = "",
        audited: Audited | None = None,
        spends: bool = False,
        operation_id: str = "",
        storage: bool = False,
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
                operation_id=operation_id or handler.__name__,
                public_reason=public_reason,
                any_caller=any_caller,
                from_machines=from_machines,
                submit_errors=submit_errors,
                headers=headers,
                raw_body=raw_body,
                audited=audited,
                spends=spends,
                storage=storage,
            )
            ENDPOINTS.append(endpoint)
            self._routes.append((endpoint, handler))
            return handler

        return declare


#: Bodies are read raw and parsed as JSON here, whatever the sender calls them: curl says form-urlencoded unless told.
_CONTENT_TYPES = ["*/*"]
_GREEDY = re.compile(r"{(\w+)\+}")


def _view(app: Chalice, runtime: Runtime, endpoint: Endpoint, handler: Handler) -> Callable[..., Response]:
    @functools.wraps(handler)
    def view(**parameters: str) -> Response:
        request = cast(Request, app.current_request)  # Chalice sets it before it calls a view
        # Chalice hands over no greedy parameter, since it looks for {word} alone (``RouteEntry._parse_view_args``,
        # https://github.com/aws/chalice/blob/1.34.0/chalice/app.py).
        greedy = {name: (request.uri_params or {}).get(name, "") for name in _GREEDY.findall(endpoint.path)}
        return respond(request, runtime, endpoint, handler, {**parameters, **greedy})

    return view


__all__ = [
    "ENDPOINTS",
    "PROBLEM",
    "SECURITY_HEADERS",
    "Api",
    "Audited",
    "Call",
    "Endpoint",
    "Noted",
    "Reply",
    "Runtime",
    "problem",
    "respond",
]
