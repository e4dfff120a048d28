"""Replicate's routes under /v1. Handlers turn requests into calls of the engine and nothing more."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.sandbox.clock import parse_iso
from local.sandbox.contract import (
    MACHINES,
    Machine,
    check_input,
    find_machine,
    hardware_json,
    model_json,
    resolve_version,
    version_json,
)
from local.sandbox.engine import Engine
from local.sandbox.predictions import EVENTS, Prediction, parse_cancel_after
from local.sandbox.problems import Problem, invalid, not_found

MAX_BODY_BYTES = 10 * 1024 * 1024
_BODY_KEYS = frozenset({"version", "input", "webhook", "webhook_events_filter", "stream"})


class Api:
    """One instance serves one engine. Handlers raise Problem; routing.py turns it into the answer."""

    def __init__(self, engine: Engine, webhook_secret: str) -> None:
        self._engine = engine
        self._webhook_secret = webhook_secret

    async def create(self, request: Request) -> Response:
        body = await read_json(request)
        if not isinstance(body, Mapping):
            raise invalid("body: Invalid type. Expected: object")
        unknown = sorted(set(body) - _BODY_KEYS)
        if unknown:
            raise invalid(*(f"{name}: Additional property is not allowed" for name in unknown), fields=unknown)
        machine = resolve_version(body.get("version"))
        given = check_input(body.get("input"))
        webhook, events = _webhook(body)
        cancel_after = request.headers.get("cancel-after")
        prediction = self._engine.create(
            machine=machine,
            given=given,
            webhook=webhook,
            events=events,
            cancel_after=parse_cancel_after(cancel_after) if cancel_after is not None else None,
        )
        request.state.prediction_id = prediction.id
        answer = self._engine.public(prediction)
        return JSONResponse(answer, status_code=201, headers={"location": answer["urls"]["get"]})

    async def list(self, request: Request) -> Response:
        query = request.query_params
        if query.get("source", "web") != "web":
            raise invalid("source: must be 'web'", fields=["source"])
        if "source" in query:  # everything here was created through the API
            return JSONResponse({"next": None, "previous": None, "results": []})
        found, below = self._engine.page(
            below=_cursor(query.get("cursor")),
            created_after=_time(query.get("created_after"), "created_after"),
            created_before=_time(query.get("created_before"), "created_before"),
        )
        following = None
        if below is not None:
            kept = {k: v for k, v in query.items() if k in {"created_after", "created_before"}}
            cursor = base64.urlsafe_b64encode(f"o={below}".encode()).decode()
            following = f"{self._engine.options.origin}/v1/predictions?{urlencode({'cursor': cursor, **kept})}"
        results = [self._engine.public(p, with_logs=False) for p in found]
        return JSONResponse({"next": following, "previous": None, "results": results})

    async def get(self, request: Request) -> Response:
        return JSONResponse(self._engine.public(self._prediction(request)))

    async def cancel(self, request: Request) -> Response:
        prediction = self._prediction(request)
        self._engine.cancel(prediction)
        return JSONResponse(self._engine.public(prediction))

    async def account(self, _: Request) -> Response:
        return JSONResponse(
            {
                "type": "organization",
                "username": "sandbox",
                "name": "Local sandbox (no GPU, no bill)",
                "github_url": "https://sandbox.invalid",
            }
        )

    async def hardware(self, _: Request) -> Response:
        return JSONResponse(hardware_json())

    async def secret(self, _: Request) -> Response:
        return JSONResponse({"key": self._webhook_secret})

    async def models(self, _: Request) -> Response:
        results = [model_json(machine, self._engine.options.origin) for machine in MACHINES.values()]
        return JSONResponse({"next": None, "previous": None, "results": results})

    async def model(self, request: Request) -> Response:
        return JSONResponse(model_json(_machine(request), self._engine.options.origin))

    async def versions(self, request: Request) -> Response:
        return JSONResponse({"next": None, "previous": None, "results": [version_json(_machine(request))]})

    async def version(self, request: Request) -> Response:
        machine = _machine(request)
        if request.path_params["version"] != machine.version:
            raise not_found()
        return JSONResponse(version_json(machine))

    def _prediction(self, request: Request) -> Prediction:
        prediction = self._engine.get(request.path_params["prediction_id"])
        if prediction is None:
            raise not_found()
        return prediction


async def read_json(request: Request) -> Any:
    """The body as JSON, at most MAX_BODY_BYTES. What came of it is kept on the request, so asking again is free and
    gives the same. Raises Problem."""
    if not hasattr(request.state, "json"):
        try:
            request.state.json = json.loads(await _body(request))
        except Problem as problem:
            request.state.json = problem
        except (ValueError, RecursionError):
            request.state.json = Problem(400, "Bad request", "The body is no valid JSON")
    if isinstance(request.state.json, Problem):
        raise request.state.json
    return request.state.json


async def _body(request: Request) -> bytes:
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise Problem(413, "Payload too large", f"The body must have at most {MAX_BODY_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _machine(request: Request) -> Machine:
    return find_machine(request.path_params["owner"], request.path_params["name"])


def _webhook(body: Mapping[str, Any]) -> tuple[str | None, list[str] | None]:
    """Replicate demands HTTPS; the sandbox lets plain HTTP through because everything local is."""
    url, events = body.get("webhook"), body.get("webhook_events_filter")
    if url is not None:
        try:
            parts = urlsplit(url) if isinstance(url, str) else None
            sound = parts is not None and parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            sound = False
        if not sound:
            raise invalid("webhook: Does not match format 'uri'", fields=["webhook"])
    if events is not None and (not isinstance(events, list) or any(event not in EVENTS for event in events)):
        raise invalid(f"webhook_events_filter: must be a list of {', '.join(EVENTS)}", fields=["webhook_events_filter"])
    return url, events


def _cursor(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        name, _, value = base64.urlsafe_b64decode(text).decode().partition("=")
        if name == "o":
            return int(value)
    except (binascii.Error, ValueError):
        pass
    raise invalid("cursor: is not one of ours", fields=["cursor"])


def _time(text: str | None, name: str) -> datetime | None:
    if text is None:
        return None
    try:
        return parse_iso(text)
    except ValueError:
        raise invalid(f"{name}: Does not match format 'date-time'", fields=[name]) from None
