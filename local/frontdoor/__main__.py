"""``python -m local.frontdoor --port 8001 --stack-file .local/stack.json``: http://localhost:8001, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import errno
import logging
import os
import socket
import sys
from pathlib import Path

import httpx
import uvicorn

from local.frontdoor.answers import Status
from local.frontdoor.proxy import LIMITS, FrontDoor
from local.frontdoor.stackfile import StackFile

STOP_SECONDS = 2
PARENT_CHECK_SECONDS = 0.5


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.frontdoor", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stack-file", type=Path, required=True)
    parser.add_argument("--status-file", type=Path, help="a line that says what the supervisor is doing")
    parser.add_argument("--parent", type=int, help="stop when this process is no longer our parent")
    return parser.parse_args(argv)


def listen(port: int) -> list[socket.socket]:
    """Listening sockets on 127.0.0.1 and, where this computer has it, ::1. Raises OSError when the port is taken."""
    sockets: list[socket.socket] = []
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        try:
            # asyncio turns Nagle's algorithm off only where the protocol is named
            # (https://github.com/python/cpython/blob/3.11/Lib/asyncio/base_events.py, _set_nodelay); with it every
            # answer takes 40 ms.
            made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((host, port))
        except OSError as error:
            if family == socket.AF_INET6 and error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                continue
            for other in sockets:
                other.close()
            raise
        port = made.getsockname()[1]
        sockets.append(made)
    return sockets


async def serve(args: argparse.Namespace, sockets: list[socket.socket]) -> None:
    async with httpx.AsyncClient(trust_env=False, follow_redirects=False, limits=LIMITS) as client:
        app = FrontDoor(StackFile(args.stack_file), Status(args.status_file), client, args.port)
        config = uvicorn.Config(
            app,
            lifespan="off",
            ws="none",
            log_level="warning",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        server = uvicorn.Server(config)
        watch = asyncio.create_task(_watch_parent(args.parent, server)) if args.parent else None
        try:
            await server.serve(sockets=sockets)
        finally:
            if watch is not None:
                watch.cancel()


async def _watch_parent(parent: int, server: uvicorn.Server) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 - no event tells us
        await asyncio.sleep(PARENT_CHECK_SECONDS)
    server.should_exit = True


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        sockets = listen(args.port)
    except OSError as error:
        print(f"The front door can't listen on port {args.port}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        asyncio.run(serve(args, sockets))
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
