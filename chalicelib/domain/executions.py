"""States of workflow executions, as every runner port tells them."""

from __future__ import annotations

from enum import StrEnum


class ExecutionState(StrEnum):
    """UNKNOWN: never started, or started so lately that it does not show yet. OVER: ended, in whatever way."""

    UNKNOWN = "unknown"
    RUNNING = "running"
    OVER = "over"
