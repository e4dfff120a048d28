"""The three programs of the stack, and the token the sandbox provider takes for the user's."""

from __future__ import annotations

import os
import secrets
import string
from pathlib import Path

from local.setup.node import find_node
from local.stack.errors import StackError
from local.stack.health import answers
from local.stack.layout import Layout, Ports
from local.stack.processes import Program

_TOKEN_LETTERS = string.ascii_letters + string.digits
#: As long as Replicate's own.
_TOKEN_LENGTH = 37
#: The emulator writes its whole state when it stops.
EMULATOR_STOP_SECONDS = 40.0
LIVE_PATH = "/api/cloud/health/live"


def front_door(layout: Layout, ports: Ports) -> Program:
    return Program(
        name="front door",
        command=(
            str(layout.python), "-m", "local.frontdoor", "--port", str(ports.front_door),
            "--stack-file", str(layout.stack_file), "--status-file", str(layout.status_line),
            "--parent", str(os.getpid()),
        ),
        log=layout.log("frontdoor"),
        healthy=lambda: answers(f"http://127.0.0.1:{ports.front_door}/_local/health"),
    )  # fmt: skip


def emulator(layout: Layout, ports: Ports) -> Program:
    node = find_node(layout.local / "venv" / "bin")
    return Program(
        name="AWS emulator",
        command=(
            str(layout.emulator_python), "-m", "local.emulator", "--port", str(ports.emulator),
            "--state-dir", str(layout.emulator_state), "--parent", str(os.getpid()),
            *(("--node", str(node / "node")) if node else ()),
        ),
        log=layout.log("emulator"),
        healthy=lambda: answers(f"{ports.emulator_url}/_ministack/health"),
        start_seconds=120.0,
        stop_seconds=EMULATOR_STOP_SECONDS,
    )  # fmt: skip


def sandbox(layout: Layout, ports: Ports) -> Program:
    token = provider_token(layout.provider_token)
    return Program(
        name="sandbox provider",
        command=(
            str(layout.python), "-m", "local.sandbox", "--port", str(ports.sandbox),
            "--data-dir", str(layout.sandbox_state), "--parent", str(os.getpid()),
        ),
        log=layout.log("sandbox"),
        healthy=lambda: answers(f"{ports.sandbox_url}/v1/account", {"Authorization": f"Bearer {token}"}),
        env={"SANDBOX_TOKEN": token},
    )  # fmt: skip


def provider_token(path: Path) -> str:
    """The sandbox's token, made once and readable by this user alone. Raises StackError when it can't be kept."""
    try:
        known = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        known = ""
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"{path} can't be read ({error}). Remove it and start again.") from error
    if known.startswith("r8_"):
        return known
    token = "r8_" + "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(_TOKEN_LENGTH))
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
    return token


def stack_answers(ports: Ports, seconds: float = 10.0) -> bool:
    """Whether API and console come through the front door; the first call starts a Lambda."""
    origin = f"http://127.0.0.1:{ports.front_door}"
    return answers(origin + LIVE_PATH, seconds=seconds) and answers(f"{origin}/", seconds=seconds)
