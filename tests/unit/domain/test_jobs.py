"""The transition tables: what may follow what, and that a finished job never moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from chalicelib.domain.jobs import (
    PHASE_MOVES,
    STATUS_MOVES,
    TERMINAL,
    IllegalMoveError,
    Job,
    JobStatus,
    Phase,
    Progress,
)

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def make(**changes: object) -> Job:
    base = Job(
        job_id="j",
        owner="o",
        provider="replicate",
        created_at=NOW,
        updated_at=NOW,
        hardware_profile="h100",
        hardware_type="H100",
        model="m",
        price_per_second=Decimal("0.001"),
        max_run_seconds=3600,
    )
    return base.model_copy(update=changes)


@pytest.mark.parametrize("start", list(JobStatus))
@pytest.mark.parametrize("end", list(JobStatus))
def test_a_status_moves_only_along_the_table(start: JobStatus, end: JobStatus) -> None:
    job = make(status=start)
    allowed = start not in TERMINAL and (end == start or end in STATUS_MOVES[start])
    if allowed:
        assert job.moved(now=NOW, status=end).status is end
    else:
        with pytest.raises(IllegalMoveError):
            job.moved(now=NOW, status=end)


@pytest.mark.parametrize("start", list(Phase))
@pytest.mark.parametrize("end", list(Phase))
def test_a_phase_moves_only_along_the_table(start: Phase, end: Phase) -> None:
    job = make(phase=start, status=JobStatus.RUNNING)
    if end == start or end in PHASE_MOVES[start]:
        assert job.moved(now=NOW, phase=end).phase is end
    else:
        with pytest.raises(IllegalMoveError):
            job.moved(now=NOW, phase=end)


def test_every_live_phase_can_finish_and_none_goes_back() -> None:
    order = list(Phase)
    for phase, followers in PHASE_MOVES.items():
        assert all(order.index(f) > order.index(phase) for f in followers)
        assert phase is Phase.FINISHED or Phase.FINISHED in followers


def test_a_late_running_never_overwrites_cancelled() -> None:
    job = make(status=JobStatus.RUNNING, phase=Phase.TRAINING).ended(now=NOW, status=JobStatus.CANCELLED)
    with pytest.raises(IllegalMoveError):
        job.moved(now=NOW, status=JobStatus.RUNNING)


def test_a_move_counts_the_version_and_stamps_the_time() -> None:
    later = NOW + timedelta(seconds=5)
    moved = make(version=7).moved(now=later, prediction_id="p")
    assert (moved.version, moved.updated_at, moved.prediction_id) == (8, later, "p")


def test_the_end_clears_the_wait() -> None:
    job = make(status=JobStatus.RUNNING, phase=Phase.TRAINING, task_token="t", wait_until=NOW)
    ended = job.ended(now=NOW, status=JobStatus.FAILED)
    assert (ended.phase, ended.completed_at, ended.task_token, ended.wait_until) == (Phase.FINISHED, NOW, None, None)
    assert not ended.is_active


def test_only_an_end_can_end() -> None:
    with pytest.raises(IllegalMoveError):
        make().ended(now=NOW, status=JobStatus.RUNNING)


@pytest.mark.parametrize(
    ("step", "total", "percent"),
    [(None, 100, None), (5, None, None), (0, 100, 0.0), (1, 3, 33.3), (3, 3, 100.0), (9, 3, 100.0), (1, 0, None)],
)
def test_percent(step: int | None, total: int | None, percent: float | None) -> None:
    assert Progress(step=step, total_steps=total).percent == percent
