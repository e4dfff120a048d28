"""What binds the jobs of an API key beside its permissions: where they may run, and what they may cost in all."""

from __future__ import annotations

from decimal import ROUND_DOWN, Decimal

from chalicelib.domain.jobs import Job
from chalicelib.domain.permissions import Principal
from chalicelib.domain.ports import BudgetHold
from chalicelib.errors import FieldError, PermissionDenied
from chalicelib.schemas.jobs import MIN_RUN_SECONDS

_CENT = Decimal("0.01")


def check_provider(who: Principal, provider_name: str) -> None:
    """Raises PermissionDenied (``provider_not_allowed``) when the key in use may not submit there."""
    if who.providers is not None and provider_name not in who.providers:
        raise PermissionDenied(
            f"This API key may not submit to '{provider_name}', only to: {', '.join(sorted(who.providers))}.",
            code="provider_not_allowed",
        )


def budget_of(who: Principal) -> BudgetHold | None:
    """What the jobs of the key in use may cost in all; None when nothing bounds them."""
    if who.budget_usd is None or who.budget_id is None:
        return None
    return BudgetHold(budget_id=who.budget_id, limit_usd=who.budget_usd)


def over_budget(job: Job, left: Decimal) -> PermissionDenied:
    """The refusal of ``job``, whose worst case does not fit into the ``left`` US dollars, with what would."""
    left = max(left, Decimal(0))
    seconds = int(left / job.price_per_second)
    advice = (
        f"It buys {seconds} seconds: send max_run_seconds {seconds} or less, or a cheaper hardware_profile."
        if seconds >= MIN_RUN_SECONDS
        else "Use another key, or wait for this key's running jobs: what they don't use comes back."
    )
    worst = job.budget_hold_usd or Decimal(0)
    return PermissionDenied(
        f"This API key's budget has ${left.quantize(_CENT, ROUND_DOWN)} left, and {job.max_run_seconds} seconds of "
        f"{job.hardware_type} may cost ${worst.quantize(_CENT)}. {advice}",
        code="key_budget_exceeded",
        errors=[FieldError("max_run_seconds", advice, "key_budget_exceeded")],
        extra={"budget_left_usd": float(left), "affordable_seconds": seconds},
    )
