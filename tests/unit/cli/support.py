"""The command line over a transport that a test scripts: no socket, no waiting."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from stcloud.main import app
from stcloud.retry import Retry
from stcloud.session import Runtime
from stcloud.vault import Keyring, NoKeyring
from typer.testing import CliRunner

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


def problem(status: int, code: str, detail: str = "No.", **more: Any) -> httpx.Response:
    headers = {"content-type": "application/problem+json", **more.pop("headers", {})}
    body = {
        "type": "t",
        "title": "Title",
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "r-1",
        **more,
    }
    return httpx.Response(status, headers=headers, content=json.dumps(body))


@dataclass
class Script:
    """Answers requests in order; the last answer is given again and again. ``asked`` holds the requests."""

    answers: list[Answer]
    asked: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.asked.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self)


@dataclass
class Naps:
    """Remembers what would have been waited."""

    taken: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)

    def retry(self, attempts: int = 5) -> Retry:
        return Retry(attempts=attempts, sleep=self, rng=random.Random(7))


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def run_cli(
    *args: str,
    script: Script | None = None,
    home: Path = Path("/nonexistent-home"),
    environ: Mapping[str, str] | None = None,
    interactive: bool = False,
    answer: str = "",
    sleep: Callable[[float], None] | None = None,
    monotonic: Callable[[], float] | None = None,
    keyring: Keyring | None = None,
) -> Ran:
    """Runs ``stcloud`` with these arguments against ``script``. An empty value takes a variable out of ``environ``."""
    runtime = Runtime(
        environ={
            name: value
            for name, value in {
                "STCLOUD_URL": "http://localhost:8001",
                "XDG_CACHE_HOME": str(home / "cache"),
                **(environ or {}),
            }.items()
            if value
        },
        keyring=keyring or NoKeyring("this is a test"),
        now=lambda: NOW,
        transport=(script or Script([httpx.ConnectError("nobody there")])).transport,
        sleep=sleep or Naps(),
        monotonic=monotonic or (lambda: 0.0),
        rng=random.Random(7),
        home=home,
        platform="linux",
        is_interactive=lambda: interactive,
    )
    result = CliRunner().invoke(app, list(args), obj=runtime, input=answer, catch_exceptions=False)
    return Ran(result.exit_code, result.stdout, result.stderr)


def job(status: str = "running", **changes: Any) -> dict[str, Any]:
    """A job as the API shows it."""
    return {
        "job_id": "job1",
        "user_id": "local",
        "status": status,
        "phase": "training" if status == "running" else "finished",
        "provider": "replicate",
        "config_name": None,
        "run_name": "mine",
        "created_at": "2026-11-24T12:00:00Z",
        "started_at": "2026-11-24T12:00:10Z",
        "completed_at": None,
        "duration_seconds": 60.0,
        "hardware_type": "H100",
        "price_per_hour": 6.0,
        "cost_usd": None,
        "max_run_seconds": 3600,
        "is_terminal": status in {"completed", "failed", "cancelled"},
        "sandbox": False,
        "cancel_requested": False,
        "attempt": 1,
        "progress": {"step": 5, "total_steps": 10, "percent": 50.0, "loss": 0.5, "stage": "Training"},
        "datasets": [],
        "failure": None,
        "delivery": {"files": 0, "bytes": 0, "weights": [], "verified_files": 0, "verified_at": None},
        **changes,
    }


def progress(status: str = "running", **changes: Any) -> dict[str, Any]:
    """An inline progress as the API shows it."""
    return {
        "job_id": "job1",
        "status": status,
        "phase": "training",
        "stage": "Training",
        "last_log": "a line",
        "progress": 50.0,
        "step": 5,
        "total_steps": 10,
        "loss": 0.5,
        "learning_rate": None,
        "eta_seconds": 30,
        "cost_usd": None,
        "updated_at": "2026-11-24T12:00:00Z",
        **changes,
    }


def ok(body: Any) -> httpx.Response:
    return httpx.Response(200, json=body)
