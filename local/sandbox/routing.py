"""What every request passes through (token, rate limit, seeded faults, recorder) and who may reach the controls."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local.sandbox.api import read_json
from local.sandbox.clock import Clock, iso
from local.sandbox.connections import abort
from local.sandbox.engine import Engine
from local.sandbox.faults import API_FAULTS, Strike
from local.sandbox.predictions import Prediction
from local.sandbox.problems import Problem, throttled, unauthenticated
from local.sandbox.ratelimit import RateLimit
from local.sandbox.recorder import Recorder

Handler = Callable[[Request], Awaitable[Response]]
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class NoAnswer(Response):
    """Closes the connection without a byte."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 (ASGI's signature)
        await abort(scope)


class Gate:
    """Wraps handlers of the provider's API."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        *,
        token: str,
        clock: Clock,
        creates_per_minute: int,
        others_per_minute: int,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._recorder = recorder
        self._token = token.encode()
        self._clock = clock
        self._creates = RateLimit(creates_per_minute, monotonic)
        self._others = RateLimit(others_per_minute, monotonic)
        self._count = 0

    def wrap(self, handler: Handler, *, creates: bool = False) -> Handler:
        async def guarded(request: Request) -> Response:
            entry = self._note(request)
            try:
                response = await self._answer(request, handler, entry, creates)
            except Problem as problem:
                response = problem.response()
            entry["status"] = None if isinstance(response, NoAnswer) else response.status_code
            entry["prediction"] = getattr(request.state, "prediction_id", entry["prediction"])
            return response

        return guarded

    async def _answer(self, request: Request, handler: Handler, entry: dict[str, Any], creates: bool) -> Response:
        self._authenticate(request)
        wait = (self._creates if creates else self._others).wait()
        if wait:
            raise throttled(wait)
        strike = await self._strike(request, creates)
        if strike is None:
            return await handler(request)
        entry["fault"] = f"{strike.kind} {strike.options['when']}"
        if strike.options["when"] == "after":
            await handler(request)
        return await _spoil(strike)

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self._token):
            raise unauthenticated()

    async def _strike(self, request: Request, creates: bool) -> Strike | None:
        self._count += 1
        subject: Prediction | None = None
        if creates:
            ordinal, job = self._engine.next_ordinal, await _job_of_body(request)
        else:
            subject = self._engine.get(request.path_params.get("prediction_id", ""))
            ordinal, job = (subject.ordinal, subject.job) if subject else (0, None)
        strikes = self._engine.plan.strike(
            API_FAULTS,
            f"request/{self._count}",
            prediction=ordinal,
            job=job,
            method=request.method,
            path=request.url.path,
        )
        return strikes[0] if strikes else None

    def _note(self, request: Request) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "time": iso(self._clock()),
            "method": request.method,
            "path": request.url.path,
            "query": request.url.query,
            "prediction": request.path_params.get("prediction_id"),
            "status": None,
            "fault": None,
        }
        self._recorder.requests.append(entry)
        return entry


async def _job_of_body(request: Request) -> str | None:
    """The job tag of a creation that may never happen; None when the body is none we could accept."""
    try:
        body = await read_json(request)
        webhook = body.get("webhook")
        return Prediction.job_of(webhook) if isinstance(webhook, str) else None
    except (Problem, AttributeError, ValueError):
        return None


async def _spoil(strike: Strike) -> Response:
    if strike.kind == "api_429":
        retry_after = strike.options["retry_after"]
        problem = throttled(30 if retry_after is None else retry_after)
        if retry_after is not None:
            problem.headers["retry-after"] = f"{retry_after:g}"
        return problem.response()
    if strike.kind == "api_500":
        return Problem(500, "Internal server error", "Something went wrong on our side (fault plan).").response()
    if strike.kind == "api_hang":
        await asyncio.sleep(strike.seconds)
    return NoAnswer()


def local_only(handler: Handler) -> Handler:
    """For control routes, which need no token: loopback peers under a loopback name, and no browser page (a foreign
    page could otherwise reach them by a cross-site request or by DNS rebinding)."""

    async def guarded(request: Request) -> Response:
        peer = request.client.host if request.client else None
        if peer not in LOOPBACK or request.url.hostname not in LOOPBACK or "origin" in request.headers:
            return Problem(403, "Forbidden", "Control routes are for programs on this machine.").response()
        try:
            return await handler(request)
        except Problem as problem:
            return problem.response()

    return guarded
