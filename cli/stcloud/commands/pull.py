"""``stcloud jobs pull``: fetching the model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stcloud.commands.jobs import JobId, app
from stcloud.pulling import Kind, pull_job
from stcloud.session import Session, command


@command(app, "pull")
def pull(
    session: Session,
    job: JobId,
    to: Annotated[
        Path | None,
        typer.Option("--to", "--dir", help="Where to. [default: ~/.simpletuner/cloud_outputs/JOB]", metavar="FOLDER"),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="The final weights, or everything the job published.")] = Kind.WEIGHTS,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace other files that are in the way.")] = False,
) -> None:
    """Fetch a job's model, check its SHA-256, and print where it is.

    An interrupted pull goes on where it stopped. Files that are there already are not fetched again.
    """
    data, text = pull_job(session, job, to=to, kind=kind, overwrite=overwrite)
    session.output.result(data, text)
