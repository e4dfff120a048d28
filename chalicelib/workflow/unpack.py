"""What the steps of unpacking share: their record, and the small files in which they leave each other word.

Below an archive's work prefix: ``archive`` its bytes, ``plan/<piece>`` the entries of a piece, ``plan/summary`` what
the plan comes to, ``plan/state`` where a plan of several rounds stands, ``done/<piece>`` what became of a piece.
All are gzipped JSON; a step that is repeated finds what the one before it came to.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.archive_entries import Read
from chalicelib.domain.archives import ArchiveFailure, ArchiveRecord, ArchiveRefusedError, ArchiveStatus
from chalicelib.domain.ports import Ports

SUMMARY, STATE = "plan/summary", "plan/state"


@dataclass(frozen=True)
class Unpacking:
    """One archive that is being unpacked, as a step sees it."""

    ports: Ports
    archive: ArchiveRecord

    @property
    def read(self) -> Read:
        store, key = self.ports.dataset_files, self.archive.key

        def read(offset: int, length: int) -> bytes:
            if length <= 0 or offset < 0:
                return b""
            found = store.get(key, start=offset, length=length)
            if found is None:
                raise archive_gone()
            return found

        return read

    def load(self, name: str) -> Any | None:
        data = self.ports.dataset_files.get(self.archive.work_prefix + name)
        return None if data is None else json.loads(gzip.decompress(data))

    def save(self, name: str, document: Any) -> None:
        # A repeated step writes the same bytes: no time stamp in them.
        text = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        data = gzip.compress(text, compresslevel=6, mtime=0)
        self.ports.dataset_files.put(self.archive.work_prefix + name, data, content_type="application/gzip")


def open_archive(event: Mapping[str, Any], ports: Ports) -> Unpacking | None:
    """The archive of a step's event; None when there is nothing to do any more: it is over, or gone."""
    archive = ports.archives.get(event["owner"], event["dataset_id"], event["archive_id"])
    if archive is None or archive.status is not ArchiveStatus.UNPACKING:
        return None
    return Unpacking(ports, archive)


def identity(event: Mapping[str, Any]) -> dict[str, Any]:
    """What every step hands on."""
    return {name: event[name] for name in ("owner", "dataset_id", "archive_id", "attempt")}


def plan_name(piece: int) -> str:
    return f"plan/{piece:06d}"


def done_name(piece: int) -> str:
    return f"done/{piece:06d}"


def archive_gone() -> ArchiveRefusedError:
    return ArchiveRefusedError("archive_gone", "The archive's bytes are not there any more.", "Upload it again.")


def failure_of(refused: ArchiveRefusedError) -> ArchiveFailure:
    return ArchiveFailure(code=refused.code, message=refused.message, advice=refused.advice)


def quota_exceeded(used: int, quota: int, needed: int) -> ArchiveRefusedError:
    return ArchiveRefusedError(
        "quota_exceeded",
        f"Your datasets take {used:,} of {quota:,} bytes, and the archive unpacks to {needed:,}.",
        "Delete old versions, set retention_days, or ask your administrator for a larger quota.",
    )
