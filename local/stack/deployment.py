"""Deploys onto the emulator, when what is deployed there is not what lies here."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

from local.setup.stamps import Stamp, digest
from local.stack.layout import STAGE, Layout, Ports
from local.stack.processes import rotate

DEPLOY_SECONDS = 600.0


def fingerprint(root: Path, ports: Ports) -> str:
    """SHA-256 over all that decides what a deployment makes. Raises OSError."""
    inputs = [
        root / name
        for name in (
            "app.py",
            "chalicelib",
            "infra",
            ".chalice/config.json",
            "requirements.txt",
            "requirements-inspect.txt",
            "requirements-deliver.txt",
            "webui",
        )
    ]
    return digest(root, inputs, STAGE, str(ports.front_door), platform.python_version())


def is_deployed(layout: Layout, ports: Ports) -> bool:
    """Whether this very code was deployed last. The emulator may have lost it all the same: ask it."""
    if not layout.stack_file.exists():
        return False
    return Stamp(layout.deployed).read() == fingerprint(layout.root, ports)


def command(layout: Layout, ports: Ports) -> list[str]:
    return [
        str(layout.python), "-m", "infra.deploy", "--stage", STAGE, "--region", "us-east-1",
        "--endpoint-url", ports.emulator_url, "--auth-mode", "local",
        "--sandbox", "--provider-base-url", ports.sandbox_url, "--hub-url", ports.hub_url,
        "--provider-token-file", str(layout.provider_token), "--public-url", ports.public_url,
        "--stack-file", str(layout.stack_file), "--port", str(ports.front_door), "--sandbox-url", ports.sandbox_url,
    ]  # fmt: skip


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The developer's environment without AWS settings and provider tokens: a profile that doesn't exist would fail the
    deployment, a real token must not get into an emulator."""
    kept = {k: v for k, v in inherited.items() if not k.startswith(("AWS_", "REPLICATE_"))}
    return kept | {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}


class Deployment:
    """A running deployment: its lines go into the log and to ``heard``."""

    def __init__(self, layout: Layout, ports: Ports, heard: Callable[[str], None]) -> None:
        self._layout, self._ports, self._heard = layout, ports, heard
        self._lines: list[str] = []
        self.log = layout.log("deploy")

    def start(self) -> subprocess.Popen[bytes]:
        """Raises OSError."""
        stamp = Stamp(self._layout.deployed)
        stamp.clear()
        self._fingerprint = fingerprint(self._layout.root, self._ports)
        rotate(self.log)
        process = subprocess.Popen(
            command(self._layout, self._ports),
            cwd=self._layout.root,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None  # noqa: S101 - asked for above
        self._reader = threading.Thread(target=self._read, args=(process.stdout,), daemon=True)
        self._reader.start()
        return process

    def finished(self) -> None:
        """To be called once, after a success. Raises OSError."""
        Stamp(self._layout.deployed).write(self._fingerprint)

    def last_lines(self) -> str:
        self._reader.join(5)
        return "\n".join(f"    {line}" for line in self._lines[-12:])

    def _read(self, output: IO[bytes]) -> None:
        with output, self.log.open("ab") as log:
            for raw in output:
                log.write(raw)
                log.flush()
                line = raw.decode("utf-8", errors="replace").strip()
                if line:
                    self._lines.append(line)
                    self._heard(line.removeprefix("- "))
