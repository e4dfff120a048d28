"""The DeliveryRunner port in memory and in virtual time. It follows ``infra/delivery.asl.json``.

Without ``step`` it only remembers what was started; a test says what is over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from chalicelib.domain.deliveries import Delivery
from chalicelib.domain.ports import Clock, ExecutionState
from chalicelib.errors import Unavailable

MAX_TRIES = 3
RETRY_AFTER = timedelta(seconds=5)


class Died(BaseException):
    """The function's worker dies: nothing catches it but the state machine."""


Step = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass
class DeliveryExecution:
    input: dict[str, Any]
    due: datetime
    pieces: list[dict[str, Any]] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    tries: int = 0
    steps: int = 0
    status: str = "RUNNING"


@dataclass
class FakeDeliveryRunner:
    """``step`` is what advances a delivery, ``piece`` what does one piece; both take an event and answer as the
    functions do. ``tick`` runs what is due, one call per execution."""

    clock: Clock
    step: Step | None = None
    piece: Step | None = None
    executions: dict[str, DeliveryExecution] = field(default_factory=dict)
    start_fails: int = 0

    def start(self, delivery: Delivery) -> None:
        if self.start_fails > 0:
            self.start_fails -= 1
            raise Unavailable("The workflow engine did not answer.")
        event = {"job_id": delivery.job_id, "delivery_id": delivery.delivery_id, "attempt": delivery.attempt}
        self.executions.setdefault(_name(delivery), DeliveryExecution(event, self.clock.now()))

    def state(self, delivery: Delivery) -> ExecutionState:
        found = self.executions.get(_name(delivery))
        if found is None:
            return ExecutionState.UNKNOWN
        return ExecutionState.RUNNING if found.status == "RUNNING" else ExecutionState.OVER

    def running(self) -> list[DeliveryExecution]:
        return [e for e in self.executions.values() if e.status == "RUNNING"]

    def next_due(self) -> datetime | None:
        return min((e.due for e in self.running()), default=None) if self.step is not None else None

    def fail_all(self) -> None:
        """Every running execution dies, as at a restart of the emulator."""
        for execution in self.running():
            execution.status = "FAILED"

    def tick(self) -> int:
        """Runs one step or piece of every execution that is due; returns how many ran."""
        if self.step is None:
            return 0
        due = [e for e in self.running() if e.due <= self.clock.now()]
        for execution in due:
            self._advance(execution)
        return len(due)

    def _advance(self, execution: DeliveryExecution) -> None:
        assert self.step is not None
        execution.steps += 1
        try:
            if execution.pieces:
                assert self.piece is not None
                execution.answers.append(_wired(self.piece(_wired(execution.pieces[0]))))
                self._next_piece(execution)
                return
            answer = _wired(self.step(_wired(execution.input)))
        except (Exception, Died):  # noqa: BLE001 - whatever a Lambda raises, Step Functions tries again
            execution.tries += 1
            execution.due = self.clock.now() + RETRY_AFTER * 2**execution.tries
            if execution.tries > MAX_TRIES and execution.pieces:
                execution.answers.append({"fault": {}})
                self._next_piece(execution)
            elif execution.tries > MAX_TRIES:
                execution.status = "FAILED"
            return
        execution.tries = 0
        execution.input = answer
        if answer["next"] == "done":
            execution.status = "SUCCEEDED"
        elif answer["next"] == "wait":
            execution.due = self.clock.now() + timedelta(seconds=answer["seconds"])
        elif answer["next"] == "pieces":
            execution.pieces, execution.answers = list(answer["items"]), []

    @staticmethod
    def _next_piece(execution: DeliveryExecution) -> None:
        execution.tries = 0
        execution.pieces = execution.pieces[1:]
        if not execution.pieces:
            execution.input = {**execution.input, "pieces": execution.answers}


def _wired(event: Mapping[str, Any]) -> dict[str, Any]:
    """As it comes out at the other end of Step Functions, which takes 256 KB."""
    text = json.dumps(event)
    assert len(text) < 256 * 1024
    copied: dict[str, Any] = json.loads(text)
    return copied


def _name(delivery: Delivery) -> str:
    return f"{delivery.delivery_id}-{delivery.attempt}"
