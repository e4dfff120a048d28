"""Pushing a folder as a dataset version: plan, manifest, upload, confirmation."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stcloud.api import Api
from stcloud.errors import Conflict, Interrupted, TransferError, UsageError
from stcloud.models import Version
from stcloud.scan import Scan
from stcloud.upload import Uploader

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
#: Lambda takes 6 MB a request, the manifest inside it as a JSON string.
MAX_MANIFEST_BYTES = 5_500_000
#: Passes over the missing files: expired URLs are renewed, files that vanished from the bucket are sent again.
MAX_PASSES = 5
#: Confirming calls look at 1,000 files each.
MAX_CONFIRMS = 100


class PushProgress(Protocol):
    """What a push tells while it works."""

    def uploading(self, files: int) -> None: ...

    def confirming(self, checked: int, files: int) -> None: ...


@dataclass(frozen=True)
class PushResult:
    version: Version
    unchanged: bool
    uploaded_files: int


def dataset_id_of(folder: Path) -> str:
    """A dataset id made from the folder's name. Raises UsageError when nothing usable is left of it."""
    name = unicodedata.normalize("NFKD", Path(os.path.abspath(folder)).name).encode("ascii", "ignore").decode()
    name = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", name)).strip("-._")[:100]
    if not NAME.match(name):
        raise UsageError(
            f"No dataset id can be made from the folder name '{folder.name}'.", advice="Give one with --id NAME."
        )
    return name


def check_name(name: str, what: str) -> str:
    """``name`` if it may name a dataset or config. Raises UsageError."""
    if not NAME.match(name) or ".." in name:
        raise UsageError(
            f"'{name}' can't be the name of a {what}.",
            advice="Use 1 to 100 letters, digits, '.', '_' and '-', beginning with a letter or digit, without '..'.",
        )
    return name


def manifest_of(found: Scan, hashes: Mapping[str, str]) -> list[dict[str, Any]]:
    """The manifest's lines. Raises UsageError when it would not fit into one request."""
    files = [{"path": f.path, "size": f.size, "sha256": hashes[f.path]} for f in found.files]
    size = len(json.dumps(json.dumps(files, ensure_ascii=False), ensure_ascii=False).encode())
    if size > MAX_MANIFEST_BYTES:
        raise UsageError(
            f"The list of {len(files):,} files is {size / 1e6:.1f} MB; {MAX_MANIFEST_BYTES / 1e6:.1f} MB fit.",
            advice="Use shorter paths, or split the folder into several datasets.",
        )
    return files


def source_path_of(folder: Path) -> str:
    """The path the dataset is found by in a dataloader: absolute, links not followed."""
    return os.path.abspath(folder)


def start(api: Api, dataset_id: str, folder: Path, manifest: list[dict[str, Any]]) -> Version:
    """Creates (or finds) the version of this manifest."""
    return api.create_version(dataset_id, source_path_of(folder), manifest)


def fill(api: Api, version: Version, uploader: Uploader, progress: PushProgress, *, resume: str) -> PushResult:
    """Uploads what is missing of ``version`` and confirms it, until it is ready.

    ``resume`` is the command that goes on after an interruption. Raises Interrupted, TransferError, and what
    Uploader and Api raise.
    """
    if version["status"] == "ready":
        return PushResult(version, unchanged=True, uploaded_files=0)
    dataset_id, version_id = version["dataset_id"], version["version_id"]
    progress.uploading(version["files"])
    try:
        for attempt in range(MAX_PASSES):
            done = uploader.run(api.uploads(dataset_id, version_id))
            if done.refused:
                if attempt and not done.stored:
                    raise TransferError(
                        f"The storage refuses '{done.refused[0]}' and {len(done.refused) - 1} more: {done.reason}.",
                        advice="Check this computer's clock, then run the same command again.",
                    )
                continue
            ready = _confirm(api, version, progress)
            if ready is not None:
                return PushResult(ready, unchanged=False, uploaded_files=uploader.stored)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped. {uploader.stored:,} files of this run are up and stay up.", advice=f"Go on with: {resume}"
        ) from None
    raise TransferError(
        f"The files of {dataset_id} still don't arrive completely after {MAX_PASSES} passes.",
        advice=f"Go on with: {resume}",
    )


def _confirm(api: Api, version: Version, progress: PushProgress) -> Version | None:
    """The ready version, or None when files are missing again and another pass is due."""
    checked = -1
    for _ in range(MAX_CONFIRMS):
        try:
            now = api.complete(version["dataset_id"], version["version_id"])
        except Conflict as conflict:
            if conflict.code == "upload_incomplete" and all(e.code == "missing" for e in conflict.errors):
                return None
            raise
        progress.confirming(now["checked"], now["files"])
        if now["status"] == "ready":
            return now
        if now["checked"] <= checked:
            break
        checked = now["checked"]
    raise TransferError(
        f"The server does not get on with confirming {version['dataset_id']}.", advice="Run the same command again."
    )
