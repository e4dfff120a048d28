"""``stcloud``: the root command."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Annotated

import typer

from stcloud import __version__
from stcloud.commands import (
    account,
    audit,
    configs,
    credentials,
    dataset_checks,
    dataset_files,
    datasets,
    deliveries,
    escrow,
    jobs,
    keys,
    notifications,
    profiles,
    pull,
    receive,
    users,
)
from stcloud.errors import ExitCode
from stcloud.helptext import Group
from stcloud.session import (
    JsonOption,
    ProfileOption,
    QuietOption,
    Session,
    UrlOption,
    command,
    runtime_of,
)

EPILOG = """\
**Environment:** STCLOUD_URL (the server), STCLOUD_TOKEN (an API key, for machines), STCLOUD_PROFILE (a server by its
profile), STCLOUD_KEYRING=off (keep tokens in a file).

**Exit codes:** 0 done, and the watched job completed; 1 the watched job failed, or this computer could not do its
part; 2 wrong usage or local file; 3 the watched job was cancelled; 4 the server refused, or a file is not what it
should be; 5 the server can't be reached; 6 the watched job completed, but a delivery of its model failed; 130
interrupted.
"""

app = typer.Typer(
    name="stcloud",
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    help="Train diffusion models with SimpleTuner Cloud: push datasets, submit trainings, watch them, fetch the model.",
    epilog=EPILOG,
)
app.add_typer(datasets.app, name="datasets")
app.add_typer(configs.app, name="configs")
app.add_typer(jobs.app, name="jobs")
app.add_typer(credentials.app, name="credentials")
app.add_typer(notifications.app, name="notifications")
app.add_typer(account.app)
app.add_typer(keys.app, name="keys")
app.add_typer(users.app, name="users")
app.add_typer(audit.app, name="audit")
app.add_typer(profiles.app, name="profiles")
app.add_typer(receive.app)
#: Their modules register commands of `jobs` and `datasets`.
_REGISTERED = (pull, deliveries, escrow, dataset_checks, dataset_files)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stcloud {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    url: UrlOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
    profile: ProfileOption = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    # No docstring: it would replace the help text above.
    runtime_of(ctx).options.merge(url, as_json, quiet, profile)


@command(app, "status")
def status(session: Session) -> int:
    """Show whether the server is well."""
    health = session.api.health()
    rows = [
        [c["name"], c["status"], "" if c["latency_ms"] is None else f"{c['latency_ms']:.0f} ms", c["message"]]
        for c in health["components"]
    ]
    place = f"{session.api.url}: {health['status']}, version {health['version']}, stage {health['stage']}"
    session.output.note(place + (", sandbox (no GPU)" if health["sandbox"] else ""))
    session.output.table(("PART", "STATUS", "LATENCY", ""), rows, data=health, empty="No parts are reported.")
    return ExitCode.API if health["status"] == "unhealthy" else ExitCode.OK


def run() -> None:
    """The entry point of the installed program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that can't show a character gets a replacement instead of a traceback.
            with contextlib.suppress(ValueError):
                stream.reconfigure(errors="replace")
    app()
