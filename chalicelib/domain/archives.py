"""Archives: a zip or tar that was uploaded whole and is unpacked on our side into a version of a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

KIB, MIB, GIB = 1024, 1024**2, 1024**3

#: Uploading or being unpacked at once, of one owner.
MAX_OPEN_ARCHIVES = 5
#: An archive goes up in parts of so many bytes, the last one shorter.
ARCHIVE_PART_BYTES = 64 * MIB
MAX_ARCHIVE_BYTES = 100 * GIB
#: A compressed tar can't be read from the middle, so it is unpacked from front to back within one function's time.
MAX_COMPRESSED_TAR_BYTES = 4 * GIB
#: SHA-256 of a whole archive can't be made in pieces either.
MAX_HASHED_BYTES = 20 * GIB
MAX_UNPACKED_BYTES = 1024 * GIB
#: One entry is unpacked within one function's time.
MAX_ENTRY_BYTES = 10 * GIB
#: Files, folders and what is left out together; also what one directory may have in bytes.
MAX_ENTRIES = 400_000
MAX_DIRECTORY_BYTES = 256 * MIB
#: Folders that hold a file that is taken, and those around them.
MAX_FOLDERS = 400_000
#: What an archive may unpack to beyond its own size before it counts as a bomb: pictures hardly compress.
BOMB_FREE_BYTES = GIB
BOMB_RATIO = 100
#: The same of one entry.
ENTRY_BOMB_FREE_BYTES = 16 * MIB
ENTRY_BOMB_RATIO = 500
MAX_FILENAME = 255
#: Files of all archives; no owner's name begins so.
UNPACKED = "_unpacked/"
#: How many entries that were left out a report names; all are counted.
MAX_REPORTED = 1_000

COMPRESSED_TAR_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz", ".tar.xz", ".txz")
ARCHIVE_SUFFIXES = (".zip", ".tar", *COMPRESSED_TAR_SUFFIXES)


class ArchiveKind(StrEnum):
    """What it is by its content; its name says nothing."""

    ZIP = "zip"
    TAR = "tar"
    TAR_GZ = "tar.gz"
    TAR_BZ2 = "tar.bz2"
    TAR_XZ = "tar.xz"

    @property
    def is_compressed_tar(self) -> bool:
        return self not in {ArchiveKind.ZIP, ArchiveKind.TAR}


class ArchiveStatus(StrEnum):
    UPLOADING = "uploading"
    UNPACKING = "unpacking"
    READY = "ready"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in {ArchiveStatus.READY, ArchiveStatus.FAILED}


class ArchiveRefusedError(Exception):
    """The whole archive is refused. ``code`` is stable, ``message`` says what is wrong, ``advice`` what to do."""

    def __init__(self, code: str, message: str, advice: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.advice = advice


class ArchiveFailure(BaseModel):
    model_config = ConfigDict(frozen=True)

    code: str
    message: str
    advice: str


class LeftOut(BaseModel):
    """An entry that is not in the version: ``path`` as the archive names it, made readable."""

    model_config = ConfigDict(frozen=True)

    path: str
    code: str
    reason: str


class Taken(BaseModel):
    model_config = ConfigDict(frozen=True)

    files: int = 0
    bytes: int = 0


class ArchiveReport(BaseModel):
    """What became of the entries. ``left_out`` names the first 1,000; ``left_out_counts`` counts all, by code.

    ``encoding`` is how names that do not say it themselves were read; ``stripped_folder`` the one folder at the top
    that held everything and is no part of the paths.
    """

    model_config = ConfigDict(frozen=True)

    kind: ArchiveKind | None = None
    taken: Taken = Taken()
    left_out: Sequence[LeftOut] = ()
    left_out_counts: Mapping[str, int] = Field(default_factory=dict)
    encoding: str | None = None
    stripped_folder: str | None = None
    notes: Sequence[str] = ()


class ArchiveRecord(BaseModel):
    """An archive on its way into a dataset.

    ``key`` is where its bytes are until it is unpacked, ``prefix`` where its files go; it ends in a slash and becomes
    the version's. No file that was pushed lies below UNPACKED, which is all that the functions that unpack may write.
    ``version_id`` is noted before the version is made. ``attempt`` counts executions of the workflow from 1,
    ``attempt_at`` is when the last one was asked for. ``settled`` says that it is over and nothing of it is left but
    its report. ``revision`` grows by one with every write (compare-and-set).
    """

    model_config = ConfigDict(frozen=True)

    owner: str
    dataset_id: str
    archive_id: str
    filename: str
    size: int
    sha256: str | None = None
    source_path: str | None = None
    status: ArchiveStatus = ArchiveStatus.UPLOADING
    upload_id: str
    part_size: int = ARCHIVE_PART_BYTES
    version_id: str | None = None
    attempt: int = 0
    attempt_at: datetime | None = None
    failure: ArchiveFailure | None = None
    taken: Taken | None = None
    created_at: datetime
    touched_at: datetime
    finished_at: datetime | None = None
    settled: bool = False
    revision: int = 1

    @property
    def work_prefix(self) -> str:
        return f"_archives/{self.owner}/{self.archive_id}/"

    @property
    def key(self) -> str:
        return f"{self.work_prefix}archive"

    @property
    def prefix(self) -> str:
        return f"{UNPACKED}{self.owner}/{self.dataset_id}/a-{self.archive_id}/"

    @property
    def manifest_key(self) -> str:
        """Where the manifest of the version is written, should it become one of its own."""
        return f"_manifests/{self.owner}/{self.dataset_id}/a-{self.archive_id}.json"

    @property
    def report_key(self) -> str:
        return f"_reports/{self.owner}/{self.dataset_id}/a-{self.archive_id}/unpacked.json"

    @property
    def parts(self) -> int:
        return -(-self.size // self.part_size)

    def part_bytes(self, number: int) -> int:
        """Bytes of part ``number``, from 1."""
        return min(self.part_size, self.size - (number - 1) * self.part_size)

    def changed(self, now: datetime, **changes: Any) -> Self:
        """The record after a change, ready to be stored."""
        return self.model_copy(update={**changes, "touched_at": now, "revision": self.revision + 1})


def is_bomb(unpacked: int, packed: int) -> bool:
    """Whether an archive of ``packed`` bytes may not hold ``unpacked``."""
    return unpacked > max(BOMB_FREE_BYTES, BOMB_RATIO * packed)


def is_entry_bomb(unpacked: int, packed: int) -> bool:
    return unpacked > max(ENTRY_BOMB_FREE_BYTES, ENTRY_BOMB_RATIO * packed)


# --- refusals that several readers share --------------------------------------------------------------------------
def not_an_archive(what: str) -> ArchiveRefusedError:
    return ArchiveRefusedError(
        "not_an_archive", what, "Send a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz file, or push the folder itself."
    )


def truncated(what: str) -> ArchiveRefusedError:
    return ArchiveRefusedError(
        "truncated_archive", what, "Look at the file on your side (unzip -t, tar -t), then upload it again."
    )


def damaged(what: str) -> ArchiveRefusedError:
    return ArchiveRefusedError("damaged_archive", what, "Pack the files anew, then upload that archive.")


def bomb(unpacked: int, packed: int) -> ArchiveRefusedError:
    return ArchiveRefusedError(
        "archive_bomb",
        f"The archive of {packed:,} bytes unpacks to {unpacked:,} or more.",
        "Pictures hardly compress: pack only them and their captions, or use stcloud datasets push.",
    )


def too_many_entries() -> ArchiveRefusedError:
    return ArchiveRefusedError(
        "too_many_entries",
        f"The archive has more than {MAX_ENTRIES:,} entries.",
        "Split it into several datasets; a dataloader can name more than one.",
    )


#: Starts of formats that people send and that are not unpacked, by name.
_OTHERS = (
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!\x1a\x07", "a RAR archive"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard"),
    (b"\x04\x22\x4d\x18", "compressed with LZ4"),
    (b"\x1f\x9d", "compressed with compress (.Z)"),
    (b"LZIP", "compressed with lzip"),
    (b"!<arch>\n", "an ar archive"),
    (b"xar!", "a xar archive"),
    (b"MSCF", "a cabinet file"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"%PDF", "a PDF document"),
    (b"<!DOCTYPE", "an HTML page"),
    (b"<html", "an HTML page"),
)
#: Read to tell the kind: the magic of a tar ends at byte 265, and its header at 512.
SNIFF_BYTES = 512


def kind_of(head: bytes) -> ArchiveKind | None:
    """What the first bytes say; None when they say nothing of an archive that is unpacked.

    A zip may have anything before it: whoever gets None looks for its directory at the end.
    """
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08", b"PK00PK")):
        return ArchiveKind.ZIP
    if head.startswith(b"\x1f\x8b"):
        return ArchiveKind.TAR_GZ
    if head.startswith(b"BZh") and head[4:10] in {b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"}:
        return ArchiveKind.TAR_BZ2
    if head.startswith(b"\xfd7zXZ\x00"):
        return ArchiveKind.TAR_XZ
    return None


def name_of_other(head: bytes) -> str | None:
    """What else it is, for the message of the refusal."""
    return next((name for start, name in _OTHERS if head.startswith(start)), None)
