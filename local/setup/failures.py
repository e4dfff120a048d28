"""What went wrong, in words that say what to do: from an exception or from the output of pip and npm."""

from __future__ import annotations

import errno
import os
import re
import shlex
import sys
from pathlib import Path

TAIL_LINES = 8
LINE_LENGTH = 160


class SetupFailed(Exception):
    """The set-up can't go on. The message is for people."""


DISK_FULL = "The disk is full. Free about 1.5 GB and run the same command again; it goes on where it stopped."
OWNERSHIP = (
    "It belongs to somebody else, as after a run with sudo. Give it back with "
    '`sudo chown -R "$USER" .local webui`, then run the same command again without sudo.'
)

_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"No space left on device|ENOSPC|\[Errno 28\]",
        DISK_FULL,
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SELF_SIGNED_CERT|UNABLE_TO_GET_ISSUER_CERT|unable to get local issuer",
        "The package server's certificate is not trusted, as behind a proxy that opens TLS. Point PIP_CERT (Python) "
        "and NODE_EXTRA_CA_CERTS (npm) to its certificate file, then run the same command again.",
    ),
    (
        r"Temporary failure in name resolution|Name or service not known|nodename nor servname|getaddrinfo"
        r"|NameResolutionError|Network is unreachable|NewConnectionError|ConnectTimeoutError|ReadTimeoutError"
        r"|Connection refused|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|ECONNREFUSED|ENETUNREACH|ECONNRESET|ERR_SOCKET_TIMEOUT"
        r"|Cannot connect to proxy",
        "The package server can't be reached. Check the network (or HTTPS_PROXY), then run the same command again; it "
        "goes on where it stopped.",
    ),
    (
        r"Permission denied|EACCES|\[Errno 13\]|EPERM",
        f"A file can't be written. {OWNERSHIP}",
    ),
    (
        r"Failed building wheel|Failed to build|command '?[^\s']*(gcc|cc|clang|c\+\+|g\+\+|cargo|rustc)[^\s']*'? failed"
        r"|Microsoft Visual C\+\+|can't find Rust compiler|Python\.h: No such file",
        "A package has no ready-made file for this Python and this computer, and building it failed. Use CPython 3.11 "
        "to 3.13 (make run PYTHON=python3.12), or install a compiler (Debian: sudo apt install build-essential "
        "python3-dev).",
    ),
    (
        r"No module named '?ensurepip|ensurepip is not available|No module named '?venv",
        "This Python can't make virtual environments. Debian and Ubuntu: sudo apt install python{version}-venv",
    ),
    (
        r"Requires-Python|requires a different Python",
        "A package does not support this Python ({version}). Use CPython 3.11 to 3.13: make run PYTHON=python3.12",
    ),
)


def explain(what: str, output: str, log: str) -> SetupFailed:
    """The failure of ``what`` (a step), whose program wrote ``output``; ``log`` is where all of it lies."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for pattern, advice in _KNOWN:
        line = _last_line_with(pattern, output)
        if line is not None:
            return SetupFailed(f"{what} failed. {advice.replace('{version}', version)}\n    {line}\n    (all: {log})")
    tail = "\n".join(f"    {line}" for line in output.strip().splitlines()[-TAIL_LINES:])
    return SetupFailed(f"{what} failed, for a reason this program does not know. The end of {log}:\n{tail}")


def _last_line_with(pattern: str, output: str) -> str | None:
    """The line that tells most, cut to a terminal's width: pip says the same once for every package and every try."""
    matches = list(re.finditer(pattern, output))
    if not matches:
        return None
    found = matches[-1]
    start = output.rfind("\n", 0, found.start()) + 1
    line = output[start:].split("\n", 1)[0]
    begin = 0 if len(line) <= LINE_LENGTH else max(0, found.start() - start - LINE_LENGTH // 3)
    piece = line[begin : begin + LINE_LENGTH].strip()
    return f"{'…' if begin else ''}{piece}{'…' if begin + LINE_LENGTH < len(line) else ''}"


_UNWRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def explain_os_error(what: str, error: OSError) -> SetupFailed:
    """The same for an error of our own file work."""
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _UNWRITABLE:
        return SetupFailed(f"{what} failed: a file can't be written{where}. {_ownership(error.errno)}")
    if error.errno in _FULL:
        return SetupFailed(f"{what} failed{where}. {DISK_FULL}")
    return SetupFailed(f"{what} failed: {error.strerror or error}{where}.")


def check_writable(root: Path) -> None:
    """Raises SetupFailed when nothing can be kept below ``root``."""
    local = root / ".local"
    place = local if local.exists() else root
    if not os.access(place, os.W_OK | os.X_OK):
        raise unwritable(root, place, mounted=bool(os.statvfs(place).f_flag & os.ST_RDONLY))


def unwritable(root: Path, place: Path, *, mounted: bool) -> SetupFailed:
    """``mounted``: its file system takes no writes from anybody."""
    reason = "its disk is mounted read-only" if mounted else "it belongs to somebody else, or is protected"
    lines = [
        f"This folder can't be written: {place} ({reason}).",
        "The project keeps all it makes inside its own folder. Work in a copy of your own:",
        f"    cp -R {shlex.quote(str(root))} ~/simpletuner-cloud && cd ~/simpletuner-cloud",
    ]
    if not mounted:
        lines += [
            "or, if it is yours (as after a run with sudo):",
            f'    sudo chown -R "$USER" {shlex.quote(str(place))}',
        ]
    return SetupFailed("\n".join(lines))


def _ownership(number: int | None) -> str:
    return "Its disk is mounted read-only." if number == errno.EROFS else OWNERSHIP
