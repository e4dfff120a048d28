"""What goes wrong at the Hub, on purpose: rules that strike requests, and the answers they give."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse, Response

from local.sandbox.routing import NoAnswer

#: Answers by the name of the fault: status, text, headers.
_ANSWERS: dict[str, tuple[int, str, dict[str, str]]] = {
    "401": (401, "Invalid credentials in Authorization header", {}),
    "403": (403, "You don't have the required permissions to perform this action", {}),
    "404": (404, "Repository not found", {"x-error-code": "RepoNotFound"}),
    "409": (409, "Cannot create repo: another conflicting operation is in progress", {}),
    "409-commit": (409, "Another commit operation is in progress for this repository. Please try again later.", {}),
    "412": (412, "A commit has happened since. Please refresh and try again.", {}),
    "429": (429, "Too Many Requests", {}),
    "500": (500, "Internal Server Error", {}),
    "502": (502, "Bad Gateway", {}),
    "503": (503, "Service Unavailable", {}),
    "504": (504, "Gateway Timeout", {}),
    "quota": (403, "Private repository storage limit reached, please upgrade your plan to increase your storage", {}),
    "payment": (402, "Payment required: your storage quota is exceeded", {}),
}
KINDS = frozenset({*_ANSWERS, "reset", "hang"})
_OPTIONS = frozenset({"fault", "match", "when", "times", "skip", "seconds", "ratelimit", "retry_after"})


class RulesError(ValueError):
    """Rules that can't be understood; the message names the place."""


@dataclass
class Rule:
    """``match`` is a regular expression over ``METHOD /path``. The first ``skip`` matches are spared, the next
    ``times`` struck (None: all). ``after``: the request is carried out and only its answer is spoiled."""

    fault: str
    match: re.Pattern[str]
    after: bool = False
    times: int | None = None
    skip: int = 0
    seconds: float = 60.0
    ratelimit: int | None = None
    retry_after: str | None = None
    seen: int = 0
    struck: int = 0

    def strikes(self, subject: str) -> bool:
        if not self.match.search(subject):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    async def answer(self) -> Response:
        if self.fault == "hang":
            await asyncio.sleep(self.seconds)
        if self.fault in {"hang", "reset"}:
            return NoAnswer()
        status, text, headers = _ANSWERS[self.fault]
        headers = dict(headers)
        if self.ratelimit is not None:
            headers["ratelimit"] = f'"api";r=0;t={self.ratelimit}'
            headers["ratelimit-policy"] = '"fixed window";"api";q=1000;w=300'
        if self.retry_after is not None:
            headers["retry-after"] = self.retry_after
        return JSONResponse({"error": text}, status_code=status, headers=headers | {"x-error-message": text})

    def to_json(self) -> dict[str, Any]:
        return {"fault": self.fault, "match": self.match.pattern, "struck": self.struck, "times": self.times}


@dataclass
class Rules:
    rules: list[Rule] = field(default_factory=list)

    def strike(self, subject: str) -> Rule | None:
        """The first rule that hits this request."""
        return next((rule for rule in self.rules if rule.strikes(subject)), None)

    @classmethod
    def parse(cls, document: object) -> Rules:
        """From ``{"rules": [{"fault": "503", "match": "^PUT", "times": 2}, …]}``. Raises RulesError."""
        if not isinstance(document, dict) or not isinstance(document.get("rules"), list):
            raise RulesError("an object with a list of 'rules' is needed")
        return cls([_rule(rule, f"rules.{number}") for number, rule in enumerate(document["rules"])])


def _rule(rule: object, where: str) -> Rule:
    if not isinstance(rule, dict) or set(rule) - _OPTIONS:
        raise RulesError(f"{where}: knows {', '.join(sorted(_OPTIONS))}")
    kind = str(rule.get("fault"))
    if kind not in KINDS:
        raise RulesError(f"{where}.fault: '{kind}' is none of {', '.join(sorted(KINDS))}")
    if rule.get("when", "before") not in {"before", "after"}:
        raise RulesError(f"{where}.when: must be 'before' or 'after'")
    try:
        pattern = re.compile(str(rule.get("match", "")))
    except re.error:
        raise RulesError(f"{where}.match: is no regular expression") from None
    return Rule(
        kind,
        pattern,
        after=rule.get("when") == "after",
        times=rule.get("times"),
        skip=int(rule.get("skip", 0)),
        seconds=float(rule.get("seconds", 60.0)),
        ratelimit=rule.get("ratelimit"),
        retry_after=rule.get("retry_after"),
    )
