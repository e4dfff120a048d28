"""``stcloud datasets …``: pushing, and keeping what was pushed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from stcloud import datasets as names
from stcloud.archives import is_archive, push_archive, stem_of
from stcloud.consent import consent, settle_secrets
from stcloud.describing import describe, list_files, note_source, scan_json
from stcloud.errors import UsageError
from stcloud.hashing import HashCache, hash_files
from stcloud.helptext import Group
from stcloud.listing import Listing
from stcloud.manifest import write_manifest
from stcloud.models import Version
from stcloud.pushing import Push, PushResult, Tally, start
from stcloud.render import TransferBar, count_text, size_text, time_text
from stcloud.scan import scan
from stcloud.session import Session, command
from stcloud.texts import HOLDS
from stcloud.upload import FileChangedError

app = typer.Typer(cls=Group, no_args_is_help=True, help="Folders of images and captions, kept as immutable versions.")

DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's id.")]
VersionId = Annotated[
    str | None,
    typer.Option("--version", metavar="VERSION", help="This one alone. [default: the dataset with all versions]"),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]
_DAYS = re.compile(r"[1-9]\d{0,4}")


@command(app, "push")
def push(
    session: Session,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder, subfolders included; or a .zip or .tar file.")
    ],
    dataset_id: Annotated[
        str | None, typer.Option("--id", help="The dataset's id. [default: the folder's name]", metavar="NAME")
    ] = None,
    yes: Yes = False,
    listing: Annotated[bool, typer.Option("--list", help="Print each file to be sent; contact nobody.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent; contact nobody.")] = False,
    exclude_secrets: Annotated[
        bool, typer.Option("--exclude-secrets", help="Go on without text files that hold a key or token.")
    ] = False,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=32, metavar="N", help="Parallel uploads.")
    ] = 8,
) -> None:
    """Upload a folder as a version of a dataset. Only what no version has yet is sent; an interrupted push goes on
    where it stopped, and an unchanged folder sends nothing.

    Empty images and images that are none would end the training and are left out. Files that may hold secrets (.env,
    keys, credentials), hidden and system files, links that leave the folder, and what a .stcloudignore file names (in
    the syntax of .gitignore) stay on this computer. A key or token in a text stops the push.

    What leaves this computer is shown and asked about first, unless the server's setting is always to allow it.
    """
    archive = folder.is_file() and is_archive(folder)
    origin = stem_of(folder) if archive else folder
    name = names.check_name(dataset_id, "dataset") if dataset_id else names.dataset_id_of(origin)
    if archive:
        push_archive(session, folder, name, yes=yes, listing=listing or dry_run, concurrency=concurrency)
        return
    with scan(folder) as found:
        if listing:
            list_files(session, found, name)
            return
        describe(session, found, name)
        if dry_run:
            paths = [file.path for file in found.files()]
            session.output.result({"dry_run": True, "dataset_id": name, **scan_json(found), "paths": paths})
            return
        settle_secrets(session, found.excluded_as(prefix=HOLDS), yes=yes, exclude=exclude_secrets)
        note_source(session, name, names.source_path_of(folder))
        consent(session, f"Upload to {session.url}?", yes=yes)
        _send(session, found, folder, name, concurrency)


def _send(session: Session, found: Listing, folder: Path, name: str, concurrency: int) -> None:
    output = session.output
    with output.transfer("Reading", found.bytes) as bar:
        hash_files(found, HashCache.of(session.runtime.cache_dir, folder), on_bytes=bar.advance)
    resume = f"stcloud datasets push {shlex.quote(str(folder))} --id {name}"
    with session.storage(concurrency) as http:
        with write_manifest(found) as manifest:
            version = start(session.datasets, http, session.runtime.retry, name, names.source_path_of(folder), manifest)
        with output.transfer("Uploading", found.bytes) as bar:
            work = Push(
                session.datasets,
                http,
                found,
                _Progress(bar),
                concurrency=concurrency,
                retry=session.runtime.retry,
                resume=resume,
            )
            done = _filled(work, version, HashCache.of(session.runtime.cache_dir, folder))
    _tell(session, done, found)


def _filled(work: Push, version: Version, cache: HashCache) -> PushResult:
    try:
        return work.fill(version)
    except FileChangedError as changed:
        # Its times did not tell, or it would have been hashed anew: the next push must not trust them again.
        cache.forget(changed.path)
        raise
    finally:
        cache.close()


def _tell(session: Session, done: PushResult, found: Listing) -> None:
    output, tally = session.output, done.tally
    data = {
        **done.version,
        "unchanged": done.unchanged,
        "uploaded_files": tally.sent,
        "uploaded_bytes": tally.sent_bytes,
        "copied_files": tally.copied,
        "copied_bytes": tally.copied_bytes,
        "present_files": tally.present,
        **scan_json(found),
    }
    if done.unchanged:
        output.note("Nothing to send: the server has exactly these files.")
    else:
        output.note(f"{tally_text(tally)}; every checksum is confirmed.")
    if done.version.get("inspection"):
        output.note(f"The files are being looked at. The findings: stcloud datasets check {done.version['dataset_id']}")
    output.result(data, f"{done.version['dataset_id']} {done.version['version_id']}")


def tally_text(tally: Tally) -> str:
    """``Sent 3 files (1.2 MB), 1,997 unchanged (copied inside S3), 500.0 MB not sent``."""
    said = [f"Sent {count_text(tally.sent, 'file')} ({size_text(tally.sent_bytes)})"]
    if tally.copied:
        said.append(f"{tally.copied:,} unchanged (copied inside S3)")
    if tally.present:
        said.append(f"{tally.present:,} there already")
    if tally.kept_bytes:
        said.append(f"{size_text(tally.kept_bytes)} not sent")
    return ", ".join(said)


@command(app, "list")
def list_datasets(session: Session) -> None:
    """List datasets."""
    found = list(session.datasets.datasets())
    rows = [
        [d["dataset_id"], d["latest_version"] or "not complete", d["source_path"] or "", time_text(d["updated_at"])]
        for d in found
    ]
    session.output.table(
        ("DATASET", "LATEST VERSION", "PUSHED FROM", "CHANGED"),
        rows,
        data={"datasets": found},
        empty="No datasets yet. Push one: stcloud datasets push FOLDER",
    )


@command(app, "delete")
def delete(session: Session, dataset: DatasetId, version: VersionId = None, yes: Yes = False) -> None:
    """Delete a dataset with all versions and files, or one version with --version."""
    what = f"version {version} of {dataset} and its files" if version else f"{dataset} with all its versions and files"
    session.confirm(f"Delete {what}?", yes=yes, needs_yes=True)
    done = session.datasets.delete(
        dataset, version, on_progress=lambda objects: session.output.note(f"{count_text(objects, 'object')} removed …")
    )
    removed = f" ({count_text(done.objects, 'object')}, {size_text(done.bytes)} removed)" if done.objects else ""
    name = f"{dataset} {version}" if version else dataset
    data = {"success": True, "dataset_id": dataset, **done.answer}
    session.output.result(
        {**data, "deleted_objects": done.objects, "deleted_bytes": done.bytes}, f"Deleted {name}{removed}."
    )


@command(app, "usage")
def usage(session: Session) -> None:
    """Show how much your datasets take, and how much they may."""
    used = session.datasets.usage()
    quota = used["quota_bytes"]
    share = f" of {size_text(quota)} ({100 * used['bytes'] / quota:.1f} %)" if quota else ""
    session.output.result(
        used,
        f"{size_text(used['bytes'])}{share} in {count_text(used['versions'], 'version')} of "
        f"{count_text(used['datasets'], 'dataset')}",
    )


@command(app, "retention")
def retention(
    session: Session,
    dataset: DatasetId,
    days: Annotated[
        str | None,
        typer.Argument(metavar="[DAYS]", help='Delete older versions after so many days; "off": keep them all.'),
    ] = None,
) -> None:
    """Show or set how long versions are kept that are not the latest. The latest and those that jobs use stay."""
    if days is None:
        found = session.datasets.dataset(dataset)
    elif days == "off":
        found = session.datasets.set_retention(dataset, None)
    elif _DAYS.fullmatch(days):
        found = session.datasets.set_retention(dataset, int(days))
    else:
        raise UsageError(f"'{days}' is no number of days.", advice='Write a number such as 90, or "off".')
    kept = found.get("retention_days")
    text = "keeps all versions" if kept is None else f"keeps older versions for {count_text(int(kept), 'day')}"
    session.output.result({"dataset_id": dataset, "retention_days": kept}, f"{dataset} {text}.")


class _Progress:
    """Draws a push: bytes come through the bar, files and confirmations beside it."""

    def __init__(self, bar: TransferBar) -> None:
        self._bar = bar

    def advance(self, count: int) -> None:
        self._bar.advance(count)

    def stored(self, files: int) -> None:
        self._bar.files(f"{count_text(files, 'file')} sent")

    def confirming(self, checked: int, files: int) -> None:
        self._bar.files(f"confirmed {checked:,} of {files:,}")
