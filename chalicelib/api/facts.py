"""What is known of a request before anybody has said who they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from chalice.app import Request


@dataclass(frozen=True)
class RequestFacts:
    """``headers`` have lower-case names. ``source_ip`` is the peer that API Gateway saw, behind a CDN the CDN's: no
    header is believed, because whoever reaches the gateway directly writes what they like into it."""

    method: str
    headers: Mapping[str, str] = field(repr=False)
    source_ip: str
    request_id: str

    @property
    def changes_something(self) -> bool:
        return self.method not in {"GET", "HEAD", "OPTIONS"}

    @cached_property
    def cookies(self) -> Mapping[str, str]:
        """By name; of a name sent twice the first counts, which browsers send for the narrower path."""
        found: dict[str, str] = {}
        for part in self.headers.get("cookie", "").split(";"):
            name, _, value = part.strip().partition("=")
            if name:
                found.setdefault(name, value.strip().strip('"'))
        return found


def facts_of(request: Request, method: str) -> RequestFacts:
    context = request.context or {}
    return RequestFacts(
        method=method,
        headers={str(k).lower(): str(v) for k, v in (request.headers or {}).items()},
        source_ip=str((context.get("identity") or {}).get("sourceIp") or "unknown"),
        request_id=str(context.get("requestId", "local")),
    )
