"""Where everything lies below ``.local``, and which port serves what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_PORT = 8001
STAGE = "local"
DATA_VARIABLE = "STC_LOCAL_DIR"


@dataclass(frozen=True)
class Ports:
    """The front door's port, and the two after it."""

    front_door: int

    @property
    def emulator(self) -> int:
        return self.front_door + 1

    @property
    def sandbox(self) -> int:
        return self.front_door + 2

    @property
    def public_url(self) -> str:
        return f"http://localhost:{self.front_door}"

    @property
    def emulator_url(self) -> str:
        return f"http://127.0.0.1:{self.emulator}"

    @property
    def sandbox_url(self) -> str:
        return f"http://127.0.0.1:{self.sandbox}"

    @property
    def hub_url(self) -> str:
        """The sandbox's Hub, which stands for huggingface.co."""
        return f"{self.sandbox_url}/hub"


@dataclass(frozen=True)
class Layout:
    """Files of one checkout. ``run``, ``state`` and the demo's models go at a reset; the environments, the demo's
    photographs and the logs stay.

    ``data`` holds what runs: state, logs, records. It is ``.local`` unless another folder is given, so that a second
    stack of the same checkout shares nothing with the first but code and environments.
    """

    root: Path = ROOT
    data_dir: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], root: Path = ROOT) -> Self:
        """With ``data`` in the folder STC_LOCAL_DIR names, if it names one."""
        named = environment.get(DATA_VARIABLE, "")
        return cls(root, Path(named).resolve() if named else None)

    @property
    def local(self) -> Path:
        return self.root / ".local"

    @property
    def data(self) -> Path:
        return self.data_dir or self.local

    @property
    def python(self) -> Path:
        return self.local / "venv" / "bin" / "python"

    @property
    def emulator_python(self) -> Path:
        return self.local / "emulator-venv" / "bin" / "python"

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def state(self) -> Path:
        return self.data / "state"

    @property
    def demo(self) -> Path:
        return self.data / "demo"

    @property
    def demo_models(self) -> Path:
        return self.demo / "models"

    @property
    def reset_mark(self) -> Path:
        """There while a reset is under way, and after one that was cut off."""
        return self.data / "reset-unfinished"

    @property
    def emulator_state(self) -> Path:
        return self.state / "emulator"

    @property
    def sandbox_state(self) -> Path:
        return self.state / "sandbox"

    @property
    def stack_file(self) -> Path:
        return self.data / "stack.json"

    @property
    def deployed(self) -> Path:
        return self.state / "deployed"

    @property
    def provider_token(self) -> Path:
        return self.run / "provider-token"

    @property
    def status_line(self) -> Path:
        return self.run / "status"

    @property
    def record(self) -> Path:
        return self.run / "supervisor.json"

    @property
    def lock(self) -> Path:
        return self.run / "supervisor.lock"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def prepare(self) -> None:
        """Makes the folders, private where secrets lie. Raises OSError."""
        for folder in (self.run, self.logs, self.state):
            folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.run, self.state):
            folder.chmod(0o700)
