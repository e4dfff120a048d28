"""Preflight: every check of a submission, without making anything. Submit makes those that need no one else's answer.

A check that can't be made is SKIPPED, with the reason. The network is asked side by side, within a total time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta

from chalicelib.domain.check_results import CheckResult, CheckStatus, Finding, Level, in_order, result_of
from chalicelib.domain.failures import ProviderFault
from chalicelib.domain.permissions import Principal
from chalicelib.domain.ports import Ports
from chalicelib.errors import AppError, ValidationFailed
from chalicelib.schemas.jobs import SubmitRequest
from chalicelib.schemas.preflight import EstimateView, RangeView
from chalicelib.services import preflight_world as world
from chalicelib.services.dataset_facts import DatasetFacts
from chalicelib.services.draft import Draft, find_provider, make_draft
from chalicelib.services.preflight_checks import WENT_WRONG, LocalChecks
from chalicelib.services.preflight_delivery import CHECK as DELIVERY
from chalicelib.services.preflight_delivery import NOT_REACHED, ask_destinations
from chalicelib.services.preflight_world import Estimate, Estimates, SkippedError, TokenCheck

logger = logging.getLogger(__name__)

#: Seconds for all questions to others together; API Gateway gives 29 for everything.
ASK_SECONDS = 12.0
#: Findings of one answer; errors come first.
MAX_FINDINGS = 200
#: What the trainer's temporary credentials live at most, as STS grants them.
CREDENTIALS = timedelta(hours=36)


@dataclass(frozen=True)
class Preflight:
    """``findings`` are in order, at most MAX_FINDINGS of them. ``estimate`` is None while the config is wrong."""

    checks: tuple[CheckResult, ...]
    findings: tuple[Finding, ...]
    estimate: Estimate | None

    @property
    def ok(self) -> bool:
        return not any(f.level is Level.ERROR for check in self.checks for f in check.findings)


class PreflightService:
    """``on_sandbox``: trainings are a toy model's. Keeps what it learned of immutable things in the process."""

    def __init__(self, ports: Ports, *, on_sandbox: bool = False, ask_seconds: float = ASK_SECONDS) -> None:
        self._ports = ports
        self._on_sandbox = on_sandbox
        self._ask_seconds = ask_seconds
        self._local = LocalChecks(ports, DatasetFacts(ports.dataset_files), on_sandbox)
        self._token = TokenCheck()
        self._estimates = Estimates(ports)

    def check(self, who: Principal, request: SubmitRequest, provider_name: str) -> Preflight:
        """Every check. Raises NotFound (``provider_not_found``), PermissionDenied (``provider_not_allowed``),
        Unavailable; whatever is wrong with the request is a finding."""
        provider = find_provider(self._ports, who, provider_name)
        try:
            draft = make_draft(self._ports, who, request, provider)
        except AppError as refusal:
            if refusal.status >= 500:
                raise
            return _refused(refusal)
        checks = self._local.run(draft)
        estimate = self._estimate(draft)
        now = self._ports.clock.now()
        asked: dict[str, Callable[[], Iterable[Finding]]] = {
            world.PROVIDER: lambda: self._token(provider, now),
            world.MODEL: lambda: world.check_model(draft, self._ports.hub, on_sandbox=self._on_sandbox),
            world.BUDGET: lambda: world.check_budget(draft, estimate, self._ports),
            world.TIME: lambda: world.check_time(draft, estimate, CREDENTIALS),
            world.CONCURRENCY: lambda: world.check_slots(draft, self._ports),
        }
        if draft.destinations:
            asked[DELIVERY] = lambda: self._destinations(draft)
        checks = _joined([*checks, *self._ask(asked)])
        found = in_order(f for check in checks for f in check.findings)
        return Preflight(tuple(checks), tuple(found[:MAX_FINDINGS]), estimate)

    def _destinations(self, draft: Draft) -> Iterator[Finding]:
        reached = True
        for finding in ask_destinations(self._ports, draft.who.owner, draft.destinations):
            reached &= finding.code != NOT_REACHED
            yield finding
        if not reached:
            raise SkippedError("a destination could not be asked; the notes say which")

    def _estimate(self, draft: Draft) -> Estimate | None:
        try:
            media = self._local.media(draft)
            return self._estimates.of(draft, self._local.length(draft, media), media)
        except AppError:
            raise
        except Exception:
            # As with any check: what can't be estimated is not told.
            logger.exception("preflight's estimate failed")
            return None

    def before_submit(self, draft: Draft) -> list[Finding]:
        """What submit goes by: errors first. A draft that is right so far has its destinations asked too, for a model
        that can't be delivered costs as much as one that can. Raises Unavailable."""
        found = [f for check in self._local.run(draft) for f in check.findings]
        if not any(f.level is Level.ERROR for f in found):
            found += ask_destinations(self._ports, draft.who.owner, draft.destinations, ping=False)
        return in_order(found)

    def _ask(self, checks: dict[str, Callable[[], Iterable[Finding]]]) -> list[CheckResult]:
        pool = ThreadPoolExecutor(max_workers=len(checks), thread_name_prefix="preflight")
        try:
            asked = {name: pool.submit(_made, name, check) for name, check in checks.items()}
            wait(asked.values(), timeout=self._ask_seconds)
            return [_answer(name, future) for name, future in asked.items()]
        finally:
            # What still waits for somebody's answer ends by itself: every call is bounded.
            pool.shutdown(wait=False, cancel_futures=True)


def _answer(name: str, future: Future[CheckResult]) -> CheckResult:
    if not future.done():
        return CheckResult(name, CheckStatus.SKIPPED, reason="no answer came in time")
    return future.result()


def _made(name: str, check: Callable[[], Iterable[Finding]]) -> CheckResult:
    found: list[Finding] = []
    try:
        found.extend(check())
    except SkippedError as skipped:
        return CheckResult(name, CheckStatus.SKIPPED, tuple(found), str(skipped))
    except (AppError, ProviderFault) as error:
        said = error.detail if isinstance(error, AppError) else error.message
        return CheckResult(name, CheckStatus.SKIPPED, tuple(found), said)
    except Exception:
        # One check's defect must not take the others' findings away; it says so, and the log has it.
        logger.exception("preflight's check of %s failed", name)
        return CheckResult(name, CheckStatus.SKIPPED, tuple(found), WENT_WRONG)
    return result_of(name, found)


def _joined(checks: Iterable[CheckResult]) -> list[CheckResult]:
    """One result a name: what is wrong with the hardware profile and what the provider said are one check's."""
    by_name: dict[str, CheckResult] = {}
    for check in checks:
        before = by_name.get(check.name)
        if before is None:
            by_name[check.name] = check
            continue
        both = result_of(check.name, [*before.findings, *check.findings])
        if both.status is not CheckStatus.FAILED and check.status is CheckStatus.SKIPPED:
            both = CheckResult(check.name, CheckStatus.SKIPPED, both.findings, check.reason)
        by_name[check.name] = both
    return list(by_name.values())


def _refused(refusal: AppError) -> Preflight:
    where = refusal.errors[0].field if refusal.errors else "config"
    if not isinstance(refusal, ValidationFailed):
        where = "config_name_to_load"
    finding = Finding(
        Level.ERROR, refusal.code, "config", where, refusal.detail, "Send config, or the name of a saved one."
    )
    return Preflight((result_of("config", [finding]),), (finding,), None)


def estimate_view(estimate: Estimate) -> EstimateView:
    """The estimate on the wire."""
    guess, length = estimate.guess, estimate.length
    seconds = [round(s, 1) for s in (guess.low, guess.likely, guess.high)]
    costs = [float(estimate.cost(s)) for s in (guess.low, guess.likely, guess.high)]
    return EstimateView(
        steps=length.steps,
        samples=length.samples,
        images=length.per_pass,
        passes=None if length.passes is None else round(length.passes, 3),
        seconds=RangeView(low=seconds[0], likely=seconds[1], high=seconds[2]),
        cost_usd=RangeView(low=costs[0], likely=costs[1], high=costs[2]),
        max_run_seconds=estimate.max_run_seconds,
        max_cost_usd=float(estimate.max_cost_usd),
        price_per_hour=float(estimate.profile.price_per_hour),
        hardware_profile=estimate.profile.id,
        basis=guess.basis,
        measured=guess.measured,
    )
