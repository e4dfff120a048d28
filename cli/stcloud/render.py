"""What people and programs see. Results go to stdout; everything else goes to stderr."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from stcloud.errors import ApiError, Interrupted, StcloudError
from stcloud.models import Job
from stcloud.wording import headline, in_options

_UNPRINTABLE = re.compile(r"\x1b\[[0-9;?]{0,16}[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f\x80-\x9f\u202a-\u202e\u2066-\u2069]")
STATUS_STYLES = {"completed": "green", "failed": "red", "cancelled": "yellow", "running": "cyan"}
MAX_SHOWN = 5
#: Seconds between lines about a transfer where there is no terminal to draw a bar on.
PLAIN_SECONDS = 10.0


def clean(text: object) -> str:
    """Text from elsewhere without terminal escapes and control characters (newlines and tabs stay)."""
    return _UNPRINTABLE.sub("", str(text)).encode("utf-8", "replace").decode()


def size_text(count: int | float) -> str:
    """Bytes for people: ``1.5 MB``, decimal units."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_text(seconds: float | None) -> str:
    """``1h 02m``, ``3m 05s``, ``12s``; ``–`` for None."""
    if seconds is None:
        return "–"
    whole = int(max(0, seconds))
    hours, minutes = divmod(whole // 60, 60)
    if hours:
        return f"{hours}h {minutes:02d}m"
    return f"{minutes}m {whole % 60:02d}s" if minutes else f"{whole}s"


def money_text(usd: float | None) -> str:
    return "–" if usd is None else f"${usd:.4f}" if 0 < usd < 0.01 else f"${usd:.2f}"


def time_text(value: str | None) -> str:
    """An ISO time in the local zone, to the second; ``–`` for None."""
    if value is None:
        return "–"
    try:
        return datetime.fromisoformat(value).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return clean(value)


def count_text(count: int, one: str, many: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else many or one + 's'}"


class LineFolder:
    """Makes lines of a log that comes in parts; of the redraws of a bar (by carriage return) only the last stays."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> str:
        """The lines that are complete now, and the last whole redraw of a bar that still goes on."""
        *lines, tail = (self._rest + text).replace("\r\n", "\n").split("\n")
        # A carriage return at the very end may be half of a line's end.
        drawn, mark, self._rest = tail.rpartition("\r") if not tail.endswith("\r") else ("", "", tail)
        shown = [_last_redraw(line) for line in lines]
        if mark and (last := _last_redraw(drawn)):
            shown.append(last)
        return "".join(f"{line}\n" for line in shown)

    def end(self) -> str:
        rest, self._rest = _last_redraw(self._rest), ""
        return f"{rest}\n" if rest else ""


def _last_redraw(line: str) -> str:
    return next((piece for piece in reversed(line.split("\r")) if piece.strip()), "")


class Output:
    """Where a command writes. ``json_mode``: stdout carries JSON alone. ``quiet``: no notes and no progress."""

    def __init__(self, *, json_mode: bool = False, quiet: bool = False) -> None:
        self.json_mode = json_mode
        self.quiet = quiet
        self._folder = LineFolder()
        self.out = Console(highlight=False, soft_wrap=True)
        self.err = Console(stderr=True, highlight=False, soft_wrap=True)

    # --- results ----------------------------------------------------------------------------------------------
    def result(self, data: Any, text: str | None = None) -> None:
        """The command's result: ``data`` in JSON mode, else ``text`` (nothing when None)."""
        if self.json_mode:
            self.document(data)
        elif text is not None:
            self.out.print(Text(clean(text)))
            self.out.file.flush()

    def document(self, data: Any) -> None:
        """JSON for people who asked to see it."""
        self.out.file.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")
        self.out.file.flush()

    def line(self, data: Mapping[str, Any]) -> None:
        """One JSON line of a stream (JSON mode only)."""
        self.out.file.write(json.dumps(data, ensure_ascii=False) + "\n")
        self.out.file.flush()

    def lines(self, texts: Iterable[str]) -> None:
        """Lines of text, written as they come."""
        for text in texts:
            self.out.file.write(clean(text).replace("\n", " ") + "\n")
        self.out.file.flush()

    def streamed(self, head: Mapping[str, Any], **lists: Iterable[Any]) -> None:
        """One JSON object of ``head`` and long ``lists``, written as they come."""
        write = self.out.file.write
        write("{\n" + ",\n".join(f"  {json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in head.items()))
        for name, entries in lists.items():
            write(f",\n  {json.dumps(name)}: [")
            for number, entry in enumerate(entries):
                write((",\n    " if number else "\n    ") + json.dumps(entry, ensure_ascii=False))
            write("]")
        write("\n}\n")
        self.out.file.flush()

    def log(self, part: Mapping[str, Any], *, follow: bool = False) -> None:
        """A part of a job's log: its text but for control characters, or as JSON (a line each when following).

        On a terminal a bar redraws itself; in a pipe the last redraw of each part gets a line.
        """
        if self.json_mode:
            if follow:
                self.line(part)
            else:
                self.document(part)
        elif self.out.is_terminal:
            self.out.file.write("\r".join(clean(piece) for piece in part["logs"].split("\r")))
        else:
            self.out.file.write(clean(self._folder.feed(part["logs"])))
        self.out.file.flush()

    def log_ends(self) -> None:
        """What is left of the last line, and its end."""
        rest = clean(self._folder.end())
        if rest and not self.json_mode:
            self.out.file.write(rest)
            self.out.file.flush()

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, data: Any, empty: str) -> None:
        """A list: JSON, a table on a terminal, tab-separated lines in a pipe; ``empty`` is a note for people."""
        if self.json_mode:
            self.result(data)
            return
        cells = [[clean(cell) for cell in row] for row in rows]
        if not cells:
            self.note(empty)
        elif self.out.is_terminal:
            table = Table(*columns, box=None, pad_edge=False, header_style="bold")
            for row in cells:
                table.add_row(*(Text(c, style=STATUS_STYLES.get(c, "")) for c in row))
            self.out.print(table)
        else:
            for row in cells:
                self.out.file.write("\t".join(c.replace("\t", " ").replace("\n", " ") for c in row) + "\n")
            self.out.file.flush()

    # --- the rest ---------------------------------------------------------------------------------------------
    def note(self, text: str) -> None:
        if not self.quiet:
            self.err.print(Text(clean(text)))

    def warn(self, text: str) -> None:
        """Shown even when quiet: something the user would want to know later."""
        self.err.print(Text.assemble(("Warning: ", "yellow"), clean(text)))

    def error(self, error: StcloudError) -> None:
        """The error for people on stderr, and for programs on stdout in JSON mode."""
        if self.json_mode:
            self.line({"error": error.as_dict()})
        self.complaint(error)

    def complaint(self, error: StcloudError) -> None:
        """The error for people. What the user stopped is no error."""
        message, fields = headline(error)
        title = f"{error.title}: " if isinstance(error, ApiError) and error.title else "Error: "
        if isinstance(error, Interrupted):
            self.err.print(Text(clean(message)))
        else:
            self.err.print(Text.assemble((clean(title), "bold red"), clean(message)))
        for field in fields:
            self.err.print(Text(f"  {clean(field)}"))
        if error.advice:
            self.err.print(Text(f"  → {clean(in_options(error.advice))}"))
        if isinstance(error, ApiError) and error.request_id:
            self.err.print(Text(f"  request id {clean(error.request_id)}", style="dim"))

    @contextmanager
    def transfer(self, label: str, total: int) -> Iterator[TransferBar]:
        """A bar over ``total`` bytes on a terminal; elsewhere a line now and then, if it takes long."""
        if self.quiet or not self.err.is_terminal:
            yield TransferBar(label, total, None if self.quiet else self)
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[files]}"),
        )
        with Progress(*columns, console=self.err, transient=True) as progress:
            task = progress.add_task(label, total=max(total, 1), files="")
            yield TransferBar(label, total, None, progress, task)


def progress_text(done: int, total: int, seconds: float) -> str:
    """``40 % of 1.0 GB, 12.0 MB/s, 50s left``."""
    done = min(max(0, done), total)
    rate = done / seconds if seconds > 0 else 0.0
    left = f", {size_text(rate)}/s, {duration_text((total - done) / rate)} left" if rate >= 1 else ""
    return f"{done * 100 // max(1, total)} % of {size_text(total)}{left}"


class TransferBar:
    """Progress of bytes; may be advanced from several threads (a lost tick only delays the drawing)."""

    def __init__(
        self,
        label: str,
        total: int,
        plain: Output | None,
        progress: Progress | None = None,
        task: TaskID | None = None,
    ) -> None:
        self._label, self._total, self._plain, self._progress, self._task = label, total, plain, progress, task
        self._done = 0
        self._began_at = self._told_at = time.monotonic()

    def advance(self, count: int) -> None:
        self._done += count
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=count)
        elif self._plain is not None and self._total > 0:
            now = time.monotonic()
            if now - self._told_at >= PLAIN_SECONDS:
                self._told_at = now
                self._plain.note(f"{self._label}: {progress_text(self._done, self._total, now - self._began_at)}")

    def files(self, text: str) -> None:
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, files=text)


def job_rows(jobs: Iterable[Job], owners: Mapping[str, str] | None = None) -> Iterator[list[object]]:
    """Rows of ``JOB_COLUMNS``; with ``owners`` (names by id) one column more."""
    for job in jobs:
        step, total = job["progress"]["step"], job["progress"]["total_steps"]
        yield [
            job["job_id"],
            job["status"],
            job["phase"] if not job["is_terminal"] else "",
            f"{step}/{total}" if step is not None and total else "",
            job["run_name"] or job["config_name"] or "",
            job["hardware_type"] or "",
            duration_text(job["duration_seconds"]),
            money_text(job["cost_usd"]),
            time_text(job["created_at"]),
            *([] if owners is None else [owners.get(job.get("user_id") or "", "")]),
        ]


JOB_COLUMNS = ("JOB", "STATUS", "PHASE", "STEPS", "NAME", "HARDWARE", "RAN", "COST", "SUBMITTED")


def job_text(job: Job) -> str:
    """One job in lines of ``name  value``."""
    step, total = job["progress"]["step"], job["progress"]["total_steps"]
    loss = job["progress"]["loss"]
    lines = [
        ("job", job["job_id"]),
        ("status", job["status"] + (" (cancelling)" if job["cancel_requested"] and not job["is_terminal"] else "")),
        ("phase", job["phase"]),
        ("name", job["run_name"] or job["config_name"]),
        ("hardware", f"{job['hardware_type']}, ${job['price_per_hour']:.2f} an hour"),
        ("sandbox", "yes: this is not a GPU, and nothing is billed" if job["sandbox"] else None),
        ("steps", f"{step} of {total}" if step is not None and total else None),
        ("loss", f"{loss:.4f}" if loss is not None else None),
        ("submitted", time_text(job["created_at"])),
        ("ran", duration_text(job["duration_seconds"])),
        ("limit", duration_text(job["max_run_seconds"])),
        ("cost", money_text(job["cost_usd"])),
    ]
    lines += [("dataset", f"{d['dataset_id']} {d['version_id']}") for d in job["datasets"]]
    if job["failure"]:
        lines += [("problem", job["failure"]["message"]), ("advice", in_options(job["failure"]["advice"]))]
    if job["delivery"]["verified_at"]:
        delivery = job["delivery"]
        lines.append(("model", f"{delivery['verified_files']} files verified, {size_text(delivery['bytes'])}"))
        lines += [("weights", path) for path in delivery["weights"]]
        lines += [("warning", text) for text in delivery.get("warnings") or []]
    escrow = job.get("escrow")
    if escrow is not None and (escrow["expires_at"] or escrow["removed_at"]):
        gone = f"removed {time_text(escrow['removed_at'])}" if escrow["removed_at"] else None
        lines.append(("kept", gone or f"until {time_text(escrow['expires_at'])}"))
    lines += [("goes to", to["label"]) for to in job.get("destinations", [])]
    sent = job.get("deliveries", {})
    if sent.get("state", "none") != "none":
        lines.append(("delivered", f"{sent['verified']} verified, {sent['open']} open, {sent['failed']} failed"))
    return "\n".join(f"{name:<10} {value}" for name, value in lines if value not in (None, ""))


def some(paths: Sequence[str], count: int | None = None) -> str:
    """The first few of a list, in words; ``count``: how many there are, where ``paths`` are not all of them."""
    more = (len(paths) if count is None else count) - MAX_SHOWN
    return ", ".join(paths[:MAX_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
