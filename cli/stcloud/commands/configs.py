"""``stcloud configs …``"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from stcloud.datasets import check_name
from stcloud.files import DATALOADER_NAME, absolute_folders, find_dataloader, read_config, read_dataloader
from stcloud.helptext import Group
from stcloud.render import time_text
from stcloud.session import Session, command

app = typer.Typer(cls=Group, no_args_is_help=True, help="Training configs, kept by name and version.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The config's name.")]
DataloaderOption = Annotated[
    Path | None,
    typer.Option(
        "--dataloader",
        metavar="FILE",
        help="multidatabackend.json. [default: the one the config names, or the one beside it]",
    ),
]


def load_dataloader(
    session: Session, config_path: Path, config: dict[str, Any], given: Path | None
) -> list[dict[str, Any]] | None:
    """The dataloader to send with a config: the given one, or the one that belongs to it. None when there is none."""
    path = given or find_dataloader(config_path, config)
    if path is None:
        return None
    if given is None:
        session.output.note(f"Dataloader: {path}")
    entries, notes = absolute_folders(read_dataloader(path))
    for note in notes:
        session.output.note(note)
    return entries


@command(app, "push")
def push(
    session: Session,
    name: Name,
    config: Annotated[Path, typer.Argument(metavar="CONFIG.JSON", help="SimpleTuner's config.json.")],
    dataloader: DataloaderOption = None,
    description: Annotated[str | None, typer.Option(metavar="TEXT", help="For people.")] = None,
) -> None:
    """Save a config under a name. A new version is made when it differs from the latest."""
    check_name(name, "config")
    content = read_config(config)
    body: dict[str, Any] = {"config": content}
    entries = load_dataloader(session, config, content, dataloader)
    if entries is not None:
        body["dataloader_config"] = entries
    else:
        session.output.warn(
            f"There is no {DATALOADER_NAME} beside '{config}', so this config names no dataset and can't be submitted "
            f"by its name alone. Save it with one: "
            f"stcloud configs push {name} {shlex.quote(str(config))} --dataloader {DATALOADER_NAME}"
        )
    if description is not None:
        body["description"] = description
    saved = session.api.save_config(name, body)
    session.output.note(str(saved.get("message", "Saved.")))
    session.output.result(saved, f"{saved['name']} {saved['version']}")


@command(app, "list")
def list_configs(session: Session) -> None:
    """List saved configs."""
    found = list(session.api.configs())
    rows = [
        [
            c["name"],
            c["version"],
            c["model_family"] or "",
            c["model_type"] or "",
            time_text(c["modified_at"]),
            c["description"] or "",
        ]
        for c in found
    ]
    session.output.table(
        ("NAME", "VERSION", "FAMILY", "TYPE", "CHANGED", "DESCRIPTION"),
        rows,
        data={"configs": found},
        empty="No configs yet. Save one: stcloud configs push NAME config.json",
    )


@command(app, "show")
def show(
    session: Session,
    name: Name,
    version: Annotated[int | None, typer.Option(min=1, metavar="N", help="[default: the latest]")] = None,
) -> None:
    """Show a config and its dataloader, as JSON."""
    found = session.api.config(name, version)
    if session.output.json_mode:
        session.output.result(found)
        return
    session.output.note(f"{found['name']}, version {found['version']} of {len(found['versions'])}")
    session.output.document({"config": found["config"], "dataloader_config": found["dataloader_config"]})


@command(app, "delete")
def delete(
    session: Session, name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False
) -> None:
    """Delete a config with all its versions."""
    session.confirm(f"Delete the config {name} with all its versions?", yes=yes, needs_yes=True)
    done = session.api.delete_config(name)
    session.output.result(done or {"success": True, "name": name}, f"Deleted {name}.")
