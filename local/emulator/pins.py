"""Guards of our patches: each names the ministack release and the lines it was written against.

A release that changed those lines may have closed the gap, or moved it. Starting anyway would give an emulator that
differs from AWS in silence, so we refuse and say where to look.
"""

from __future__ import annotations

import inspect
from importlib.metadata import PackageNotFoundError, version
from typing import Any

MINISTACK = "1.5.33"


class PatchError(RuntimeError):
    """ministack is not the one we know. The message says what to do."""


def require_version() -> None:
    """Raises PatchError unless the pinned release is installed."""
    try:
        found = version("ministack")
    except PackageNotFoundError:
        found = "none"
    if found != MINISTACK:
        raise PatchError(
            f"ministack {MINISTACK} is needed, {found} is installed. Run `make setup`. To move to another release, "
            "read its changes beside local/emulator/*.py, adapt the patches, and set MINISTACK in pins.py there."
        )


def require_text(what: str, text: str, *fragments: str) -> None:
    """Raises PatchError unless every fragment is in ``text``, the source a patch relies on."""
    for fragment in fragments:
        if fragment not in text:
            raise PatchError(
                f"{what} of ministack no longer contains {fragment!r}, which a patch in local/emulator relies on. Read "
                "that source again: drop the patch if the gap is closed, else adapt it."
            )


def require_source(target: Any, *fragments: str) -> None:
    """As ``require_text``, of a function, class or module."""
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", repr(target))
    require_text(f"{getattr(target, '__module__', '')}.{name}", inspect.getsource(target), *fragments)
