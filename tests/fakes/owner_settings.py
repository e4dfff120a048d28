"""The OwnerSettingsStore port in memory."""

from __future__ import annotations

import threading

from chalicelib.domain.owner_settings import OwnerSettings
from chalicelib.domain.ports import StaleRecordError


class InMemoryOwnerSettingsStore:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._settings: dict[str, OwnerSettings] = {}

    def get(self, owner: str) -> OwnerSettings:
        return self._settings.get(owner) or OwnerSettings(owner=owner)

    def put(self, settings: OwnerSettings) -> None:
        with self._lock:
            if self.get(settings.owner).revision != settings.revision - 1:
                raise StaleRecordError(settings.owner)
            self._settings[settings.owner] = settings
