"""Ids sort by time, never repeat, and tell nothing."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from chalicelib.aws.ambient import ALPHABET, SystemClock, UlidSource
from tests.fakes.clock import FakeClock

SHAPE = re.compile(rf"[{ALPHABET}]{{26}}")


class SettableClock:
    def __init__(self, now: datetime) -> None:
        self.moment = now

    def now(self) -> datetime:
        return self.moment


def milliseconds(job_id: str) -> int:
    value = 0
    for character in job_id[:10]:
        value = value * 32 + ALPHABET.index(character)
    return value


def test_the_clock_is_aware_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta(0)


def test_an_id_has_26_characters_and_begins_with_its_time() -> None:
    clock = FakeClock()
    job_id = UlidSource(clock).job_id()
    assert SHAPE.fullmatch(job_id)
    assert milliseconds(job_id) == int(clock.now().timestamp() * 1000)


def test_a_known_id() -> None:
    """The example of the ULID specification: 1469918176385 ms is 01ARYZ6S41."""
    clock = FakeClock(datetime.fromtimestamp(1469918176.385, UTC))
    assert UlidSource(clock, random_bits=lambda _: 0).job_id() == "01aryz6s41" + "0" * 16


def test_ids_ascend_with_time() -> None:
    clock = FakeClock()
    ids = []
    source = UlidSource(clock)
    for _ in range(200):
        ids.append(source.job_id())
        clock.advance(0.001)
    assert ids == sorted(set(ids))


def test_ids_of_one_millisecond_ascend_and_are_not_neighbours() -> None:
    source = UlidSource(FakeClock())
    ids = [source.job_id() for _ in range(500)]
    assert ids == sorted(set(ids))
    assert len({i[-6:] for i in ids}) > 490


def test_ids_of_two_processes_in_one_millisecond_differ() -> None:
    clock = FakeClock()
    assert len({UlidSource(clock).job_id() for _ in range(500)}) == 500


def test_ids_ascend_when_all_random_bits_are_set() -> None:
    clock = FakeClock()
    source = UlidSource(clock, random_bits=lambda bits: 2**bits - 1)
    ids = [source.job_id() for _ in range(3)]
    assert ids == sorted(set(ids))
    assert all(SHAPE.fullmatch(i) for i in ids)


@given(st.lists(st.integers(-5_000, 5_000), min_size=1, max_size=60))
def test_ids_ascend_when_the_clock_steps_back(steps: list[int]) -> None:
    clock = SettableClock(datetime(2026, 11, 24, tzinfo=UTC))
    source = UlidSource(clock)
    ids = []
    for step in steps:
        clock.moment += timedelta(milliseconds=step)
        ids.append(source.job_id())
    assert ids == sorted(set(ids))


def test_threads_share_a_source() -> None:
    source = UlidSource(FakeClock())
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: source.job_id(), range(2000)))
    assert len(set(ids)) == 2000


def test_tokens_are_long_and_url_safe() -> None:
    source = UlidSource(FakeClock())
    tokens = {source.token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", t) for t in tokens)
