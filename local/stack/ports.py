"""Whether the ports are free, and who has them if not."""

from __future__ import annotations

import errno
import re
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from local.stack.errors import StackError
from local.stack.layout import Ports

_LISTEN = "0A"
HIGHEST = 65533


def parse_port(text: str) -> int:
    """Raises StackError for what can't be the first of three ports."""
    if not re.fullmatch(r"[0-9]{1,5}", text.strip()) or not 1024 <= int(text) <= HIGHEST:
        raise StackError(f"PORT must be a number from 1024 to {HIGHEST} (it and the next two are used), not '{text}'.")
    return int(text)


def check_same_port(running: int, ports: Ports) -> None:
    """Raises StackError unless ``ports`` are those of the stack that runs, whose first is ``running``."""
    if running != ports.front_door:
        raise StackError(
            f"The stack of this folder is up on port {running}, not {ports.front_door}. End it first (make stop), or "
            f"use it as it is: PORT={running}."
        )


def is_free(port: int) -> bool:
    """Whether both loopback addresses can be listened on (IPv6: if there is any)."""
    return all(_can_bind(family, host, port) for family, host in _LOOPBACK)


def check_ports(ports: Ports, command: str = "make run", free: Callable[[int], bool] = is_free) -> None:
    """Raises StackError, naming what is in the way, unless all three are ``free``. ``command`` is what the user typed,
    for the advice."""
    uses = {
        ports.front_door: "the front door",
        ports.emulator: "the AWS emulator",
        ports.sandbox: "the sandbox provider",
    }
    taken = [port for port in uses if not free(port)]
    if not taken:
        return
    lines = [f"Port {port} (for {uses[port]}) is in use by {holder(port) or 'another program'}." for port in taken]
    lines.append(f"Stop it, or choose other ports: PORT={suggestion(ports.front_door, free)} {command}")
    raise StackError("\n".join(lines))


_LOOPBACK = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def _can_bind(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return family == socket.AF_INET6 and error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}
    return True


def suggestion(port: int, free: Callable[[int], bool] = is_free) -> int:
    """The next ten's port with three free ones, or simply the next ten's."""
    for candidate in range(port + 10, min(port + 200, HIGHEST), 10):
        if all(free(candidate + offset) for offset in range(3)):
            return candidate
    return port + 10 if port + 10 <= HIGHEST else 8011


def holder(port: int) -> str | None:
    """``name (process 123)`` of the listener; None when this computer doesn't tell us."""
    return _holder_from_proc(port) or _holder_from_lsof(port)


def _holder_from_proc(port: int, proc: Path = Path("/proc")) -> str | None:
    inodes = {inode for name in ("tcp", "tcp6") for inode in _listening(proc / "net" / name, port)}
    if not inodes:
        return None
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in proc.glob("[0-9]*"):
        # Processes of others can't be looked into, and any may end while we look.
        with suppress(OSError):
            if any(str(link.readlink()) in wanted for link in (process / "fd").iterdir()):
                name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                return f"{name} (process {process.name})"
    return None


def _listening(table: Path, port: int) -> list[str]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return []
    fields = [line.split() for line in lines]
    return [f[9] for f in fields if len(f) > 9 and f[3] == _LISTEN and int(f[1].rpartition(":")[2], 16) == port]


def _holder_from_lsof(port: int) -> str | None:
    lsof = shutil.which("lsof")
    if lsof is None:
        return None
    try:
        done = subprocess.run(
            [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = {line[0]: line[1:] for line in done.stdout.splitlines() if line}
    return f"{found.get('c', 'a program')} (process {found['p']})" if "p" in found else None
