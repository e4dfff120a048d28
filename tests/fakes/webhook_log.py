"""Webhook ids that were seen, in memory."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta


class InMemoryWebhookLog:
    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._seen: dict[tuple[str, str], datetime] = {}

    def seen(self, provider: str, webhook_id: str, *, now: datetime) -> bool:
        with self._lock:
            until = self._seen.get((provider, webhook_id))
            return until is not None and until > now

    def remember(self, provider: str, webhook_id: str, *, now: datetime, keep: timedelta) -> bool:
        with self._lock:
            until = self._seen.get((provider, webhook_id))
            if until is not None and until > now:
                return False
            self._seen[provider, webhook_id] = now + keep
            return True
