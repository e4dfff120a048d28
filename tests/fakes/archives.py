"""The ArchiveStore port in memory."""

from __future__ import annotations

import threading
from datetime import datetime

from chalicelib.domain.archives import ArchiveRecord
from chalicelib.domain.ports import InvalidCursorError, StaleRecordError


class InMemoryArchiveStore:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._archives: dict[tuple[str, str, str], ArchiveRecord] = {}

    def create(self, archive: ArchiveRecord) -> None:
        with self._lock:
            if _key(archive) in self._archives:
                raise StaleRecordError(archive.archive_id)
            self._archives[_key(archive)] = archive

    def get(self, owner: str, dataset_id: str, archive_id: str) -> ArchiveRecord | None:
        return self._archives.get((owner, dataset_id, archive_id))

    def update(self, archive: ArchiveRecord) -> None:
        with self._lock:
            current = self._archives.get(_key(archive))
            if current is None or current.revision != archive.revision - 1:
                raise StaleRecordError(archive.archive_id)
            self._archives[_key(archive)] = archive

    def list_of(
        self, owner: str, dataset_id: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[ArchiveRecord], str | None]:
        kind = f"archives:{owner}:{dataset_id}|"
        if cursor is not None and not cursor.startswith(kind):
            raise InvalidCursorError(cursor)
        after = cursor.removeprefix(kind) if cursor is not None else None
        mine = [a for a in _copied(self._archives) if (a.owner, a.dataset_id) == (owner, dataset_id)]
        found = sorted((a for a in mine if after is None or a.archive_id < after), key=lambda a: a.archive_id)[::-1]
        return found[:limit], f"{kind}{found[limit - 1].archive_id}" if len(found) > limit else None

    def delete(self, archive: ArchiveRecord) -> None:
        with self._lock:
            current = self._archives.get(_key(archive))
            if current is not None and current.revision != archive.revision:
                raise StaleRecordError(archive.archive_id)
            self._archives.pop(_key(archive), None)

    def list_open(self, owner: str, *, limit: int = 100) -> list[ArchiveRecord]:
        found = [a for a in _copied(self._archives) if a.owner == owner and not a.status.is_over]
        return sorted(found, key=lambda a: (a.created_at, a.archive_id))[:limit]

    def list_unsettled(self, *, created_before: datetime, limit: int = 100) -> list[ArchiveRecord]:
        found = [a for a in _copied(self._archives) if not a.settled and a.created_at < created_before]
        return sorted(found, key=lambda a: a.created_at)[:limit]


def _copied(archives: dict[tuple[str, str, str], ArchiveRecord]) -> list[ArchiveRecord]:
    """A copy: other threads may add some meanwhile."""
    return list(archives.values())


def _key(archive: ArchiveRecord) -> tuple[str, str, str]:
    return archive.owner, archive.dataset_id, archive.archive_id
