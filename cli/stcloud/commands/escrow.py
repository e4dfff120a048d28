"""``stcloud jobs retention`` and ``jobs manifest``: how long the server keeps files, and what it found in them."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from stcloud.commands.jobs import JobId, app
from stcloud.errors import UsageError
from stcloud.render import count_text, size_text, time_text
from stcloud.session import Session, command

_DAYS = re.compile(r"[1-9][0-9]{0,3}")
_OFF = "off"


@command(app, "retention")
def retention(
    session: Session,
    job: Annotated[str, typer.Argument(metavar="JOB|new", help='A job\'s id; "new": jobs submitted from now on.')],
    days: Annotated[
        str | None,
        typer.Argument(metavar="[DAYS]", help='Remove the files so many days after the end; "off": keep them.'),
    ] = None,
) -> None:
    """Show or set how long the server keeps a job's files. Record, manifest and log stay."""
    if days is not None and days != _OFF and not _DAYS.fullmatch(days):
        raise UsageError(f"'{days}' is no number of days.", advice='Write a number such as 90, or "off".')
    wanted = None if days in {None, _OFF} else int(str(days))
    if job == "new":
        found = session.api.escrow_days() if days is None else session.api.set_escrow_days(wanted)
        session.output.result(found, f"The files of new jobs {_kept(found['days'])}.")
        return
    if days is None:
        escrow = session.api.job(job).get("escrow") or {"days": None, "expires_at": None, "removed_at": None}
        if escrow["removed_at"]:
            session.output.result(escrow, f"{job}: its files were removed on {time_text(escrow['removed_at'])}.")
            return
        found = {"job_id": job, "days": escrow["days"], "expires_at": escrow["expires_at"]}
    else:
        found = session.api.set_job_escrow(job, wanted)
    until = f", until {time_text(found['expires_at'])}" if found["expires_at"] else ""
    session.output.result(found, f"{job}: its files {_kept(found['days'])}{until}.")


@command(app, "manifest")
def manifest(session: Session, job: JobId) -> None:
    """Show what the server found in a job's files: SHA-256, tensors, values that are no numbers, warnings."""
    found = session.api.manifest(job)
    rows = [
        [
            f["path"],
            size_text(f["size"]),
            "verified" if f["verified"] else "",
            "" if f["tensors"] is None else f"{f['tensors']} tensors" + (f", rank {f['rank']}" if f["rank"] else ""),
            "; ".join(filter(None, [f["problem"], *f["warnings"]])),
        ]
        for f in found["files"]
    ]
    columns = ("FILE", "SIZE", "STATE", "HOLDS", "NOTES")
    session.output.table(columns, rows, data=found, empty="No files were published.")


def _kept(days: int | None) -> str:
    return "are kept without an end" if days is None else f"are kept for {count_text(days, 'day')} after the end"
