"""``stcloud jobs …``: submitting, looking, ending."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from stcloud.commands.configs import DataloaderOption, load_dataloader
from stcloud.delivering import follow, outcome
from stcloud.destinations import destination_of
from stcloud.errors import ExitCode, Interrupted, NetworkError, StcloudError, UsageError
from stcloud.files import absolute_folders, max_run_seconds, read_config, read_dataloader
from stcloud.helptext import Group
from stcloud.models import JOB_STATUSES, Job
from stcloud.people import owner_names
from stcloud.preflight import accepted_lines, preflight_text
from stcloud.pulling import Kind, pull_job
from stcloud.render import (
    JOB_COLUMNS,
    count_text,
    duration_text,
    job_rows,
    job_text,
    money_text,
    size_text,
    time_text,
)
from stcloud.session import Session, command
from stcloud.watch import Watcher, display_for, exit_code

app = typer.Typer(cls=Group, no_args_is_help=True, help="Trainings.")

ConfigFile = Annotated[
    Path | None, typer.Argument(metavar="CONFIG.JSON", help="SimpleTuner's config.json.", show_default=False)
]
ConfigName = Annotated[
    str | None, typer.Option("--config-name", metavar="NAME", help="A saved config instead of a file.")
]
ConfigVersion = Annotated[int | None, typer.Option(min=1, metavar="N", help="Of the saved config. [default: latest]")]
ProviderName = Annotated[str, typer.Option(metavar="NAME", help="The GPU provider.")]
Hardware = Annotated[
    str | None, typer.Option(metavar="PROFILE", help="A hardware profile of the provider. [default: its first]")
]
RunName = Annotated[str | None, typer.Option(metavar="NAME", help="How the run is called.")]
MaxRun = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Longest run, like 90m or 6h (5m to 34h); ends the job.")
]
To = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PLACE",
        help="Where the model goes: huggingface:owner/name, s3://bucket/prefix, https://… (webhook), or none; may be "
        "repeated. [default: what config or your defaults say]",
    ),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="A job's id.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
OUTCOME = (
    "Exit code: 0 completed and delivered, 1 failed, 3 cancelled, 6 completed but a delivery failed, 130 stopped "
    "watching."
)
#: Seconds between looks at a log that is followed, and how many looks there are at most (a week).
LOG_WAIT = 2.0
MAX_LOOKS = 7 * 24 * 1800


@command(app, "submit", epilog=f"With --watch. {OUTCOME}")
def submit(
    session: Session,
    config: ConfigFile = None,
    config_name: ConfigName = None,
    config_version: ConfigVersion = None,
    dataloader: DataloaderOption = None,
    provider: ProviderName = "replicate",
    hardware: Hardware = None,
    run_name: RunName = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="The same key within 24 hours gives the same job. [default: a new one]"),
    ] = None,
    max_run: MaxRun = None,
    escrow_days: Annotated[
        int | None,
        typer.Option(min=1, max=3650, metavar="DAYS", help="Remove its files so long after its end. [default: as set]"),
    ] = None,
    accept_warnings: Annotated[
        bool, typer.Option("--accept-warnings", help="Train although checks warn; errors always refuse.")
    ] = False,
    to: To = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow the job until it is over.")] = False,
) -> int | None:
    """Submit a training. Repeating it after a lost connection never makes a second job.

    Prints the job's id.
    """
    body = _submit_body(session, config, config_name, config_version, dataloader)
    body |= _terms(run_name, hardware, max_run, to)
    if escrow_days is not None:
        body["escrow_days"] = escrow_days
    if accept_warnings:
        body["accept_warnings"] = True
    key = idempotency_key or f"stcloud-{uuid.uuid4()}"
    unknown = f"Whether the job was created is not known. Repeat the command with --idempotency-key {key}"
    try:
        done = session.api.submit(body, provider=provider, idempotency_key=key)
    except NetworkError as error:
        raise NetworkError(error.message, advice=unknown) from error
    except KeyboardInterrupt:
        raise Interrupted("Stopped while submitting.", advice=unknown) from None
    job = done["job"]
    for warning in accepted_lines(done):
        session.output.warn(warning)
    if done["idempotent_hit"]:
        session.output.note("This idempotency key has a job already; this is it.")
    for adjustment in done["adjustments"]:
        session.output.note(f"Adjusted: {adjustment}")
    for use in job["datasets"]:
        session.output.note(
            f"Dataset {use['entry_id']}: {use['dataset_id']} {use['version_id']} "
            f"({count_text(use['files'], 'file')}, {size_text(use['bytes'])})"
        )
    if job["sandbox"]:
        session.output.note("Sandbox: trained on this computer's CPU with a toy model, not on a GPU.")
    if not watch:
        session.output.note(f"Follow it: stcloud jobs watch {done['job_id']}")
        session.output.result(done, done["job_id"])
        return None
    if session.output.json_mode:
        session.output.line({"type": "submitted", **done})
    else:
        session.output.result(None, done["job_id"])
    return _watch(session, done["job_id"])


@command(app, "preflight", epilog="Exit code: 0 ready (perhaps with warnings), 1 errors.")
def preflight(
    session: Session,
    config: ConfigFile = None,
    config_name: ConfigName = None,
    config_version: ConfigVersion = None,
    dataloader: DataloaderOption = None,
    provider: ProviderName = "replicate",
    hardware: Hardware = None,
    run_name: RunName = None,
    max_run: MaxRun = None,
    to: To = None,
) -> int:
    """Check a training before it costs anything: options, datasets, provider, base model, budget, time.

    Takes what submit takes, and makes nothing.
    """
    body = _submit_body(session, config, config_name, config_version, dataloader)
    body |= _terms(run_name, hardware, max_run, to)
    answer = session.api.preflight(body, provider=provider)
    session.output.result(answer, preflight_text(answer))
    return int(ExitCode.OK if answer["ok"] else ExitCode.FAILED)


@command(app, "list")
def list_jobs(
    session: Session,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help=f"Only jobs in this status: {', '.join(JOB_STATUSES)}.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100_000, metavar="N", help="How many.")] = 20,
    sync: Annotated[bool, typer.Option("--sync", help="Ask the provider about active jobs first.")] = False,
) -> None:
    """List jobs, newest first."""
    if status is not None and status not in JOB_STATUSES:
        raise UsageError(f"'{status}' is no status of a job.", advice=f"Use one of: {', '.join(JOB_STATUSES)}.")
    found = list(session.api.jobs(status=status, sync=sync, limit=limit))
    empty = "No jobs match." if status else "No jobs yet. Submit one: stcloud jobs submit config.json"
    owners = owner_names(session, {str(job["user_id"]) for job in found if job.get("user_id")})
    columns = JOB_COLUMNS if owners is None else (*JOB_COLUMNS, "OWNER")
    session.output.table(columns, job_rows(found, owners), data={"jobs": found}, empty=empty)


@command(app, "get")
def get(session: Session, job: JobId) -> None:
    """Show one job."""
    found = session.api.job(job)
    session.output.result({"job": found}, job_text(found))


@command(app, "watch", epilog=OUTCOME)
def watch(
    session: Session,
    job: JobId,
    download: Annotated[
        bool, typer.Option("--download", help="Then fetch the model, as `stcloud jobs pull` does.")
    ] = False,
) -> int:
    """Follow a job until it is over and its model has arrived where it goes."""
    code = _watch(session, job)
    if download and code in {ExitCode.OK, ExitCode.NOT_DELIVERED}:
        data, text = pull_job(session, job, to=None, kind=Kind.WEIGHTS, overwrite=False)
        if session.output.json_mode:
            session.output.line({"type": "downloaded", **data})
        else:
            session.output.result(None, text)
    return code


@command(app, "logs")
def logs(
    session: Session,
    job: JobId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the log is complete.")] = False,
) -> None:
    """Print a job's log."""
    part = session.api.logs(job)
    if not follow:
        if part["truncated"]:
            session.output.note("Only the end of the log is shown.")
        session.output.log(part)
        session.output.log_ends()
        return
    try:
        for more in _parts(session, job, part):
            session.output.log(more, follow=True)
        session.output.log_ends()
    except KeyboardInterrupt:
        raise Interrupted("Stopped following; the job goes on.") from None


@command(app, "events")
def events(session: Session, job: JobId) -> None:
    """Show a job's timeline."""
    found = list(session.api.events(job))
    rows = [[time_text(e["at"]), e["type"], e["message"]] for e in found]
    session.output.table(("TIME", "EVENT", "MESSAGE"), rows, data={"events": found}, empty="Nothing happened yet.")


@command(app, "cancel")
def cancel(session: Session, job: JobId) -> None:
    """Cancel a job. It is over, and no longer billed, once its status is `cancelled`."""
    done = session.api.cancel(job)
    if done["status"] == "cancelled":
        session.output.result(done, f"{job} is cancelled.")
    else:
        session.output.result(done, f"{job} is being cancelled; the provider has not confirmed yet.")
        session.output.note(f"Wait for it: stcloud jobs watch {job}")


@command(app, "delete")
def delete(session: Session, job: JobId, yes: Yes = False) -> None:
    """Delete a finished job with its log and its model."""
    session.confirm(f"Delete {job} with its log and its model?", yes=yes, needs_yes=True)
    done = session.api.delete_job(job)
    session.output.result(done or {"success": True, "job_id": job}, f"Deleted {job}.")


def _terms(
    run_name: str | None, hardware: str | None, max_run: str | None, to: list[str] | None = None
) -> dict[str, Any]:
    """What of a submit is given beside the config."""
    places = None if not to else [] if to == ["none"] else [destination_of(place) for place in to]
    given = {
        "tracker_run_name": run_name,
        "hardware_profile": hardware,
        "max_run_seconds": max_run_seconds(max_run) if max_run is not None else None,
        "destinations": places,
    }
    return {name: value for name, value in given.items() if value is not None}


def _submit_body(
    session: Session,
    config: Path | None,
    config_name: str | None,
    config_version: int | None,
    dataloader: Path | None,
) -> dict[str, Any]:
    if (config is None) == (config_name is None):
        raise UsageError(
            "Give either a config.json or --config-name NAME.",
            advice="stcloud jobs submit config.json, or: stcloud jobs submit --config-name NAME",
        )
    if config is None:
        body: dict[str, Any] = {"config_name_to_load": config_name}
        if config_version is not None:
            body["config_version"] = config_version
        if dataloader is not None:
            body["dataloader_config"], notes = absolute_folders(read_dataloader(dataloader))
            for note in notes:
                session.output.note(note)
        return body
    if config_version is not None:
        raise UsageError("--config-version goes with --config-name.")
    content = read_config(config)
    entries = load_dataloader(session, config, content, dataloader)
    if entries is None:
        raise UsageError(
            f"There is no dataloader for '{config}'.",
            advice="Put multidatabackend.json beside it, or name one with --dataloader.",
        )
    return {"config": content, "dataloader_config": entries}


def _watch(session: Session, job_id: str) -> int:
    runtime = session.runtime
    display = display_for(session.output, job_id, monotonic=runtime.monotonic)
    job = Watcher(session.api, display, sleep=runtime.sleep, monotonic=runtime.monotonic).run(job_id)
    if session.output.json_mode:
        session.output.line({"type": "finished", "job": job})
    _conclude(session, job)
    code = exit_code(job)
    if code == ExitCode.OK and job.get("deliveries", {}).get("state", "none") != "none":
        over = follow(session.deliveries, session.output, job_id, sleep=runtime.sleep, monotonic=runtime.monotonic)
        code = outcome(session.output, job_id, over)
    return int(code)


def _conclude(session: Session, job: Job) -> None:
    output, job_id = session.output, job["job_id"]
    ran = f"after {duration_text(job['duration_seconds'])}, {money_text(job['cost_usd'])}"
    if job["status"] == "completed":
        output.note(f"Completed {ran}. {job['delivery']['verified_files']} files are verified.")
        output.note(f"Fetch the model: stcloud jobs pull {job_id}")
    elif job["status"] == "cancelled":
        output.note(f"Cancelled {ran}.")
    else:
        failure = job["failure"]
        error = StcloudError(
            f"{job_id} failed {ran}: {failure['message'] if failure else 'no reason was recorded'}",
            advice=failure["advice"] if failure else f"stcloud jobs logs {job_id}",
            code=failure["code"] if failure else "failed",
        )
        output.complaint(error)


def _parts(session: Session, job_id: str, part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts of a log as they come."""
    yield part
    for _ in range(MAX_LOOKS):
        if part["complete"] and part["next_offset"] >= part["size"]:
            return
        if part["next_offset"] >= part["size"]:
            session.runtime.sleep(LOG_WAIT)
        part = session.api.logs(job_id, offset=part["next_offset"])
        if part["logs"]:
            yield part
