"""What a provider's adapter needs to reach its account."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ProviderAccess:
    """``base_url`` is the API's origin without a version or a trailing slash. ``repr`` hides the token."""

    token: str = field(repr=False)
    base_url: str
