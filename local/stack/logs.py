"""``make logs``: the files of the local programs and what the Lambdas write, as it comes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.stack.emulated import client

LAMBDA_PREFIX = "/aws/lambda/"
#: Lines of the Lambda service itself, about every call.
_PLATFORM = ("START RequestId", "END RequestId", "REPORT RequestId")
MAX_EVENTS = 1000


@dataclass
class FileFollower:
    """``new_lines`` gives what was added since the last call; a file that shrank or was replaced is read anew."""

    path: Path
    offset: int = 0
    inode: int = 0

    def skip_to_last(self, lines: int) -> None:
        with suppress(OSError):
            text = self.path.read_bytes()
            self.offset = len(text) - sum(len(line) for line in text.splitlines(keepends=True)[-lines:])
            self.inode = self.path.stat().st_ino

    def new_lines(self) -> list[str]:
        try:
            stat = self.path.stat()
            if stat.st_ino != self.inode or stat.st_size < self.offset:
                self.offset, self.inode = 0, stat.st_ino
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read()
        except OSError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        self.offset += len(whole)
        return whole.decode("utf-8", errors="replace").splitlines()


class LambdaFollower:
    """What the functions print, from the emulator's CloudWatch Logs. ``logs`` is a boto3 client of it."""

    def __init__(self, logs: Any, since_ms: int) -> None:
        self._logs = logs
        self._since = since_ms
        self._seen: set[str] = set()

    def new_lines(self) -> list[str]:
        """Lines that came since the last call, in time order. Raises what boto3 raises."""
        found: list[tuple[int, str, str]] = []
        for group in self._groups():
            page = self._logs.filter_log_events(logGroupName=group, startTime=self._since, limit=MAX_EVENTS)
            for number, event in enumerate(page["events"]):
                mark = event.get("eventId") or f"{group} {event['logStreamName']} {event['timestamp']} {number}"
                if mark not in self._seen and not event["message"].startswith(_PLATFORM):
                    found.append((event["timestamp"], group.removeprefix(LAMBDA_PREFIX), event["message"].rstrip()))
                self._seen.add(mark)
        found.sort(key=lambda entry: entry[0])
        return [f"{name}: {message}" for _, name, message in found]

    def _groups(self) -> Iterator[str]:
        for group in self._logs.describe_log_groups(logGroupNamePrefix=LAMBDA_PREFIX)["logGroups"]:
            yield group["logGroupName"]


def emulator_logs(url: str) -> Any:
    """A CloudWatch Logs client of the emulator."""
    return client("logs", url)


def emulator_url(stack_file: Path) -> str | None:
    try:
        return str(json.loads(stack_file.read_text(encoding="utf-8"))["emulator_url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def follow(
    sources: dict[str, Callable[[], list[str]]],
    say: Callable[[str], None],
    *,
    go_on: Callable[[], bool],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Says each source's new lines, with its name in front, until ``go_on`` says no."""
    width = max(map(len, sources), default=0)
    while True:
        for name, new_lines in sources.items():
            for line in new_lines():
                say(f"{name:<{width}} | {line}")
        if not go_on():
            return
        pause(0.5)
