"""``status`` and ``logs``: what runs, and what it says."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from local.setup.console import Console
from local.stack import logs as logs_of
from local.stack import programs, record
from local.stack.down import UNFINISHED, is_unfinished
from local.stack.health import answers
from local.stack.layout import Layout, Ports
from local.stack.supervisor import EMULATOR

NOT_UP = 3
#: What the set-up wrote is no log of anything that runs.
SETUP_LOG = "setup"


def status(layout: Layout, console: Console) -> int:
    """What runs and whether it answers. Exit code 0: up; 3: not."""
    found = record.read(layout.record)
    if not record.is_held(layout.lock) or found is None:
        if is_unfinished(layout):
            console.say(f"The stack is not up. {UNFINISHED}\n`make reset` removes the rest; so does the next start.")
        elif found is not None and found.failure:
            console.say(f"The stack is not up; its last start failed:\n{found.failure}")
        else:
            console.say("The stack is not up. `make run` or `make up` starts it.")
        return NOT_UP
    ports = Ports(found.port)
    healthy = {
        "front door": answers(f"http://127.0.0.1:{ports.front_door}/_local/health"),
        EMULATOR: answers(f"{ports.emulator_url}/_ministack/health"),
        "sandbox provider": programs.sandbox(layout, ports).healthy(),
    }
    urls = {"front door": ports.public_url, EMULATOR: ports.emulator_url, "sandbox provider": ports.sandbox_url}
    console.say(f"{'part':<18}{'answers':<9}{'process':<9}address")
    for name, well in healthy.items():
        member = found.children.get(name)
        console.say(f"{name:<18}{'yes' if well else 'NO':<9}{member.pid if member else '-':<9}{urls[name]}")
    through = programs.stack_answers(ports)
    console.say(f"{'API and console':<18}{'yes' if through else 'NO':<9}{'':<9}{ports.public_url}")
    if found.ready and through and all(healthy.values()):
        return 0
    console.say(f"\nNot all is well ({found.phase or 'starting'}). `make logs` says more.")
    return NOT_UP


def logs(layout: Layout, console: Console, *, follow: bool, lines: int) -> int:
    """The last ``lines`` of every log; with ``follow`` also what comes, as long as the stack runs."""
    running = record.is_held(layout.lock)
    sources: dict[str, Callable[[], list[str]]] = {}
    for path in sorted(layout.logs.glob("*.log")):
        if path.stem != SETUP_LOG:
            follower = logs_of.FileFollower(path)
            follower.skip_to_last(lines)
            sources[path.stem] = follower.new_lines
    url = logs_of.emulator_url(layout.stack_file)
    if url is not None and running:
        functions = logs_of.LambdaFollower(logs_of.emulator_logs(url), int((time.time() - 600) * 1000))
        sources["lambda"] = _quietly(functions)
    if not sources:
        console.say("There are no logs yet. `make run` or `make up` starts the stack.")
        return 0
    with suppress(KeyboardInterrupt):
        logs_of.follow(sources, console.say, go_on=lambda: follow and record.is_held(layout.lock))
        if not running:
            console.say("\nThe stack is not up; this is what it wrote last. `make run` or `make up` starts it.")
        elif follow:
            console.say("\nThe stack has ended.")
    return 0


def _quietly(functions: logs_of.LambdaFollower) -> Callable[[], list[str]]:
    from botocore.exceptions import BotoCoreError, ClientError

    def new_lines() -> list[str]:
        try:
            return functions.new_lines()
        except (BotoCoreError, ClientError):
            return []  # the emulator is away, or no function ran yet; the next turn asks again

    return new_lines
