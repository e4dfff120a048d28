"""The names of an entry's settings. SimpleTuner passes over those it does not know, so a typing error is never told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.entry_checks import MAX_SHOWN, Entry
from chalicelib.domain.option_checks import MAX_UNKNOWN
from chalicelib.domain.simpletuner_options import Options, closest

#: Read by this service. What was removed has a check of its own.
_OURS = frozenset({"dataset_id", "disable_vae_cache"})
#: How people begin what is a remark.
_REMARKS = ("_", "#", "//", "comment")


def check_keys(entries: Sequence[Entry], known: Options) -> Iterator[Finding]:
    """Warnings about settings that look like typing errors or belong elsewhere, notes about others without effect."""
    told = 0
    for entry in entries:
        mine = known.entry_keys["any"] | known.entry_keys.get(entry.type, frozenset()) | _OURS
        for key in entry.data:
            if key in mine or key.lower().startswith(_REMARKS):
                continue
            told += 1
            if told > MAX_UNKNOWN:
                return
            yield _about(entry, key, mine, known)


def _about(entry: Entry, key: str, mine: frozenset[str], known: Options) -> Finding:
    shown = key[:MAX_SHOWN]
    for kind, names in known.entry_keys.items():
        if key in names:
            message = f"{shown} is read for type {kind} only, and the type here is {entry.type[:MAX_SHOWN]}."
            return entry.finding(Level.NOTE, "key_of_other_type", shown, message, f"Leave {shown} out.")
    message = f"SimpleTuner {known.version} has no setting {shown} for a dataset, and passes it over."
    meant = closest(key, mine)
    if meant is not None:
        return entry.finding(Level.WARNING, "unknown_key", shown, message, f"Did you mean {meant}?")
    if key in known.options:
        advice = "It is an option of the whole run: move it into the config."
        return entry.finding(Level.WARNING, "unknown_key", shown, message, advice)
    return entry.finding(
        Level.NOTE, "unknown_key", shown, message, "Leave it out, or look it up in SimpleTuner's DATALOADER.md."
    )
