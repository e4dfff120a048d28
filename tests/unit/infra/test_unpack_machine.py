"""The state machine that unpacks archives: what it waits for."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

from chalicelib.errors import Conflict
from chalicelib.services.leftovers import BROKEN_OFF_AFTER

ROOT = Path(__file__).parents[3]
STATES: dict[str, dict[str, Any]] = json.loads((ROOT / "infra" / "unpack.asl.json").read_text())["States"]


def test_the_same_files_being_deleted_are_waited_for_as_long_as_the_sweeper_needs() -> None:
    (retry,) = [r for r in STATES["Assemble"]["Retry"] if r["ErrorEquals"] == [Conflict.__name__]]
    waits, pause = 0.0, float(retry["IntervalSeconds"])
    for _ in range(retry["MaxAttempts"]):
        waits += pause
        pause = min(pause * retry["BackoffRate"], retry["MaxDelaySeconds"])
    assert BROKEN_OFF_AFTER + timedelta(minutes=10) < timedelta(seconds=waits) < timedelta(hours=3)
    # The first that fits decides.
    names = [r["ErrorEquals"] for r in STATES["Assemble"]["Retry"]]
    assert names.index(["Conflict"]) < names.index(["States.ALL"])
