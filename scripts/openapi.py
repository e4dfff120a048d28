"""Writes the API's description to docs/openapi.json, or says whether it is up to date.

python scripts/openapi.py            write it
python scripts/openapi.py --check    exit 1 and show the first differences when it is not what the code says
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import json
import sys
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "openapi.json"
MAX_SHOWN = 60


def rendered() -> str:
    """The document as text: sorted and indented, so that the same code always gives the same file."""
    sys.path.insert(0, str(ROOT))
    importlib.import_module("chalicelib.api.application")  # importing it declares the routes
    openapi, routing = (importlib.import_module(f"chalicelib.api.{name}") for name in ("openapi", "routing"))
    return json.dumps(openapi.document(routing.ENDPOINTS), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None, *, target: Path = TARGET) -> int:
    """Returns the exit code: 0, or 1 when ``--check`` finds the file to be out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    check = parser.parse_args(arguments).check
    wanted = rendered()
    present = target.read_text(encoding="utf-8") if target.exists() else ""
    if check and present != wanted:
        difference = difflib.unified_diff(present.splitlines(), wanted.splitlines(), "committed", "code", lineterm="")
        print("\n".join(islice(difference, MAX_SHOWN)))
        print(f"{target.name} is out of date. Run: python scripts/openapi.py")
        return 1
    if not check:
        target.write_text(wanted, encoding="utf-8")
        print(f"{target} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
