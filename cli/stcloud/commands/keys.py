"""``stcloud keys …``"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from stcloud.errors import NetworkError, UsageError, ValidationFailed
from stcloud.files import parse_duration
from stcloud.helptext import Group
from stcloud.people import find_key, find_user
from stcloud.render import money_text, time_text
from stcloud.session import Session, command

app = typer.Typer(cls=Group, no_args_is_help=True, help="API keys, for machines.")

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="A key's id, or its name if one key of yours has it.")]
ONCE = "This is shown once. Keep it like a password: whoever has it can do what it may do."
MAX_DAYS = 365
_PERMISSION = re.compile(r"[a-z]+(?:\.[a-z]+)+")


@command(app, "create")
def create(
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope",
            metavar="PERMISSION",
            help="A permission, like job.submit; repeat it. [default: all that a key of yours may]",
        ),
    ] = None,
    expires_days: Annotated[
        int | None,
        typer.Option("--expires-days", metavar="DAYS", min=1, max=MAX_DAYS, help="When it ends. [default: 90]"),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="USD", help="What all its jobs together may cost.")
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", metavar="NAME", help="Where it may submit; repeat it. [default: everywhere]"),
    ] = None,
) -> None:
    """Make an API key. The key alone is printed to stdout, so it can go into a secret store by a pipe."""
    body: dict[str, Any] = {"name": name}
    if scope:
        body["scoped_permissions"] = [s.strip() for part in scope for s in part.split(",") if s.strip()]
    if expires_days is not None:
        body["expires_days"] = expires_days
    if budget is not None:
        body["budget_usd"] = _usd(budget)
    if provider:
        body["providers"] = provider
    try:
        made = session.access.create_key(body)
    except NetworkError as error:
        raise NetworkError(
            error.message, advice="It may have been made. Look, and revoke it: stcloud keys list"
        ) from None
    except ValidationFailed as refused:
        if refused.code == "invalid_scopes":
            refused.advice = _meant(body.get("scoped_permissions", []), refused.message) or refused.advice
        raise
    _shown_once(session, made)


@command(app, "list")
def list_keys(
    session: Session,
    user: Annotated[str | None, typer.Option("--user", metavar="USER", help="Another person's, for admins.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
) -> None:
    """List your API keys, newest first."""
    found = session.access.keys(None if user is None else find_user(session.access, user)["id"])
    shown = [k for k in found if everything or k["is_active"]]
    rows = [
        [
            k["id"],
            k["name"],
            "good" if k["is_active"] else "revoked" if k["revoked_at"] else "expired",
            time_text(k["last_used_at"]) if k["last_used_at"] else "never used",
            time_text(k["expires_at"]),
            money_text(k["budget_usd"]) if k["budget_usd"] is not None else "",
            "all" if k["scoped_permissions"] is None else ", ".join(k["scoped_permissions"]),
        ]
        for k in shown
    ]
    hidden = len(found) - len(shown)
    empty = "No keys yet. Make one: stcloud keys create NAME" if not found else f"{hidden} have ended; see --all."
    columns = ("KEY", "NAME", "STATE", "LAST USED", "ENDS", "BUDGET", "MAY")
    session.output.table(columns, rows, data={"keys": shown}, empty=empty)


@command(app, "get")
def get(session: Session, key: KeyId) -> None:
    """Show one key, with what is used of its budget."""
    found = session.access.key(find_key(session.access, key))
    budget = found["budget_usd"]
    lines = [
        ("key", found["id"]),
        ("name", found["name"]),
        ("state", "good" if found["is_active"] else "revoked" if found["revoked_at"] else "expired"),
        ("made", time_text(found["created_at"])),
        ("last used", time_text(found["last_used_at"])),
        ("ends", time_text(found["expires_at"])),
        (
            "budget",
            None if budget is None else f"{money_text(found['budget_used_usd'] or 0.0)} of {money_text(budget)}",
        ),
        ("providers", None if found["providers"] is None else ", ".join(found["providers"])),
        ("may", "all that a key can" if (s := found["scoped_permissions"]) is None else ", ".join(s)),
    ]
    session.output.result(found, "\n".join(f"{name:<10} {value}" for name, value in lines if value))


@command(app, "rotate")
def rotate(
    session: Session,
    key: KeyId,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="TIME", help="How long the old one stays good, like 1h; at most 7d.")
    ] = "0",
) -> None:
    """Replace a key of yours by a new one with the same rights."""
    seconds = parse_duration(overlap)
    key_id = find_key(session.access, key)
    try:
        made = session.access.rotate_key(key_id, seconds)
    except NetworkError as error:
        raise NetworkError(error.message, advice="It may have been replaced. Look: stcloud keys list") from None
    session.output.note("The old key has ended." if seconds == 0 else f"The old key ends in {overlap}.")
    _shown_once(session, made)


@command(app, "revoke")
def revoke(
    session: Session,
    key: KeyId,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """End a key. It is refused everywhere within five seconds."""
    key_id = find_key(session.access, key)
    session.confirm(f"Revoke {key}? Whatever uses it stops working.", yes=yes, needs_yes=True)
    done = session.access.revoke_key(key_id)
    session.output.result(done or {"success": True}, f"Revoked {key}.")


def _shown_once(session: Session, made: dict[str, Any]) -> None:
    info = made["key_info"]
    session.output.warn(ONCE)
    session.output.note(f"{info['name']}, id {info['id']}, ends {time_text(info['expires_at'])}")
    session.output.result(made, str(made["key"]))


def _meant(scopes: Sequence[str], list_of_good_ones: str) -> str | None:
    """What was meant by scopes that the server's text does not offer."""
    good = _PERMISSION.findall(list_of_good_ones.rpartition("may have:")[2])
    close = [m[0] for s in scopes if s not in good and (m := difflib.get_close_matches(s, good, n=1))]
    return f"Did you mean {', '.join(dict.fromkeys(close))}?" if close else None


def _usd(text: str) -> str:
    """The amount as the server takes it: exact, so as text. Raises UsageError."""
    plain = text.strip().lstrip("$")
    whole, _, cents = plain.partition(".")
    if not plain.isascii() or not whole.isdigit() or (cents and not cents.isdigit()) or len(cents) > 4:
        raise UsageError(f"'{text}' is no amount in US dollars.", advice="Write it like 25 or 12.50.")
    return plain
