"""The port of the records of archives; part of ``ports.py``, see there for what holds for every port."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from chalicelib.domain.archives import ArchiveRecord


class ArchiveStore(Protocol):
    def create(self, archive: ArchiveRecord) -> None:
        """Stores a new record (``revision`` 1). Raises StaleRecordError when there is one of this id."""

    def get(self, owner: str, dataset_id: str, archive_id: str) -> ArchiveRecord | None:
        """Strongly consistent."""

    def update(self, archive: ArchiveRecord) -> None:
        """Replaces the record whose revision is ``archive.revision - 1``. Raises StaleRecordError when the stored one
        is another, or gone."""

    def list_of(
        self, owner: str, dataset_id: str, *, limit: int = 100, cursor: str | None = None
    ) -> tuple[list[ArchiveRecord], str | None]:
        """Newest first, by archive id; returns the next cursor. Raises InvalidCursorError."""

    def delete(self, archive: ArchiveRecord) -> None:
        """Removes the record of this very revision. No effect when it is gone; raises StaleRecordError when the stored
        one is another."""

    def list_open(self, owner: str, *, limit: int = 100) -> list[ArchiveRecord]:
        """Of this owner: those that are not over, oldest first. Strongly consistent."""

    def list_unsettled(self, *, created_before: datetime, limit: int = 100) -> list[ArchiveRecord]:
        """Archives of anybody that are not settled, oldest first."""
