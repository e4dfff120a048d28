"""Opaque cursors: where a list goes on. They name the list they belong to and carry no authority: the partition to
read always comes from the query, so a forged cursor shows nothing that the caller may not see."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

from chalicelib.domain.ports import InvalidCursorError
from chalicelib.store.records import digest

_MAX_LENGTH = 1024
_MAX_KEY = 512


@dataclass(frozen=True)
class Position:
    """Behind the item with the sort key ``sort``, skipping ``skip`` more."""

    sort: str
    skip: int = 0


def list_kind(name: str, *scope: str | None) -> str:
    """Names a list: cursors of another list, owner or filter are not taken."""
    return f"{name}:{digest(json.dumps(scope))[:16]}"


def encode(kind: str, position: Position) -> str:
    parts = [kind, position.sort, position.skip]
    text = json.dumps(parts, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode(kind: str, cursor: str) -> Position:
    """Raises InvalidCursorError."""
    if len(cursor) > _MAX_LENGTH:
        raise InvalidCursorError("too long")
    try:
        parts = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        raise InvalidCursorError("unreadable") from None
    match parts:
        case [str(found), str(sort), int(skip)] if (
            found == kind and 0 < len(sort) <= _MAX_KEY and sort.isascii() and skip >= 0
        ):
            return Position(sort, skip)
    raise InvalidCursorError("of another list")
