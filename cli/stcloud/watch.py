"""Following a job until it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from stcloud.api import Api
from stcloud.errors import ExitCode, Interrupted, NetworkError, RateLimited, ServerError, StcloudError
from stcloud.models import Job, Progress
from stcloud.render import STATUS_STYLES, Output, clean, duration_text, money_text

#: Phases in which the cost still grows.
RUNNING = frozenset({"launching", "training"})
OUTCOMES = {"completed": ExitCode.OK, "failed": ExitCode.FAILED, "cancelled": ExitCode.CANCELLED}
#: Seconds between looks: from the first after news to the last without any.
FIRST_WAIT, LAST_WAIT, GROWTH = 1.0, 15.0, 1.5
#: A server that does not answer this long is given up; the job goes on without us.
PATIENCE = 600.0
#: No job runs this long (34 hours is the limit of a run, and a queue is not that patient).
LONGEST = 7 * 24 * 3600.0
#: Without a terminal: a line at each change of phase, each tenth of the steps, and at least this often (seconds).
PLAIN_INTERVAL = 60.0


def news_of(progress: Progress) -> dict[str, Any]:
    """What is news when it differs: when somebody looked last is none."""
    return {k: v for k, v in progress.items() if k not in ("updated_at", "last_confirmed_at")}


class Display(Protocol):
    def show(self, progress: Progress, cost: float | None, /) -> None: ...

    def trouble(self, message: str, /) -> None: ...

    def close(self) -> None: ...


class Watcher:
    """Polls a job. ``sleep`` and ``monotonic`` are there for tests."""

    def __init__(
        self,
        api: Api,
        display: Display,
        *,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._api = api
        self._display = display
        self._sleep = sleep
        self._monotonic = monotonic
        self._patience = patience
        self._price = 0.0
        self._running_since: float | None = None

    def run(self, job_id: str) -> Job:
        """The job's record once it is over.

        Survives a server that restarts, for ten minutes. Raises NotFound, NetworkError, Interrupted (the job goes on).
        """
        try:
            return self._follow(job_id)
        except KeyboardInterrupt:
            raise Interrupted(
                "Stopped watching; the job goes on.",
                advice=f"Watch again: stcloud jobs watch {job_id}   End it: stcloud jobs cancel {job_id}",
            ) from None
        finally:
            self._display.close()

    def _follow(self, job_id: str) -> Job:
        wait, before, silent_since = FIRST_WAIT, None, None
        status: str | None = None
        until = self._monotonic() + LONGEST
        while self._monotonic() < until:
            try:
                progress = self._api.progress(job_id)
                if progress["status"] != status:
                    job = self._api.job(job_id)
                    self._learn_price(job)
                    status = progress["status"]
                    if job["is_terminal"]:
                        return job
            except (NetworkError, ServerError, RateLimited) as error:
                now = self._monotonic()
                silent_since = now if silent_since is None else silent_since
                if now - silent_since > self._patience:
                    raise NetworkError(
                        f"No answer for {duration_text(self._patience)}: {error.message}",
                        advice=f"The job goes on without this computer. Watch again: stcloud jobs watch {job_id}",
                    ) from error
                self._display.trouble("The server does not answer; the job goes on. Trying again.")
            else:
                silent_since = None
                self._display.show(progress, self._cost(progress))
                news = news_of(progress)
                wait = FIRST_WAIT if news != before else min(LAST_WAIT, wait * GROWTH)
                before = news
            self._sleep(wait)
        raise StcloudError(
            f"The job is still not over after {duration_text(LONGEST)}.", advice=f"stcloud jobs get {job_id}"
        )

    def _learn_price(self, job: Job) -> None:
        self._price = job["price_per_hour"]
        ran = job["duration_seconds"]
        self._running_since = None if ran is None else self._monotonic() - ran

    def _cost(self, progress: Progress) -> float | None:
        """What the provider billed, or an estimate from the time it ran."""
        if progress["cost_usd"] is not None:
            return progress["cost_usd"]
        if self._running_since is None or progress["phase"] != "training":
            return None
        return self._price * (self._monotonic() - self._running_since) / 3600


def exit_code(job: Job) -> ExitCode:
    """The exit code that says how the job ended."""
    return OUTCOMES.get(job["status"], ExitCode.FAILED)


def display_for(output: Output, job_id: str, *, monotonic: Callable[[], float] = time.monotonic) -> Display:
    """JSON lines, nothing, a live panel, or plain lines: whatever fits where the output goes."""
    if output.json_mode:
        return JsonDisplay(output)
    if output.quiet:
        return SilentDisplay()
    if output.err.is_terminal:
        return LiveDisplay(output, job_id)
    return PlainDisplay(output, monotonic)


class SilentDisplay:
    def show(self, _progress: Progress, _cost: float | None, /) -> None:
        return

    def trouble(self, _message: str, /) -> None:
        return

    def close(self) -> None:
        return


class JsonDisplay(SilentDisplay):
    """One line for each look that brought news."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._last: dict[str, Any] | None = None

    def show(self, progress: Progress, _cost: float | None, /) -> None:
        facts = news_of(progress)
        if facts != self._last:
            self._last = facts
            self._output.line({"type": "progress", **progress})

    def trouble(self, message: str, /) -> None:
        self._output.note(message)


class PlainDisplay(SilentDisplay):
    def __init__(self, output: Output, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._output = output
        self._monotonic = monotonic
        self._last: tuple[object, ...] = ()
        self._told_at = float("-inf")
        self._troubled = False

    def show(self, progress: Progress, cost: float | None, /) -> None:
        if self._troubled:
            self._troubled = False
            self._output.note("The server answers again.")
        mark = (progress["status"], progress["phase"], progress["stage"], int((progress["progress"] or 0) // 10))
        now = self._monotonic()
        if mark == self._last and now - self._told_at < PLAIN_INTERVAL:
            return
        self._last, self._told_at = mark, now
        self._output.note(" · ".join(facts_of(progress, cost)))

    def trouble(self, message: str, /) -> None:
        if not self._troubled:
            self._troubled = True
            self._output.note(message)


class LiveDisplay:
    """A panel that is redrawn in place: bar, steps, loss, ETA, cost, and the last line of the log."""

    def __init__(self, output: Output, job_id: str) -> None:
        self._job_id = job_id
        self._live = Live(console=output.err, refresh_per_second=4, transient=False)
        self._live.start()

    def show(self, progress: Progress, cost: float | None, /) -> None:
        head = Table.grid(padding=(0, 2))
        status = progress["status"]
        bar = ProgressBar(total=100, completed=progress["progress"] or 0, width=30)
        facts = "   ".join(facts_of(progress, cost)[1:])
        head.add_row(Text(status, style=f"bold {STATUS_STYLES.get(status, '')}"), bar, Text(facts))
        last = clean(progress["last_log"] or "")
        self._live.update(Group(head, Text(last, style="dim", overflow="ellipsis", no_wrap=True)))

    def trouble(self, message: str, /) -> None:
        self._live.update(Text(message, style="yellow"))

    def close(self) -> None:
        self._live.stop()


def facts_of(progress: Progress, cost: float | None) -> list[str]:
    """What is known, in short words; the status first."""
    facts = [progress["status"]]
    phase = progress["phase"]
    stage = clean(progress["stage"] or "")
    facts.append(f"{phase} ({stage})" if stage and stage.lower() != phase else phase)
    if progress["step"] is not None and progress["total_steps"]:
        facts.append(f"step {progress['step']}/{progress['total_steps']}")
    if progress["loss"] is not None:
        facts.append(f"loss {progress['loss']:.4f}")
    if progress["eta_seconds"] and phase == "training":
        facts.append(f"{duration_text(progress['eta_seconds'])} left")
    if cost is not None:
        facts.append(f"{money_text(cost)} so far" if phase in RUNNING else money_text(cost))
    return facts
