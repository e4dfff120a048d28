"""The provider behind the API: creates predictions, runs at most a few at once, ends them, forgets their data."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from local.sandbox.clock import Clock
from local.sandbox.contract import Machine, redact
from local.sandbox.faults import RUN_FAULTS, FaultPlan
from local.sandbox.predictions import INTERRUPTED, Prediction, Status, most_at_once
from local.sandbox.process import Launcher, Result, Run
from local.sandbox.store import Store
from local.sandbox.webhooks import Message, new_message_id

PAGE_SIZE = 100
#: Replicate sends ``output`` and ``logs`` webhooks at most this often.
THROTTLE = timedelta(milliseconds=500)
#: How often a sign of life is left while something runs: by as much a crash may shorten a run.
HEARTBEAT = timedelta(seconds=1)
logger = logging.getLogger("sandbox")
ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id() -> str:
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(26))


@dataclass(frozen=True)
class EngineOptions:
    """``origin`` is our own address without a trailing slash; ``max_running`` bounds trainers at once."""

    origin: str
    max_running: int = 2
    retention: timedelta = timedelta(hours=1)


@dataclass
class Engine:
    """Single-threaded: every method is called from the event loop's thread and none blocks for long.

    ``tick`` is the heart: it looks at the clock and the trainers and moves predictions on. ``send`` takes the webhooks.
    """

    store: Store
    launcher: Launcher
    clock: Clock
    options: EngineOptions
    send: Callable[[Message], None]
    make_id: Callable[[], str] = new_id
    plan: FaultPlan = field(default_factory=FaultPlan)
    _all: dict[str, Prediction] = field(default_factory=dict)
    _runs: dict[str, Run] = field(default_factory=dict)
    _logs_sent: dict[str, tuple[datetime, int]] = field(default_factory=dict)
    _created: int = 0
    _beaten_at: datetime | None = None
    _recovered_at: datetime | None = None

    # -- the API's verbs ------------------------------------------------------------------------------------------

    @property
    def next_ordinal(self) -> int:
        return self._created + 1

    def create(
        self,
        *,
        machine: Machine,
        given: dict[str, Any],
        webhook: str | None,
        events: list[str] | None,
        cancel_after: timedelta | None,
    ) -> Prediction:
        """Stored before it is returned: a prediction whose answer is lost still exists."""
        now = self.clock()
        prediction = Prediction(
            id=self.make_id(),
            ordinal=self.next_ordinal,
            model=machine.model,
            version=machine.version,
            input=given,
            created_at=now,
            webhook=webhook,
            webhook_events_filter=events,
            deadline=now + cancel_after if cancel_after else None,
        )
        strikes = self.plan.strike(RUN_FAULTS, prediction.ordinal, prediction=prediction.ordinal, job=prediction.job)
        prediction.faults = [{"kind": s.kind, "options": dict(s.options)} for s in strikes]
        self.store.save(prediction)
        self._created += 1
        self._all[prediction.id] = prediction
        return prediction

    def get(self, prediction_id: str) -> Prediction | None:
        return self._all.get(prediction_id)

    def cancel(self, prediction: Prediction) -> None:
        """No effect on one that is over."""
        if not prediction.status.is_over:
            self._end(prediction, Status.CANCELED)

    def public(self, prediction: Prediction, *, with_logs: bool = True) -> dict[str, Any]:
        logs = self.store.read_log(prediction.id) if with_logs and not prediction.data_removed else None
        return prediction.public(self.options.origin, logs)

    def page(
        self, *, below: int | None, created_after: datetime | None, created_before: datetime | None
    ) -> tuple[list[Prediction], int | None]:
        """At most PAGE_SIZE, newest first, with ordinals under ``below``; and where the next page begins."""
        found = [
            p
            for p in reversed(self._all.values())
            if (below is None or p.ordinal < below)
            and (created_after is None or p.created_at >= created_after)
            and (created_before is None or p.created_at < created_before)
        ]
        page = found[:PAGE_SIZE]
        return page, page[-1].ordinal if len(found) > PAGE_SIZE else None

    # -- life -----------------------------------------------------------------------------------------------------

    def recover(self) -> list[str]:
        """After a start: what ran when the server died has failed at that moment, what waited waits again, terminal
        webhooks that nobody got are sent. Returns the names of unreadable record files."""
        now = self._recovered_at = self.clock()
        last_seen = self.store.last_heartbeat()
        predictions, broken = self.store.load()
        self.store.clean_work()
        self._all = {p.id: p for p in predictions}
        self._created = max((p.ordinal for p in predictions), default=0)
        for prediction in predictions:
            if prediction.status is Status.PROCESSING:
                # Nobody trained while the server was down, so nobody pays for that time.
                died_at = min(now, prediction.sign_of_life(last_seen))
                self._end(prediction, Status.FAILED, error=INTERRUPTED, at=died_at)
            elif prediction.terminal_webhook == "pending":
                self._webhook(prediction, "completed")
        return broken

    def tick(self) -> None:
        """Moves every prediction as far as the clock and the trainers allow. Never raises: one that can't be moved is
        logged and tried again with the next tick, and the others go on."""
        now = self.clock()
        for prediction in list(self._all.values()):
            try:
                self._tick(prediction, now)
            except Exception:
                logger.exception("Prediction %s could not be moved on", prediction.id)
        if self._runs and (self._beaten_at is None or now >= self._beaten_at + HEARTBEAT):
            self._beat(now)

    def stop(self) -> None:
        """Kills the trainers; their predictions stay recorded as running, so that ``recover`` fails them."""
        if self._runs:
            self._beat(self.clock())
        for run in self._runs.values():
            run.kill()
        self._runs.clear()

    def reset(self) -> None:
        """Forgets everything, the fault plan too (its seed stays)."""
        self.stop()
        self._all.clear()
        self._logs_sent.clear()
        self._created = 0
        self.plan = FaultPlan(seed=self.plan.seed)
        self.store.clear()

    def outcome(self, message: Message, outcome: str) -> None:
        """What became of a terminal webhook."""
        prediction = self._all.get(message.prediction_id)
        if prediction is not None and prediction.terminal_webhook_id == message.id:
            prediction.terminal_webhook = outcome
            self.store.save(prediction)

    def overlap(self) -> dict[str, dict[str, int]]:
        """Per job tag: the most predictions alive, and the most running, at one moment; and how many there were."""
        jobs: dict[str, list[Prediction]] = {}
        for prediction in self._all.values():
            jobs.setdefault(prediction.job or "", []).append(prediction)
        return {
            job: {
                "predictions": len(group),
                "max_alive": most_at_once((p.created_at, p.completed_at) for p in group),
                "max_running": most_at_once((p.started_at, p.completed_at) for p in group if p.started_at),
            }
            for job, group in jobs.items()
        }

    def all(self) -> list[Prediction]:
        """In order of creation."""
        return list(self._all.values())

    # -- inside ---------------------------------------------------------------------------------------------------

    def _tick(self, prediction: Prediction, now: datetime) -> None:
        if prediction.status is Status.STARTING:
            self._tick_starting(prediction, now)
        elif prediction.status is Status.PROCESSING:
            self._tick_processing(prediction, now)
        elif not prediction.data_removed and now >= self._kept_from(prediction, now) + self.options.retention:
            prediction.remove_data()
            self.store.save(prediction)
            self.store.delete_log(prediction.id)

    def _kept_from(self, prediction: Prediction, now: datetime) -> datetime:
        """Its end, or our start where that was later: while we were down nobody could fetch its data."""
        return max(prediction.completed_at or now, self._recovered_at or prediction.created_at)

    def _beat(self, now: datetime) -> None:
        self._beaten_at = now
        try:
            self.store.heartbeat(now)
        except OSError as error:
            logger.warning("No sign of life could be left: %s", error)

    def _tick_starting(self, prediction: Prediction, now: datetime) -> None:
        if prediction.fault("abort") is not None or _passed(prediction.deadline, now):
            self._end(prediction, Status.ABORTED)
            return
        slow = prediction.fault("slow_start")
        if slow is not None and now < prediction.created_at + timedelta(seconds=slow["seconds"]):
            return
        if len(self._runs) >= self.options.max_running:
            return
        try:
            self._runs[prediction.id] = self.launcher.start(prediction)
        except OSError as error:
            self._end(prediction, Status.FAILED, error=f"Prediction failed: the trainer did not start: {error}")
            return
        prediction.move(Status.PROCESSING, now)
        prediction.input = redact(prediction.input)
        self.store.save(prediction)
        self._webhook(prediction, "start")

    def _tick_processing(self, prediction: Prediction, now: datetime) -> None:
        run = self._runs.get(prediction.id)
        result = run.poll() if run else Result(error=INTERRUPTED)
        timeout = prediction.fault("timeout")
        if result is not None:
            self._webhook_logs(prediction, now)
            if result.error is None:
                self._end(prediction, Status.SUCCEEDED, output=result.output)
            else:
                self._end(prediction, Status.FAILED, error=result.error)
        elif _passed(prediction.deadline, now):
            self._end(prediction, Status.CANCELED)
        elif (
            timeout is not None
            and prediction.started_at
            and _passed(prediction.started_at + timedelta(seconds=timeout["seconds"]), now)
        ):
            self._end(prediction, Status.FAILED, error="Prediction timed out")
        else:
            self._webhook_logs(prediction, now)

    def _end(
        self,
        prediction: Prediction,
        status: Status,
        *,
        error: str | None = None,
        output: Any = None,
        at: datetime | None = None,
    ) -> None:
        """Kills what runs first: when a prediction is over, nothing of it runs any more. ``at`` is when it ended (None:
        now)."""
        run = self._runs.pop(prediction.id, None)
        if run is not None:
            run.kill()
        prediction.move(status, at or self.clock(), error=error, output=output)
        if prediction.terminal_webhook == "pending":
            prediction.terminal_webhook_id = new_message_id()
        self.store.save(prediction)
        self.store.clean_work(prediction.id)
        self._logs_sent.pop(prediction.id, None)
        if output is not None:
            self._webhook(prediction, "output")
        self._webhook(prediction, "completed")

    def _webhook_logs(self, prediction: Prediction, now: datetime) -> None:
        sent_at, sent_size = self._logs_sent.get(prediction.id, (None, 0))
        if "logs" not in prediction.events or (sent_at is not None and now < sent_at + THROTTLE):
            return
        size = self.store.log_size(prediction.id)
        if size != sent_size:
            self._logs_sent[prediction.id] = (now, size)
            self._webhook(prediction, "logs")

    def _webhook(self, prediction: Prediction, event: str) -> None:
        if not prediction.webhook or event not in prediction.events:
            return
        message_id = prediction.terminal_webhook_id if event == "completed" else None
        self.send(
            Message(
                id=message_id or new_message_id(),
                url=prediction.webhook,
                event=event,
                body=json.dumps(self.public(prediction)).encode(),
                prediction_id=prediction.id,
                ordinal=prediction.ordinal,
                job=prediction.job,
            )
        )


def _passed(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and now >= moment
