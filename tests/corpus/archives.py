"""Hostile, broken and odd archives, each with what must become of it. Made anew each time, the same bytes always."""

from __future__ import annotations

from tests.corpus.cases import READY, Case
from tests.corpus.tars_of_all_kinds import TARS
from tests.corpus.zips_broken import STRUCTURE
from tests.corpus.zips_of_names import ENCODINGS, METHODS, NAMES

__all__ = ["CASES", "READY", "Case"]

CASES = [*METHODS, *NAMES, *ENCODINGS, *STRUCTURE, *TARS]
