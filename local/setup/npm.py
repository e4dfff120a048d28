"""``python -m local.setup.npm FOLDER ARGUMENTS…``: npm with the Node.js that the set-up found or installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from local.setup.node import find_node

ROOT = Path(__file__).resolve().parents[2]


def main(argv: list[str] | None = None) -> int:
    """npm's exit code; 1, with a sentence, without a Node.js."""
    folder, *arguments = sys.argv[1:] if argv is None else argv
    node = find_node(ROOT / ".local" / "venv" / "bin")
    if node is None:
        print("No Node.js was found. Run `make setup` first.", file=sys.stderr)
        return 1
    env = {**os.environ, "PATH": os.pathsep.join((str(node), os.environ.get("PATH", "")))}
    return subprocess.run([str(node / "npm"), *arguments], cwd=ROOT / folder, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
