"""The server's errors in the words of the command line: options instead of the fields of a request, nothing twice."""

from __future__ import annotations

import re

from stcloud.errors import ApiError, FieldProblem, StcloudError

#: The fields of requests that options of ours fill.
OPTIONS = {
    "max_run_seconds": "--max-run",
    "hardware_profile": "--hardware",
    "tracker_run_name": "--run-name",
    "config_version": "--config-version",
    "config_name_to_load": "--config-name",
    "idempotency_key": "--idempotency-key",
    "Idempotency-Key": "--idempotency-key",
    "description": "--description",
}
_LIMIT = re.compile(r"must be (\d{1,9}) or (more|less)$")


def in_options(text: str) -> str:
    """Advice of the server with our options instead of the API's fields."""
    return re.sub(r"\b(?:max_run_seconds|hardware_profile)\b", lambda found: OPTIONS[found.group()], text)


def headline(error: StcloudError) -> tuple[str, list[str]]:
    """The message of an error, and a line for each wrong field that the message does not tell already.

    The server's ``detail`` repeats the first field's problem; people see it once.
    """
    if not isinstance(error, ApiError) or not error.errors:
        return error.message, []
    lines = [_field_text(problem) for problem in error.errors]
    first = error.errors[0]
    told = f"{first.field}: {first.message}"
    if not error.message.startswith(told):
        return error.message, lines
    rest = error.message.removeprefix(told)
    if len(lines) == 1:
        return lines[0] + rest, []
    # What follows as a sentence of its own is said nowhere else.
    return "these fields are wrong" + (rest if rest.startswith(". ") else "."), lines


def _field_text(problem: FieldProblem) -> str:
    return f"{OPTIONS.get(problem.field, problem.field)}: {_limit_text(problem)}"


def _limit_text(problem: FieldProblem) -> str:
    limit = _LIMIT.search(problem.message)
    if problem.field not in OPTIONS or limit is None:
        return problem.message
    number = int(limit.group(1))
    shown = _duration(number) if problem.field == "max_run_seconds" else str(number)
    return f"at {'least' if limit.group(2) == 'more' else 'most'} {shown}"


def _duration(seconds: int) -> str:
    """As the user would write it: ``5m``, ``34h``, ``90s``."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
