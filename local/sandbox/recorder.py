"""A bounded memory of requests and webhooks, for tests that ask what really went over the wire."""

from __future__ import annotations

from collections import deque
from typing import Any

MAX_ENTRIES = 5000


class Recorder:
    """Keeps the last MAX_ENTRIES entries of each kind."""

    def __init__(self) -> None:
        self.requests: deque[dict[str, Any]] = deque(maxlen=MAX_ENTRIES)
        self.webhooks: deque[dict[str, Any]] = deque(maxlen=MAX_ENTRIES)

    def clear(self) -> None:
        self.requests.clear()
        self.webhooks.clear()
