"""What an API key may spend: a hold of the worst case while a job runs, its real cost from then on."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from chalicelib.domain.jobs import Job


@dataclass(frozen=True)
class BudgetHold:
    """The API key's budget that a job is counted against: all jobs under ``budget_id`` (``Principal.budget_id``) may
    cost ``limit_usd``. How much this one may cost at worst is ``job.budget_hold_usd``."""

    budget_id: str
    limit_usd: Decimal


class BudgetExceededError(Exception):
    """The API key's budget does not cover the job; ``left`` US dollars of it are free."""

    def __init__(self, left: Decimal) -> None:
        super().__init__(f"{left} left")
        self.left = left


def checked_hold(job: Job, budget: BudgetHold | None) -> Decimal:
    """What ``job`` holds of ``budget``: 0 without one. Raises ValueError when the two don't fit together."""
    hold = job.budget_hold_usd
    if budget is None and job.budget_id is None and hold is None:
        return Decimal(0)
    if budget is None or budget.budget_id != job.budget_id or hold is None or not hold.is_finite() or hold < 0:
        raise ValueError("the job's budget_id and budget_hold_usd are not those of the budget")
    return hold
