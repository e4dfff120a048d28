"""What leaves this computer, only with its user's consent."""

from __future__ import annotations

import typer

from stcloud.errors import Interrupted, LocalError, PermissionDenied, UsageError
from stcloud.findings import secrets_finding
from stcloud.listing import Some
from stcloud.session import Session


def consent(session: Session, question: str, *, yes: bool) -> None:
    """Returns when the files may leave this computer, as the server's setting (ask, allow, deny) has it.

    Raises Interrupted when the user says no, UsageError where there is nobody to ask, PermissionDenied.
    """
    setting = session.datasets.consent()
    if setting == "deny":
        raise PermissionDenied(
            403,
            "Upload not allowed",
            f"The data consent setting of {session.url} is never to upload.",
            code="consent_denied",
            advice="Change it: stcloud consent set ask. Or use a dataset of type huggingface or aws.",
        )
    if setting == "allow" or yes:
        return
    if not session.runtime.is_interactive():
        raise UsageError(
            "The data consent setting is to ask before an upload, and there is nobody to ask here.",
            advice="Look at what would be sent with --list, then add --yes.",
            code="consent_needed",
        )
    if not typer.confirm(question, err=True):
        raise Interrupted("Nothing was sent.", code="declined")


def settle_secrets(session: Session, secrets: Some, *, yes: bool, exclude: bool) -> None:
    """Returns when the push may go on without the texts that hold ``secrets``: told so by ``exclude``, or by the user.

    ``yes`` is no answer to this question: whoever wrote it into a script did not know of them. Raises Interrupted when
    the user says no, LocalError where nobody was asked.
    """
    finding = secrets_finding(secrets)
    if finding is None or exclude:
        return
    if session.runtime.is_interactive() and not yes:
        if typer.confirm("Upload the rest, without the files that hold keys or tokens?", err=True):
            return
        raise Interrupted("Nothing was sent.", code="declined")
    raise LocalError(
        f"{finding.message} Nothing was sent.",
        advice=f"{finding.advice} Then push again; or leave these files here: --exclude-secrets",
        code="secrets_found",
    )
