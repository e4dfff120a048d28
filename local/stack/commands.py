"""``run``, ``up``, ``stop``, ``reset``, ``status`` and ``logs``. Each returns its exit code and raises StackError."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from local.setup.console import Console
from local.stack import logs as logs_of
from local.stack import programs, record
from local.stack.announce import announcement
from local.stack.errors import StackError, Stopped
from local.stack.health import answers
from local.stack.layout import Layout, Ports
from local.stack.processes import identity, signal_group, stop
from local.stack.record import Record
from local.stack.supervisor import EMULATOR, Interrupts, Supervisor, remove_leftovers

POLL_SECONDS = 0.2
UP_SECONDS = 900.0
STOP_SECONDS = 90.0
DEMO_STOP_SECONDS = 5.0
NOT_UP = 3


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
            console.say("Starting the stack")
            supervisor.bring_up()
            if demo:
                code = _demo_beside(layout, ports, console, supervisor, interrupts)
            console.say(announcement(ports, detached=False))
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
        supervisor = Supervisor(layout, ports, console, interrupts)
        failure = ""
        try:
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
        _same_port(found, ports)
        console.say(announcement(Ports(found.port), detached=True))
        return 0
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
    console.say(announcement(ports, detached=True))
    return 0


def stop_stack(layout: Layout, console: Console) -> int:
    """Ends the stack wherever it runs; its state is kept."""
    found = record.read(layout.record)
    if not record.is_held(layout.lock):
        remove_leftovers(layout)
        console.say("The stack is not up.")
        return 0
    if found is None or identity(found.pid) != found.started:
        raise StackError(
            "The stack is up, though nothing says as which process. Stop it where it was started (Ctrl-C)."
        )
    console.say(f"Stopping the stack (process {found.pid})")
    os.kill(found.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while record.is_held(layout.lock):
        if time.monotonic() > deadline:
            signal_group(found.pid, signal.SIGKILL)
            remove_leftovers(layout)
            raise StackError(
                "The stack did not stop in time and was killed; the last seconds of its state may be missing."
            )
        time.sleep(POLL_SECONDS)
    console.say("Stopped. `make run` or `make up` goes on where you left.")
    return 0


def reset(layout: Layout, console: Console, *, yes: bool) -> int:
    """Removes all local jobs, datasets, models and settings. The environments and logs stay."""
    if not yes:
        if not sys.stdin.isatty():
            raise StackError("`make reset` removes every local job, dataset and model. Confirm with: make reset YES=1")
        console.say("This removes every local job, dataset and model of this folder. There is no way back.")
        if input("Type reset to go on: ").strip() != "reset":
            console.say("Nothing was removed.")
            return 1
    layout.prepare()
    if record.is_held(layout.lock):
        stop_stack(layout, console)
    with record.holding(layout.lock):
        remove_leftovers(layout)
        try:
            shutil.rmtree(layout.state, ignore_errors=False)
            layout.stack_file.unlink(missing_ok=True)
            for path in layout.run.iterdir():
                if path != layout.lock:
                    path.unlink()
        except OSError as error:
            raise StackError(f"Not everything could be removed: {error}") from error
    console.say("Removed. `make run` begins anew.")
    return 0


def status(layout: Layout, console: Console) -> int:
    """What runs and whether it answers. Exit code 0: up; 3: not."""
    found = record.read(layout.record)
    if not record.is_held(layout.lock) or found is None:
        if found is not None and found.failure:
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
    sources = {}
    for path in sorted(layout.logs.glob("*.log")):
        follower = logs_of.FileFollower(path)
        follower.skip_to_last(lines)
        sources[path.stem] = follower.new_lines
    url = logs_of.emulator_url(layout.stack_file)
    if url is not None and record.is_held(layout.lock):
        functions = logs_of.LambdaFollower(logs_of.emulator_logs(url), int((time.time() - 600) * 1000))
        sources["lambda"] = _quietly(functions)
    if not sources:
        console.say("There are no logs yet. `make run` or `make up` starts the stack.")
        return 0
    with suppress(KeyboardInterrupt):
        logs_of.follow(sources, console.say, go_on=lambda: follow)
    return 0


def _quietly(functions: logs_of.LambdaFollower) -> Callable[[], list[str]]:
    from botocore.exceptions import BotoCoreError, ClientError

    def new_lines() -> list[str]:
        try:
            return functions.new_lines()
        except (BotoCoreError, ClientError):
            return []  # the emulator is away, or no function ran yet; the next turn asks again

    return new_lines


def _watch(supervisor: Supervisor) -> None:
    """Until Stopped or StackError comes out of it."""
    while True:
        supervisor.watch_once()
        time.sleep(POLL_SECONDS)


def _demo_command(layout: Layout, ports: Ports) -> list[str]:
    return [str(layout.python), "-m", "local.demo", "--url", ports.public_url]


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
    _same_port(found, ports)
    console.say(f"The stack is already up at {ports.public_url}")
    if not demo:
        return 0
    done = subprocess.run(_demo_command(layout, ports), cwd=layout.root, check=False)
    return _report_demo(done.returncode, console)


def _same_port(found: Record, ports: Ports) -> None:
    if found.port != ports.front_door:
        raise StackError(
            f"The stack of this folder is up on port {found.port}, not {ports.front_door}. `make stop` it first, or "
            "leave PORT out."
        )


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
