"""Counting in leases: few writes, one limit for all, and refusals that cost nothing."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta

import pytest

from chalicelib.services.rates import MAX_REMEMBERED, REFUSED_FOR, RateLimited, RateRule, RateService
from tests.fakes.access import InMemoryRateStore
from tests.fakes.clock import FakeClock

RULE = RateRule("test", 50, timedelta(minutes=1), lease=20)


def service(store: InMemoryRateStore | None = None, clock: FakeClock | None = None) -> RateService:
    return RateService(store or InMemoryRateStore(), clock or FakeClock())


def test_leases_grow_with_what_a_caller_uses() -> None:
    store, rule = InMemoryRateStore(), RateRule("busy", 1_000, timedelta(minutes=1), lease=20)
    rates, writes = service(store), []
    for _ in range(71):
        before = len(store.calls)
        assert rates.count(rule, "a").allowed
        writes.append(len(store.calls) - before)
    paid = [i for i, n in enumerate(writes) if n]
    assert paid == [0, 1, 3, 7, 15, 31, 51], "one, two, four, eight, sixteen, then twenty at once"
    assert rates.count(rule, "a").remaining == 1_000 - 72


def test_a_caller_on_many_lambdas_gets_what_the_limit_says() -> None:
    store, clock, rule = InMemoryRateStore(), FakeClock(), RateRule("spread", 100, timedelta(minutes=1), lease=20)
    lambdas = [service(store, clock) for _ in range(100)]
    assert all(rates.count(rule, "a").allowed for rates in lambdas)
    assert not any(rates.count(rule, "a").allowed for rates in lambdas)


def test_a_refusal_is_remembered_without_asking_and_forgotten_in_time() -> None:
    store, clock = InMemoryRateStore(), FakeClock()
    rates = service(store, clock)
    assert rates.refused(RULE, "a") is None
    for _ in range(51):
        last = rates.count(RULE, "a")
    before = len(store.calls)
    worn = rates.refused(RULE, "a")
    assert worn is not None
    assert (worn.allowed, worn.reset_seconds) == (False, last.reset_seconds)
    assert rates.refused(RULE, "b") is None
    assert len(store.calls) == before
    clock.advance(last.reset_seconds)
    assert rates.refused(RULE, "a") is None


def test_exactly_the_limit_is_let_through_and_a_flood_behind_it_costs_nothing() -> None:
    store = InMemoryRateStore()
    rates = service(store)
    verdicts = [rates.count(RULE, "a") for _ in range(500)]
    assert [v.allowed for v in verdicts] == [True] * 50 + [False] * 450
    assert verdicts[49].remaining == verdicts[-1].remaining == 0
    assert len(store.calls) <= 7


def test_the_next_window_is_a_new_one() -> None:
    clock = FakeClock()
    rates = service(clock=clock)
    for _ in range(51):
        last = rates.count(RULE, "a")
    assert not last.allowed
    clock.advance(last.reset_seconds)
    assert rates.count(RULE, "a").allowed


def test_two_processes_count_together() -> None:
    store, clock = InMemoryRateStore(), FakeClock()
    one, two = service(store, clock), service(store, clock)
    let_through = sum(rates.count(RULE, "a").allowed for _ in range(100) for rates in (one, two))
    assert let_through == 50


def test_subjects_and_rules_do_not_share() -> None:
    rates = service()
    for _ in range(50):
        rates.count(RULE, "a")
    assert not rates.count(RULE, "a").allowed
    assert rates.count(RULE, "b").allowed
    assert rates.count(RateRule("other", 1, timedelta(minutes=1)), "a").allowed


def test_a_refusal_says_how_long_to_wait() -> None:
    rates, rule = service(), RateRule("one", 1, timedelta(minutes=1))
    rates.attempt(rule, "a")
    with pytest.raises(RateLimited) as caught:
        rates.attempt(rule, "a")
    assert caught.value.code == "rate_limited"
    assert caught.value.retry_after is not None
    assert 1 <= caught.value.retry_after <= 60


def test_what_is_remembered_is_bounded() -> None:
    rates = service()
    for n in range(MAX_REMEMBERED + 100):
        rates.count(RULE, str(n))
    assert len(rates._leases) == MAX_REMEMBERED


def test_threads_never_get_more_than_the_limit() -> None:
    rates, allowed = service(), []

    def work() -> None:
        allowed.extend(rates.count(RULE, "a").allowed for _ in range(30))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sum(allowed) <= 50


def test_what_was_forgiven_does_not_count_in_any_process() -> None:
    store, clock, rule = InMemoryRateStore(), FakeClock(), RateRule("one", 2, timedelta(minutes=15))
    one, two = service(store, clock), service(store, clock)
    tries = [one.attempt(rule, "a"), two.attempt(rule, "a")]
    for rates in (one, two):
        with pytest.raises(RateLimited):
            rates.attempt(rule, "a")
    one.forgive(*tries)
    assert one.attempt(rule, "a")
    # The other one remembers its refusal, for a moment.
    with pytest.raises(RateLimited):
        two.attempt(rule, "a")
    clock.advance(REFUSED_FOR.total_seconds())
    assert two.attempt(rule, "a")


def test_what_was_tried_in_the_last_window_is_forgiven_there() -> None:
    store, clock, rule = InMemoryRateStore(), FakeClock(), RateRule("one", 1, timedelta(minutes=1))
    rates = service(store, clock)
    old = rates.attempt(rule, "a")
    clock.advance(60)
    rates.attempt(rule, "a")
    rates.forgive(old)
    with pytest.raises(RateLimited):
        rates.attempt(rule, "a")


def test_a_flood_of_attempts_costs_one_write_in_a_while_and_no_memory() -> None:
    store, rule = InMemoryRateStore(), RateRule("one", 1, timedelta(minutes=15))
    rates = service(store)
    for _ in range(100):
        with contextlib.suppress(RateLimited):
            rates.attempt(rule, "a")
    assert len(store.calls) == 2
    for n in range(MAX_REMEMBERED + 100):
        for _ in range(2):
            with contextlib.suppress(RateLimited):
                rates.attempt(rule, str(n))
    assert len(rates._refused) == MAX_REMEMBERED
