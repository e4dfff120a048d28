"""``JobStore.list`` and ``list_active``: order, filters, months, cursors, offsets."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from chalicelib.domain.jobs import Job, JobStatus, JobType
from chalicelib.domain.ports import InvalidCursorError, JobFilter, JobStore
from tests.support.jobs import NOW, OWNER, a_job, moved, over, submit

MINE = JobFilter(owner=OWNER)
EVERYBODY = JobFilter(owner=None)


def ids(jobs: tuple[Job, ...]) -> list[str]:
    return [job.job_id for job in jobs]


def walk(store: JobStore, query: JobFilter, *, limit: int, offset: int = 0) -> list[list[str]]:
    """All pages; the offset goes with the first alone."""
    pages: list[list[str]] = []
    page = store.list(query, limit=limit, offset=offset)
    pages.append(ids(page.jobs))
    while page.cursor is not None:
        assert len(pages) < 100, "the list does not end"
        page = store.list(query, limit=limit, cursor=page.cursor)
        pages.append(ids(page.jobs))
    return pages


def across_months(store: JobStore) -> list[str]:
    """Fifteen jobs in five of the last thirteen months, two owners; returns all ids, newest first."""
    made: list[tuple[datetime, str]] = []
    for m, month in enumerate([(2025, 11), (2025, 12), (2026, 5), (2026, 10), (2026, 11)]):
        for n in range(3):
            job_id, at = f"job{m}{n}", datetime(*month, 1, tzinfo=UTC) + timedelta(days=9 * n)
            owner = "other" if n == 1 else OWNER
            submit(store, a_job(job_id, owner=owner, created_at=at))
            made.append((at, job_id))
    return [job_id for _, job_id in sorted(made, reverse=True)]


def test_an_empty_store_lists_nothing(job_store: JobStore) -> None:
    for query in (MINE, EVERYBODY):
        page = job_store.list(query, limit=10)
        assert (page.jobs, page.cursor) == ((), None)
    assert job_store.list_active().jobs == ()


def test_newest_first_then_by_job_id(job_store: JobStore) -> None:
    submit(job_store, a_job("b"))
    submit(job_store, a_job("c"))
    submit(job_store, a_job("a"))
    submit(job_store, a_job("z", created_at=NOW - timedelta(microseconds=1)))
    submit(job_store, a_job("0", created_at=NOW.replace(microsecond=0) + timedelta(seconds=1)))
    assert ids(job_store.list(MINE, limit=10).jobs) == ["0", "c", "b", "a", "z"]


def test_times_of_other_zones_are_put_in_order(job_store: JobStore) -> None:
    tokyo = timezone(timedelta(hours=9))
    submit(job_store, a_job("late", created_at=datetime(2026, 11, 30, 23, 30, tzinfo=UTC)))
    submit(job_store, a_job("early", created_at=datetime(2026, 12, 1, 8, 0, tzinfo=tokyo)))
    submit(job_store, a_job("december", created_at=datetime(2026, 12, 1, 9, 0, tzinfo=tokyo)))
    assert ids(job_store.list(MINE, limit=10).jobs) == ["december", "late", "early"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 15, 100])
def test_pages_walk_back_through_the_months(job_store: JobStore, limit: int) -> None:
    everything = across_months(job_store)
    mine = [job_id for job_id in everything if not job_id.endswith("1")]
    for query, expected in ((EVERYBODY, everything), (MINE, mine)):
        pages = walk(job_store, query, limit=limit)
        assert [job_id for page in pages for job_id in page] == expected
        assert all(len(page) == limit for page in pages[:-1])
        assert pages[-1], "a cursor led to nothing"


def test_an_offset_skips_matches(job_store: JobStore) -> None:
    everything = across_months(job_store)
    for offset in (0, 1, 3, 7, 14):
        pages = walk(job_store, EVERYBODY, limit=4, offset=offset)
        assert [job_id for page in pages for job_id in page] == everything[offset:]
    assert job_store.list(EVERYBODY, limit=4, offset=15).jobs == ()
    assert job_store.list(EVERYBODY, limit=4, offset=10_000).cursor is None
    first = job_store.list(EVERYBODY, limit=4)
    assert ids(job_store.list(EVERYBODY, limit=4, cursor=first.cursor, offset=2).jobs) == everything[6:10]


def test_filters_combine_and_page(job_store: JobStore) -> None:
    for n in range(12):
        job = submit(
            job_store,
            a_job(
                f"job{n:02}",
                created_at=NOW - timedelta(days=10 * n),
                provider="replicate" if n % 2 else "elsewhere",
                job_type=JobType.LOCAL if n % 3 == 0 else JobType.CLOUD,
            ),
        )
        if n % 4 == 1:
            job_store.save(over(job))
    expected = {
        JobFilter(OWNER, status=JobStatus.FAILED): [1, 5, 9],
        JobFilter(OWNER, status=JobStatus.QUEUED, provider="replicate"): [3, 7, 11],
        JobFilter(OWNER, provider="elsewhere"): [0, 2, 4, 6, 8, 10],
        JobFilter(None, job_type=JobType.LOCAL): [0, 3, 6, 9],
        JobFilter(None, status=JobStatus.FAILED, provider="replicate", job_type=JobType.LOCAL): [9],
        JobFilter(OWNER, status=JobStatus.RUNNING): [],
        JobFilter("other", status=JobStatus.FAILED): [],
    }
    for query, numbers in expected.items():
        wanted = [f"job{n:02}" for n in numbers]
        assert [i for page in walk(job_store, query, limit=2) for i in page] == wanted
        assert ids(job_store.list(query, limit=50).jobs) == wanted
        assert ids(job_store.list(query, limit=50, offset=1).jobs) == wanted[1:]


def test_a_job_submitted_between_two_pages_neither_repeats_nor_hides_others(job_store: JobStore) -> None:
    everything = across_months(job_store)
    first = job_store.list(EVERYBODY, limit=4)
    submit(job_store, a_job("new", created_at=NOW + timedelta(days=40)))
    second = job_store.list(EVERYBODY, limit=4, cursor=first.cursor)
    assert ids(second.jobs) == everything[4:8]
    assert ids(job_store.list(EVERYBODY, limit=2).jobs) == ["new", everything[0]]


def test_a_list_shows_what_was_saved_last(job_store: JobStore) -> None:
    job = submit(job_store, a_job())
    second = moved(job, run_name="second", status=JobStatus.RUNNING)
    job_store.save(second)
    for query in (MINE, EVERYBODY, JobFilter(OWNER, status=JobStatus.RUNNING)):
        assert job_store.list(query, limit=10).jobs == (second,)
    assert job_store.list(JobFilter(OWNER, status=JobStatus.QUEUED), limit=10).jobs == ()


def test_a_month_whose_jobs_are_gone_is_passed_over(job_store: JobStore) -> None:
    everything = across_months(job_store)
    for job_id in everything[3:9]:
        job = job_store.get(job_id)
        assert job is not None
        job_store.delete(job)
    rest = everything[:3] + everything[9:]
    assert [i for page in walk(job_store, EVERYBODY, limit=3) for i in page] == rest


def test_active_jobs_oldest_first_until_they_are_over(job_store: JobStore) -> None:
    everything = across_months(job_store)
    active = everything[::-1]
    assert ids(job_store.list_active().jobs) == active
    pages, cursor = [], None
    for _ in range(10):
        page = job_store.list_active(limit=4, cursor=cursor)
        pages.append(ids(page.jobs))
        cursor = page.cursor
        if cursor is None:
            break
    assert [i for page in pages for i in page] == active
    assert [len(page) for page in pages] == [4, 4, 4, 3]
    for job_id in active[:5]:
        job = job_store.get(job_id)
        assert job is not None
        job_store.save(over(job), release_slot=True)
    assert ids(job_store.list_active().jobs) == active[5:]
    exactly = job_store.list_active(limit=10)
    assert (len(exactly.jobs), exactly.cursor) == (10, None)


def _crafted(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "x",
        "!!!",
        "é",
        "a" * 5000,
        "bnVsbA",
        _crafted(),
        _crafted("jobs", 1, 2, 3),
        "W" * 900,
        _crafted("jobs", "x"),
    ],
)
def test_garbage_is_no_cursor(job_store: JobStore, garbage: str) -> None:
    submit(job_store, a_job())
    for query in (MINE, EVERYBODY):
        with pytest.raises(InvalidCursorError):
            job_store.list(query, limit=10, cursor=garbage)
    with pytest.raises(InvalidCursorError):
        job_store.list_active(cursor=garbage)


def test_a_cursor_belongs_to_its_list(job_store: JobStore) -> None:
    across_months(job_store)
    mine = job_store.list(MINE, limit=1).cursor
    active = job_store.list_active(limit=1).cursor
    assert mine is not None
    assert active is not None
    for other in (EVERYBODY, JobFilter(owner="other"), JobFilter(OWNER, status=JobStatus.QUEUED)):
        with pytest.raises(InvalidCursorError):
            job_store.list(other, limit=1, cursor=mine)
    with pytest.raises(InvalidCursorError):
        job_store.list(MINE, limit=1, cursor=active)
    with pytest.raises(InvalidCursorError):
        job_store.list_active(limit=1, cursor=mine)
