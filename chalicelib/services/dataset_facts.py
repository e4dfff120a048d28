"""What is known of a dataset version without looking at its files: from its inspection, or from its list of files."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from threading import Lock
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from chalicelib.domain.check_results import Level
from chalicelib.domain.datasets import DatasetVersion, InspectionStatus
from chalicelib.domain.inspection_facts import ReportFacts
from chalicelib.domain.media import SUFFIXES, Kind, is_caption_name
from chalicelib.domain.ports import ObjectStore

#: A longer list of files is not read for a check: the inspection counts them.
MAX_MANIFEST_BYTES = 8 * 1024 * 1024
MAX_REPORT_BYTES = 16 * 1024 * 1024
#: Versions never change, so what was read of one is kept in the process.
MAX_KEPT = 50
_MEDIA = frozenset({Kind.IMAGE, Kind.VIDEO, Kind.AUDIO})


@dataclass(frozen=True)
class FileNames:
    """``counts`` by kind, told from the names alone; ``missing`` are pictures without a .txt of their name (the first
    20, and how many). ``paths`` are all of them. ``miscased`` are captions whose name does not end in .txt in small
    letters, and ``miscased_needed`` how many media have no other."""

    counts: dict[Kind, int]
    missing: tuple[str, ...]
    missing_count: int
    paths: frozenset[str] = field(repr=False)
    miscased: tuple[str, ...] = ()
    miscased_count: int = 0
    miscased_needed: int = 0


class FileFinding(BaseModel):
    """What the inspection found; ``paths`` are examples of the ``count`` files it is about."""

    model_config = ConfigDict(frozen=True)

    level: Level
    code: str
    message: str
    advice: str
    count: int = 1
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """``facts`` is None when the report holds none that can be read."""

    findings: tuple[FileFinding, ...]
    facts: ReportFacts | None


T = TypeVar("T", FileNames, Report)


class DatasetFacts:
    """Reads manifests and reports from the datasets bucket. None for what is not there, too large or unreadable."""

    def __init__(self, files: ObjectStore) -> None:
        self._files = files
        self._lock = Lock()
        self._kept: OrderedDict[str, FileNames | Report] = OrderedDict()

    def names(self, version: DatasetVersion) -> FileNames | None:
        kept = self._get(version.manifest_key)
        if isinstance(kept, FileNames):
            return kept
        data = self._read(version.manifest_key, MAX_MANIFEST_BYTES)
        paths = _paths(data) if data is not None else None
        if paths is None:
            return None
        return self._keep(version.manifest_key, names_of(paths))

    def report(self, version: DatasetVersion) -> Report | None:
        """Of an inspection that is done."""
        done = version.inspection
        if done is None or done.status is not InspectionStatus.DONE or not done.report_key:
            return None
        kept = self._get(done.report_key)
        if isinstance(kept, Report):
            return kept
        data = self._read(done.report_key, MAX_REPORT_BYTES)
        report = _report(data) if data is not None else None
        return None if report is None else self._keep(done.report_key, report)

    def _read(self, key: str, limit: int) -> bytes | None:
        data = self._files.get(key, length=limit + 1)
        return data if data is not None and len(data) <= limit else None

    def _get(self, key: str) -> FileNames | Report | None:
        with self._lock:
            return self._kept.get(key)

    def _keep(self, key: str, value: T) -> T:
        with self._lock:
            self._kept[key] = value
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
        return value


def names_of(paths: Sequence[str]) -> FileNames:
    kinds = {path: kind_of(path) for path in paths}
    counts = dict.fromkeys(Kind, 0)
    for kind in kinds.values():
        counts[kind] += 1
    captioned = {_stem(path) for path in paths if is_caption_name(path)}
    miscased = {_stem(path): path for path, kind in kinds.items() if kind is Kind.CAPTION and not is_caption_name(path)}
    missing = sorted(path for path, kind in kinds.items() if kind in _MEDIA and _stem(path) not in captioned)
    stems = {_stem(path) for path in missing}
    return FileNames(
        counts=counts,
        missing=tuple(missing[:20]),
        missing_count=len(missing),
        paths=frozenset(paths),
        miscased=tuple(sorted(miscased.values())[:20]),
        miscased_count=len(miscased),
        miscased_needed=sum(stem in stems for stem in miscased),
    )


def kind_of(path: str) -> Kind:
    """By the name alone."""
    known = SUFFIXES.get(PurePosixPath(path).suffix.lower())
    return known[0] if known else Kind.OTHER


def _stem(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))


def _paths(data: bytes) -> list[str] | None:
    """The paths of a manifest: one JSON list, or one JSON object a line."""
    try:
        lines: list[Any] = json.loads(data) if data[:1] == b"[" else [json.loads(x) for x in data.splitlines() if x]
        return [str(line["path"]) for line in lines]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _report(data: bytes) -> Report | None:
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict):
        return None
    facts = raw.get("facts")
    try:
        return Report(
            findings=tuple(FileFinding.model_validate(f) for f in raw.get("findings") or ()),
            facts=ReportFacts.model_validate(facts) if facts is not None else None,
        )
    except (ValidationError, TypeError):
        return None
