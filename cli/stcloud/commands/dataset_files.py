"""``stcloud datasets diff`` and ``download``: the files of versions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from stcloud.commands.dataset_checks import is_folder
from stcloud.commands.datasets import DatasetId, VersionId, app
from stcloud.dataset_api import DatasetApi
from stcloud.download import Downloader, Fetched
from stcloud.errors import ApiError, Interrupted, TransferError
from stcloud.hashing import HashCache, as_done, hash_files
from stcloud.models import Download
from stcloud.render import count_text, size_text
from stcloud.scan import scan
from stcloud.session import Session, command
from stcloud.versions import Change, compare, fetch_manifest, latest, read_manifest

PAGE = 200
MAX_PAGES = 10_000
_MARKS = {"added": "+", "removed": "-", "changed": "~", "renamed": ">"}


@command(app, "diff")
def diff(
    session: Session,
    dataset: DatasetId,
    base: Annotated[
        str | None,
        typer.Argument(metavar="[BASE]", help="A version, two as A..B, or a folder: ./photos. [default: the previous]"),
    ] = None,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="[default: the latest]")] = None,
) -> None:
    """Show what differs between two versions; or, with a folder, what a push of it would change.

    A line for each file: + added, - removed, ~ changed, > renamed, with its size.
    """
    if base is not None and is_folder(base):
        _diff_folder(session, dataset, Path(base).expanduser(), version)
        return
    if base is not None and version is None and ".." in base:
        base, _, version = base.partition("..")
    version = version or latest(session.datasets.dataset(dataset))
    first = session.datasets.diff(dataset, version, base, cursor=None, limit=PAGE)
    totals = _Totals()
    changes = totals.counting(_changes(session.datasets, dataset, version, first))
    _print(session, {"dataset_id": dataset, "base": first["base"], "version": version}, changes)
    session.output.note(f"{first['base'] or 'nothing'}..{version}: {totals}.")


@command(app, "download")
def download(
    session: Session,
    dataset: DatasetId,
    version: VersionId = None,
    to: Annotated[Path | None, typer.Option(help="Where to. [default: ./DATASET]", metavar="FOLDER")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace other files that are in the way.")] = False,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, max=32, metavar="N", help="Parallel downloads.")
    ] = 8,
) -> None:
    """Fetch the files of a version, each checked by its SHA-256.

    An interrupted download goes on where it stopped. Files that are there already are not fetched again.
    """
    api = session.datasets
    version_id = version or latest(api.dataset(dataset))
    found = api.version(dataset, version_id)
    root = (to or Path(dataset)).absolute()
    pages = _Pages(api, dataset, version_id)
    fresh = there = 0
    with session.storage(concurrency) as http, session.output.transfer("Fetching", found["bytes"]) as bar:
        downloader = Downloader(
            http,
            root,
            retry=session.runtime.retry,
            renew=pages.renewed,
            overwrite=force,
            replace="--force",
            on_bytes=bar.advance,
        )
        with ThreadPoolExecutor(concurrency, thread_name_prefix="download") as pool:
            try:
                for file, future in as_done(pool, downloader.fetch, pages, ahead=2 * concurrency):
                    done: Fetched = future.result()
                    pages.done(file)
                    fresh, there = fresh + done.fresh, there + (not done.fresh)
                    bar.files(f"{fresh + there:,} of {found['files']:,} files")
            except BaseException as error:
                pool.shutdown(wait=True, cancel_futures=True)
                if isinstance(error, KeyboardInterrupt):
                    raise Interrupted("Stopped.", advice="Run the same command again: it goes on there.") from None
                raise
    if fresh + there != found["files"]:
        raise TransferError(f"The server named {fresh + there:,} of {found['files']:,} files.", code="incomplete")
    session.output.note(
        f"{count_text(fresh, 'file')} fetched, {there:,} there already, {size_text(found['bytes'])}; "
        "every checksum is confirmed."
    )
    data = {"dataset_id": dataset, "version_id": version_id, "folder": str(root), "fetched": fresh, "present": there}
    session.output.result(data, str(root))


class _Pages:
    """The files of a version with their URLs, page by page; knows how to ask for one of them again."""

    def __init__(self, api: DatasetApi, dataset: str, version: str) -> None:
        self._api, self._dataset, self._version = api, dataset, version
        self._before: dict[str, str | None] = {}

    def __iter__(self) -> Iterator[Download]:
        after: str | None = None
        for _ in range(MAX_PAGES):
            files, following = self._api.downloads(self._dataset, self._version, after=after, limit=PAGE)
            for file in files:
                self._before[file["path"]] = after
                yield file
                after = file["path"]
            if following is None:
                return
            after = following
        raise _endless()

    def done(self, file: Download) -> None:
        self._before.pop(file["path"], None)

    def renewed(self, path: str) -> str:
        files, _ = self._api.downloads(self._dataset, self._version, after=self._before.get(path), limit=1)
        for file in files:
            if file["path"] == path:
                return file["url"]
        raise TransferError(f"'{path}' is not there any more.", code="gone")


class _Totals:
    """How many files and bytes each kind of change is about."""

    def __init__(self) -> None:
        self._files: dict[str, int] = {}
        self.to_send = 0

    def counting(self, changes: Iterable[Change]) -> Iterator[Change]:
        for change in changes:
            self._files[change.change] = self._files.get(change.change, 0) + 1
            self.to_send += change.to_send
            yield change

    def __str__(self) -> str:
        if not self._files:
            return "no difference"
        said = [f"{self._files[kind]:,} {kind}" for kind in _MARKS if kind in self._files]
        return f"{', '.join(said)}; {size_text(self.to_send)} new"


def _diff_folder(session: Session, dataset: str, folder: Path, version: str | None) -> None:
    api = session.datasets
    version_id = version or latest(api.dataset(dataset))
    url = api.version(dataset, version_id)["manifest_url"]
    totals = _Totals()
    with scan(folder) as found, session.storage(1) as http, closing(fetch_manifest(http, url)) as manifest:
        with session.output.transfer("Reading", found.bytes) as bar:
            hash_files(found, HashCache.of(session.runtime.cache_dir, folder), on_bytes=bar.advance)
        changes = totals.counting(compare(lambda: read_manifest(manifest), found.files()))
        _print(session, {"dataset_id": dataset, "base": version_id, "folder": str(folder)}, changes)
    session.output.note(f"{version_id}..{folder}: {totals}.")


def _changes(api: DatasetApi, dataset: str, version: str, answer: dict[str, Any]) -> Iterator[Change]:
    """Those of the first page ``answer`` and of the pages behind it."""
    for _ in range(MAX_PAGES):
        for entry in answer["files"]:
            yield Change(
                entry["change"], entry["path"], entry["size"], entry["base_size"], entry.get("base_path") or None
            )
        if answer["next"] is None:
            return
        answer = api.diff(dataset, version, answer["base"], cursor=answer["next"], limit=PAGE)
    raise _endless()


def _print(session: Session, head: dict[str, Any], changes: Iterable[Change]) -> None:
    if session.output.json_mode:
        session.output.streamed(head, files=(change.as_dict() for change in changes))
    else:
        session.output.lines(_line(change) for change in changes)


def _line(change: Change) -> str:
    size = change.base_size if change.size is None else change.size
    was = f" (was {change.base_path})" if change.base_path else ""
    if change.copy_of:
        was = f" (a copy of {change.copy_of})"
    return f"{_MARKS.get(change.change, change.change)} {change.path}{was}\t{size_text(size or 0)}"


def _endless() -> ApiError:
    return ApiError(200, "Endless list", "The server's list has no end.", code="endless_list")
