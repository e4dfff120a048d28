"""``stop`` and ``reset``: ends the stack wherever it runs, and removes what it keeps."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from local.setup.console import Console
from local.stack import record
from local.stack.errors import StackError
from local.stack.layout import Layout
from local.stack.processes import identity, signal_group
from local.stack.supervisor import remove_leftovers

POLL_SECONDS = 0.2
STOP_SECONDS = 90.0
UNFINISHED = "An earlier `make reset` was cut off before everything was removed."


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


def reset(layout: Layout, console: Console, *, yes: bool, ask: Callable[[str], str] | None = None) -> int:
    """Removes all local jobs, datasets and settings, and the demo's models. Environments, photographs and logs stay.

    ``ask`` shows its text and returns what was typed (None: on the terminal). Exit code 1: it was not confirmed.
    """
    if not yes and not _confirmed(console, ask):
        console.say("Nothing was removed.")
        return 1
    layout.prepare()
    if record.is_held(layout.lock):
        stop_stack(layout, console)
    with record.holding(layout.lock):
        remove_leftovers(layout)
        _remove(layout, console)
    console.say("Removed. `make run` begins anew. Models that you pulled into folders of your own stay.")
    return 0


def finish_reset(layout: Layout, console: Console) -> None:
    """Goes on with a reset that was cut off, if one was. The caller holds the lock. Raises StackError."""
    if is_unfinished(layout):
        console.say(f"{UNFINISHED} Finishing it")
        remove_leftovers(layout)
        _remove(layout, console)
        layout.prepare()


def is_unfinished(layout: Layout) -> bool:
    return layout.reset_mark.exists()


def _confirmed(console: Console, ask: Callable[[str], str] | None) -> bool:
    if ask is None:
        if not sys.stdin.isatty():
            raise StackError(
                "`make reset` removes every local job, dataset, model, person and key. Confirm with: make reset YES=1"
            )
        ask = input
    console.say(
        "This removes every local job, dataset, model, person and API key of this folder. There is no way back."
    )
    try:
        return ask("Type reset to go on: ").strip() == "reset"
    except EOFError:
        return False


def _remove(layout: Layout, console: Console) -> None:
    """The mark is the first that is written and the last that goes: whoever finds it knows that half is missing."""
    with suppress(OSError):  # a full disk must not keep anybody from making room
        layout.reset_mark.touch()
    try:
        with console.step("Removing jobs, datasets, models, people and keys"):
            for folder in (layout.state, layout.demo_models):
                if folder.exists():
                    shutil.rmtree(folder)
            layout.stack_file.unlink(missing_ok=True)
            for path in _runs_files(layout):
                path.unlink()
            layout.reset_mark.unlink(missing_ok=True)
    except OSError as error:
        raise StackError(
            f"Not everything could be removed: {error.filename or 'a file'}: {error.strerror or error}. "
            "`make reset` tries again."
        ) from error
    except KeyboardInterrupt:
        console.say("\nInterrupted: a part is gone already. `make reset` removes the rest; so does the next start.")
        raise


def _runs_files(layout: Layout) -> list[Path]:
    return [path for path in layout.run.iterdir() if path != layout.lock]
