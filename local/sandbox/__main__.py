"""``python -m local.sandbox --port N --data-dir DIR``: see README.md."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path

import uvicorn

from local.sandbox.app import Options, build
from local.sandbox.connections import TrackedProtocol
from local.sandbox.faults import FaultPlan, PlanError

HOST = "127.0.0.1"
STOP_SECONDS = 2
PARENT_CHECK_SECONDS = 0.5


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.sandbox", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--token", default=os.environ.get("SANDBOX_TOKEN"), help="or the variable SANDBOX_TOKEN")
    parser.add_argument("--seed", type=int, default=0, help="of the fault plan, and of trainings whose config has none")
    parser.add_argument("--fault-plan", type=Path)
    parser.add_argument("--step-seconds", type=float, default=0.06, help="pace of the trainer; 0 is full speed")
    parser.add_argument("--max-running", type=int, default=2)
    parser.add_argument("--retention-seconds", type=float, default=3600.0)
    parser.add_argument("--creates-per-minute", type=int, default=600, help="0: no limit")
    parser.add_argument("--others-per-minute", type=int, default=3000, help="0: no limit")
    parser.add_argument("--parent", type=int, help="stop when this process is no longer our parent")
    args = parser.parse_args(argv)
    if not args.token or not args.token.startswith("r8_"):
        parser.error("a token that begins with r8_ is needed (--token or SANDBOX_TOKEN)")
    if args.step_seconds < 0 or args.max_running < 1 or args.retention_seconds < 0:
        parser.error("--step-seconds and --retention-seconds can't be negative, --max-running must be 1 or more")
    return args


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    plan = None
    if args.fault_plan:
        try:
            plan = FaultPlan.parse(json.loads(args.fault_plan.read_text(encoding="utf-8")), seed=args.seed)
        except (OSError, ValueError) as error:
            kind = "" if isinstance(error, PlanError) else f"{type(error).__name__}: "
            print(f"The fault plan {args.fault_plan} can't be used: {kind}{error}", file=sys.stderr)
            return 2
    app = build(
        Options(
            data_dir=args.data_dir,
            token=args.token,
            origin=f"http://{HOST}:{args.port}",
            seed=args.seed,
            step_seconds=args.step_seconds,
            max_running=args.max_running,
            retention_seconds=args.retention_seconds,
            creates_per_minute=args.creates_per_minute,
            others_per_minute=args.others_per_minute,
            plan=plan,
        )
    )
    config = uvicorn.Config(
        app,
        host=HOST,
        port=args.port,
        http=TrackedProtocol,
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=STOP_SECONDS,
        server_header=False,
    )
    server = uvicorn.Server(config)
    if args.parent is not None:
        threading.Thread(target=_watch_parent, args=(args.parent, server), daemon=True).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    return 0 if server.started else 3


def _watch_parent(parent: int, server: uvicorn.Server) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    logging.getLogger("sandbox").warning("The process that started the sandbox is gone; stopping")
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
