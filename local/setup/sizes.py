"""``python -m local.setup.sizes``: no module of ours is longer than a reader's patience."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = 400
FOLDERS = ("app.py", "chalicelib", "infra", "local", "cli", "scripts", "benchmarks")


def modules(root: Path) -> Iterator[Path]:
    for name in FOLDERS:
        place = root / name
        if place.is_file():
            yield place
        elif place.is_dir():
            yield from sorted(p for p in place.rglob("*.py") if not {"build", "node_modules"} & set(p.parts))


def too_long(paths: Iterable[Path], limit: int = LIMIT) -> list[tuple[Path, int]]:
    """The modules with more than ``limit`` lines, and how many they have. Raises OSError."""
    counted = ((path, len(path.read_text(encoding="utf-8").splitlines())) for path in paths)
    return [(path, lines) for path, lines in counted if lines > limit]


def main() -> int:
    found = too_long(modules(ROOT))
    for path, lines in found:
        print(
            f"{path.relative_to(ROOT)} has {lines} lines; {LIMIT} is the limit. Split it by what it does.",
            file=sys.stderr,
        )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
