"""The state machine in memory and in virtual time: a WorkflowRunner whose executions a test drives step by step.

It follows ``infra/state_machine.asl.json``: Prepare, then whatever the steps answer; await states hold a task token
until it is woken or its time is up; a step that raises is tried again a few times, then its execution fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from chalicelib.domain.lifecycle import JobGoneError
from chalicelib.domain.ports import ExecutionState
from chalicelib.workflow import steps, verification
from chalicelib.workflow.launch import launch
from chalicelib.workflow.outcome import WAITS, Next, Outcome
from tests.fakes.delivery_runner import Died

if TYPE_CHECKING:
    from chalicelib.domain.ports import Clock, Ports

STEPS: dict[str, Callable[[str, Ports], Outcome]] = {
    "prepare": steps.prepare,
    Next.LAUNCH: launch,
    Next.OBSERVE: steps.observe,
    Next.DELIVER: verification.deliver,
    Next.VERIFY: verification.verify,
    Next.FINISH: steps.finish,
}
MAX_TRIES = 3
RETRY_AFTER = timedelta(seconds=5)


class Killed(Exception):
    """A Lambda worker that died in the middle of its work."""


@dataclass
class Execution:
    job_id: str
    attempt: int
    state: str = "prepare"
    wakes_seen: int = 0
    due: datetime | None = None
    token: str | None = None
    tries: int = 0
    resumes: str = Next.OBSERVE
    status: str = "RUNNING"
    transitions: int = 0

    @property
    def name(self) -> str:
        return f"{self.job_id}-{self.attempt}"


class VirtualMachine:
    """Implements the WorkflowRunner port. Set ``ports`` once they exist; then ``tick()`` runs what is due now."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ports: Ports | None = None
        self.executions: dict[str, Execution] = {}
        self.start_fails = 0
        self._tokens = 0

    # --- the port ---------------------------------------------------------------------------------------------
    def start(self, job_id: str, attempt: int) -> None:
        if self.start_fails > 0:
            self.start_fails -= 1
            raise Killed("start")
        execution = Execution(job_id, attempt, due=self._clock.now())
        self.executions.setdefault(execution.name, execution)

    def state(self, job_id: str, attempt: int) -> ExecutionState:
        found = self.executions.get(f"{job_id}-{attempt}")
        if found is None:
            return ExecutionState.UNKNOWN
        return ExecutionState.RUNNING if found.status == "RUNNING" else ExecutionState.OVER

    def wake(self, task_token: str) -> bool:
        for execution in self.executions.values():
            if execution.token == task_token and execution.status == "RUNNING":
                execution.token, execution.state, execution.due = None, execution.resumes, self._clock.now()
                return True
        return False

    # --- driving it -------------------------------------------------------------------------------------------
    def running(self) -> list[Execution]:
        return [e for e in self.executions.values() if e.status == "RUNNING"]

    def next_due(self) -> datetime | None:
        return min((e.due for e in self.running() if e.due is not None), default=None)

    def tick(self) -> int:
        """Runs every execution that is due now, one step each; returns how many steps ran."""
        due = [e for e in self.running() if e.due is not None and e.due <= self._clock.now()]
        for execution in due:
            self._step(execution)
        return len(due)

    def fail_all(self) -> None:
        """What a restart of the emulator does to running executions."""
        for execution in self.running():
            execution.status = "FAILED"

    def _step(self, execution: Execution) -> None:
        assert self.ports is not None
        if execution.token is not None:  # its time is up
            execution.token, execution.state = None, execution.resumes
        execution.transitions += 1
        try:
            outcome = STEPS[execution.state](execution.job_id, self.ports)
        except JobGoneError:
            outcome = Outcome(Next.DONE)
        except (Exception, Died):  # noqa: BLE001 - whatever a Lambda raises, Step Functions tries again
            execution.tries += 1
            execution.due = self._clock.now() + RETRY_AFTER * 2**execution.tries
            if execution.tries > MAX_TRIES:
                execution.status = "FAILED"
            return
        execution.tries = 0
        execution.transitions += 1  # Route
        if outcome.next is Next.DONE:
            execution.status = "SUCCEEDED"
        elif outcome.next in WAITS:
            self._wait(execution, outcome)
        else:
            execution.state, execution.due = outcome.next, self._clock.now()

    def _wait(self, execution: Execution, outcome: Outcome) -> None:
        assert self.ports is not None
        self._tokens += 1
        execution.transitions += 1
        execution.token = f"token-{self._tokens}"
        execution.resumes = "prepare" if outcome.next is Next.AWAIT_INSPECTION else Next.OBSERVE
        execution.due = self._clock.now() + timedelta(seconds=WAITS[outcome.next])
        try:
            steps.await_change(execution.job_id, execution.token, outcome.next, outcome.wakes_seen, self.ports)
        except Exception:  # noqa: BLE001
            # With waitForTaskToken an error of the Lambda fails the state at once; it is caught and leads to Observe.
            execution.token, execution.state = None, execution.resumes
            execution.due = self._clock.now() + RETRY_AFTER
