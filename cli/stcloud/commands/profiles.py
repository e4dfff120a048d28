"""``stcloud profiles …``"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from stcloud.errors import UsageError
from stcloud.helptext import Group
from stcloud.session import Session, command
from stcloud.target import DEFAULT_URL

app = typer.Typer(cls=Group, no_args_is_help=True, help="The servers that this computer knows.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A profile's name.")]


@command(app, "list")
def list_profiles(session: Session) -> None:
    """List servers. The one with the star is used when nothing else is said."""
    profiles = session.runtime.profile_file.read()
    found = [profile for _, profile in sorted(profiles.by_name.items())]
    rows = [
        [
            "*" if p.name == profiles.current else "",
            p.name,
            p.url,
            p.username if p.place else "signed out",
            p.place or "",
        ]
        for p in found
    ]
    data = {
        "current": profiles.current,
        "profiles": [
            {"name": p.name, "url": p.url, "username": p.username, "signed_in": p.place is not None, "secret": p.place}
            for p in found
        ],
    }
    columns = ("", "NAME", "SERVER", "USER", "SECRET IN")
    session.output.table(columns, rows, data=data, empty="None yet. Sign in: stcloud login --url URL")


@command(app, "use")
def use(session: Session, name: Name) -> None:
    """Use this server from now on."""
    profile_file = session.runtime.profile_file
    profiles = profile_file.read()
    chosen = profiles.get(name)
    profile_file.write(replace(profiles, current=chosen.name))
    for variable in ("STCLOUD_URL", "STCLOUD_PROFILE"):
        if session.runtime.environ.get(variable):
            session.output.warn(f"{variable} is set and wins over this choice.")
    session.output.result({"current": chosen.name, "url": chosen.url}, f"{chosen.name}: {chosen.url}")


@command(app, "remove")
def remove(session: Session, name: Name) -> None:
    """Forget a server. Sign out first, so that its session ends there too."""
    profile_file = session.runtime.profile_file
    profiles = profile_file.read()
    profile = profiles.get(name)
    if profile.place is not None:
        raise UsageError(f"You are signed in to '{name}'.", advice=f"First: stcloud logout --profile {name}")
    left = profiles.without(name)
    profile_file.write(left)
    text = f"Removed {name}."
    if profiles.current == name:
        names = ", ".join(sorted(left.by_name))
        others = f" Choose another: stcloud profiles use NAME ({names})" if names else ""
        text += f" Commands go to {DEFAULT_URL} now, unless STCLOUD_URL or --url says otherwise.{others}"
    session.output.result({"removed": name, "current": left.current}, text)
