"""``stcloud notifications …``"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from stcloud.errors import ExitCode, NetworkError, UsageError
from stcloud.helptext import Group
from stcloud.render import time_text
from stcloud.session import Session, command

app = typer.Typer(cls=Group, no_args_is_help=True, help="Being told of jobs and deliveries, by webhook or e-mail.")

_STATES = {"pending_confirmation": "waits for the link in the e-mail to be followed"}
_MAX_SHOWN = 200

Channel = Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel's id: see stcloud notifications list.")]
Events = Annotated[
    str | None,
    typer.Option("--events", metavar="LIST", help="Types of events with commas in between. [default: all]"),
]


@command(app, "add")
def add(
    session: Session,
    webhook: Annotated[str | None, typer.Option("--webhook", metavar="URL", help="Where events are posted.")] = None,
    email: Annotated[str | None, typer.Option("--email", metavar="ADDRESS", help="Who is written to.")] = None,
    events: Events = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="[default: the host or the address]")
    ] = None,
) -> None:
    """Add a channel. A webhook's signing secret is printed to stdout, this once."""
    if (webhook is None) == (email is None):
        raise UsageError("Give either --webhook URL or --email ADDRESS.")
    body: dict[str, Any] = {"channel_type": "email", "email": email, "name": name or email}
    if webhook is not None:
        body = {"channel_type": "webhook", "webhook_url": webhook, "name": name or urlsplit(webhook).netloc or webhook}
    if events is not None:
        body["events"] = _listed(events)
    try:
        made = session.notifications.create(body)
    except NetworkError as error:
        raise NetworkError(error.message, advice="It may have been added. Look: stcloud notifications list") from None
    if made["secret"] is not None:
        session.output.note(f"Added {made['id']}. Its messages are signed with this secret, which is shown once:")
        session.output.result(made, made["secret"])
        return
    session.output.result(made, made["id"])
    if made["state"] == "pending_confirmation":
        session.output.note(f"{email} gets a message with a link; until it is followed, nothing else is sent there.")


@command(app, "list")
def list_channels(session: Session) -> None:
    """List your channels."""
    found = session.notifications.list()
    rows = [[c["id"], c["name"], c["webhook_url"] or c["email"], ",".join(c["events"]), _state(c)] for c in found]
    session.output.table(
        ("CHANNEL", "NAME", "TO", "EVENTS", "STATE"),
        rows,
        data={"channels": found},
        empty="No channels yet. Add one: stcloud notifications add --webhook URL",
    )


@command(app, "events")
def list_events(session: Session) -> None:
    """List what there is to be told of."""
    found = session.notifications.events()
    rows = [[e["id"], e["description"]] for e in found]
    session.output.table(("EVENT", "WHAT HAPPENED"), rows, data={"event_types": found}, empty="There are none.")


@command(app, "update")
def update(
    session: Session,
    channel: Channel,
    events: Events = None,
    webhook: Annotated[str | None, typer.Option("--webhook", metavar="URL", help="Where events are posted.")] = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="A new name.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Switch it on or off.")] = None,
) -> None:
    """Change a channel, or switch it on and off."""
    wanted = {
        "events": _listed(events) if events else None,
        "webhook_url": webhook,
        "name": name,
        "is_enabled": enabled,
    }
    body = {key: value for key, value in wanted.items() if value is not None}
    if not body:
        raise UsageError("Say what to change: --events, --webhook, --name, --enable or --disable.")
    changed = session.notifications.change(channel, body)
    session.output.result(changed, f"{changed['name']}: {_state(changed)}")


@command(app, "test")
def try_it(session: Session, channel: Channel) -> int:
    """Send a test event now. Exits with 4 when it does not arrive."""
    tested = session.notifications.test(channel)
    text = (
        f"It arrived, in {tested['latency_ms']} ms." if tested["success"] else f"It did not arrive: {tested['error']}"
    )
    session.output.result(tested, text)
    return ExitCode.OK if tested["success"] else ExitCode.API


@command(app, "history")
def history(
    session: Session,
    channel: Annotated[str | None, typer.Option("--channel", metavar="CHANNEL", help="Of this channel only.")] = None,
    event: Annotated[str | None, typer.Option("--event", metavar="EVENT", help="Of this type only.")] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="COUNT", min=1, max=_MAX_SHOWN, help="At most so many.")
    ] = 20,
) -> None:
    """List what was sent in the last 30 days, newest first."""
    query = {"limit": str(limit)}
    query |= {"channel_id": channel} if channel else {}
    query |= {"event_type": event} if event else {}
    found = session.notifications.history(query)
    rows = [
        [
            time_text(e["created_at"]),
            e["event_type"],
            e["recipient"],
            e["delivery_status"],
            len(e["tries"]),
            _why(e),
            e["id"],
        ]
        for e in found["entries"]
    ]
    session.output.table(
        ("TIME", "EVENT", "TO", "STATUS", "TRIES", "", "MESSAGE"), rows, data=found, empty="Nothing was sent lately."
    )


@command(app, "redeliver")
def redeliver(
    session: Session,
    message: Annotated[str, typer.Argument(metavar="MESSAGE", help="Its id: see stcloud notifications history.")],
) -> None:
    """Send a message again, under the same id."""
    again = session.notifications.redeliver(message)
    session.output.result(again, f"{message} is being sent to {again['recipient']} again.")


@command(app, "rotate-secret")
def rotate(session: Session, channel: Channel) -> None:
    """Make a new signing secret, and print it this once. The old one signs too for 24 hours."""
    made = session.notifications.rotate(channel)
    session.output.note(f"The old secret signs too until {time_text(made['previous_secret_until'])}. The new one:")
    session.output.result(made, made["secret"])


@command(app, "delete")
def delete(
    session: Session, channel: Channel, yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False
) -> None:
    """Delete a channel with its secret."""
    session.confirm(f"Delete the channel {channel}?", yes=yes, needs_yes=True)
    session.output.result(session.notifications.delete(channel), f"Deleted {channel}.")


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _state(channel: dict[str, Any]) -> str:
    state = str(channel["state"])
    reason = channel["disabled_reason"] or _STATES.get(state)
    return f"{state}: {reason}" if reason else state


def _why(entry: dict[str, Any]) -> str:
    last = entry["tries"][-1] if entry["tries"] else {}
    return str(last.get("error") or entry["note"] or "")[:60]
