"""Puts the Hub together: routes, controls for programs on this machine, and a page that says what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from local.sandbox.hub.faults import Rules, RulesError
from local.sandbox.hub.gate import HubError, HubGate, base_of
from local.sandbox.hub.large import Large
from local.sandbox.hub.people import READ_TOKEN, WRITE_TOKEN, Holder, default_tokens
from local.sandbox.hub.repos import Repos, body_bytes
from local.sandbox.hub.storage import HubStorage
from local.sandbox.problems import Problem
from local.sandbox.routing import local_only


@dataclass(frozen=True)
class HubOptions:
    """``tokens`` None are the documented ones. See ``Large`` for the rest."""

    data_dir: Path
    tokens: Mapping[str, Holder] | None = None
    chunk_bytes: int = 16_000_000
    link_seconds: float = 3600.0


@dataclass
class Hub:
    """The application, and its inside for tests in the same process."""

    app: Starlette
    storage: HubStorage
    gate: HubGate
    large: Large = field(repr=False)


def build_hub(options: HubOptions) -> Hub:
    storage = HubStorage(options.data_dir)
    gate = HubGate(default_tokens() if options.tokens is None else options.tokens)
    large = Large(storage, gate, chunk_bytes=options.chunk_bytes, link_seconds=options.link_seconds)
    routes = [*_controls(storage, gate), *large.routes(), *Repos(storage, gate).routes()]
    return Hub(Starlette(routes=routes, exception_handlers={HTTPException: _http_error}), storage, gate, large)


def _controls(storage: HubStorage, gate: HubGate) -> list[Route]:
    async def page(request: Request) -> Response:
        repos = [f"  {r.name} ({'private' if r.private else 'public'})" for r in storage.repos()]
        lines = [
            "This is a sandbox, not huggingface.co: a Hub-compatible server on this computer.",
            f"Address: {base_of(request)}",
            f"Token that writes: {WRITE_TOKEN}    token that only reads: {READ_TOKEN}",
            "Repositories:",
            *(repos or ["  none yet"]),
        ]
        return PlainTextResponse("\n".join(lines) + "\n")

    async def faults(request: Request) -> Response:
        if request.method == "PUT":
            try:
                gate.rules = Rules.parse(json.loads(await body_bytes(request)))
            except (RulesError, ValueError) as error:
                raise Problem(422, "Invalid rules", str(error)) from None
        return JSONResponse({"rules": [rule.to_json() for rule in gate.rules.rules]})

    async def requests(_: Request) -> Response:
        return JSONResponse({"requests": list(gate.requests)})

    async def reset(_: Request) -> Response:
        storage.clear()
        gate.requests.clear()
        gate.rules = Rules()
        return JSONResponse({"status": "reset"})

    return [
        Route("/", local_only(page), methods=["GET"]),
        Route("/__sandbox__/faults", local_only(faults), methods=["GET", "PUT"]),
        Route("/__sandbox__/requests", local_only(requests), methods=["GET"]),
        Route("/__sandbox__/reset", local_only(reset), methods=["POST"]),
    ]


def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return HubError(error.status_code, str(error.detail)).response()
