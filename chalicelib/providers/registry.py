"""The GPU providers this service knows. Adding one: its module, and its line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from chalicelib.domain.ports import Provider
from chalicelib.providers.access import ProviderAccess
from chalicelib.providers.replicate import ReplicateProvider


@dataclass(frozen=True)
class ProviderEntry:
    """``title`` is for people; ``connect`` builds the adapter and sends nothing. It raises ValueError on bad access."""

    title: str
    connect: Callable[[ProviderAccess], Provider]


PROVIDERS: Mapping[str, ProviderEntry] = MappingProxyType(
    {
        "replicate": ProviderEntry("Replicate", ReplicateProvider.connect),
    }
)
KNOWN = frozenset(PROVIDERS)
