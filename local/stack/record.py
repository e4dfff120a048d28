"""Who runs the stack of this checkout: a lock that dies with its holder, and a record for everybody else."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from local.stack.errors import StackError


@dataclass(frozen=True)
class Member:
    """A process of the stack; ``started`` is its ``identity``."""

    pid: int
    started: str


@dataclass(frozen=True)
class Record:
    """What the supervisor last said of itself. ``failure`` ends a start that did not succeed; ``detached`` tells one in
    the background from one in somebody's terminal."""

    pid: int
    started: str
    port: int
    detached: bool = False
    ready: bool = False
    phase: str = ""
    failure: str = ""
    children: dict[str, Member] = field(default_factory=dict)


def write(path: Path, record: Record) -> None:
    """Whole or not at all. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
    temporary.replace(path)


def read(path: Path) -> Record | None:
    """None when there is none, or none of this release."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        children = {name: Member(**member) for name, member in data.pop("children").items()}
        return Record(**data, children=children)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def is_held(lock: Path) -> bool:
    """Whether a supervisor lives. The kernel frees the lock of a dead one, however it died."""
    try:
        file = lock.open("a")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextmanager
def holding(lock: Path) -> Iterator[None]:
    """Holds the lock meanwhile. Raises StackError when another supervisor does. Children do not inherit it."""
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(
                "The stack of this folder is already up. `make status` shows it, `make stop` ends it."
            ) from None
        yield
