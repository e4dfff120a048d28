"""What leaves this computer, only with its user's consent."""

from __future__ import annotations

import typer

from stcloud.errors import Interrupted, PermissionDenied, UsageError
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
            advice="PUT /api/cloud/data-consent/setting changes it; or use a dataset of type huggingface or aws.",
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
