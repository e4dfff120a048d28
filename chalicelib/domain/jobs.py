"""The life of a job: its record, its states, and the table of moves between them.

``status`` is what SimpleTuner's clients know. ``phase`` is finer and ours. Both only move along the tables below; every
change produces a new frozen record with the next version, so a store can refuse the stale one (compare-and-set).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from chalicelib.domain.failures import Failure
from chalicelib.domain.job_deliveries import JobDeliveries, Wish
from chalicelib.domain.predictions import PredictionStatus


class JobStatus(StrEnum):
    """SimpleTuner's wire statuses."""

    PENDING = "pending"
    UPLOADING = "uploading"
    QUEUED = "queued"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """Where in the workflow the job is; beside ``status`` in every record."""

    PREPARING = "preparing"
    LAUNCHING = "launching"
    TRAINING = "training"
    COLLECTING = "collecting"
    DELIVERING = "delivering"
    VERIFYING = "verifying"
    FINISHED = "finished"


class JobType(StrEnum):
    CLOUD = "cloud"
    LOCAL = "local"


TERMINAL = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})

#: Which status may follow which. A status may always stay; a terminal one never leaves.
STATUS_MOVES: Mapping[JobStatus, frozenset[JobStatus]] = {
    JobStatus.PENDING: frozenset(
        {JobStatus.UPLOADING, JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED}
    ),
    JobStatus.UPLOADING: frozenset({JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
}

#: Which phase may follow which. Any live phase may finish (failure, cancellation).
PHASE_MOVES: Mapping[Phase, frozenset[Phase]] = {
    Phase.PREPARING: frozenset({Phase.LAUNCHING, Phase.FINISHED}),
    Phase.LAUNCHING: frozenset({Phase.TRAINING, Phase.COLLECTING, Phase.FINISHED}),
    Phase.TRAINING: frozenset({Phase.COLLECTING, Phase.FINISHED}),
    Phase.COLLECTING: frozenset({Phase.DELIVERING, Phase.FINISHED}),
    Phase.DELIVERING: frozenset({Phase.VERIFYING, Phase.FINISHED}),
    Phase.VERIFYING: frozenset({Phase.FINISHED}),
    Phase.FINISHED: frozenset(),
}


class IllegalMoveError(Exception):
    """The transition tables forbid this change; whoever asked for it saw a stale record and must drop its result."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class LaunchIntent(_Frozen):
    """Written before money is spent. While ``lease_until`` lies ahead, only the holder of ``token`` may create.

    ``looks`` counts the times the lease was taken again, ``creates`` the requests sent. ``ambiguous_since`` is when one
    was sent whose fate nobody knows. Before ``not_before`` the provider does not want to be asked.
    """

    token: str
    intended_at: datetime
    lease_until: datetime
    looks: int = 0
    creates: int = 0
    ambiguous_since: datetime | None = None
    not_before: datetime | None = None


class Progress(_Frozen):
    """What the trainer's log says. ``eta_seconds`` is the trainer's own estimate; ``stage`` a short human label."""

    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    learning_rate: float | None = None
    eta_seconds: int | None = None
    stage: str | None = None
    last_line: str | None = None
    checkpoint_count: int = 0

    @property
    def percent(self) -> float | None:
        """Steps done in percent, 0 to 100, one decimal; None while no step was seen."""
        if self.step is None or not self.total_steps:
            return None
        return round(min(100.0, 100.0 * self.step / self.total_steps), 1)


class DatasetRef(_Frozen):
    """The exact dataset version a dataloader entry stands for; ``prefix`` is its key prefix in the datasets bucket."""

    entry_id: str
    dataset_id: str
    version_id: str
    prefix: str
    files: int
    bytes: int


class DeliverySummary(_Frozen):
    """What arrived in escrow. ``manifest_key`` is in the outputs bucket; ``weights`` are paths below the artifacts.
    ``broken_files`` have a problem, ``warnings`` are the first about the weights; the manifest says all."""

    files: int = 0
    bytes: int = 0
    manifest_key: str | None = None
    weights: tuple[str, ...] = ()
    verified_files: int = 0
    broken_files: int = 0
    warnings: tuple[str, ...] = ()
    verified_at: datetime | None = None


class Job(_Frozen):
    """One training job. Times are aware UTC datetimes, money is Decimal US dollars.

    ``version`` grows by one with every write. ``attempt`` numbers the Step Functions executions of this job (not the
    predictions: there is at most one); ``attempt_at`` is when the sweeper began this one, None for the first.
    ``task_token`` is secret and never leaves the service. ``key_id`` is the API key that submitted it. When that key
    has a budget, ``budget_hold_usd`` (the worst case) is counted under ``budget_id`` until the job ends, the real cost
    from then on. ``launch_unknown``: nobody could find out whether there was a prediction until it must have ended.
    ``escrow_days`` after its end the model is removed from escrow (None: never); ``escrow_removed_at`` is when that
    began.
    ``destinations`` is where the model is wanted besides escrow; ``deliveries`` how far that has come.
    """

    job_id: str
    owner: str
    version: int = 1
    attempt: int = 1
    attempt_at: datetime | None = None
    job_type: JobType = JobType.CLOUD
    provider: str
    status: JobStatus = JobStatus.QUEUED
    phase: Phase = Phase.PREPARING
    config_name: str | None = None
    config_version: int | None = None
    run_name: str | None = None
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    completed_at: datetime | None = None
    hardware_profile: str
    hardware_type: str
    model: str
    price_per_second: Decimal
    max_run_seconds: int
    max_train_steps: int | None = None
    datasets: tuple[DatasetRef, ...] = ()
    launch: LaunchIntent | None = None
    launch_unknown: bool = False
    prediction_id: str | None = None
    launched_at: datetime | None = None
    deadline: datetime | None = None
    provider_status: str | None = None
    last_confirmed_at: datetime | None = None
    last_asked_at: datetime | None = None
    provider_errors: int = 0
    missing_answers: int = 0
    webhook_seen_at: datetime | None = None
    cancel_requested_at: datetime | None = None
    progress: Progress = Field(default_factory=Progress)
    log_bytes: int = 0
    logs_complete: bool = False
    cost_usd: Decimal | None = None
    run_seconds: float | None = None
    output_url: str | None = None
    failure: Failure | None = None
    delivery: DeliverySummary = Field(default_factory=DeliverySummary)
    escrow_days: int | None = None
    escrow_removed_at: datetime | None = None
    destinations: tuple[Wish, ...] = ()
    deliveries: JobDeliveries = Field(default_factory=JobDeliveries)
    task_token: str | None = None
    wait_until: datetime | None = None
    wakes: int = 0
    event_seq: int = 0
    idempotency_hash: str | None = None
    key_id: str | None = None
    budget_id: str | None = None
    budget_hold_usd: Decimal | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL

    @property
    def is_active(self) -> bool:
        return not self.is_terminal

    @property
    def escrow_expires_at(self) -> datetime | None:
        """When the model's time in escrow is over; None while it trains, and when it is kept."""
        if self.completed_at is None or self.escrow_days is None:
            return None
        return self.completed_at + timedelta(days=self.escrow_days)

    @property
    def budget_charge_usd(self) -> Decimal | None:
        """What counts against the key's budget: None when none does.

        The hold while it is active, then the real cost. A prediction that ended at a cost nobody can tell counts with
        the hold, unless it certainly never ran; so does one that nobody can tell of.
        """
        if self.budget_id is None or self.budget_hold_usd is None:
            return None
        if self.is_active:
            return self.budget_hold_usd
        if self.cost_usd is not None:
            return self.cost_usd
        return Decimal(0) if self._never_ran else self.budget_hold_usd

    @property
    def _never_ran(self) -> bool:
        if self.prediction_id is None:
            return not self.launch_unknown
        if self.provider_status == PredictionStatus.ABORTED:
            return True
        return self.provider_status == PredictionStatus.CANCELED and self.started_at is None

    def moved(
        self, *, now: datetime, status: JobStatus | None = None, phase: Phase | None = None, **changes: Any
    ) -> Self:
        """The record after a change: version + 1, ``updated_at`` = now.

        Raises IllegalMoveError when the tables forbid the status or phase move, or when the job is over (nothing of a
        finished job changes, except through ``annotated``).
        """
        if self.is_terminal:
            raise IllegalMoveError(f"job is {self.status}")
        if status is not None and status != self.status and status not in STATUS_MOVES[self.status]:
            raise IllegalMoveError(f"{self.status} -> {status}")
        if phase is not None and phase != self.phase and phase not in PHASE_MOVES[self.phase]:
            raise IllegalMoveError(f"{self.phase} -> {phase}")
        update: dict[str, Any] = {"version": self.version + 1, "updated_at": now, **changes}
        if status is not None:
            update["status"] = status
        if phase is not None:
            update["phase"] = phase
        return self.model_copy(update=update)

    def ended(self, *, now: datetime, status: JobStatus, **changes: Any) -> Self:
        """The record of a job that is over. Clears the task token and the wait."""
        if status not in TERMINAL:
            raise IllegalMoveError(f"{status} is no end")
        return self.moved(
            now=now,
            status=status,
            phase=Phase.FINISHED,
            completed_at=now,
            task_token=None,
            wait_until=None,
            **changes,
        )

    def annotated(self, *, now: datetime, **changes: Any) -> Self:
        """A change of facts that no state hangs on (final cost, logs), allowed on a finished job too."""
        forbidden = {"status", "phase", "owner", "job_id", "version", "completed_at"} & changes.keys()
        if forbidden:
            raise IllegalMoveError(f"annotated() can't change {sorted(forbidden)}")
        return self.model_copy(update={"version": self.version + 1, "updated_at": now, **changes})


class JobInput(_Frozen):
    """What the user submitted, kept apart from the record so that lists stay small. Holds no secrets."""

    job_id: str
    config: dict[str, Any]
    dataloader: list[dict[str, Any]]
    adjustments: tuple[str, ...] = ()
    fingerprint: str = ""


class JobEvent(_Frozen):
    """One line of a job's timeline, append-only; ``seq`` starts at 1 and has no gaps."""

    job_id: str
    seq: int
    at: datetime
    type: str
    message: str
    data: dict[str, Any] = Field(default_factory=dict)
