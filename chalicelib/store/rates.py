"""Counters of requests in DynamoDB: an item per subject and window, gone by TTL."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from chalicelib.domain.access_ports import RateVerdict
from chalicelib.errors import Unavailable
from chalicelib.store.faults import ConditionFailedError
from chalicelib.store.records import Record, digest, ttl_seconds
from chalicelib.store.table import Table

logger = logging.getLogger(__name__)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


class DynamoRateStore:
    """``RateStore`` over the keys table (``rate#<hash of subject>``, ``<window in seconds>#<its number>``). Raises
    ``Unavailable`` when DynamoDB can't answer. Subjects may be addresses or names: only their hash is stored.

    ``sleep`` takes seconds; it is called between the tries of requests that collide.
    """

    def __init__(self, table_name: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._table = Table(table_name, sleep=sleep)

    def take(self, subject: str, *, limit: int, window: timedelta, now: datetime, amount: int = 1) -> RateVerdict:
        number, into = divmod(now - _EPOCH, window)
        left = window - into
        reset = max(1, -(-left // _SECOND))
        if limit <= 0:
            return RateVerdict(allowed=False, limit=limit, remaining=0, reset_seconds=reset)
        counter = self._counter(subject, window, number)
        # A window longer than it ends: a clock that is a little behind must not find the counter gone.
        kept = ttl_seconds(now + left + window)
        try:
            counted = self._table.update(
                counter,
                [Record.used.add(amount), Record.expires_at.set(kept)],
                Record.used.does_not_exist() | (Record.used < limit),
            )
        except ConditionFailedError:
            return RateVerdict(allowed=False, limit=limit, remaining=0, reset_seconds=reset)
        used = int(counted.used)
        return RateVerdict(
            allowed=True,
            limit=limit,
            remaining=max(0, limit - used),
            reset_seconds=reset,
            granted=min(amount, limit - (used - amount)),
        )

    def give_back(self, subject: str, *, window: timedelta, taken_at: datetime) -> None:
        counter = self._counter(subject, window, (taken_at - _EPOCH) // window)
        try:
            self._table.update(counter, [Record.used.add(-1)], Record.used > 0)
        except ConditionFailedError:
            return
        except Unavailable:
            logger.warning("what was counted could not be given back")

    def _counter(self, subject: str, window: timedelta, number: int) -> Record:
        return self._table.new(f"rate#{digest(subject)}", f"{window // _SECOND}#{number}")
