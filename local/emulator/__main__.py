"""``python -m local.emulator --port P --state-dir D``: AWS on 127.0.0.1:P, its state below D, until SIGTERM.

Runs with the interpreter of the emulator's own environment (requirements.txt beside this file).
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import shutil
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from local.emulator.environment import DEFAULT_ACCOUNT, HOST, Layout, emulator_environment
from local.emulator.pins import PatchError, require_version

GRACE_SECONDS = 3.0
PARENT_CHECK_SECONDS = 0.5
logger = logging.getLogger("local.emulator")


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.emulator", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--account", default=DEFAULT_ACCOUNT, help="12 digits")
    parser.add_argument("--node", type=Path, help="the node program that runs CloudFront functions (default: PATH)")
    parser.add_argument("--parent", type=int, help="stop, cleanly, when this process is no longer our parent")
    args = parser.parse_args(argv)
    if not re.fullmatch(r"\d{12}", args.account):
        parser.error("--account must have 12 digits")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    layout = Layout(args.state_dir.resolve())
    try:
        require_version()
        layout.prepare()
    except (PatchError, OSError) as error:
        print(f"The emulator can't start: {error}", file=sys.stderr)
        return 2
    environment = emulator_environment(os.environ, layout, port=args.port, account=args.account, node=args.node)
    os.environ.clear()
    os.environ.update(environment)
    if shutil.which("node") is None:
        print("No node program was found: CloudFront functions will not run. Run `make setup`.", file=sys.stderr)
    try:
        asyncio.run(_serve(args.port, layout, args.parent))
    except (PatchError, OSError) as error:
        print(f"The emulator can't start: {error}", file=sys.stderr)
        return 2
    _stop_workers(layout)
    logging.shutdown()
    sys.stdout.flush()
    # State is saved. Threads of executions and of calls in flight are no daemons all, and must not hold us back.
    os._exit(0)


async def _serve(port: int, layout: Layout, parent: int | None) -> None:
    from local.emulator.challenges import patch_challenges
    from local.emulator.checkpoint import ministack_checkpointer, patch_sessions
    from local.emulator.codecache import CodeCache
    from local.emulator.copies import patch_copies
    from local.emulator.gateway import guarded, patch_api_import
    from local.emulator.lambdas import patch_lambdas
    from local.emulator.parameters import patch_parameters
    from local.emulator.partiql import patch_partiql

    emulator: Any = import_module("ministack.app")
    hypercorn: Any = import_module("hypercorn.asyncio")
    cache = CodeCache(layout.code)
    cache.prune()
    patch_lambdas(cache)
    patch_api_import()
    patch_challenges()
    patch_copies()
    patch_parameters()
    patch_partiql()
    patch_sessions()
    checkpointer = ministack_checkpointer(layout.services)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    config = hypercorn.Config()
    config.bind = [f"{HOST}:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = GRACE_SECONDS
    config.shutdown_timeout = 60.0
    config.startup_timeout = 120.0
    helpers = [asyncio.create_task(checkpointer.run())]
    if parent is not None:
        helpers.append(asyncio.create_task(_watch_parent(parent, stop)))

    async def stopped() -> None:
        await stop.wait()

    try:
        await hypercorn.serve(checkpointer.wrap(guarded(emulator.app)), config, shutdown_trigger=stopped)
    finally:
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)


async def _watch_parent(parent: int, stop: asyncio.Event) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 - no event tells us
        await asyncio.sleep(PARENT_CHECK_SECONDS)
    logger.warning("The process that started the emulator is gone; stopping")
    stop.set()


def _stop_workers(layout: Layout) -> None:
    runtime: Any = import_module("ministack.core.lambda_runtime")
    runtime.reset()
    shutil.rmtree(layout.tmp, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
