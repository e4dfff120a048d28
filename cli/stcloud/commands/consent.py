"""``stcloud consent …``: whether pushes ask before data leaves this computer."""

from __future__ import annotations

from typing import Annotated

import typer

from stcloud.dataset_api import CONSENTS
from stcloud.errors import UsageError
from stcloud.helptext import Group
from stcloud.session import Session, command

app = typer.Typer(cls=Group, no_args_is_help=True, help="Whether your data may be uploaded: ask, allow or deny.")

_MEANS = {
    "ask": "push shows what would be sent, and asks",
    "allow": "push does not ask",
    "deny": "push refuses, and so does the server",
}


@command(app, "show")
def show(session: Session) -> None:
    """Show the setting. It is yours, on every computer."""
    _tell(session, session.datasets.consent_setting())


@command(app, "set")
def set_consent(
    session: Session, consent: Annotated[str, typer.Argument(metavar="ask|allow|deny", help="The setting.")]
) -> None:
    """Set whether pushes ask before they send (ask), don't (allow), or are refused (deny)."""
    if consent not in CONSENTS:
        raise UsageError(f"'{consent}' is no setting of consent.", advice=f"Use one of: {', '.join(CONSENTS)}.")
    _tell(session, session.datasets.set_consent(consent))


def _tell(session: Session, consent: str) -> None:
    means = _MEANS.get(consent)
    session.output.result({"consent": consent}, f"{consent}: {means}." if means else consent)
