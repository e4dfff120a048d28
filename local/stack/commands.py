"""``run``, ``up`` and ``serve``. Each returns its exit code and raises StackError."""

from __future__ import annotations

import subprocess
import time

from local.setup.console import Console
from local.stack import record
from local.stack.announce import announcement
from local.stack.down import STOP_SECONDS, UNFINISHED, finish_reset, is_unfinished
from local.stack.errors import StackError, Stopped
from local.stack.health import has_people
from local.stack.layout import Layout, Ports
from local.stack.ports import check_same_port
from local.stack.processes import stop
from local.stack.record import Record
from local.stack.supervisor import Interrupts, Supervisor, remove_leftovers

POLL_SECONDS = 0.2
UP_SECONDS = 900.0
DEMO_STOP_SECONDS = 5.0


def run(layout: Layout, ports: Ports, console: Console, *, demo: bool = True) -> int:
    """In the foreground until Ctrl-C. Where the stack is up already, only the demo job is run against it."""
    layout.prepare()
    if record.is_held(layout.lock):
        return _attach(layout, ports, console, demo=demo)
    interrupts = Interrupts()
    interrupts.install()
    with record.holding(layout.lock):
        supervisor = Supervisor(layout, ports, console, interrupts)
        failure, code = "", 0
        try:
            finish_reset(layout, console)
            console.say("Starting the stack")
            supervisor.bring_up()
            if demo:
                code = _demo_beside(layout, ports, console, supervisor, interrupts)
            console.say(announcement(ports, people=has_people(ports.public_url), detached=False))
            _watch(supervisor)
        except Stopped:
            console.say("\nStopping (your jobs are kept; Ctrl-C again ends it at once)")
        except StackError as error:
            failure, code = str(error), 1
            raise
        finally:
            supervisor.shut_down(failure)
    console.say("Stopped. `make run` goes on where you left.")
    return code


def serve(layout: Layout, ports: Ports, console: Console, parent: int | None = None) -> int:
    """What ``up`` leaves in the background: as ``run``, without demo and words for people. Ends with
    ``parent``, if one is given."""
    layout.prepare()
    interrupts = Interrupts(parent)
    interrupts.install()
    with record.holding(layout.lock):
        supervisor = Supervisor(layout, ports, console, interrupts, detached=True)
        failure = ""
        try:
            finish_reset(layout, console)
            supervisor.bring_up()
            _watch(supervisor)
        except Stopped:
            return 0
        except StackError as error:
            failure = str(error)
            raise
        finally:
            supervisor.shut_down(failure)
    return 0


def up(layout: Layout, ports: Ports, console: Console) -> int:
    """Starts the stack in the background and waits until it answers."""
    layout.prepare()
    if record.is_held(layout.lock):
        found = _wait_ready(layout, console)
        check_same_port(found.port, ports)
        console.say(announcement(ports, people=has_people(ports.public_url), detached=found.detached, elsewhere=True))
        return 0
    if is_unfinished(layout):
        console.say(f"{UNFINISHED} The start finishes it")
    remove_leftovers(layout)
    layout.record.unlink(missing_ok=True)
    with layout.log("supervisor").open("ab") as log:
        process = subprocess.Popen(
            [str(layout.python), "-m", "local.stack", "serve", "--port", str(ports.front_door)],
            cwd=layout.root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    console.say("Starting the stack in the background")
    try:
        _wait_ready(layout, console, process)
    except KeyboardInterrupt:
        console.say("\nStopping")
        stop(process, STOP_SECONDS)
        raise
    console.say(announcement(ports, people=has_people(ports.public_url), detached=True))
    return 0


def _watch(supervisor: Supervisor) -> None:
    """Until Stopped or StackError comes out of it."""
    while True:
        supervisor.watch_once()
        time.sleep(POLL_SECONDS)


def _demo_command(layout: Layout, ports: Ports) -> list[str]:
    return [str(layout.python), "-m", "local.demo", "--url", ports.public_url, "--cache", str(layout.demo)]


def _demo_beside(layout: Layout, ports: Ports, console: Console, supervisor: Supervisor, interrupts: Interrupts) -> int:
    """The demo job while the stack is watched; in a session of its own, so that Ctrl-C is ours to handle."""
    console.say("\nRunning the demo job")
    process = subprocess.Popen(_demo_command(layout, ports), cwd=layout.root, start_new_session=True)
    try:
        while process.poll() is None:
            supervisor.watch_once()
            time.sleep(POLL_SECONDS)
    finally:
        stop(process, DEMO_STOP_SECONDS, interrupts.in_a_hurry)
    return _report_demo(process.returncode, console)


def _report_demo(code: int, console: Console) -> int:
    if code:
        console.say(f"\nThe demo job failed (exit code {code}). The stack stays up; `make logs` says more.")
    return 1 if code else 0


def _attach(layout: Layout, ports: Ports, console: Console, *, demo: bool) -> int:
    found = _wait_ready(layout, console)
    check_same_port(found.port, ports)
    console.say(f"The stack is already up at {ports.public_url}")
    code = 0
    if demo:
        console.say("\nRunning the demo job")
        done = subprocess.run(_demo_command(layout, ports), cwd=layout.root, check=False)
        code = _report_demo(done.returncode, console)
    console.say(announcement(ports, people=has_people(ports.public_url), detached=found.detached, elsewhere=True))
    return code


def _wait_ready(layout: Layout, console: Console, process: subprocess.Popen[bytes] | None = None) -> Record:
    """The record of a stack that answers. Says each phase once. Raises StackError."""
    deadline = time.monotonic() + UP_SECONDS
    said = ""
    while time.monotonic() < deadline:
        found = record.read(layout.record)
        if found is not None and found.ready:
            return found
        if found is not None and found.phase != said and not found.failure:
            said = found.phase
            console.say(f"  … {said}")
        gone = process.poll() is not None if process else not record.is_held(layout.lock)
        if gone:
            found = record.read(layout.record)
            reason = found.failure if found and found.failure else f"See {layout.log('supervisor')}."
            raise StackError(f"The stack did not come up. {reason}")
        time.sleep(POLL_SECONDS)
    raise StackError(f"The stack did not come up within {UP_SECONDS / 60:.0f} minutes. `make logs` says why.")
