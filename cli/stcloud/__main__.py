"""``python -m stcloud``."""

from __future__ import annotations

from stcloud.main import run

if __name__ == "__main__":
    run()
