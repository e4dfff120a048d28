"""Builds the server: store, engine, webhooks and routes, the Hub beside them, and the loop that drives the engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from local.sandbox.api import Api
from local.sandbox.clock import Clock, utc_now
from local.sandbox.control import Control
from local.sandbox.engine import Engine, EngineOptions
from local.sandbox.faults import FaultPlan
from local.sandbox.hub.app import HubOptions, build_hub
from local.sandbox.problems import Problem
from local.sandbox.process import Launcher, ProcessLauncher, TrainerOptions
from local.sandbox.recorder import Recorder
from local.sandbox.routing import Gate
from local.sandbox.store import Store
from local.sandbox.webhooks import Message, Webhooks

TICK_SECONDS = 0.05
logger = logging.getLogger("sandbox")


@dataclass(frozen=True)
class Options:
    """Everything the command line sets. ``origin`` is our address as clients see it, without a trailing slash."""

    data_dir: Path
    token: str
    origin: str
    seed: int = 0
    step_seconds: float = 0.06
    max_running: int = 2
    retention_seconds: float = 3600.0
    creates_per_minute: int = 600
    others_per_minute: int = 3000
    plan: FaultPlan | None = None


def build(
    options: Options,
    *,
    clock: Clock = utc_now,
    launcher: Launcher | None = None,
    client: httpx.AsyncClient | None = None,
) -> Starlette:
    """The ASGI application; its lifespan recovers the stored predictions and runs the engine."""
    store = Store(options.data_dir)
    recorder = Recorder()
    secret = store.webhook_secret()

    def send(message: Message) -> None:
        webhooks.send(message)

    engine = Engine(
        store=store,
        launcher=launcher or ProcessLauncher(store, TrainerOptions(options.step_seconds, options.seed)),
        clock=clock,
        options=EngineOptions(options.origin, options.max_running, timedelta(seconds=options.retention_seconds)),
        send=send,
        plan=options.plan or FaultPlan(seed=options.seed),
    )
    http = client or httpx.AsyncClient(trust_env=False)
    webhooks = Webhooks(
        secret=secret,
        client=http,
        plan=lambda: engine.plan,
        recorder=recorder,
        clock=clock,
        on_outcome=engine.outcome,
    )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        for name in engine.recover():
            logger.warning("The record %s can't be read and is left alone", name)
        loop = asyncio.create_task(_drive(engine))
        try:
            yield
        finally:
            loop.cancel()
            with suppress(asyncio.CancelledError):
                await loop
            engine.stop()
            await webhooks.stop()
            await http.aclose()

    gate = Gate(
        engine,
        recorder,
        token=options.token,
        clock=clock,
        creates_per_minute=options.creates_per_minute,
        others_per_minute=options.others_per_minute,
    )
    return Starlette(
        routes=[
            *_api_routes(Api(engine, secret), gate),
            *Control(engine, webhooks, recorder).routes(),
            Mount("/hub", app=build_hub(HubOptions(options.data_dir / "hub")).app),
        ],
        lifespan=lifespan,
        exception_handlers={HTTPException: _http_error},
    )


def _api_routes(api: Api, gate: Gate) -> list[Route]:
    model = "/v1/models/{owner}/{name}"
    return [
        Route("/v1/predictions", gate.wrap(api.create, creates=True), methods=["POST"]),
        Route("/v1/predictions", gate.wrap(api.list), methods=["GET"]),
        Route("/v1/predictions/{prediction_id}", gate.wrap(api.get), methods=["GET"]),
        Route("/v1/predictions/{prediction_id}/cancel", gate.wrap(api.cancel), methods=["POST"]),
        Route("/v1/account", gate.wrap(api.account), methods=["GET"]),
        Route("/v1/hardware", gate.wrap(api.hardware), methods=["GET"]),
        Route("/v1/webhooks/default/secret", gate.wrap(api.secret), methods=["GET"]),
        Route("/v1/models", gate.wrap(api.models), methods=["GET"]),
        Route(model, gate.wrap(api.model), methods=["GET"]),
        Route(f"{model}/versions", gate.wrap(api.versions), methods=["GET"]),
        Route(f"{model}/versions/{{version}}", gate.wrap(api.version), methods=["GET"]),
    ]


async def _drive(engine: Engine) -> None:
    """Ticks until cancelled."""
    while True:
        engine.tick()
        await asyncio.sleep(TICK_SECONDS)


def _http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return Problem(error.status_code, str(error.detail), f"{error.detail}.", headers=error.headers).response()
