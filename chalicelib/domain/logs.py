"""Keeping a log that the provider shows only in snapshots, sometimes cut at the head, for an hour."""

from __future__ import annotations

_OVERLAP = 512
_GAP = b"\n[... part of the log was not kept by the provider ...]\n"


def extend_log(kept: bytes, seen: bytes) -> bytes:
    """``kept`` with what ``seen`` adds. Never shorter than ``kept``.

    ``seen`` usually starts with ``kept``. A provider that cuts the head shows a window instead: then the end of
    ``kept`` is looked for in it, and a gap is marked when it is not there.
    """
    if seen.startswith(kept):
        return seen
    if not seen or kept.startswith(seen) or kept.endswith(seen):
        return kept
    tail = kept[-_OVERLAP:]
    at = seen.rfind(tail)
    if at >= 0:
        return kept + seen[at + len(tail) :]
    return kept + _GAP + seen


def utf8_slice(data: bytes, *, at_end: bool) -> bytes:
    """``data`` without a UTF-8 character that is cut at its end, unless the object ends there (``at_end``)."""
    if at_end:
        return data
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        width = 1 if byte < 0x80 else 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4
        return data[:-back] if width > back else data
    return data
