"""``stcloud audit …``"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from stcloud.errors import ExitCode, UsageError
from stcloud.files import parse_duration
from stcloud.helptext import Group
from stcloud.render import count_text, time_text
from stcloud.session import Session, command

app = typer.Typer(cls=Group, no_args_is_help=True, help="Who did what, for admins.")


class Result(StrEnum):
    ALLOWED = "allowed"
    CHALLENGED = "challenged"
    DENIED = "denied"
    FAILED = "failed"


@command(app, "list")
def list_audit(
    session: Session,
    limit: Annotated[int, typer.Option("--limit", "-n", metavar="COUNT", min=1, max=100_000, help="How many.")] = 50,
    actor: Annotated[
        str | None, typer.Option("--actor", metavar="WHO", help="A user name, an id, or a key's id.")
    ] = None,
    action: Annotated[str | None, typer.Option("--action", metavar="ACTION", help="Like key.create.")] = None,
    result: Annotated[
        Result | None, typer.Option("--result", metavar="RESULT", help="allowed, denied or failed.")
    ] = None,
    target: Annotated[str | None, typer.Option("--target", metavar="WHAT", help="Like job:ID or key:ID.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", metavar="ID", help="Whose thing it was, by id.")] = None,
    since: Annotated[str | None, typer.Option("--since", metavar="TIME", help="24h, 7d, or a date.")] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Before then.")] = None,
) -> None:
    """List what was done, newest first."""
    now = session.runtime.now()
    filters = {
        "actor": actor,
        "action": action,
        "result": result.value if result else None,
        "target": target,
        "owner": owner,
        "since": _moment(since, now),
        "until": _moment(until, now),
    }
    found = list(session.access.audit(filters, limit=limit))
    rows = [
        [
            time_text(e["timestamp"]),
            e["result"],
            e["event_type"],
            e["actor_username"] or e["actor_id"] or e["actor_kind"],
            f"{e['target_type']}:{e['target_id']}",
            e["actor_ip"],
            e["code"] or "",
        ]
        for e in found
    ]
    columns = ("TIME", "RESULT", "ACTION", "WHO", "WHAT", "FROM", "CODE")
    session.output.table(columns, rows, data={"entries": found}, empty="Nothing fits.")


@command(app, "verify", epilog="Exit code: 0 the records are whole, 4 something was changed, removed or slipped in.")
def verify(session: Session) -> int:
    """Check that no record was changed, removed or slipped in."""
    report = session.access.verify_audit()
    checked = f"{count_text(report['entries_checked'], 'record')} under {count_text(report['seals'], 'seal')}"
    for link in report["broken_links"]:
        session.output.warn(link["reason"])
    if report["valid"] and not report["seals"]:
        text = f"Nothing is sealed yet, so there is nothing to check: {report['unsealed_entries']} not sealed yet."
        session.output.note("Records are sealed every minute or two, once they are a minute old.")
        session.output.result(report, text)
        return ExitCode.OK
    if report["valid"]:
        session.output.note(f"Keep this elsewhere to tell later that nothing before was rewritten: {report['digest']}")
        session.output.result(report, f"Whole: {checked}, {report['unsealed_entries']} not sealed yet.")
        return ExitCode.OK
    session.output.result(report, f"NOT whole: {count_text(len(report['broken_links']), 'break')} in {checked}.")
    return ExitCode.API


def _moment(text: str | None, now: datetime) -> str | None:
    """An ISO time with a zone, from one or from how long ago. Raises UsageError."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            moment = now - timedelta(seconds=parse_duration(text))
        except (UsageError, OverflowError):
            raise UsageError(f"'{text}' is no time.", advice="Write 24h, 7d, 2026-01-31 or an ISO time.") from None
    return (moment if moment.tzinfo else moment.astimezone()).isoformat()
