"""``python -m local.stack run|up|stop|reset|status|logs``: what the Makefile calls.

The variable STC_LOCAL_DIR names another folder than ``.local`` for state, logs and records: a second stack of this
checkout.
"""

from __future__ import annotations

import argparse
import os
import sys

from local.setup.console import Console
from local.setup.failures import explain_os_error
from local.stack import commands, down, look
from local.stack.errors import StackError
from local.stack.layout import DEFAULT_PORT, Layout, Ports
from local.stack.ports import parse_port


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.stack", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("run", "bring the stack up, run the demo job, stay until Ctrl-C"),
        ("up", "bring the stack up in the background"),
        ("serve", argparse.SUPPRESS),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--port", default=os.environ.get("PORT") or str(DEFAULT_PORT), help="and the next two")
        if name == "run":
            action.add_argument("--no-demo", action="store_true", help="leave the demo job out")
        if name == "serve":
            action.add_argument("--parent", type=int, help="stop when this process is no longer our parent")
    actions.add_parser("stop", help="end it; jobs are kept")
    actions.add_parser("status", help="what runs (exit code 3: not up)")
    erase = actions.add_parser("reset", help="remove all local jobs, datasets and models")
    erase.add_argument("--yes", action="store_true", help="don't ask")
    tell = actions.add_parser("logs", help="what the programs and the Lambdas write")
    tell.add_argument("--no-follow", action="store_true")
    tell.add_argument("--lines", type=int, default=20, help="of each log, to begin with")
    return parser.parse_args(argv)


def dispatch(args: argparse.Namespace) -> int:
    layout, console = Layout.from_environment(os.environ), Console()
    match args.action:
        case "run":
            return commands.run(layout, Ports(parse_port(args.port)), console, demo=not args.no_demo)
        case "up":
            return commands.up(layout, Ports(parse_port(args.port)), console)
        case "serve":
            return commands.serve(layout, Ports(parse_port(args.port)), console, args.parent)
        case "stop":
            return down.stop_stack(layout, console)
        case "status":
            return look.status(layout, console)
        case "reset":
            return down.reset(layout, console, yes=args.yes)
        case _:
            return look.logs(layout, console, follow=not args.no_follow, lines=max(0, args.lines))


def main(argv: list[str] | None = None) -> int:
    args = parse(argv)
    try:
        return dispatch(args)
    except StackError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"\n{explain_os_error(f'`make {args.action}`', error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
