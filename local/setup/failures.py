"""What went wrong, in words that say what to do: from an exception or from the output of pip and npm."""

from __future__ import annotations

import errno
import re
import sys

TAIL_LINES = 8


class SetupFailed(Exception):
    """The set-up can't go on. The message is for people."""


_KNOWN: tuple[tuple[str, str], ...] = (
    (
        r"No space left on device|ENOSPC|\[Errno 28\]",
        "The disk is full. Free about 1.5 GB and run the same command again; it goes on where it stopped.",
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
        "A file can't be written: it belongs to somebody else, as after a run with sudo. Give it back with "
        '`sudo chown -R "$USER" .local webui`, then run the same command again without sudo.',
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
    tail = "\n".join(f"    {line}" for line in output.strip().splitlines()[-TAIL_LINES:])
    for pattern, advice in _KNOWN:
        if re.search(pattern, output):
            return SetupFailed(f"{what} failed. {advice.replace('{version}', version)}\n{tail}\n    (all of it: {log})")
    return SetupFailed(f"{what} failed, for a reason this program does not know. The end of {log}:\n{tail}")


def explain_os_error(what: str, error: OSError) -> SetupFailed:
    """The same for an error of our own file work."""
    name = errno.errorcode.get(error.errno or 0, "")
    return explain(what, f"{name} {error}", "no log")
