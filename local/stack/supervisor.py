"""Brings the stack up, keeps it up, takes it down."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from types import FrameType

from local.setup.console import Console
from local.stack import programs, record
from local.stack.deployment import DEPLOY_SECONDS, Deployment, is_deployed
from local.stack.errors import StackError, Stopped
from local.stack.layout import Layout, Ports
from local.stack.ports import check_ports
from local.stack.processes import Program, identity, spawn, stop, stop_foreign, tail
from local.stack.record import Member, Record
from local.stack.restarts import Restarts
from local.stack.sweeping import sweep_soon

POLL_SECONDS = 0.2
EMULATOR = "AWS emulator"
#: A warm stack answers at once; after a start its first call unpacks and starts a Lambda.
ANSWER_SECONDS = 60.0
RESTORED_SECONDS = 20.0


class Interrupts:
    """Counts requests to stop: the first ends things in order, the second at once. The end of ``parent``, the process
    that started us, is such a request too."""

    def __init__(self, parent: int | None = None) -> None:
        self.count = 0
        self._parent = parent

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._count)

    def _count(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1

    def check(self) -> None:
        """Raises Stopped once somebody asked."""
        if self.count or (self._parent is not None and os.getppid() != self._parent):
            raise Stopped

    def in_a_hurry(self) -> bool:
        return self.count > 1


@dataclass
class Child:
    program: Program
    process: subprocess.Popen[bytes]
    restarts: Restarts = field(default_factory=Restarts)
    due: float | None = None


class Supervisor:
    """One per checkout (see ``record.holding``). All methods belong to one thread."""

    def __init__(
        self, layout: Layout, ports: Ports, console: Console, interrupts: Interrupts, *, detached: bool = False
    ) -> None:
        self._layout, self._ports, self._console, self._interrupts = layout, ports, console, interrupts
        self._children: dict[str, Child] = {}
        self._deploying: subprocess.Popen[bytes] | None = None
        self._record = Record(
            pid=os.getpid(), started=identity(os.getpid()) or "", port=ports.front_door, detached=detached
        )

    # Up

    def bring_up(self) -> None:
        """Returns when the whole stack answers. Raises StackError (nothing of it goes on then, after ``shut_down``) or
        Stopped."""
        remove_leftovers(self._layout)
        check_ports(self._ports, "make up" if self._record.detached else "make run")
        self._save()
        layout, ports = self._layout, self._ports
        with self._phase("Front door"):
            self._start(programs.front_door(layout, ports))
        with self._phase(EMULATOR):
            self._start(programs.emulator(layout, ports))
        with self._phase("Sandbox provider"):
            self._start(programs.sandbox(layout, ports))
        if not (is_deployed(layout, ports) and self._restored()):
            self._deploy()
        with self._phase("First answers"):
            self._wait("The stack", lambda: programs.stack_answers(ports), ANSWER_SECONDS)
        self._ready(True)
        self._sweep()

    def _sweep(self) -> None:
        """What was interrupted ends now, not with the next scheduled sweep."""
        problem = sweep_soon(self._ports)
        if problem:
            self._console.say(f"  ! {problem}")

    def _restored(self) -> bool:
        """Whether what was deployed yesterday came back with the emulator's state."""
        with self._phase("Stack as deployed before"):
            try:
                self._wait("The stack", lambda: programs.stack_answers(self._ports), RESTORED_SECONDS)
            except StackError:
                self._console.say("    The emulator did not bring it back; deploying again")
                return False
        return True

    def _start(self, program: Program) -> None:
        known = self._children.get(program.name)
        try:
            process = spawn(program, self._layout.root)
        except OSError as error:
            raise StackError(
                f"The {program.name} can't be started: {error}. Run `make setup` and try again."
            ) from error
        child = Child(program, process, known.restarts if known else Restarts())
        self._children[program.name] = child
        self._save()
        self._wait(f"The {program.name}", program.healthy, program.start_seconds, child)

    def _deploy(self) -> None:
        with self._phase("Deploying to the emulator"):
            deployment = Deployment(self._layout, self._ports, self._status)
            try:
                self._deploying = deployment.start()
                self._wait_for_deployment(self._deploying)
                if self._deploying.returncode != 0:
                    raise StackError(
                        f"The deployment failed:\n{deployment.last_lines()}\n    (all of it: {deployment.log})"
                    )
                deployment.finished()
            except OSError as error:
                raise StackError(f"The deployment can't be started: {error}") from error
            finally:
                self._stop_deployment()

    def _wait_for_deployment(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + DEPLOY_SECONDS
        while process.poll() is None:
            self._interrupts.check()
            if time.monotonic() > deadline:
                raise StackError(
                    f"The deployment took over {DEPLOY_SECONDS / 60:.0f} minutes; see {self._layout.log('deploy')}."
                )
            time.sleep(POLL_SECONDS)

    def _stop_deployment(self) -> None:
        if self._deploying is not None:
            stop(self._deploying, 5.0, self._interrupts.in_a_hurry)
            self._deploying = None

    def _wait(self, what: str, healthy: Callable[[], bool], seconds: float, child: Child | None = None) -> None:
        deadline = time.monotonic() + seconds
        while True:
            self._interrupts.check()
            if child is not None and child.process.poll() is not None:
                raise StackError(
                    f"{what} ended (code {child.process.returncode}) instead of starting. {child.program.log} ends:\n"
                    f"{tail(child.program.log)}"
                )
            if healthy():
                return
            if time.monotonic() > deadline:
                log = child.program.log if child else self._layout.log("emulator")
                raise StackError(f"{what} did not answer within {seconds:.0f} seconds. {log} ends:\n{tail(log)}")
            time.sleep(POLL_SECONDS)

    # Keeping up

    def watch_once(self) -> None:
        """Looks at every child; starts again what died. Raises StackError when that is hopeless, Stopped."""
        self._interrupts.check()
        now = time.monotonic()
        for name, child in list(self._children.items()):
            if child.process.poll() is None:
                continue
            if child.due is None:
                self._mourn(name, child, now)
            elif now >= child.due:
                self._revive(name, child)

    def _mourn(self, name: str, child: Child, now: float) -> None:
        code = child.process.returncode
        delay = child.restarts.delay(now)
        if delay is None:
            raise StackError(
                f"The {name} keeps ending (last with code {code}). {child.program.log} ends:\n{tail(child.program.log)}"
            )
        self._console.say(f"  ! The {name} ended (code {code}); starting it again in {delay:.1f} s")
        self._status(f"Restarting the {name}")
        self._ready(False)
        stop(child.process, 0.0)  # what it left behind in its group
        child.due = now + delay

    def _revive(self, name: str, child: Child) -> None:
        try:
            self._start(child.program)
            if name == EMULATOR and not self._restored():
                self._deploy()
        except StackError as error:
            failed = self._children[name]
            if failed.process.poll() is None:
                raise
            # It died while it started: one more death, and the next turn decides.
            self._console.say(f"  ! {str(error).splitlines()[0]}")
            return
        self._console.say(f"  ✓ The {name} is back")
        self._ready(True)
        self._sweep()

    # Down

    def shut_down(self, failure: str = "") -> None:
        """Ends every child, the emulator last: it saves its state. Never raises."""
        self._stop_deployment()
        for name in ("front door", "sandbox provider", EMULATOR):
            child = self._children.pop(name, None)
            if child is None:
                continue
            clean = stop(child.process, child.program.stop_seconds, self._interrupts.in_a_hurry)
            if not clean and name == EMULATOR:
                self._console.say("  ! The emulator was killed: the last seconds of its state may be missing")
        with suppress(OSError):
            self._layout.status_line.unlink(missing_ok=True)
            if failure:
                record.write(self._layout.record, replace(self._record, failure=failure, ready=False, children={}))
            else:
                self._layout.record.unlink(missing_ok=True)

    # What others see

    @contextmanager
    def _phase(self, title: str) -> Iterator[None]:
        self._status(title)
        with self._console.step(title):
            yield

    def _status(self, line: str) -> None:
        self._record = replace(self._record, phase=line)
        self._save()

    def _ready(self, ready: bool) -> None:
        self._record = replace(self._record, ready=ready, phase="Up" if ready else self._record.phase)
        self._save()

    def _save(self) -> None:
        members = {
            name: Member(child.process.pid, identity(child.process.pid) or "")
            for name, child in self._children.items()
            if child.process.poll() is None
        }
        self._record = replace(self._record, children=members)
        # The record serves onlookers: a full disk must not take the stack down.
        with suppress(OSError):
            record.write(self._layout.record, self._record)
            self._layout.status_line.write_text(self._record.phase + "\n", encoding="utf-8")


def remove_leftovers(layout: Layout) -> None:
    """Ends what a killed supervisor left running, if it still is what the record names."""
    found = record.read(layout.record)
    if found is None:
        return
    for name, member in found.children.items():
        seconds = programs.EMULATOR_STOP_SECONDS if name == EMULATOR else 10.0
        if member.started and not stop_foreign(member.pid, member.started, seconds):
            raise StackError(
                f"The {name} of an earlier run (process {member.pid}) can't be ended. End it, then try again."
            )
    layout.record.unlink(missing_ok=True)
