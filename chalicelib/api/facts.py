"""What is known of a request before anybody has said who they are."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from chalice.app import Request

#: Set by the distribution (infra/template/web.yaml), which overwrites what the viewer sent under these names.
ORIGIN_HEADER = "x-stcloud-origin"
VIEWER_HEADER = "x-stcloud-viewer"


@dataclass(frozen=True)
class RequestFacts:
    """``headers`` have lower-case names. ``proven``: the stack's own distribution sent this.

    ``source_ip`` is the peer that API Gateway saw; ``behind`` makes it the
    viewer's when the stack's own distribution says so. No other header is believed: whoever reaches the gateway
    directly writes what they like into it."""

    method: str
    headers: Mapping[str, str] = field(repr=False)
    source_ip: str
    request_id: str
    proven: bool = False

    @property
    def changes_something(self) -> bool:
        return self.method not in {"GET", "HEAD", "OPTIONS"}

    def behind(self, origin_secret_sha256: str) -> RequestFacts:
        """These facts, proven and with the viewer's address, if the request carries the distribution's secret; else
        themselves."""
        secret = self.headers.get(ORIGIN_HEADER)
        if not origin_secret_sha256 or secret is None:
            return self
        digest = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
        if not hmac.compare_digest(digest, origin_secret_sha256):
            return self
        try:
            address = str(ipaddress.ip_address(self.headers.get(VIEWER_HEADER, "")))
        except ValueError:
            address = self.source_ip
        return replace(self, source_ip=address, proven=True)

    @property
    def shows_credentials(self) -> bool:
        return not self.headers.keys().isdisjoint(("authorization", "x-api-key", "cookie"))

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
