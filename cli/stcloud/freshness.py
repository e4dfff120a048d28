"""Whether folders that a dataloader names have changed since they were pushed: a job takes what was pushed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from stcloud.datasets import NAME
from stcloud.errors import ApiError, NotFound, StcloudError
from stcloud.hashing import HashCache, sha256_of
from stcloud.listing import FoundFile
from stcloud.render import count_text
from stcloud.scan import scan
from stcloud.session import Session
from stcloud.versions import Known, fetch_manifest, pairs, read_manifest

#: Bytes that a look at one folder reads.
MAX_READ = 2_000_000_000


@dataclass(frozen=True)
class _Pushed:
    dataset_id: str
    manifest_url: str
    at_ns: int


def tell_changed(session: Session, dataloader: Sequence[Mapping[str, Any]]) -> None:
    """Warns of each folder here whose files are not those of the version that was pushed from it.

    Only an aid: what can't be found out is not told. Raises NetworkError when the server can't be reached.
    """
    told: set[str] = set()
    for entry in dataloader:
        folder = entry.get("instance_data_dir")
        if entry.get("type", "local") != "local" or not isinstance(folder, str) or not folder or folder in told:
            continue
        told.add(folder)
        if not Path(folder).is_dir():
            continue
        pushed = _pushed(session, entry, os.path.abspath(folder))
        changed = _changed(session, pushed, Path(folder)) if pushed is not None else 0
        if pushed is not None and changed:
            session.output.warn(
                f"{count_text(changed, 'file')} of {folder} changed since the push, and jobs take what was pushed. "
                f"To send {'it' if changed == 1 else 'them'}: "
                f"stcloud datasets push {shlex.quote(folder)} --id {pushed.dataset_id}"
            )


def _pushed(session: Session, entry: Mapping[str, Any], folder: str) -> _Pushed | None:
    """The version that the server takes for the entry, if it was pushed from this very folder."""
    api = session.datasets
    try:
        dataset = None
        if entry.get("dataset_id") is not None:
            dataset = _dataset(session, entry["dataset_id"])
        else:
            dataset = _dataset(session, entry.get("id")) or next(
                (d for d in api.datasets() if d["source_path"] == folder), None
            )
        if dataset is None or dataset["source_path"] != folder or dataset["latest_version"] is None:
            return None
        version = api.version(str(dataset["dataset_id"]), str(dataset["latest_version"]))
        at = datetime.fromisoformat(version["created_at"]).timestamp()
    except (ApiError, ValueError):
        return None
    return _Pushed(str(dataset["dataset_id"]), version["manifest_url"], int(at * 1e9))


def _dataset(session: Session, name: object) -> dict[str, Any] | None:
    if not isinstance(name, str) or not NAME.match(name):
        return None
    try:
        found = session.datasets.dataset(name)
    except NotFound:
        return None
    return found if found["latest_version"] is not None else None


def _changed(session: Session, pushed: _Pushed, folder: Path) -> int:
    """How many files differ; 0 when that can't be found out. Reads only files that may have changed."""
    try:
        with (
            scan(folder) as found,
            session.storage(1) as http,
            closing(fetch_manifest(http, pushed.manifest_url)) as manifest,
            closing(HashCache.of(session.runtime.cache_dir, folder)) as cache,
        ):
            comparison = _Comparison(cache, pushed.at_ns)
            return sum(not comparison.same(was, now) for was, now in pairs(read_manifest(manifest), found.files()))
    except (StcloudError, OSError):
        return 0


class _Comparison:
    """Reads what may have changed since the push, MAX_READ bytes in all; what is beyond counts as unchanged."""

    def __init__(self, cache: HashCache, pushed_ns: int) -> None:
        self._cache, self._pushed_ns, self._left = cache, pushed_ns, MAX_READ

    def same(self, was: Known | None, now: FoundFile | None) -> bool:
        """Raises OSError."""
        if was is None or now is None or was.size != now.size:
            return False
        status = now.source.stat()
        known = self._cache.get(now.path, status)
        if known is not None:
            return known.sha256 == was.sha256
        if max(status.st_mtime_ns, status.st_ctime_ns) <= self._pushed_ns or now.size > self._left:
            return True
        self._left -= now.size
        return sha256_of(now.source) == was.sha256
