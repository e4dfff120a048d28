"""Runs pip, npm and python for the set-up: output into the log, a time limit, an environment without surprises."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from local.setup.failures import SetupFailed, explain

#: Settings of the caller that would send packages, or imports, somewhere else than into the new environment.
_UNWANTED = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_USER",
    "PIP_REQUIREMENT",
    "__PYVENV_LAUNCHER__",
    "FORCE_COLOR",
)
_KEPT_BYTES = 20_000


class Commands:
    """``log`` gets everything the programs write."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def run(
        self,
        what: str,
        command: list[str],
        *,
        cwd: Path,
        timeout: float,
        path: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Raises SetupFailed, in words for people. ``path`` goes in front of PATH."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            log.write(f"\n=== {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {' '.join(command)}\n".encode())
            log.flush()
            start = log.tell()
            try:
                done = subprocess.run(
                    command,
                    cwd=cwd,
                    env=self._environment(path, env or {}),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise SetupFailed(
                    f"{what} did not finish within {timeout / 60:.0f} minutes. Is the network very slow? Run the same "
                    f"command again; it goes on where it stopped. ({self.log} has the output.)"
                ) from None
            except OSError as error:
                raise SetupFailed(f"{what} failed: {command[0]} can't be run ({error.strerror}).") from error
        if done.returncode != 0:
            raise explain(what, self._output_since(start), str(self.log))

    def _output_since(self, start: int) -> str:
        with self.log.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(start, log.tell() - _KEPT_BYTES))
            return log.read().decode("utf-8", errors="replace")

    @staticmethod
    def _environment(path: Path | None, env: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in _UNWANTED}
        if path is not None:
            kept["PATH"] = os.pathsep.join(p for p in (str(path), kept.get("PATH", "")) if p)
        return {**kept, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "CI": "1", "NO_COLOR": "1", **env}
