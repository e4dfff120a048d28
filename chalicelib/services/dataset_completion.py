"""Confirming that a version is complete."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

from chalicelib.domain.datasets import (
    Dataset,
    DatasetVersion,
    ManifestFile,
    VersionStatus,
)
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.errors import Conflict, FieldError, NotFound
from chalicelib.services import inspection
from chalicelib.services.dataset_parts import is_whole
from chalicelib.services.dataset_records import change_dataset, repoint
from chalicelib.services.manifests import MAX_LISTED, Manifests

#: Files of one listing, and files that one call confirms at most.
PAGE = 1_000
MAX_CONFIRMED = 20_000
#: No further page is begun after this, so that a call ends well within API Gateway's 29 seconds.
BUDGET = timedelta(seconds=10)
#: Of each page, so many files are asked for their checksum; all files that went up in parts are.
SAMPLE = 64
THREADS = 16


class DatasetCompletion:
    """A version is READY when all files are there.

    The proof of each file's content was made when it was written: S3 took nothing but the content whose SHA-256 was
    signed (or copied what has it, or put together parts that have theirs), and no other URL or role writes below a
    version's prefix. So a listing shows that a file is there with its size; checksums are read again of a sample, and
    of every file that was put together. Asking for each of 100,000 files would take a hundred times as many requests.
    """

    def __init__(self, ports: Ports, manifests: Manifests) -> None:
        self._ports = ports
        self._manifests = manifests

    def confirm(self, version: DatasetVersion) -> DatasetVersion:
        """Confirms the next files and remembers how far it came; READY when all are, and then inspected.

        Raises NotFound, Conflict (``upload_incomplete``, naming up to 50 files). What differs is deleted, so that it
        gets an upload URL again.
        """
        if version.status is VersionStatus.READY:
            return version
        files = self._manifests.of(version)
        until = self._ports.clock.now() + BUDGET
        checked = version.checked
        while checked < len(files) and checked - version.checked < MAX_CONFIRMED:
            if checked > version.checked and self._ports.clock.now() > until:
                break
            page = files[checked : checked + PAGE]
            problems = self._problems(version, files[checked - 1] if checked else None, page)
            if problems:
                raise _incomplete(problems)
            checked += len(page)
        return self._record(version, checked)

    def _problems(
        self, version: DatasetVersion, before: ManifestFile | None, page: Sequence[ManifestFile]
    ) -> list[FieldError]:
        store = self._ports.dataset_files
        start = version.prefix + before.path if before is not None else None
        there: dict[str, int] = {}
        last = (version.prefix + page[-1].path).encode()
        for info in store.list(version.prefix, start_after=start, limit=len(page)):
            if info.key.encode() > last:
                break
            there[info.key[len(version.prefix) :]] = info.size
        step = max(1, len(page) // SAMPLE)
        asked = [f for i, f in enumerate(page) if f.path in there and (f.parts is not None or i % step == 0)]
        with ThreadPoolExecutor(THREADS) as pool:
            heads = list(pool.map(lambda f: store.head(version.prefix + f.path), asked))
        sound = {f.path: found is not None and is_whole(f, found) for f, found in zip(asked, heads, strict=True)}
        missing = [f.path for f in page if f.path not in there]
        differ = [f.path for f in page if f.path in there and (there[f.path] != f.size or not sound.get(f.path, True))]
        store.delete(version.prefix + path for path in differ)
        problems = [FieldError(path, "is missing", "missing") for path in missing]
        return problems + [FieldError(p, "has other content than the manifest says", "differs") for p in differ]

    def _record(self, version: DatasetVersion, checked: int) -> DatasetVersion:
        now = self._ports.clock.now()
        done = checked >= version.files
        confirmed = version.changed(
            checked=checked,
            status=VersionStatus.READY if done else VersionStatus.UPLOADING,
            completed_at=now if done else None,
            touched_at=now,
            # In the same write: a job must never see a version that is ready and not to be inspected.
            inspection=inspection.asked(now) if done else None,
        )
        try:
            self._ports.datasets.update_version(confirmed)
        except StaleRecordError:
            # Another call of this kind came first, or a deletion. What it wrote is what is true.
            current = self._ports.datasets.get_version(version.owner, version.dataset_id, version.version_id)
            if current is None or current.status is VersionStatus.DELETING:
                raise NotFound(
                    f"Version {version.version_id} was deleted meanwhile.", code="version_not_found"
                ) from None
            return current
        if done:
            announce_ready(self._ports, confirmed)
        return confirmed


def announce_ready(ports: Ports, version: DatasetVersion) -> None:
    """Makes a version that has just become READY the latest of its dataset, and has it inspected."""
    now = ports.clock.now()

    def decide(dataset: Dataset | None) -> Dataset:
        if dataset is not None:
            return dataset.changed(now, latest_version=version.version_id)
        return Dataset(
            owner=version.owner,
            dataset_id=version.dataset_id,
            source_path=version.source_path,
            latest_version=version.version_id,
            created_at=now,
            updated_at=now,
        )

    change_dataset(ports, version.owner, version.dataset_id, decide)
    # It may have been deleted between the two writes.
    repoint(ports, version.owner, version.dataset_id)
    inspection.start(ports, version)


def _incomplete(problems: Sequence[FieldError]) -> Conflict:
    said = "1 file is missing or differs" if len(problems) == 1 else f"{len(problems)} files are missing or differ"
    return Conflict(
        f"{said} from the manifest. Ask for upload URLs again, upload what they name, then complete again.",
        code="upload_incomplete",
        errors=problems[:MAX_LISTED],
    )
