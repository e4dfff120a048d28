"""Running the installed command line the way a user would, and showing it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from local.demo.errors import DemoError

#: What the exit codes of ``stcloud`` mean, as far as the demo can say something of its own.
_MEANINGS = {
    1: "The training failed.",
    3: "The training was cancelled.",
    4: "The server refused, see above.",
    5: "The server can't be reached. Start it with `make run`, or name it with --url.",
    130: "Stopped.",
}


class Shell(Protocol):
    def run(self, *arguments: str, seconds: float, echo: bool = True) -> str:
        """Runs ``stcloud`` with these arguments; returns its stdout. ``echo``: shows the command first, as a user would
        type it (without ``--json``, whose output nobody sees here). Raises DemoError."""
        ...

    def who(self, *, seconds: float) -> dict[str, Any] | None:
        """Who the command line is at the stack, as ``stcloud whoami`` says; None: nobody. Raises DemoError."""
        ...


class StcloudShell:
    """Runs the ``stcloud`` beside this interpreter (or on the path) as a child. Its stderr is the user's."""

    def __init__(self, url: str, *, say: Callable[[str], None], program: Sequence[str] | None = None) -> None:
        self._environment = {**os.environ, "STCLOUD_URL": url}
        self._say = say
        self._program = list(program) if program else _installed()

    def run(self, *arguments: str, seconds: float, echo: bool = True) -> str:
        line = f"stcloud {shlex.join(argument for argument in arguments if argument != '--json')}"
        if echo:
            self._say(f"$ {line}")
        try:
            done = subprocess.run(
                [*self._program, *arguments],
                env=self._environment,
                stdout=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DemoError(f"`{line}` took longer than {seconds:.0f} seconds and was stopped.") from None
        if done.returncode != 0:
            code = done.returncode if done.returncode > 0 else 1
            meaning = _MEANINGS.get(code, "It could not do its work, see above.")
            raise DemoError(f"`{line}` ended with {done.returncode}. {meaning}", code)
        return done.stdout

    def who(self, *, seconds: float) -> dict[str, Any] | None:
        try:
            # Its stderr says what a demo has no use for: how to sign in.
            done = subprocess.run(
                [*self._program, "whoami", "--json", "--quiet"],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DemoError(f"`stcloud whoami` took longer than {seconds:.0f} seconds and was stopped.") from None
        return who_of(done.returncode, done.stdout)


def who_of(code: int, text: str) -> dict[str, Any] | None:
    """Who the command line is, by what ``stcloud whoami --json`` ended with and printed; None: nobody.

    Raises DemoError for every other refusal.
    """
    answer = json_of(text) if text.strip() else {}
    if code == 0:
        return dict(answer)
    error = answer.get("error", {})
    if error.get("status") == 401:
        return None
    raise DemoError(f"{error.get('message', 'stcloud whoami did not work.')} {_MEANINGS.get(code, '')}".strip(), code)


def json_of(text: str) -> Any:
    """The JSON a command printed. Raises DemoError."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise DemoError("stcloud printed something that is not JSON.") from error


def _installed() -> list[str]:
    beside = Path(sys.executable).with_name("stcloud.exe" if os.name == "nt" else "stcloud")
    if beside.is_file():
        return [str(beside)]
    found = shutil.which("stcloud")
    if found is None:
        raise DemoError("stcloud is not installed. Install it with: pip install ./cli")
    return [found]
