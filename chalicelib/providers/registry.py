"""The GPU providers of this service. Adding one: its file, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chalicelib.domain.ports import Provider


@dataclass(frozen=True)
class ProviderEntry:
    """``build`` takes the API token and the base URL (origin)."""

    title: str
    build: Callable[[str, str], Provider]


PROVIDERS: Mapping[str, ProviderEntry] = {}
