"""Runs the trainer as a child process that can't outlive the server."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from local.sandbox.predictions import Prediction
from local.sandbox.store import Store

RESULT_FILE = "result.json"
KILL_SECONDS = 5.0
#: All the child inherits. Above all no AWS_* variable: it may use the credentials it was handed and no others.
_INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "SIMPLETUNER_PUBLISH_FINAL_ARTIFACTS",
)


@dataclass(frozen=True)
class Result:
    """How a run ended: ``error`` is None for a success."""

    output: Any = None
    error: str | None = None


class Run(Protocol):
    def poll(self) -> Result | None:
        """None while it runs."""

    def kill(self) -> None:
        """Ends it; when this returns nothing of it runs any more."""


class Launcher(Protocol):
    def start(self, prediction: Prediction) -> Run:
        """Starts the trainer with the prediction's full input. Raises OSError."""


@dataclass(frozen=True)
class TrainerOptions:
    """``step_seconds`` paces the steps (0: as fast as possible); ``seed`` holds where a config has none."""

    step_seconds: float = 0.06
    seed: int = 42


class ProcessRun:
    def __init__(self, process: subprocess.Popen[bytes], result_path: Path) -> None:
        self._process = process
        self._result_path = result_path

    def poll(self) -> Result | None:
        code = self._process.poll()
        if code is None:
            return None
        self._kill_group()
        try:
            result = json.loads(self._result_path.read_text(encoding="utf-8"))
            return Result(output=result.get("output"), error=result.get("error"))
        except (OSError, ValueError):
            return Result(error=f"Prediction failed: the trainer ended with exit code {code} and left no result")

    def kill(self) -> None:
        self._kill_group()
        self._process.wait(KILL_SECONDS)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: EPERM for one that is over
            os.killpg(self._process.pid, signal.SIGKILL)


class ProcessLauncher:
    """Starts ``python -m local.sandbox.trainer``. Its input comes through an unlinked file as standard input, so
    secrets are in no argument, environment or named file; its output goes straight into the prediction's log file, so a
    killed server loses none of it."""

    def __init__(self, store: Store, options: TrainerOptions) -> None:
        self._store = store
        self._options = options

    def start(self, prediction: Prediction) -> Run:
        work = self._store.work_dir(prediction.id)
        order = {
            "parent": os.getpid(),
            "prediction_id": prediction.id,
            "input": prediction.input,
            "faults": {f["kind"]: f["options"] for f in prediction.faults},
            "step_seconds": self._options.step_seconds,
            "seed": self._options.seed,
        }
        with tempfile.TemporaryFile() as stdin, self._store.log_path(prediction.id).open("ab") as log:
            stdin.write(json.dumps(order).encode())
            stdin.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-m", "local.sandbox.trainer"],
                stdin=stdin,
                stdout=log,
                stderr=log,
                cwd=work,
                env=self._environment(),
                start_new_session=True,
            )
        return ProcessRun(process, work / RESULT_FILE)

    @staticmethod
    def _environment() -> dict[str, str]:
        env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        root = str(Path(__file__).resolve().parents[2])
        env["PYTHONPATH"] = os.pathsep.join(p for p in (root, env.get("PYTHONPATH", "")) if p)
        return env | {
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
