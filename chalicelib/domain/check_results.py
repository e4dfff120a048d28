"""What the checks of a submission find: where it is in the request, and what to do about it.

Level ERROR: it can't work, and submit refuses. WARNING: it would fail or waste money, and submit wants to be told to go
on. NOTE: worth knowing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """``check`` is the check that found it, ``code`` is stable and for programs, ``field`` a dotted path into the
    request (empty when it is about no field), ``advice`` says what to do (empty for a note about which
    there is nothing to do). ``paths`` are examples of ``count`` files."""

    level: Level
    code: str
    check: str
    field: str
    message: str
    advice: str
    paths: tuple[str, ...] = ()
    count: int = 0


class CheckStatus(StrEnum):
    """SKIPPED: could not be made, for the reason beside it, and says nothing. PENDING: what it looks at is not there
    yet."""

    PASSED = "passed"
    FAILED = "failed"
    WARNED = "warned"
    SKIPPED = "skipped"
    PENDING = "pending"


@dataclass(frozen=True)
class CheckResult:
    """What one check came to. Its findings count when it was SKIPPED or PENDING too."""

    name: str
    status: CheckStatus
    findings: tuple[Finding, ...] = ()
    reason: str | None = None


_ORDER = {Level.ERROR: 0, Level.WARNING: 1, Level.NOTE: 2}


def result_of(name: str, findings: Iterable[Finding]) -> CheckResult:
    """The result of a check that could be made."""
    found = tuple(findings)
    levels = {f.level for f in found}
    status = CheckStatus.PASSED
    if Level.ERROR in levels:
        status = CheckStatus.FAILED
    elif Level.WARNING in levels:
        status = CheckStatus.WARNED
    return CheckResult(name, status, found)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, then warnings, then notes; otherwise as found. One that was found twice is there once."""
    return sorted(dict.fromkeys(findings), key=lambda f: _ORDER[f.level])
