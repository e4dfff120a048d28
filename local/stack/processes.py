"""Child processes, each with a process group of its own, and proof that a process is the one we started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MAX_LOG_BYTES = 5_000_000
POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Program:
    """How a child is started, asked for its health, and stopped. ``healthy`` sends one short request."""

    name: str
    command: tuple[str, ...]
    log: Path
    healthy: Callable[[], bool]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    start_seconds: float = 60.0
    stop_seconds: float = 10.0


def spawn(program: Program, cwd: Path) -> subprocess.Popen[bytes]:
    """Starts it in a new session: Ctrl-C on the terminal reaches the supervisor alone. Raises OSError."""
    rotate(program.log)
    with program.log.open("ab") as log:
        return subprocess.Popen(
            program.command,
            cwd=cwd,
            env={**os.environ, **program.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def rotate(log: Path) -> None:
    """Keeps one older log beside a new one. Raises OSError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))


def tail(log: Path, lines: int = 15) -> str:
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 20_000))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return "    (no log)"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (empty log)"


def identity(pid: int) -> str | None:
    """When the process ``pid`` started, in the system's own terms; None when there is none. With the pid it names one
    process for good: numbers are used again, start times are not."""
    try:
        # The second field may hold blanks and parentheses; all after its last one is regular.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    except FileNotFoundError:
        if Path("/proc/self/stat").exists():
            return None
    except (OSError, IndexError):
        return None
    try:
        done = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def stop(process: subprocess.Popen[bytes], seconds: float, hurry: Callable[[], bool] = lambda: False) -> bool:
    """SIGTERM to the child alone (it ends its own), then, after ``seconds`` or once ``hurry`` says so, SIGKILL to its
    group. True: it ended by itself."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline and not hurry():
        time.sleep(POLL_SECONDS)
    clean = process.poll() is not None
    # Also after a clean end: what it started and left behind is in its group.
    signal_group(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)
    return clean


def stop_foreign(pid: int, known: str, seconds: float) -> bool:
    """The same for a process that is no child of ours, if it still is the one ``known`` tells. True: it is gone."""
    if identity(pid) != known:
        return True
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while identity(pid) == known and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if identity(pid) == known:
        signal_group(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    return identity(pid) != known
