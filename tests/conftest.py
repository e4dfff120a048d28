"""Rules for every test: no network unless the tier says so."""

from __future__ import annotations

from pathlib import Path

import pytest

#: Tiers that may open sockets, and only to this computer.
LOOPBACK_TIERS = {"contracts", "functional", "stack", "e2e"}
LOOPBACK = ["127.0.0.1", "::1", "localhost"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        tier = item.path.relative_to(here).parts[0] if item.path.is_relative_to(here) else ""
        if tier in LOOPBACK_TIERS:
            item.add_marker(pytest.mark.allow_hosts(LOOPBACK))
        else:
            item.add_marker(pytest.mark.disable_socket(allow_unix_socket=True))
