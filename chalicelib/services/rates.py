"""Counting requests. Whoever asks too often waits, whoever asks seldom never notices.

The windows are fixed and counted in the database, so that all Lambdas count together. A busy caller's share is taken in
leases, so that most requests cost no write; what a Lambda has leased and does not use is lost to the others until the
window ends. A refusal is remembered until then too: a flood costs nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.access_ports import RateStore, RateVerdict
from chalicelib.domain.ports import Clock
from chalicelib.errors import TooManyRequests

#: How many requests one write pays for at most. The first pays for one, each next one for twice as many: a caller whose
#: requests are spread over many Lambdas must not lose a large lease in each of them.
LEASE = 20
#: How long a refused attempt is remembered: others may be forgiven meanwhile, and there is room again.
REFUSED_FOR = timedelta(seconds=5)
#: Subjects remembered at once; the one that was quiet longest goes first.
MAX_REMEMBERED = 2_000


@dataclass(frozen=True)
class RateRule:
    """``limit`` requests in each ``window``; up to ``lease`` of them are taken at once."""

    name: str
    limit: int
    window: timedelta
    lease: int = 1


#: One API key, or one person's sessions together.
CALLS = RateRule("calls", 1_200, timedelta(minutes=1), LEASE)
#: Wrong answers for one user name, known or not: passwords, codes and second factors together.
SIGN_IN_NAME = RateRule("sign-in-name", 10, timedelta(minutes=15))
#: Wrong answers from one source address. Generous: behind a CDN or an office's gateway many people share one.
SIGN_IN_ADDRESS = RateRule("sign-in-address", 300, timedelta(minutes=5))
#: Credentials that were sent and were none, from one source address. Many people may share one.
REFUSED = RateRule("refused", 1_000, timedelta(minutes=5), LEASE)
#: Wrong setup codes, by anybody.
SETUP = RateRule("setup", 10, timedelta(minutes=15))


@dataclass
class _Lease:
    ends: datetime
    left: int
    remaining: int
    taken: int


@dataclass(frozen=True)
class Attempt:
    """One that was counted, and is forgiven when it turns out to be right."""

    rule: RateRule
    subject: str
    at: datetime


class RateLimited(TooManyRequests):
    """Says what the limit is, and when it ends."""

    def __init__(self, verdict: RateVerdict) -> None:
        super().__init__(
            f"Too many requests: the limit is {verdict.limit}. Try again in {verdict.reset_seconds} seconds.",
            code="rate_limited",
            retry_after=verdict.reset_seconds,
        )
        self.verdict = verdict


class RateService:
    """Safe to share between threads."""

    def __init__(self, store: RateStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._refused: OrderedDict[str, tuple[datetime, RateVerdict]] = OrderedDict()

    def count(self, rule: RateRule, subject: str) -> RateVerdict:
        """Counts one request. Raises Unavailable when the store can't count: who asks too often can't be told then."""
        now, key = self._clock.now(), f"{rule.name}#{subject}"
        with self._lock:
            known = self._leases.get(key)
            if known is not None and now < known.ends:
                if known.left > 0:
                    known.left -= 1
                    return _verdict(rule, known, now, allowed=True)
                if known.remaining <= 0:
                    return _verdict(rule, known, now, allowed=False)
        amount = 1 if known is None or now >= known.ends else min(rule.lease, 2 * known.taken)
        taken = self._store.take(key, limit=rule.limit, window=rule.window, now=now, amount=amount)
        lease = _Lease(
            ends=now + timedelta(seconds=taken.reset_seconds),
            left=max(0, taken.granted - 1),
            remaining=taken.remaining if taken.allowed else 0,
            taken=amount,
        )
        with self._lock:
            self._leases[key] = lease
            self._leases.move_to_end(key)
            while len(self._leases) > MAX_REMEMBERED:
                self._leases.popitem(last=False)
        return _verdict(rule, lease, now, allowed=taken.allowed)

    def refused(self, rule: RateRule, subject: str) -> RateVerdict | None:
        """The refusal that this process remembers of the window that runs, or None. Asks nobody and counts nothing."""
        now = self._clock.now()
        with self._lock:
            known = self._leases.get(f"{rule.name}#{subject}")
            if known is None or now >= known.ends or known.left > 0 or known.remaining > 0:
                return None
            return _verdict(rule, known, now, allowed=False)

    def require(self, rule: RateRule, subject: str) -> RateVerdict:
        """As ``count``; raises RateLimited."""
        verdict = self.count(rule, subject)
        if not verdict.allowed:
            raise RateLimited(verdict)
        return verdict

    def attempt(self, rule: RateRule, subject: str) -> Attempt:
        """Counts one try of something secret before it is looked at, so that no two at once are one too many; the right
        ones are forgiven afterwards. Raises RateLimited, Unavailable."""
        now, key = self._clock.now(), f"{rule.name}#{subject}"
        with self._lock:
            refused = self._refused.get(key)
        if refused is not None and now < refused[0]:
            raise RateLimited(refused[1])
        taken = self._store.take(key, limit=rule.limit, window=rule.window, now=now)
        if taken.allowed:
            return Attempt(rule, subject, now)
        until = now + min(REFUSED_FOR, timedelta(seconds=taken.reset_seconds))
        with self._lock:
            self._refused[key] = (until, taken)
            self._refused.move_to_end(key)
            while len(self._refused) > MAX_REMEMBERED:
                self._refused.popitem(last=False)
        raise RateLimited(taken)

    def forgive(self, *attempts: Attempt) -> None:
        """They were no guesses."""
        for made in attempts:
            key = f"{made.rule.name}#{made.subject}"
            self._store.give_back(key, window=made.rule.window, taken_at=made.at)
            with self._lock:
                self._refused.pop(key, None)


def _verdict(rule: RateRule, lease: _Lease, now: datetime, *, allowed: bool) -> RateVerdict:
    return RateVerdict(
        allowed=allowed,
        limit=rule.limit,
        remaining=lease.left + max(0, lease.remaining),
        reset_seconds=max(1, -(-(lease.ends - now) // timedelta(seconds=1))),
        granted=1 if allowed else 0,
    )
