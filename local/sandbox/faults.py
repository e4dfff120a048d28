"""Seeded faults: what goes wrong, for whom and how often. Pure and deterministic; see README.md for the plan's form."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WEBHOOK_FAULTS = frozenset({"webhook_lose", "webhook_delay", "webhook_duplicate", "webhook_reorder"})
API_FAULTS = frozenset({"api_429", "api_500", "api_hang", "api_close"})
RUN_FAULTS = frozenset({"abort", "oom", "timeout", "nan", "no_publish", "truncate", "slow_start", "pace"})
KINDS = WEBHOOK_FAULTS | API_FAULTS | RUN_FAULTS
_MATCH_KEYS = frozenset({"prediction", "job", "event", "method", "path"})
_OPTIONS: dict[str, dict[str, Any]] = {
    "webhook_delay": {"seconds": 2.0},
    "webhook_reorder": {"seconds": 2.0},
    "api_429": {"when": "before", "retry_after": None},
    "api_500": {"when": "before"},
    "api_hang": {"when": "before", "seconds": 60.0},
    "api_close": {"when": "before"},
    "slow_start": {"seconds": 10.0},
    "timeout": {"seconds": 1.0},
    "pace": {"seconds": 0.5},
    "oom": {"at": 0.2},
    "nan": {"at": 0.5, "then": "fail"},
    "no_publish": {"files": "weights"},
}
MAX_SECONDS = 3600.0


class PlanError(ValueError):
    """A fault plan that can't be understood; the message names the place."""


@dataclass
class Rule:
    """One line of the plan. ``times`` bounds how often it strikes (None: always); ``probability`` is decided by the
    plan's seed and the subject alone, so a run repeats."""

    kind: str
    match: Mapping[str, Any]
    options: Mapping[str, Any]
    probability: float = 1.0
    times: int | None = None
    struck: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "fault": self.kind,
            "match": dict(self.match),
            **self.options,
            "probability": self.probability,
            "times": self.times,
            "struck": self.struck,
        }


@dataclass(frozen=True)
class Strike:
    """A fault that happens now, with its options."""

    kind: str
    options: Mapping[str, Any]

    @property
    def seconds(self) -> float:
        return float(self.options["seconds"])


@dataclass
class FaultPlan:
    """Empty by default: nothing goes wrong."""

    seed: int = 0
    rules: list[Rule] = field(default_factory=list)

    @classmethod
    def parse(cls, document: object, *, seed: int = 0) -> FaultPlan:
        """A plan from JSON: ``{"seed": 7, "rules": [...]}``. ``seed`` is the default. Raises PlanError."""
        if not isinstance(document, Mapping) or set(document) - {"seed", "rules"}:
            raise PlanError("a fault plan is an object with 'seed' and 'rules'")
        rules = document.get("rules", [])
        if not isinstance(rules, list):
            raise PlanError("rules: must be a list")
        chosen = document.get("seed", seed)
        if not isinstance(chosen, int) or isinstance(chosen, bool):
            raise PlanError("seed: must be a whole number")
        return cls(chosen, [_rule(rule, f"rules.{i}") for i, rule in enumerate(rules)])

    def to_json(self) -> dict[str, Any]:
        return {"seed": self.seed, "rules": [rule.to_json() for rule in self.rules]}

    def strike(self, kinds: frozenset[str], key: object, **subject: Any) -> list[Strike]:
        """The faults of these kinds that hit the subject now; counts them. ``key`` tells equal subjects apart."""
        hits = []
        for index, rule in enumerate(self.rules):
            if rule.kind not in kinds or (rule.times is not None and rule.struck >= rule.times):
                continue
            if _matches(rule.match, subject) and self._roll(index, key) < rule.probability:
                rule.struck += 1
                hits.append(Strike(rule.kind, rule.options))
        return hits

    def _roll(self, index: int, key: object) -> float:
        """Uniform in [0, 1), the same for the same seed, rule and key."""
        digest = hashlib.blake2b(f"{self.seed}/{index}/{key}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64


def _matches(match: Mapping[str, Any], subject: Mapping[str, Any]) -> bool:
    for key, wanted in match.items():
        actual = subject.get(key)
        if key == "path":
            if actual is None or not re.search(wanted, actual):
                return False
        elif isinstance(wanted, list):
            if actual not in wanted:
                return False
        elif actual != wanted:
            return False
    return True


def _rule(rule: object, where: str) -> Rule:
    if not isinstance(rule, Mapping):
        raise PlanError(f"{where}: must be an object")
    kind = rule.get("fault")
    if kind not in KINDS:
        raise PlanError(f"{where}.fault: '{kind}' is none of {', '.join(sorted(KINDS))}")
    allowed = _OPTIONS.get(str(kind), {})
    unknown = set(rule) - {"fault", "match", "probability", "times"} - set(allowed)
    if unknown:
        raise PlanError(f"{where}: {kind} does not know {', '.join(sorted(unknown))}")
    options = {name: rule.get(name, default) for name, default in allowed.items()}
    _check_options(options, where)
    probability, times = rule.get("probability", 1.0), rule.get("times")
    if not _is_number(probability) or not 0 <= probability <= 1:
        raise PlanError(f"{where}.probability: must be between 0 and 1")
    if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
        raise PlanError(f"{where}.times: must be a whole number from 1")
    return Rule(str(kind), _match(rule.get("match", {}), where), options, float(probability), times)


def _match(match: object, where: str) -> dict[str, Any]:
    if not isinstance(match, Mapping) or set(match) - _MATCH_KEYS:
        raise PlanError(f"{where}.match: knows {', '.join(sorted(_MATCH_KEYS))}")
    if "path" in match:
        try:
            re.compile(match["path"])
        except (re.error, TypeError):
            raise PlanError(f"{where}.match.path: is no regular expression") from None
    return dict(match)


def _check_options(options: Mapping[str, Any], where: str) -> None:
    for name in ("seconds", "at", "retry_after"):
        value = options.get(name)
        if value is None and (name == "retry_after" or name not in options):
            continue
        limit = 1.0 if name == "at" else MAX_SECONDS
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= limit:
            raise PlanError(f"{where}.{name}: must be a number between 0 and {limit:g}")
    if options.get("when", "before") not in {"before", "after"}:
        raise PlanError(f"{where}.when: must be 'before' or 'after'")
    if options.get("then", "fail") not in {"fail", "continue"}:
        raise PlanError(f"{where}.then: must be 'fail' or 'continue'")
    if options.get("files", "weights") not in {"weights", "all"}:
        raise PlanError(f"{where}.files: must be 'weights' or 'all'")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
