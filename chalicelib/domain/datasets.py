"""Datasets: named, owned, made of immutable versions. A version is its manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

#: Also the shape of config names: safe in a URL path, an S3 key and a file name.
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"
#: A larger file goes up in parts of this size; the last one is shorter.
PART_BYTES = 64 * 1024**2
MAX_FILE_BYTES = 100 * 1024**3
MAX_FILES = 200_000
#: Files of a manifest that is the body of a request; a larger manifest is uploaded like a file.
MAX_INLINE_FILES = 20_000
MAX_MANIFEST_BYTES = 64 * 1024**2
MAX_RETENTION_DAYS = 3_650
MAX_PATH_BYTES = 512
#: Characters of the folder a dataset was pushed from.
MAX_SOURCE_PATH = 1_000

#: These are words of the API's own, where a dataset's id would stand.
RESERVED_NAMES = frozenset({"usage"})

_NAME = re.compile(NAME_PATTERN)
_SHA256 = re.compile(SHA256_PATTERN)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class VersionStatus(StrEnum):
    """Only a ready version can be trained with; one that is being deleted no submit takes any more."""

    UPLOADING = "uploading"
    READY = "ready"
    DELETING = "deleting"


class InspectionStatus(StrEnum):
    """FAILED: the inspection itself could not be done. That says nothing about the dataset."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in {InspectionStatus.DONE, InspectionStatus.FAILED}


class InspectionSummary(BaseModel):
    """What a version's record knows of its inspection. ``errors``, ``warnings`` and ``notes`` count findings, and
    ``first_errors`` are the messages of the first of them; ``report_key`` is set once there is a report.

    ``attempt`` numbers executions from 1, ``tries`` those since it was asked for at ``asked_at``, the last one at
    ``tried_at`` (None: at ``asked_at``). ``problem`` says why it failed."""

    model_config = ConfigDict(frozen=True)

    status: InspectionStatus
    attempt: int = 1
    tries: int = 1
    asked_at: datetime
    tried_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    errors: int = 0
    warnings: int = 0
    notes: int = 0
    report_key: str | None = None
    first_errors: tuple[str, ...] = ()
    problem: str | None = None


class ManifestFile(BaseModel):
    """One file of a version: ``path`` relative, forward slashes, ``size`` in bytes, ``sha256`` in lower-case hex.

    ``parts`` are the SHA-256 of each part of a file that is larger than PART_BYTES, and of no other."""

    model_config = ConfigDict(frozen=True)

    path: str
    size: int
    sha256: str
    parts: tuple[str, ...] | None = None

    @property
    def part_sizes(self) -> list[int]:
        """Bytes of each part; empty for a file that goes up whole."""
        return part_sizes(self.size)


def part_sizes(size: int) -> list[int]:
    """Bytes of each part of a file of ``size`` bytes; empty for one that goes up whole."""
    if size <= PART_BYTES:
        return []
    whole, rest = divmod(size, PART_BYTES)
    return [PART_BYTES] * whole + ([rest] if rest else [])


class DatasetVersion(BaseModel):
    """An immutable version. ``version_id`` is derived from the content, so pushing the same files finds it again.

    ``prefix`` is the key prefix of its files in the datasets bucket and ends in a slash. It and ``manifest_key`` are of
    this record alone: the same content that is pushed again after a deletion lies elsewhere. ``checked`` counts the
    files whose presence, size and checksum have been confirmed; the version is READY when all are. ``touched_at`` is
    when somebody last worked on its upload. ``counted_bytes`` is what it takes of its owner's quota (None: made by a
    release that counted nothing), ``removed_objects`` and ``removed_bytes`` what calls of a deletion that goes on have
    removed. ``parted_bytes`` are those of files whose whole SHA-256 only the inspection can confirm. ``inspection`` is
    None for versions that were never inspected, ``archive_id`` for those not made of an archive. ``revision`` grows by
    one with every write (compare-and-set).
    """

    model_config = ConfigDict(frozen=True)

    owner: str
    dataset_id: str
    version_id: str
    status: VersionStatus
    source_path: str | None = None
    files: int
    bytes: int
    merkle_root: str
    prefix: str
    manifest_key: str
    checked: int = 0
    created_at: datetime
    completed_at: datetime | None = None
    touched_at: datetime | None = None
    counted_bytes: int | None = None
    parted_bytes: int = 0
    inspection: InspectionSummary | None = None
    archive_id: str | None = None
    removed_objects: int = 0
    removed_bytes: int = 0
    revision: int = 1

    def changed(self, **changes: Any) -> Self:
        """The record after a change, ready to be stored."""
        return self.model_copy(update={**changes, "revision": self.revision + 1})


class AbandonedPrefix(BaseModel):
    """A key prefix that no version has any more, and never will again: whatever lies there is deleted at ``due_at``,
    when all URLs that write there have expired."""

    model_config = ConfigDict(frozen=True)

    prefix: str
    due_at: datetime


class Dataset(BaseModel):
    """A named line of versions of one owner. ``source_path`` is where it was last pushed from.

    Versions that are not the latest are removed ``retention_days`` after they were complete (None: never);
    ``retention_due`` is when to look for such next. ``removed_objects`` and ``removed_bytes`` are what calls of a
    deletion that goes on have removed.
    ``revision`` grows by one with every write (compare-and-set).
    """

    model_config = ConfigDict(frozen=True)

    owner: str
    dataset_id: str
    source_path: str | None = None
    latest_version: str | None = None
    retention_days: int | None = None
    retention_due: datetime | None = None
    created_at: datetime
    updated_at: datetime
    removed_objects: int = 0
    removed_bytes: int = 0
    revision: int = 1

    def changed(self, now: datetime, **changes: Any) -> Self:
        """The record after a change, ready to be stored."""
        return self.model_copy(update={**changes, "updated_at": now, "revision": self.revision + 1})


def is_name(value: str) -> bool:
    """True when ``value`` may name a dataset or a config."""
    return bool(_NAME.fullmatch(value)) and ".." not in value


def path_problem(path: str) -> str | None:
    """Why ``path`` can't be a file of a dataset, or None. Keys are used as given: nothing is silently rewritten."""
    if not path:
        return "is empty"
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    if any(0xD800 <= ord(c) <= 0xDFFF for c in path):
        return "is not valid Unicode"
    if path.startswith("/") or re.match(r"^[A-Za-z]:", path):
        return "is absolute; use a path relative to the dataset's folder"
    if "\\" in path:
        return "holds a backslash; use forward slashes"
    if _CONTROL.search(path):
        return "holds a control character"
    if any(part in {"", ".", ".."} for part in path.split("/")):
        return "holds an empty, '.' or '..' part"
    return None


def file_problem(file: ManifestFile) -> str | None:
    """Why this manifest line is refused, or None."""
    problem = path_problem(file.path)
    if problem:
        return f"path {problem}"
    if not _SHA256.fullmatch(file.sha256):
        return "sha256 must be 64 lower-case hex digits"
    if not 0 <= file.size <= MAX_FILE_BYTES:
        return f"size must be between 0 and {MAX_FILE_BYTES} bytes"
    return _parts_problem(file)


def _parts_problem(file: ManifestFile) -> str | None:
    wanted = len(file.part_sizes)
    if not wanted:
        return None if file.parts is None else f"parts are for files above {PART_BYTES} bytes only"
    if file.parts is None or len(file.parts) != wanted:
        return f"parts must list the SHA-256 of each of the {wanted} parts of {PART_BYTES} bytes"
    if not all(_SHA256.fullmatch(part) for part in file.parts):
        return "parts must be SHA-256 of 64 lower-case hex digits each"
    return None


def sorted_files(files: Iterable[ManifestFile]) -> list[ManifestFile]:
    """In the order in which S3 lists keys: by UTF-8 bytes."""
    return sorted(files, key=lambda f: f.path.encode())


def merkle_root(files: Sequence[ManifestFile]) -> str:
    """SHA-256 Merkle root over the sorted files, hex.

    Leaves and inner nodes have different prefixes (0x00, 0x01) as in RFC 6962, section 2.1, so neither can pose as the
    other. An odd node is carried up unchanged. The empty dataset has the hash of the empty string.
    """
    level = [hashlib.sha256(b"\x00" + f"{f.sha256} {f.size} {f.path}".encode()).digest() for f in sorted_files(files)]
    if not level:
        return hashlib.sha256(b"").hexdigest()
    while len(level) > 1:
        pairs = [level[i : i + 2] for i in range(0, len(level), 2)]
        level = [hashlib.sha256(b"\x01" + p[0] + p[1]).digest() if len(p) == 2 else p[0] for p in pairs]
    return level[0].hex()


def place_of(version_id: str, unique: str) -> str:
    """The last part of a version's prefix: as long as its id, and another one for each ``unique``."""
    return f"{version_id[:10]}-{hashlib.sha256(f'{version_id}#{unique}'.encode()).hexdigest()[:11]}"


def version_id_of(root: str) -> str:
    """The version id of a Merkle root: ``v-`` and its first 20 hex digits (80 bits, unique per dataset)."""
    return f"v-{root[:20]}"
