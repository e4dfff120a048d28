"""Findings: what a check found, how bad it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

#: Examples a finding names; ``count`` says how many there are.
MAX_PATHS = 20


class Level(StrEnum):
    """An error stops a job before it costs anything; a warning is evidently wasteful; a note is good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


_ORDER = {Level.ERROR: 0, Level.WARNING: 1, Level.NOTE: 2}


class Finding(BaseModel):
    """``code`` is stable. ``paths`` are at most MAX_PATHS of the ``count`` files it is about, in the order of paths."""

    model_config = ConfigDict(frozen=True)

    level: Level
    code: str
    message: str
    advice: str
    count: int = 1
    paths: tuple[str, ...] = ()


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then by how many files they are about."""
    return sorted(findings, key=lambda f: (_ORDER[f.level], -f.count, f.code))


def counted(findings: Iterable[Finding], level: Level) -> int:
    return sum(f.level is level for f in findings)
