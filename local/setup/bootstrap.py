"""Set-up of a checkout: two Python environments, Node.js, the built console. Safe to run again and to interrupt."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.setup.commands import Commands
from local.setup.console import Console
from local.setup.failures import SetupFailed, check_writable, explain_os_error
from local.setup.node import MINIMUM as NODE_MINIMUM
from local.setup.node import WHEEL, find_node
from local.setup.stamps import Stamp
from local.setup.stamps import digest as digest_of

ROOT = Path(__file__).resolve().parents[2]
NEEDED_BYTES = 1_200_000_000
DEVELOPER_BYTES = 1_500_000_000
PIP_SECONDS = 30 * 60.0
NPM_SECONDS = 15 * 60.0
VENV_SECONDS = 5 * 60.0


@dataclass(frozen=True)
class Environment:
    """A virtual environment, or what is added to one: where, from which requirements file, and what else its content
    depends on. Each part has a stamp of its own in the environment's folder."""

    name: str
    title: str
    requirements: Path
    depends_on: tuple[Path, ...]
    stamp: str = ".setup-stamp"


class Bootstrap:
    def __init__(self, root: Path, console: Console) -> None:
        self._root = root
        self._local = root / ".local"
        self._console = console
        self._commands = Commands(self._local / "logs" / "setup.log")
        runs = root / "requirements-local.txt"
        parts = (root / "requirements.txt", root / "local" / "requirements.txt", root / "cli" / "pyproject.toml")
        self.environments = (
            Environment("venv", "Python packages of the project", runs, parts),
            Environment(
                "emulator-venv",
                "Python packages of the AWS emulator",
                root / "local" / "emulator" / "requirements.txt",
                (),
            ),
        )
        self.tools = Environment(
            "venv",
            "Python packages for tests and checks",
            root / "requirements-dev.txt",
            (runs, *parts),
            ".setup-stamp-dev",
        )

    def run(self, *, console: bool = True, browser: bool = False, developer: bool = False) -> None:
        """Does what is left to do; returns at once when that is nothing. Raises SetupFailed.

        ``console`` False leaves Node.js and all that needs it out; ``browser`` adds the browser tests' packages,
        ``developer`` those of tests and checks.
        """
        check_platform()
        check_writable(self._root)
        with self._alone():
            missing = self.missing(developer=developer)
            if missing:
                check_disk(self._root, DEVELOPER_BYTES if developer else NEEDED_BYTES)
                check_venv_module()
                self._console.say("Setting up (once; .local/logs/setup.log has the details)")
            for environment in missing:
                self._make(environment)
            if not console:
                return
            node = self._node()
            self._console_build(node)
            if browser:
                self._browser(node)

    def missing(self, *, developer: bool) -> list[Environment]:
        """What has to be made, in this order."""
        tools = self.stamp(self.tools).read()
        # Of another list: begin anew with all of the environment, so that nothing of the older list stays behind.
        anew = developer and tools is not None and tools != self.digest(self.tools)
        missing = [e for e in self.environments if not self._is_ready(e) or (anew and e.name == self.tools.name)]
        if developer and (any(e.name == self.tools.name for e in missing) or not self._is_ready(self.tools)):
            missing.append(self.tools)
        return missing

    def _is_ready(self, environment: Environment) -> bool:
        folder = self._local / environment.name
        return self.stamp(environment).read() == self.digest(environment) and (folder / "bin" / "python").exists()

    def stamp(self, environment: Environment) -> Stamp:
        """Where it is written down what the environment, or what was added to it, was made from."""
        return Stamp(self._local / environment.name / environment.stamp)

    def digest(self, environment: Environment) -> str:
        """What it would be made from now. Raises OSError."""
        paths = [environment.requirements, *environment.depends_on]
        # The path too: scripts and the editable command line have it inside, so a moved checkout needs them anew.
        facts = (str(self._root), platform.python_version(), platform.machine(), sys.base_prefix)
        return digest_of(self._root, paths, *facts)

    def _make(self, environment: Environment) -> None:
        folder = self._local / environment.name
        stamp = self.stamp(environment)
        with self._console.step(environment.title), _file_errors(environment.title):
            # No stamp: an installation was cut short, and pip goes on with it. A stamp of something else: begin anew,
            # so that nothing of an older list of packages stays behind.
            begins = environment is not self.tools
            if begins and (stamp.read() is not None or not works(folder / "bin" / "python")):
                stamp.clear()
                shutil.rmtree(folder, ignore_errors=True)
                self._run(environment.title, [_base_python(), "-m", "venv", str(folder)], VENV_SECONDS)
            install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--prefer-binary", "--timeout", "20"]
            install += ["--retries", "3", "-r", str(environment.requirements)]
            self._run(environment.title, install, PIP_SECONDS)
            stamp.write(self.digest(environment))

    def _node(self) -> Path:
        venv_bin = self._local / "venv" / "bin"
        found = find_node(venv_bin)
        if found is not None:
            return found
        title = f"Node.js (none on PATH from {NODE_MINIMUM[0]}.{NODE_MINIMUM[1]} on)"
        with self._console.step(title):
            install = [
                str(venv_bin / "python"),
                "-m",
                "pip",
                "install",
                "--only-binary",
                ":all:",
                "--timeout",
                "20",
                WHEEL,
            ]
            self._run("Installing Node.js", install, PIP_SECONDS)
        found = find_node(venv_bin)
        if found is None:
            raise SetupFailed(
                f"The Node.js of {WHEEL} does not run on this computer. Install Node.js 22 (https://nodejs.org) so "
                "that `node` and `npm` are on PATH, then run the same command again."
            )
        return found

    def _console_build(self, node: Path) -> None:
        web = self._root / "webui"
        self._npm_ci("Packages of the web console", web, node)
        stamp = Stamp(self._local / "setup" / "webui.stamp")
        wanted = digest_of(self._root, [web])
        if stamp.read() == wanted and (web / "dist" / "index.html").is_file():
            return
        title = "Building the web console"
        with self._console.step(title), _file_errors(title):
            stamp.clear()
            self._run(title, [str(node / "npm"), "run", "build"], NPM_SECONDS, cwd=web, path=node)
            stamp.write(wanted)

    def _browser(self, node: Path) -> None:
        self._npm_ci("Packages of the browser tests", self._root / "tests" / "e2e" / "ui", node)

    def _npm_ci(self, title: str, folder: Path, node: Path) -> None:
        stamp = Stamp(folder / "node_modules" / ".setup-stamp")
        wanted = digest_of(self._root, [folder / "package.json", folder / "package-lock.json", folder / ".npmrc"])
        if stamp.read() == wanted:
            return
        with self._console.step(title), _file_errors(title):
            stamp.clear()
            self._run(title, [str(node / "npm"), "ci", "--no-audit", "--no-fund"], NPM_SECONDS, cwd=folder, path=node)
            stamp.write(wanted)

    def _run(
        self, title: str, command: list[str], timeout: float, *, cwd: Path | None = None, path: Path | None = None
    ) -> None:
        self._commands.run(title, command, cwd=cwd or self._root, timeout=timeout, path=path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two set-ups at once would trip over each other: the second waits for the first."""
        import fcntl

        with _file_errors("Preparing .local"):
            (self._local / "setup").mkdir(parents=True, exist_ok=True)
            lock = (self._local / "setup" / "lock").open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._console.say("Another set-up of this checkout is running; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _base_python() -> str:
    """The interpreter below an activated environment: that one may be the very folder we are about to remove."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def works(python: Path) -> bool:
    """Whether the environment's interpreter runs: it does not after its Python was upgraded away, or was moved."""
    try:
        done = subprocess.run([str(python), "-c", "import pip"], capture_output=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def check_platform() -> None:
    if importlib.util.find_spec("fcntl") is None:
        raise SetupFailed(
            "This runs on Linux and macOS. On Windows use WSL: https://learn.microsoft.com/windows/wsl/install"
        )


def check_disk(root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if free < needed:
        raise SetupFailed(
            f"About {needed / 1e9:.1f} GB of disk are needed here ({root}), {free / 1e9:.1f} GB are free. Free "
            "some and run the same command again."
        )


def check_venv_module() -> None:
    if importlib.util.find_spec("venv") is None or importlib.util.find_spec("ensurepip") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise SetupFailed(
            f"This Python ({sys.executable}) can't make virtual environments. Debian and Ubuntu: "
            f"sudo apt install python{version}-venv. Then run the same command again."
        )


@contextmanager
def _file_errors(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explain_os_error(what, error) from error


def main(argv: list[str] | None = None) -> int:
    """Exit code 0: ready; 1: not, and a sentence on stderr says why; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python3 -m local.setup", description=__doc__)
    parser.add_argument("--browser", action="store_true", help="also the packages of the browser tests")
    parser.add_argument("--dev", action="store_true", help="also the packages of tests and checks")
    parser.add_argument("--python", action="store_true", help="the Python environments alone")
    parser.add_argument("--start", metavar="COMMAND", help="what comes next starts the stack: look at PORT first")
    args = parser.parse_args(argv)
    try:
        if args.start:
            check_platform()
            _check_port(args.start)
        Bootstrap(ROOT, Console()).run(console=not args.python, browser=args.browser, developer=args.dev)
    except SetupFailed as failed:
        print(f"\n{failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted. Run the same command again; it goes on where it stopped.", file=sys.stderr)
        return 130
    return 0


def _check_port(command: str) -> None:
    """Minutes of set-up for a port that can't be would be in vain. Raises SetupFailed."""
    from local.stack.errors import StackError
    from local.stack.layout import Layout
    from local.stack.preflight import preflight

    try:
        preflight(Layout.from_environment(os.environ), os.environ.get("PORT"), command)
    except StackError as error:
        raise SetupFailed(str(error)) from error
