"""What findings mean for a submit: refused on errors, and on warnings unless they are accepted; notes are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from chalicelib.domain.check_results import Finding, Level
from chalicelib.domain.lifecycle import Note
from chalicelib.errors import AppError, FieldError, ValidationFailed
from chalicelib.schemas.preflight import finding_view

#: Findings of one refusal, and in one job's events.
MAX_LISTED, MAX_NOTED = 50, 20
#: Said by events of their own, or nothing to remember a job by.
_SAID = frozenset({"adjusted", "passes"})


def refusal(problems: Sequence[tuple[str, str, str]], findings: Iterable[Finding] = ()) -> AppError:
    """422 for these reasons, each a field, a message and a code; with ``findings`` beside them."""
    field, message, code = problems[0]
    more = f" (and {len(problems) - 1} more, see errors)" if len(problems) > 1 else ""
    listed = [finding_view(f).model_dump(mode="json") for f in list(findings)[:MAX_LISTED]]
    return ValidationFailed(
        f"{field}: {message}{more}" if field else f"{message}{more}",
        code=code if len({c for _, _, c in problems}) == 1 else "validation_failed",
        errors=[FieldError(f, m, c) for f, m, c in problems[:MAX_LISTED]],
        extra={"findings": listed} if listed else None,
    )


def check_findings(findings: Sequence[Finding], *, accepted: bool) -> None:
    """Raises ValidationFailed for errors, and for warnings (``warnings_not_accepted``) unless they are ``accepted``."""
    errors = [f for f in findings if f.level is Level.ERROR]
    if errors:
        raise refusal([(f.field, said(f), f.code) for f in errors], findings)
    warnings = warnings_of(findings)
    if warnings and not accepted:
        count = "1 warning was" if len(warnings) == 1 else f"{len(warnings)} warnings were"
        raise ValidationFailed(
            f"{count} not accepted. Mend it, or train all the same with accept_warnings true (stcloud jobs "
            "submit --accept-warnings).",
            code="warnings_not_accepted",
            errors=[FieldError(f.field, said(f), f.code) for f in warnings[:MAX_LISTED]],
            extra={"findings": [finding_view(f).model_dump(mode="json") for f in findings[:MAX_LISTED]]},
        )


def said(finding: Finding) -> str:
    """What it is, and what to do about it where something is to be done."""
    return f"{finding.message} {finding.advice}".strip()


def warnings_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(f for f in findings if f.level is Level.WARNING)


def noted(findings: Sequence[Finding]) -> list[Note]:
    """Events for the job: what was accepted, and what is worth knowing."""
    told = [f for f in findings if f.level is not Level.ERROR and f.code not in _SAID][:MAX_NOTED]
    return [
        Note(
            "job.warning_accepted" if f.level is Level.WARNING else "job.note",
            said(f),
            {"code": f.code, "field": f.field},
        )
        for f in told
    ]
