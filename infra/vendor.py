"""The third-party part of the deployment package: wheels of requirements.txt, trimmed, compiled, cached.

boto3, botocore and what comes with them are in Lambda's runtime and in the emulator's environment; they are left out.

Compiled files (.pyc) ship: the code directory of a function is read-only, so without them every cold start compiles
everything again, which takes about a second. They carry a hash that is not checked at run time
(``--invalidation-mode unchecked-hash``), so they do not depend on file times. They are made by the runtime's own minor
version of Python; when that is not at hand the package goes without, and works, only slower.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from infra.errors import DeployError

#: The runtime's own: https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html
IN_RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "python_dateutil", "six", "urllib3")
#: Comes with huggingface_hub, which can't be told to do without, and does when it is not there (11 MB; the Hub takes
#: Git LFS as before: https://huggingface.co/docs/hub/xet/legacy-git-lfs).
UNUSED = ("hf_xet",)
#: Read their own version from their metadata when they are imported.
KEEP_METADATA = ("replicate", "httpx2", "httpcore2")
#: Raise when what this module does to the wheels changes, so that caches are made anew.
RECIPE = 3
INSTALL_TIMEOUT_SECONDS = 600
COMPILE_TIMEOUT_SECONDS = 300


@dataclass(frozen=True)
class Target:
    """What the wheels are for: ``python`` is its minor version; ``platform`` None is this computer."""

    python: str
    platform: str | None

    @property
    def interpreter(self) -> str | None:
        """A Python of that version on this computer, or None."""
        if self.python == _own_version():
            return sys.executable
        return _interpreter(self.python)


def _own_version() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


@lru_cache
def _interpreter(python: str) -> str | None:
    """The path of that Python if it really runs: version managers leave commands behind that only print advice."""
    found = shutil.which(f"python{python}")
    if found is None:
        return None
    try:
        asked = subprocess.run(
            [found, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found if asked.stdout.strip() == python else None


LAMBDA = Target("3.12", "manylinux2014_x86_64")
#: The same runtime, Amazon Linux 2023 with glibc 2.34, for packages that make no wheels for older ones any more.
LAMBDA_NEWER = Target("3.12", "manylinux_2_28_x86_64")


def host() -> Target:
    """The emulator runs functions with this computer's Python and its wheels."""
    return Target(_own_version(), None)


def vendor_dir(requirements: Path, target: Target, cache: Path, say: Callable[[str], None]) -> Path:
    """The folder of installed wheels for these requirements, made unless it is cached. Raises DeployError."""
    folder = cache / cache_key(requirements.read_bytes(), target)
    if folder.is_dir():
        return folder
    say(f"Installing the Python packages of {requirements.name} for {target.platform or 'this computer'}")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".unfinished-") as temporary:
        made = Path(temporary) / "vendor"
        _install(requirements, target, made)
        trim(made)
        compile_all(made, target, say)
        try:
            made.rename(folder)
        except OSError:
            # Another deployment made the same one meanwhile.
            if not folder.is_dir():
                raise
    return folder


def cache_key(requirements: bytes, target: Target) -> str:
    """Names the cache entry: another recipe, requirement, version, platform or lack of a compiler is another entry."""
    facts = f"{RECIPE} {target.python} {target.platform} {target.interpreter is not None}\n".encode()
    return hashlib.sha256(facts + requirements).hexdigest()[:24]


def pip_arguments(requirements: Path, target: Target, into: Path) -> list[str]:
    arguments = ["install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
    arguments += ["--target", str(into), "--requirement", str(requirements)]
    if target.platform is not None:
        arguments += ["--platform", target.platform, "--implementation", "cp", "--python-version", target.python]
        arguments += ["--only-binary=:all:"]
    return arguments


def _install(requirements: Path, target: Target, into: Path) -> None:
    command = [sys.executable, "-m", "pip", *pip_arguments(requirements, target, into)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DeployError(
            f"pip did not finish within {INSTALL_TIMEOUT_SECONDS // 60} minutes. Is the package index reachable?"
        ) from None
    if done.returncode != 0:
        last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-5:])
        raise DeployError(
            f"pip could not install {requirements.name}:\n{last}\n"
            "Check the network (and PIP_INDEX_URL, if you use a mirror), then run the same command again."
        )


def trim(folder: Path) -> None:
    """Removes what the runtime has, console scripts, and package metadata that nothing reads at run time."""
    for entry in list(folder.iterdir()):
        name = entry.name.removesuffix(".py").split("-")[0]
        metadata = entry.name.endswith((".dist-info", ".egg-info"))
        if metadata and name in KEEP_METADATA:
            for file in [f for f in entry.rglob("*") if f.is_file() and f.name != "METADATA"]:
                file.unlink()
            continue
        if metadata or name in IN_RUNTIME + UNUSED or entry.name == "bin":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for cached in list(folder.rglob("__pycache__")):
        shutil.rmtree(cached)


def compile_all(folder: Path, target: Target, say: Callable[[str], None]) -> None:
    """Compiles every module below, with the target's Python. Files that do not compile are left as they are."""
    interpreter = target.interpreter
    if interpreter is None:
        say(f"Python {target.python} is not installed here: no compiled files in the package (slower cold starts)")
        return
    command = [interpreter, "-m", "compileall", "-q", "-q", "--invalidation-mode", "unchecked-hash"]
    command += ["-s", str(folder), "-p", "/var/task", str(folder)]
    # Exit code 1 means that some file did not compile: packages ship templates that are not meant to.
    subprocess.run(command, capture_output=True, timeout=COMPILE_TIMEOUT_SECONDS, check=False)
