"""An AWS emulator of its own for a test: a free port, a state directory, nothing left running."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".local" / "emulator-venv" / "bin" / "python"
ACCOUNT = "123456789012"
REGION = "us-east-1"
START_SECONDS = 60.0
STOP_SECONDS = 30.0

#: The developer's own AWS profile and proxies are of no concern here.
_NO_PROFILE: dict[str, tuple[None, None, str | None, None]] = {
    "profile": (None, None, None, None),
    "config_file": (None, None, os.devnull, None),
    "credentials_file": (None, None, os.devnull, None),
}
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class EmulatorFailed(RuntimeError):
    """The emulator did not come up; the message has the end of its log."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def aws_client(url: str, service: str, credentials: dict[str, str]) -> Any:
    """A boto3 client of the emulator at ``url``, untouched by the developer's AWS settings. The caller closes it."""
    config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 2}, proxies={})
    if service == "s3":
        config = config.merge(Config(signature_version="s3v4"))
    base = botocore.session.Session(session_vars=_NO_PROFILE)
    session = boto3.session.Session(botocore_session=base, **credentials)
    return session.client(service, endpoint_url=url, config=config)


@dataclass
class Emulator:
    """A running emulator. ``client`` gives boto3 clients of its root user (or of the credentials handed in)."""

    port: int
    state_dir: Path
    process: subprocess.Popen[bytes]
    log: Path
    account: str = ACCOUNT
    region: str = REGION
    _clients: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        return {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": self.region}

    def client(self, service: str, **credentials: str) -> Any:
        """A boto3 client; without ``credentials`` (boto3's names) the root user's, made once."""
        if credentials:
            return aws_client(self.url, service, {"region_name": self.region} | credentials)
        if service not in self._clients:
            self._clients[service] = aws_client(self.url, service, self.credentials)
        return self._clients[service]

    def close(self) -> None:
        """Closes the clients' connections (an open one is a ResourceWarning when it is collected)."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def start_emulator(state_dir: Path, port: int | None = None) -> Emulator:
    """Starts it and waits until it answers. Raises EmulatorFailed. The caller stops it (``stop_emulator``)."""
    if not PYTHON.exists():
        raise EmulatorFailed("The emulator's environment is missing: run `make setup` first.")
    port = port or free_port()
    state_dir.mkdir(parents=True, exist_ok=True)
    log = state_dir / "emulator.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(PYTHON), "-m", "local.emulator", "--port", str(port), "--state-dir", str(state_dir / "emulator"),
             "--account", ACCOUNT, "--parent", str(os.getpid())],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    emulator = Emulator(port, state_dir, process, log)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with (
            suppress(OSError),
            _direct.open(f"{emulator.url}/_ministack/health", timeout=2),
        ):
            return emulator
        time.sleep(0.05)
    kill_group(process)
    tail = log.read_text(encoding="utf-8", errors="replace")[-3000:]
    raise EmulatorFailed(
        f"The emulator on port {port} did not answer within {START_SECONDS:.0f} s. Its log ends:\n{tail}"
    )


def stop_emulator(emulator: Emulator) -> None:
    """A clean stop (state saved), then whatever is left of its process group is killed."""
    emulator.close()
    if emulator.process.poll() is None:
        emulator.process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            emulator.process.wait(STOP_SECONDS)
    kill_group(emulator.process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL for the process and all it started, Lambda workers included."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


@contextmanager
def running_emulator(state_dir: Path) -> Iterator[Emulator]:
    """An emulator with its state below ``state_dir``, stopped at the end whatever happens."""
    emulator = start_emulator(state_dir)
    try:
        yield emulator
    finally:
        stop_emulator(emulator)
