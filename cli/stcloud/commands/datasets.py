"""``stcloud datasets …``"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from stcloud import datasets as pushing
from stcloud.hashing import HashCache, hash_files
from stcloud.helptext import Group
from stcloud.models import Version
from stcloud.render import MAX_SHOWN, TransferBar, count_text, size_text, some, time_text
from stcloud.scan import Scan, scan
from stcloud.session import Session, command
from stcloud.upload import Uploader

app = typer.Typer(cls=Group, no_args_is_help=True, help="Folders of images and captions, kept as immutable versions.")

DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="A dataset's id.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")]


@command(app, "push")
def push(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder; subfolders are included.")],
    dataset_id: Annotated[
        str | None, typer.Option("--id", help="The dataset's id. [default: the folder's name]", metavar="NAME")
    ] = None,
    yes: Yes = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be sent; contact nobody.")] = False,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=32, metavar="N", help="Parallel uploads.")
    ] = 8,
) -> None:
    """Upload a folder as a version of a dataset. An interrupted push goes on where it stopped, and an unchanged folder
    sends nothing; a changed one becomes a new version, whose files are all sent.

    Empty images and images that are none would end the training and are left out. Files that may hold secrets (.env,
    keys, credentials), hidden and system files, and links that leave the folder stay on this computer.
    """
    output = session.output
    name = pushing.check_name(dataset_id, "dataset") if dataset_id else pushing.dataset_id_of(folder)
    found = scan(folder)
    _describe(session, found, name)
    if dry_run:
        output.result({"dry_run": True, "dataset_id": name, **_scan_json(found, listing=True)})
        return
    session.confirm(f"Upload to {session.url}?", yes=yes, needs_yes=False)
    with output.transfer("Reading", found.bytes) as bar:
        cache = HashCache.of(session.runtime.cache_dir, folder)
        hashes = hash_files(found.files, cache, on_bytes=bar.advance)
    version = pushing.start(session.api, name, folder, pushing.manifest_of(found, hashes))
    resume = f"stcloud datasets push {shlex.quote(str(folder))} --id {name}"
    with session.storage(concurrency) as http, output.transfer("Uploading", found.bytes) as bar:
        progress = _Progress(bar)
        uploader = Uploader(
            http,
            {f.path: f.source for f in found.files},
            concurrency=concurrency,
            retry=session.runtime.retry,
            on_bytes=bar.advance,
            on_file=progress.stored,
        )
        done = pushing.fill(session.api, version, uploader, progress, resume=resume)
    data = {**done.version, "unchanged": done.unchanged, "uploaded_files": done.uploaded_files, **_scan_json(found)}
    if done.unchanged:
        output.note("Nothing to send: the server has exactly these files.")
    else:
        output.note(f"Sent {count_text(done.uploaded_files, 'file')}; every checksum is confirmed.")
    output.result(data, f"{done.version['dataset_id']} {done.version['version_id']}")


@command(app, "list")
def list_datasets(session: Session) -> None:
    """List datasets."""
    found = list(session.api.datasets())
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


@command(app, "show")
def show(session: Session, dataset: DatasetId) -> None:
    """Show a dataset with its versions, newest first."""
    found = session.api.dataset(dataset)
    if not session.output.json_mode:
        session.output.note(f"{found['dataset_id']}, pushed from {found['source_path'] or '–'}")
    versions: list[Version] = found["versions"]
    rows = [
        [
            v["version_id"],
            v["status"],
            f"{v['files']:,}",
            size_text(v["bytes"]),
            time_text(v["created_at"]),
            "latest" if v["version_id"] == found["latest_version"] else "",
        ]
        for v in versions
    ]
    session.output.table(("VERSION", "STATUS", "FILES", "SIZE", "CREATED", ""), rows, data=found, empty="No versions.")


@command(app, "delete")
def delete(session: Session, dataset: DatasetId, yes: Yes = False) -> None:
    """Delete a dataset with all versions and files."""
    session.confirm(f"Delete {dataset} with all its versions and files?", yes=yes, needs_yes=True)
    done = session.api.delete_dataset(dataset)
    session.output.result(done or {"success": True, "dataset_id": dataset}, f"Deleted {dataset}.")


class _Progress:
    """Draws a push: bytes come through the bar, files and confirmations beside it."""

    def __init__(self, bar: TransferBar) -> None:
        self._bar = bar
        self._stored = 0

    def uploading(self, files: int) -> None:
        self._bar.files(f"0 of {files:,} files")

    def stored(self) -> None:
        self._stored += 1
        self._bar.files(f"{self._stored:,} files sent")

    def confirming(self, checked: int, files: int) -> None:
        self._bar.files(f"confirmed {checked:,} of {files:,}")


def _describe(session: Session, found: Scan, name: str) -> None:
    output = session.output
    output.note(
        f"{found.root}: {count_text(len(found.images), 'image')}, {count_text(len(found.captions), 'caption')}, "
        f"{count_text(len(found.files), 'file')} in all, {size_text(found.bytes)}. Goes to dataset '{name}'."
    )
    if found.excluded:
        output.note(f"Left out ({len(found.excluded):,}):")
        for entry in found.excluded[: 4 * MAX_SHOWN]:
            output.note(f"  {entry.path}: {entry.reason}")
        if len(found.excluded) > 4 * MAX_SHOWN:
            output.note(f"  and {len(found.excluded) - 4 * MAX_SHOWN:,} more (all of them: --dry-run --json)")
    unreadable = [e.path for e in found.excluded if e.reason.startswith("can't be read")]
    if unreadable:
        output.warn(f"{count_text(len(unreadable), 'entry', 'entries')} can't be read: {some(unreadable)}")
    if found.broken:
        output.warn(
            f"{count_text(len(found.broken), 'file')} left out that would end the training: {some(found.broken)}. "
            "Replace or delete what is empty or not an image."
        )
    if not found.images and not found.audio:
        output.warn("There are no images, videos or audio among the files.")
    if found.without_caption:
        missing = found.without_caption
        output.warn(
            f"{count_text(len(missing), 'image')} without a .txt caption: {some(missing)}. With caption_strategy "
            '"textfile" this ends the training: give each a caption, or use "filename" or "instanceprompt".'
        )
    if found.empty_captions:
        output.warn(f"{count_text(len(found.empty_captions), 'caption')} without text: {some(found.empty_captions)}")
    if found.unknown:
        output.warn(
            f"{count_text(len(found.unknown), 'file')} of no kind the trainer knows (image, video, audio, .txt, "
            f"metadata): {some(found.unknown)}. They are sent all the same."
        )
    if found.without_image:
        output.warn(f"{count_text(len(found.without_image), 'caption')} without an image: {some(found.without_image)}")


def _scan_json(found: Scan, *, listing: bool = False) -> dict[str, Any]:
    data: dict[str, Any] = {
        "files": len(found.files),
        "bytes": found.bytes,
        "images": len(found.images),
        "captions": len(found.captions),
        "images_without_caption": found.without_caption,
        "captions_without_image": found.without_image,
        "empty_captions": found.empty_captions,
        "unknown_files": found.unknown,
        "excluded": [{"path": e.path, "reason": e.reason} for e in found.excluded],
    }
    if listing:
        data["paths"] = [f.path for f in found.files]
    return data
