"""``WebhookLog``: an id counts once within its time."""

from __future__ import annotations

from datetime import timedelta

from chalicelib.domain.ports import WebhookLog
from tests.support.jobs import NOW, together

KEEP = timedelta(minutes=15)
TICK = timedelta(microseconds=1)


def test_an_id_counts_once_until_its_time_is_up(webhook_log: WebhookLog) -> None:
    assert webhook_log.remember("replicate", "msg_1", now=NOW, keep=KEEP)
    assert not webhook_log.remember("replicate", "msg_1", now=NOW, keep=KEEP)
    assert not webhook_log.remember("replicate", "msg_1", now=NOW + KEEP - TICK, keep=KEEP)
    assert webhook_log.remember("replicate", "msg_1", now=NOW + KEEP, keep=KEEP)
    assert not webhook_log.remember("replicate", "msg_1", now=NOW + KEEP, keep=KEEP)


def test_a_replay_does_not_prolong_the_memory(webhook_log: WebhookLog) -> None:
    assert webhook_log.remember("replicate", "msg_1", now=NOW, keep=KEEP)
    assert not webhook_log.remember("replicate", "msg_1", now=NOW + KEEP / 2, keep=KEEP)
    assert webhook_log.remember("replicate", "msg_1", now=NOW + KEEP, keep=KEEP)


def test_ids_are_told_apart_by_provider_and_to_the_last_character(webhook_log: WebhookLog) -> None:
    long = "x" * 4000
    for provider, webhook_id in (("a", "1"), ("b", "1"), ("a", "2"), ("a", long), ("a", long + "y"), ("a", "")):
        assert webhook_log.remember(provider, webhook_id, now=NOW, keep=KEEP)


def test_what_was_seen_is_what_is_remembered_and_asking_changes_nothing(webhook_log: WebhookLog) -> None:
    assert not webhook_log.seen("replicate", "msg_1", now=NOW)
    assert webhook_log.remember("replicate", "msg_1", now=NOW, keep=KEEP)
    assert webhook_log.seen("replicate", "msg_1", now=NOW)
    assert webhook_log.seen("replicate", "msg_1", now=NOW + KEEP - TICK)
    assert not webhook_log.seen("replicate", "msg_1", now=NOW + KEEP)
    assert not webhook_log.seen("replicate", "msg_2", now=NOW)


def test_of_parallel_deliveries_one_counts(webhook_log: WebhookLog) -> None:
    results = together(16, lambda _: webhook_log.remember("replicate", "msg_1", now=NOW, keep=KEEP))
    assert sorted(results, key=bool) == [False] * 15 + [True]
