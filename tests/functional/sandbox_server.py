"""The sandbox provider on loopback, with scripted trainers, and a receiver for its webhooks."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn

from local.sandbox.app import Options, build
from local.sandbox.connections import TrackedProtocol
from local.sandbox.faults import FaultPlan
from local.sandbox.predictions import Prediction
from local.sandbox.process import Launcher, Result, Run

TOKEN = "r8_sandbox_token_of_a_test_00000000000"
MODEL = "simpletuner/advanced-trainer-h100"
WAIT_SECONDS = 20.0


@dataclass
class ScriptedRun:
    """A trainer that does nothing until the test says how it ends."""

    result: Result | None = None
    killed: bool = False

    def poll(self) -> Result | None:
        return self.result

    def kill(self) -> None:
        self.killed = True


@dataclass
class ScriptedLauncher:
    """``result`` is how every run ends at once (None: it runs on). Keeps what it was asked to start, with its input."""

    result: Result | None = None
    error: OSError | None = None
    runs: dict[str, ScriptedRun] = field(default_factory=dict)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def start(self, prediction: Prediction) -> Run:
        if self.error is not None:
            raise self.error
        self.inputs[prediction.id] = dict(prediction.input)
        self.runs[prediction.id] = ScriptedRun(self.result)
        return self.runs[prediction.id]


@dataclass
class Sandbox:
    """A running sandbox. ``client`` carries the token; ``control`` does not."""

    origin: str
    client: httpx.Client
    control: httpx.Client

    def create(self, given: dict[str, Any] | None = None, *, job: str = "job_1", **body: Any) -> dict[str, Any]:
        headers = body.pop("headers", {})
        document = {
            "version": MODEL,
            "input": given or {"max_train_steps": 5},
            "webhook": f"http://127.0.0.1:1/hook?job={job}",
        } | body
        answer = self.client.post("/v1/predictions", json=document, headers=headers)
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    def get(self, prediction_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/predictions/{prediction_id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def until(self, prediction_id: str, *statuses: str) -> dict[str, Any]:
        """The prediction once it has one of ``statuses``."""
        return eventually(lambda: found if (found := self.get(prediction_id))["status"] in statuses else None)

    def plan(self, *rules: dict[str, Any]) -> None:
        answer = self.control.put("/__sandbox__/faults", json={"rules": list(rules)})
        assert answer.status_code == 200, answer.text

    def seen(self, what: str) -> Any:
        return self.control.get(f"/__sandbox__/{what}").json()


T = TypeVar("T")


def eventually(look: Callable[[], T | None]) -> T:
    """What ``look`` returns once it is not None. Fails after WAIT_SECONDS."""
    stop_at = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < stop_at:
        if (found := look()) is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


@contextmanager
def running_sandbox(data_dir: Path, *, launcher: Launcher | None = None, **options: Any) -> Iterator[Sandbox]:
    """A sandbox in this process on a free port. ``options`` are those of ``Options``; without a launcher it trains."""
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it every answer takes 40 ms.
    with closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)) as listener:
        listener.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        chosen = {"step_seconds": 0.0, "token": TOKEN} | options
        app = build(Options(data_dir=data_dir, origin=origin, **chosen), launcher=launcher)
        config = uvicorn.Config(
            app, http=TrackedProtocol, ws="none", log_level="warning", access_log=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="sandbox")
        thread.start()
        try:
            eventually(lambda: server.started or None)
            with clients(origin) as sandbox:
                yield sandbox
        finally:
            server.should_exit = True
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()


@contextmanager
def clients(origin: str) -> Iterator[Sandbox]:
    authorized = httpx.Client(
        base_url=origin, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10, trust_env=False
    )
    with authorized, httpx.Client(base_url=origin, timeout=10, trust_env=False) as control:
        yield Sandbox(origin, authorized, control)


@dataclass
class Receiver:
    """Takes webhooks. ``answers`` are statuses given in order, then 200."""

    url: str
    answers: list[int] = field(default_factory=list)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join(WAIT_SECONDS)
        server.server_close()


def plan(*rules: dict[str, Any]) -> FaultPlan:
    return FaultPlan.parse({"rules": list(rules)})
