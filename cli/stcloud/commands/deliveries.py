"""``stcloud jobs deliver`` and ``stcloud jobs deliveries``: sending a model on, and how far that is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stcloud.commands.jobs import JobId, app
from stcloud.delivering import COLUMNS, follow, line_of, outcome, rows
from stcloud.delivery_api import DeliveryApi
from stcloud.destinations import destination_of, included
from stcloud.errors import ExitCode, UsageError
from stcloud.render import count_text
from stcloud.session import Session, command

EXITS = "Exit code with --wait: 0 all verified, 6 one failed, 130 stopped watching."
To = Annotated[
    list[str] | None,
    typer.Option("--to", metavar="PLACE", help="huggingface:owner/name or s3://bucket/prefix; may be repeated."),
]


@command(app, "deliver", epilog=EXITS)
def deliver(
    session: Session,
    job: JobId,
    to: To = None,
    webhook: Annotated[
        list[str] | None, typer.Option("--webhook", metavar="URL", help="Send a signed event with links there.")
    ] = None,
    credential: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A stored credential. [default: your only one of that kind]"),
    ] = None,
    endpoint_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Of an S3-compatible store. [default: AWS]")
    ] = None,
    region: Annotated[str | None, typer.Option(metavar="REGION", help="Of the bucket.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Make a new Hub repository public.")] = False,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="PARTS", help="weights, checkpoints, samples, other. [default: weights,samples]"),
    ] = None,
    retry: Annotated[
        str | None, typer.Option(metavar="DELIVERY", help="Deliver where this delivery of the job goes, again.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow it until it is over.")] = False,
) -> int | None:
    """Deliver a finished job's model from this service's own copy: to the Hugging Face Hub, a bucket, your machine.

    Needs no GPU, at any time. Prints the deliveries' ids.
    """
    api = session.deliveries
    if retry is not None:
        if to or webhook or include:
            raise UsageError("--retry goes alone: it repeats what that delivery was.")
        made = [api.retry(job, retry)]
        answer: dict[str, Any] = {"job_id": job, "deliveries": made, "made": len(made)}
    else:
        places = [*(to or []), *(webhook or [])]
        if not places:
            raise UsageError(
                "Say where to: --to huggingface:owner/name, --to s3://bucket/prefix, or --webhook URL.",
                advice="What there is already: stcloud jobs deliveries JOB",
            )
        wanted = [
            destination_of(
                place,
                credential=credential,
                endpoint_url=endpoint_url,
                region=region,
                public=public,
                include=included(include),
            )
            for place in places
        ]
        answer = api.deliver(job, {"destinations": wanted})
        made = answer["deliveries"]
        if not answer["made"]:
            session.output.note("It is on its way there already.")
    ids = "\n".join(d["delivery_id"] for d in made)
    if not wait:
        for delivery in made:
            session.output.note(line_of(delivery))
        session.output.note(f"How far they are: stcloud jobs deliveries {job}")
        session.output.result(answer, ids)
        return None
    if session.output.json_mode:
        session.output.line({"type": "delivering", **answer})
    else:
        session.output.result(None, ids)
    return _wait(session, api, job, frozenset(d["delivery_id"] for d in made))


@command(app, "deliveries", epilog=EXITS)
def deliveries(
    session: Session,
    job: JobId,
    cancel: Annotated[
        str | None, typer.Option(metavar="DELIVERY", help="Cancel this one, or `all` that are not over.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Follow them until they are over.")] = False,
) -> int | None:
    """Show where a job's model goes, and how far it has come. The first is escrow: this service's own copy."""
    api = session.deliveries
    if cancel is not None:
        going = [d["delivery_id"] for d in api.of_job(job)["deliveries"] if not d["is_over"] and d["kind"] != "escrow"]
        for delivery_id in going if cancel == "all" else [cancel]:
            done = api.cancel(job, delivery_id)
            ended = done["state"] == "cancelled"
            session.output.note(f"{delivery_id} is {'' if ended else 'being '}cancelled.")
    if wait:
        return _wait(session, api, job, None)
    found = api.of_job(job)
    session.output.table(COLUMNS, rows(found["deliveries"]), data=found, empty="Nowhere.")
    return None


def _wait(session: Session, api: DeliveryApi, job_id: str, only: frozenset[str] | None) -> int:
    runtime = session.runtime
    over = follow(api, session.output, job_id, only=only, sleep=runtime.sleep, monotonic=runtime.monotonic)
    code = outcome(session.output, job_id, over)
    if code == ExitCode.OK and not session.output.json_mode:
        session.output.note(f"{count_text(len(over), 'delivery is', 'deliveries are')} over.")
    return int(code)
