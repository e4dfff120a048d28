"""Control routes under /__sandbox__: faults, what went over the wire, what exists, start afresh."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from local.sandbox.api import read_json
from local.sandbox.engine import Engine
from local.sandbox.faults import FaultPlan, PlanError
from local.sandbox.problems import invalid, not_found
from local.sandbox.recorder import Recorder
from local.sandbox.routing import local_only
from local.sandbox.webhooks import Webhooks


class Control:
    def __init__(self, engine: Engine, webhooks: Webhooks, recorder: Recorder) -> None:
        self._engine = engine
        self._webhooks = webhooks
        self._recorder = recorder

    def routes(self) -> list[Route]:
        return [
            Route("/__sandbox__/health", local_only(self.health), methods=["GET"]),
            Route("/__sandbox__/faults", local_only(self.faults), methods=["GET", "PUT"]),
            Route("/__sandbox__/requests", local_only(self.requests), methods=["GET"]),
            Route("/__sandbox__/webhooks", local_only(self.webhooks), methods=["GET"]),
            Route("/__sandbox__/predictions", local_only(self.predictions), methods=["GET"]),
            Route("/__sandbox__/reset", local_only(self.reset), methods=["POST"]),
            Route("/p/{prediction_id}", local_only(self.page), methods=["GET"]),
        ]

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "sandbox": True})

    async def faults(self, request: Request) -> Response:
        if request.method == "PUT":
            try:
                self._engine.plan = FaultPlan.parse(await read_json(request), seed=self._engine.plan.seed)
            except PlanError as error:
                raise invalid(str(error), title="Invalid fault plan") from None
        return JSONResponse(self._engine.plan.to_json())

    async def requests(self, _: Request) -> Response:
        return JSONResponse({"requests": list(self._recorder.requests)})

    async def webhooks(self, _: Request) -> Response:
        return JSONResponse({"webhooks": list(self._recorder.webhooks)})

    async def predictions(self, _: Request) -> Response:
        found = [
            {
                **self._engine.public(prediction, with_logs=False),
                "job": prediction.job,
                "ordinal": prediction.ordinal,
                "terminal_webhook": prediction.terminal_webhook,
                "faults": [f["kind"] for f in prediction.faults],
            }
            for prediction in self._engine.all()
        ]
        return JSONResponse({"predictions": found, "jobs": self._engine.overlap()})

    async def reset(self, _: Request) -> Response:
        await self._webhooks.stop()
        self._engine.reset()
        self._recorder.clear()
        return JSONResponse({"status": "reset"})

    async def page(self, request: Request) -> Response:
        """What ``urls.web`` points to."""
        prediction = self._engine.get(request.path_params["prediction_id"])
        if prediction is None:
            raise not_found()
        return PlainTextResponse(
            f"Local sandbox provider: a tiny CPU trainer, not a GPU.\n"
            f"prediction {prediction.id}\njob {prediction.job}\nstatus {prediction.status}\nerror {prediction.error}\n"
        )
