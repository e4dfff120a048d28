"""``python -m local.demo``: see README.md."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from local.demo.errors import DemoError, DemoSkippedError
from local.demo.pictures import photographs
from local.demo.run import run_demo, summary
from local.demo.shell import StcloudShell

DEFAULT_URL = "http://localhost:8001"
MAX_STEPS = 5000


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.demo", description="Train on real photographs, end to end.")
    parser.add_argument("--url", default=os.environ.get("STCLOUD_URL") or DEFAULT_URL, help="the stack")
    parser.add_argument("--images", type=Path, metavar="DIR", help="your own images with .txt captions")
    parser.add_argument("--steps", type=int, default=200, help="training steps (default: 200)")
    parser.add_argument("--cache", type=Path, default=Path(".local/demo"), help="where pictures and results are kept")
    parser.add_argument("--pay", action="store_true", help="go on when the stack rents real GPUs")
    args = parser.parse_args(argv)
    if not 2 <= args.steps <= MAX_STEPS:
        parser.error(f"--steps must be 2 to {MAX_STEPS}")
    if args.images is not None and not args.images.is_dir():
        parser.error(f"{args.images} is not a folder")
    return args


def say(text: str) -> None:
    print(text, flush=True)


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    try:
        cache = args.cache.absolute()
        images = args.images.absolute() if args.images else photographs(cache, say=say)
        shell = StcloudShell(args.url, say=say)
        report = run_demo(
            shell,
            images,
            cache / "config",
            url=args.url,
            steps=args.steps,
            pay=args.pay,
            say=say,
            downloads=cache / "models",
        )
    except DemoSkippedError as skipped:
        say(f"The demo is left out. {skipped}")
        return 0
    except DemoError as error:
        print(f"The demo stopped: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        print("The demo was stopped. A job that was submitted goes on: stcloud jobs list", file=sys.stderr)
        return 130
    except OSError as error:
        print(f"The demo stopped: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 1
    for line in summary(report):
        say(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
