"""The checks that ask others: the GPU provider, the Hugging Face Hub, what is spent, what runs. For preflight only.

Each gives a result for a draft. One that can't be made raises SkippedError.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from threading import Lock

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.hub import HubRepo, HubUnreachableError, RepoKind, is_repo_name
from chalicelib.domain.jobs import Job, JobStatus
from chalicelib.domain.option_checks import number
from chalicelib.domain.ports import JobFilter, ModelHub, Ports, Provider
from chalicelib.domain.predictions import HardwareProfile
from chalicelib.domain.run_length import Guess, Length, Media, PastRun, dollars, guess, length_of
from chalicelib.domain.simpletuner_options import options
from chalicelib.services.draft import Draft
from chalicelib.services.key_terms import budget_of

PROVIDER, MODEL, BUDGET, TIME, CONCURRENCY = "provider", "model", "budget", "time", "concurrency"
#: A token that was accepted is not asked about again for this long; a refusal is asked about anew each time.
TOKEN_GOOD_FOR = timedelta(minutes=5)
#: Past jobs that are looked at to tell how long this one takes.
LOOKED_AT, USED = 20, 5
#: Licences on the Hub that forbid nothing that trainings are about.
_FREE_LICENSES = frozenset({"apache-2.0", "mit", "bsd", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "unlicense"})
#: Datasets on the Hub that are asked about; more take too long.
MAX_DATASETS = 5
#: Which key of an entry of such a type names its place on the Hub.
_ON_HUB = {"huggingface": "dataset_name", "webshart": "source"}
#: What a reason names, and how much of each.
MAX_NAMED, MAX_SHOWN = 10, 100


class SkippedError(Exception):
    """The check can't be made now; the text says why and is safe to show."""


@dataclass(frozen=True)
class Estimate:
    """What the run may take and cost. ``guess`` is None when the run can't be told the length of."""

    length: Length
    profile: HardwareProfile
    guess: Guess
    max_run_seconds: int
    max_cost_usd: Decimal

    def cost(self, seconds: float) -> Decimal:
        return dollars(min(seconds, self.max_run_seconds), self.profile.price_per_second)


class TokenCheck:
    """Whether the provider accepts the stack's token."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._good: dict[str, tuple[Provider, datetime]] = {}

    def __call__(self, provider: Provider, now: datetime) -> Iterator[Finding]:
        # A rotated token makes another adapter, so that one stands for the token.
        with self._lock:
            good = self._good.get(provider.name)
        if good is not None and good[0] is provider and now - good[1] < TOKEN_GOOD_FOR:
            return
        try:
            provider.validate()
        except ProviderFault as fault:
            if fault.kind is not FaultKind.AUTH:
                raise SkippedError(f"{provider.name} did not answer: {fault.message}") from None
            yield Finding(
                Level.ERROR,
                "provider_token_refused",
                PROVIDER,
                "",
                f"{provider.name} refuses this stack's token: {fault.message}",
                "Ask whoever runs this stack to store a new one.",
            )
            return
        with self._lock:
            self._good[provider.name] = (provider, now)


def check_model(draft: Draft, hub: ModelHub, *, on_sandbox: bool) -> Iterator[Finding]:
    """The base model and the Hub's datasets: are they there, may the trainer read them."""
    if on_sandbox:
        raise SkippedError(
            "training here is the sandbox's, with a toy model in the base model's place; the other checks are the same "
            "as for a GPU"
        )
    config = draft.plain
    named = config.get("pretrained_model_name_or_path")
    model = named or options().base_model(config.get("model_family"), config.get("model_flavour"))
    asked: list[tuple[RepoKind, str, str]] = []
    # What nobody was asked about has not passed: it is named.
    unasked: list[str] = []
    if model and not is_repo_name(model):
        unasked.append(f"the base model '{str(model)[:MAX_SHOWN]}', which is no name on the Hub")
        yield from _on_a_disk(str(model))
    elif not model:
        unasked.append("the base model, as it is not known which one this takes")
    else:
        field_name = "pretrained_model_name_or_path" if named else "model_family"
        asked.append((RepoKind.MODEL, str(model), f"config.{field_name}"))
    for entry in draft.entries:
        if entry.type not in _ON_HUB:
            continue
        key = _ON_HUB[entry.type]
        block = entry.data.get(entry.type)
        inside = block.get(key) if isinstance(block, dict) else None
        name = entry.data.get(key) or inside
        if is_repo_name(name) and len(asked) <= MAX_DATASETS:
            where = f"dataloader_config.{entry.index}.{key if entry.data.get(key) else f'{entry.type}.{key}'}"
            asked.append((RepoKind.DATASET, str(name), where))
        else:
            unasked.append(f"the dataset '{str(name or entry.data.get('id'))[:MAX_SHOWN]}'")
    for kind, name, where in asked:
        try:
            repo = hub.look(kind, name)
        except HubUnreachableError as reason:
            raise SkippedError(f"{name} could not be looked up: {reason}") from None
        yield from _repo(kind, name, where, repo)
    if unasked:
        more = f" and {len(unasked) - MAX_NAMED} more" if len(unasked) > MAX_NAMED else ""
        raise SkippedError(f"the Hub was not asked about {', '.join(unasked[:MAX_NAMED])}{more}")


def _on_a_disk(model: str) -> Iterator[Finding]:
    if model.startswith(("http://", "https://")):
        return
    yield Finding(
        Level.WARNING,
        "not_on_trainer",
        MODEL,
        "config.pretrained_model_name_or_path",
        f"'{model[:100]}' is a file or folder, and those of your computer do not exist on the rented machine.",
        "Name a model on the Hugging Face Hub, owner/name, or leave it out for the family's own.",
    )


def _repo(kind: RepoKind, name: str, where: str, repo: HubRepo | None) -> Iterator[Finding]:
    what = "model" if kind is RepoKind.MODEL else "dataset"
    if repo is None:
        yield Finding(
            Level.WARNING,
            "not_on_hub",
            MODEL,
            where,
            f"The Hugging Face Hub shows no public {what} '{name}'.",
            "Check its spelling. A private one the trainer can read only with a token, and this stack sends it none.",
        )
        return
    if repo.gated:
        yield Finding(
            Level.WARNING,
            "gated",
            MODEL,
            where,
            f"{name} is gated: its files go to accounts that accepted its terms, and this stack sends the trainer no "
            "Hugging Face token.",
            f"Make sure that the trainer's image may read it, or take an open {what}. Terms: "
            f"https://huggingface.co/{'datasets/' if kind is RepoKind.DATASET else ''}{name}",
        )
    if repo.license and repo.license.lower() not in _FREE_LICENSES:
        yield Finding(
            Level.NOTE,
            "license",
            MODEL,
            where,
            f"The licence of {name} is '{repo.license}'.",
            "Read what it says about models made from it before you publish one.",
        )


@dataclass(frozen=True)
class Estimates:
    """How long and how dear: from the owner's own runs, or a rule of thumb."""

    ports: Ports

    def of(self, draft: Draft, length: Length | None, media: Sequence[Media]) -> Estimate | None:
        if length is None or draft.profile is None or draft.prepared is None:
            return None
        resolutions = [number(e.setting("resolution")) for e in draft.entries]
        usual = (
            max((r for r in resolutions if r and r > 0), default=None)
            or number(options().default("resolution"))
            or 1024
        )
        # Megapixels, for resolution_type area.
        edge = usual if usual > 10 else usual**0.5 * 1000
        return Estimate(
            length=length,
            profile=draft.profile,
            guess=guess(length, draft.profile.id, edge, sum(m.count for m in media), self._past(draft)),
            max_run_seconds=draft.max_run_seconds,
            max_cost_usd=dollars(draft.max_run_seconds, draft.profile.price_per_second),
        )

    def _past(self, draft: Draft) -> list[PastRun]:
        """The owner's last completed runs of the same kind of model on the same hardware."""
        wanted = JobFilter(owner=draft.who.owner, status=JobStatus.COMPLETED, provider=draft.provider.name)
        found: list[PastRun] = []
        for job in self.ports.jobs.list(wanted, limit=LOOKED_AT).jobs:
            run = self._run(job, draft)
            if run is not None:
                found.append(run)
            if len(found) == USED:
                break
        return found

    def _run(self, job: Job, draft: Draft) -> PastRun | None:
        if draft.profile is None or job.hardware_profile != draft.profile.id or not job.run_seconds:
            return None
        given = self.ports.jobs.get_input(job.job_id)
        if given is None or any(given.config.get(k) != draft.plain.get(k) for k in ("model_family", "model_type")):
            return None
        steps = job.max_train_steps or 0
        length = length_of(given.config, steps, job.hardware_profile, [], options(), whole=False)
        return PastRun(job.run_seconds, length.samples)


def check_time(draft: Draft, estimate: Estimate | None, credentials: timedelta) -> Iterator[Finding]:
    """``credentials``: how long the trainer's temporary ones live."""
    if estimate is None:
        raise SkippedError("the config has to be mended first")
    limit, likely = draft.max_run_seconds, estimate.guess.likely
    if likely > limit:
        yield Finding(
            Level.WARNING if estimate.guess.measured else Level.NOTE,
            "longer_than_limit",
            TIME,
            "max_run_seconds",
            f"It may take about {_duration(likely)} (estimate: {estimate.guess.basis}), and the provider ends it after "
            f"{_duration(limit)}.",
            f"Send max_run_seconds {int(estimate.guess.high)}, or train fewer steps.",
        )
    if limit > credentials.total_seconds():
        yield Finding(
            Level.WARNING,
            "outlives_credentials",
            TIME,
            "max_run_seconds",
            f"The trainer's credentials live {_duration(credentials.total_seconds())}, less than the run may take.",
            "Send a lower max_run_seconds.",
        )


def check_budget(draft: Draft, estimate: Estimate | None, ports: Ports) -> Iterator[Finding]:
    if estimate is None or draft.profile is None:
        raise SkippedError("the config has to be mended first")
    budget = budget_of(draft.who)
    likely = estimate.cost(estimate.guess.likely)
    yield Finding(
        Level.NOTE,
        "cost",
        BUDGET,
        "max_run_seconds",
        f"It can cost {_money(estimate.max_cost_usd)} at most ({_duration(draft.max_run_seconds)} of "
        f"{draft.profile.hardware_type}), and likely {'' if not likely else 'about '}{_money(likely)} (estimate: "
        f"{estimate.guess.basis}).",
        "A lower max_run_seconds lowers what it can cost.",
    )
    if budget is None:
        return
    left = budget.limit_usd - ports.jobs.budget_used(budget.budget_id)
    worst = draft.profile.price_per_second * draft.max_run_seconds
    if worst > left:
        seconds = max(0, int(left / draft.profile.price_per_second))
        yield Finding(
            Level.ERROR,
            "key_budget_exceeded",
            BUDGET,
            "max_run_seconds",
            f"This API key's budget has ${max(left, Decimal(0)):.2f} left, and this may cost ${worst:.2f}.",
            f"It buys {seconds} seconds: send max_run_seconds {seconds} or less, or take cheaper hardware."
            if seconds >= 300
            else "Use another key, or wait for this key's running jobs: what they don't use comes back.",
        )


def check_slots(draft: Draft, ports: Ports) -> Iterator[Finding]:
    limit = ports.limits.max_concurrent_jobs
    held = len(ports.jobs.slot_holders(draft.who.owner))
    if held >= limit:
        yield Finding(
            Level.WARNING,
            "slots_full",
            CONCURRENCY,
            "",
            f"{held} of your {limit} places are taken: submit would refuse now.",
            "Wait for a job to end, or cancel one: stcloud jobs list.",
        )


def _money(usd: Decimal) -> str:
    """A price that is rounded to cents; every run costs something."""
    return f"${usd}" if usd else "under $0.01"


def _duration(seconds: float) -> str:
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
