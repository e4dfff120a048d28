"""Refusals of strangers in the audit: noted, without letting whoever likes fill it.

Of one address and window the first, second, fourth, eighth … refusal is noted, with how many there were. The last
record tells at least half of the truth, nothing has to be written when the window ends, and a thousand guesses make ten
lines.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta

from chalicelib.domain.access_ports import RateStore
from chalicelib.domain.audit import AuditAction, AuditResult
from chalicelib.domain.ports import Clock
from chalicelib.errors import Unavailable
from chalicelib.services.audit import Actor, AuditService

WINDOW = timedelta(minutes=5)
_NO_LIMIT = 10**9
#: Whoever has one address of IPv6 has all of such a network.
_IPV6_NETWORK = 64


class Refusals:
    def __init__(self, audit: AuditService, counts: RateStore, clock: Clock) -> None:
        self._audit = audit
        self._counts = counts
        self._clock = clock

    def note(self, actor: Actor, action: AuditAction, *, target: str, code: str) -> None:
        """Counts one refusal of ``actor``'s address and notes it when it is a first, second, fourth, … of its window.
        Never an error: when it can't be counted it is noted."""
        details: dict[str, int] = {}
        try:
            count = self._count(f"refused#{action}#{network_of(actor.source_ip)}")
            if count & (count - 1):
                return
            details = {"refusals": count, "window_seconds": WINDOW // timedelta(seconds=1)}
        except Unavailable:
            pass
        self._audit.note(actor, action, AuditResult.DENIED, target=target, code=code, details=details)

    def _count(self, subject: str) -> int:
        taken = self._counts.take(subject, limit=_NO_LIMIT, window=WINDOW, now=self._clock.now())
        return taken.limit - taken.remaining


def network_of(address: str) -> str:
    """What counts as one address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(ipaddress.ip_network((found, _IPV6_NETWORK), strict=False))
