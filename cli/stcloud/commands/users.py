"""``stcloud users …``"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from stcloud.helptext import Group
from stcloud.people import find_user
from stcloud.render import time_text
from stcloud.session import PasswordStdin, Session, command
from stcloud.signin import with_new_password

app = typer.Typer(cls=Group, no_args_is_help=True, help="People, for admins.")

User = Annotated[str, typer.Argument(metavar="USER", help="A user name, mail address or id.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


class Role(StrEnum):
    ADMIN = "admin"
    LEAD = "lead"
    RESEARCHER = "researcher"
    VIEWER = "viewer"


@command(app, "list")
def list_users(session: Session) -> None:
    """List people by name."""
    found = list(session.access.users())
    rows = [
        [
            u["username"],
            u["role"] or "",
            "active" if u["is_active"] else "deactivated",
            u["email"],
            time_text(u["last_login_at"]) if u["last_login_at"] else "never",
            u["id"],
        ]
        for u in found
    ]
    columns = ("USER", "ROLE", "STATE", "MAIL", "LAST SIGN-IN", "ID")
    session.output.table(columns, rows, data={"users": found}, empty="Nobody yet: stcloud setup")


@command(app, "invite")
def invite(
    session: Session,
    username: Annotated[str, typer.Argument(metavar="USER", help="The new person's user name.")],
    email: Annotated[str, typer.Argument(metavar="MAIL", help="Their mail address.")],
    role: Annotated[
        Role, typer.Option("--role", metavar="ROLE", help="admin, lead, researcher or viewer.")
    ] = Role.RESEARCHER,
    name: Annotated[str | None, typer.Option("--name", metavar="TEXT", help="How they are called.")] = None,
    ask_password: Annotated[bool, typer.Option("--ask-password", help="Choose the temporary password here.")] = False,
    password_stdin: PasswordStdin = False,
) -> None:
    """Invite a person. They get a temporary password, and choose their own at the first sign-in.

    It is mailed to them. A stack on somebody's own computer sends no mail: there it is printed, once, to be handed on.
    """
    body: dict[str, Any] = {"username": username, "email": email, "role": role.value}
    if name is not None:
        body["display_name"] = name
    access = session.access
    session.answers_piped = password_stdin
    if ask_password or password_stdin:
        body["password_is_temporary"] = True
        made = with_new_password(session, lambda password: access.invite({**body, "password": password}))
        session.output.note("They choose another password at the first sign-in.")
    else:
        made = access.invite(body)
    is_a = f"{made['username']} is a {made['role']}, id {made['id']}"
    if made.get("temporary_password"):
        session.output.note(is_a)
    elif not ask_password and not password_stdin:
        session.output.note(f"A mail with a temporary password is on its way to {email}.")
    _told(session, made, made["username"], is_a)


@command(app, "reset")
def reset(session: Session, user: User, yes: Yes = False) -> None:
    """Give a person a temporary password, when they forgot theirs or somebody else knows it.

    The old one ends now, and their sessions within 15 minutes; their API keys stay. How they get it: as an invitation.
    """
    person = find_user(session.access, user)
    session.confirm(f"Reset the password of {person['username']}?", yes=yes, needs_yes=True)
    done = session.access.reset_password(person["id"])
    mailed = f"A mail with a temporary password is on its way to {person['email']}."
    _told(session, done, person["username"], mailed)


def _told(session: Session, answer: dict[str, Any], username: str, otherwise: str) -> None:
    """The temporary password alone on stdout when the server gave one, else ``otherwise``."""
    temporary = answer.get("temporary_password")
    if not temporary:
        session.output.result(answer, otherwise)
        return
    session.output.warn(
        f"This temporary password is shown once. Hand it to {username}, who signs in with it and chooses another: "
        f"stcloud login --url {session.url} --username {username}"
    )
    session.output.result(answer, str(temporary))


@command(app, "role")
def role(
    session: Session,
    user: User,
    role: Annotated[Role, typer.Argument(metavar="ROLE", help="admin, lead, researcher or viewer.")],
) -> None:
    """Change what a person may do. Their keys follow within five seconds, their sessions within 15 minutes."""
    person = find_user(session.access, user)
    done = session.access.change_user(person["id"], {"role": role.value})
    session.output.result(done, f"{done['username']} is now a {done['role']}.")


@command(app, "deactivate")
def deactivate(session: Session, user: User, yes: Yes = False) -> None:
    """Shut a person out, keeping what they own. Keys stop within five seconds, sessions within 15 minutes."""
    person = find_user(session.access, user)
    session.confirm(f"Deactivate {person['username']}?", yes=yes, needs_yes=True)
    done = session.access.set_active(person["id"], active=False)
    session.output.result(done, f"{person['username']} is deactivated.")


@command(app, "activate")
def activate(session: Session, user: User) -> None:
    """Let a deactivated person in again."""
    person = find_user(session.access, user)
    done = session.access.set_active(person["id"], active=True)
    session.output.result(done, f"{person['username']} is active.")


@command(app, "delete")
def delete(session: Session, user: User, yes: Yes = False) -> None:
    """Delete a person with their keys. Their jobs and datasets stay."""
    person = find_user(session.access, user)
    session.confirm(f"Delete {person['username']} with their API keys?", yes=yes, needs_yes=True)
    done = session.access.delete_user(person["id"])
    session.output.result(done or {"success": True}, f"Deleted {person['username']}.")
