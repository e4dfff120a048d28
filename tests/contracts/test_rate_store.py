"""``RateStore``: fixed windows, counted together."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.access_ports import RateStore, RateVerdict
from chalicelib.store import DynamoRateStore
from tests.support.emulator import Emulator
from tests.support.jobs import NOW, together

MINUTE = timedelta(minutes=1)
#: The window of NOW (12:00:00.123456) ends in 59.876544 seconds.
RESET = 60


def test_requests_count_down_until_the_limit_and_start_anew_in_the_next_window(rate_store: RateStore) -> None:
    def take(after: float = 0) -> RateVerdict:
        return rate_store.take("key1", limit=2, window=MINUTE, now=NOW + timedelta(seconds=after))

    assert take() == RateVerdict(allowed=True, limit=2, remaining=1, reset_seconds=RESET, granted=1)
    assert take(10) == RateVerdict(allowed=True, limit=2, remaining=0, reset_seconds=RESET - 10, granted=1)
    assert take(59.5) == RateVerdict(allowed=False, limit=2, remaining=0, reset_seconds=1)
    assert take(59.876543) == RateVerdict(allowed=False, limit=2, remaining=0, reset_seconds=1)
    assert take(59.876544) == RateVerdict(allowed=True, limit=2, remaining=1, reset_seconds=60, granted=1)


def test_subjects_and_windows_are_counted_apart(rate_store: RateStore) -> None:
    for subject in ("a", "b", "a#b", "ü" * 3000, "\ud800", ""):
        assert rate_store.take(subject, limit=1, window=MINUTE, now=NOW).allowed
        assert not rate_store.take(subject, limit=1, window=MINUTE, now=NOW).allowed
    assert rate_store.take("a", limit=1, window=timedelta(minutes=15), now=NOW).allowed


def test_what_is_left_is_granted_in_part(rate_store: RateStore) -> None:
    first = rate_store.take("key1", limit=50, window=MINUTE, now=NOW, amount=20)
    assert (first.granted, first.remaining) == (20, 30)
    rate_store.take("key1", limit=50, window=MINUTE, now=NOW, amount=20)
    last = rate_store.take("key1", limit=50, window=MINUTE, now=NOW, amount=20)
    assert (last.allowed, last.granted, last.remaining) == (True, 10, 0)
    none = rate_store.take("key1", limit=50, window=MINUTE, now=NOW, amount=20)
    assert (none.allowed, none.granted, none.remaining) == (False, 0, 0)


def test_a_limit_of_nothing_lets_nobody_in(rate_store: RateStore) -> None:
    assert not rate_store.take("key1", limit=0, window=MINUTE, now=NOW).allowed


def test_parallel_callers_never_get_more_than_the_limit(rate_store: RateStore) -> None:
    verdicts = together(24, lambda _: rate_store.take("key1", limit=30, window=MINUTE, now=NOW, amount=4))
    assert all(isinstance(v, RateVerdict) for v in verdicts)
    assert sum(v.granted for v in verdicts if isinstance(v, RateVerdict)) == 30
    assert sum(v.allowed for v in verdicts if isinstance(v, RateVerdict)) == 8


def test_counters_expire_and_name_nobody(emulator: Emulator, keys_table: str) -> None:
    DynamoRateStore(keys_table).take("sign-in#ada@example.com", limit=5, window=MINUTE, now=NOW)
    (item,) = emulator.client("dynamodb").scan(TableName=keys_table)["Items"]
    assert item["expires_at"] == {"N": str(int(NOW.timestamp()) + 120)}
    assert "ada" not in str(item)


def test_what_is_given_back_may_be_taken_again(rate_store: RateStore) -> None:
    def take() -> bool:
        return rate_store.take("key1", limit=2, window=MINUTE, now=NOW).allowed

    assert [take() for _ in range(3)] == [True, True, False]
    rate_store.give_back("key1", window=MINUTE, taken_at=NOW)
    assert [take() for _ in range(2)] == [True, False]
    # In its own window, of its own subject, and never below nothing.
    rate_store.give_back("key1", window=MINUTE, taken_at=NOW + MINUTE)
    rate_store.give_back("key2", window=MINUTE, taken_at=NOW)
    rate_store.give_back("key1", window=2 * MINUTE, taken_at=NOW)
    assert not take()
    for _ in range(5):
        rate_store.give_back("key1", window=MINUTE, taken_at=NOW)
    assert [take() for _ in range(3)] == [True, True, False]


def test_parallel_tries_of_which_all_are_right_leave_the_whole_limit(rate_store: RateStore) -> None:
    def right(_: int) -> bool:
        taken = rate_store.take("key1", limit=30, window=MINUTE, now=NOW).allowed
        rate_store.give_back("key1", window=MINUTE, taken_at=NOW)
        return taken

    assert together(12, right) == [True] * 12
    assert rate_store.take("key1", limit=30, window=MINUTE, now=NOW).remaining == 29
