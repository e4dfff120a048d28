"""Pushing the files of a listing as a version: manifest, upload, confirmation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import httpx

from stcloud.dataset_api import DatasetApi
from stcloud.errors import Conflict, Interrupted, NetworkError, TransferError
from stcloud.hashing import PART_BYTES
from stcloud.listing import FoundFile, Listing
from stcloud.manifest import Manifest
from stcloud.models import Staged, Upload, UploadBatch, Version
from stcloud.render import count_text
from stcloud.retry import TRANSIENT, Retry, parse_retry_after
from stcloud.upload import FileChangedError, Piece, Uploader

T = TypeVar("T")
#: Passes over the missing files that bring nothing before it is given up. A pass renews expired URLs.
IDLE_PASSES = 2
#: More passes than any upload needs whose every pass stores something.
MAX_PASSES = 1000
MAX_BATCHES = 10_000
#: Confirming calls look at 1,000 files or so each.
MAX_CONFIRMS = 2000
#: URLs a batch asks for: so many that they are sent long before their URLs expire.
BATCH_BYTES = 2 * 1024**3
MIN_BATCH, FIRST_BATCH, MAX_BATCH = 10, 50, 500


class PushProgress(Protocol):
    """What a push tells while it works: bytes that are dealt with, files, confirmations."""

    def advance(self, count: int) -> None: ...

    def stored(self, files: int) -> None: ...

    def confirming(self, checked: int, files: int) -> None: ...


@dataclass
class Tally:
    """What became of the files: ``sent`` by this run, ``copied`` inside S3, ``present``: there from an earlier run;
    ``kept_bytes`` needed no sending."""

    sent: int = 0
    sent_bytes: int = 0
    copied: int = 0
    copied_bytes: int = 0
    present: int = 0
    kept_bytes: int = 0


@dataclass
class _Large:
    """A file whose parts are on their way: how many are not up yet, their bytes, whether more come in a later batch."""

    waiting: int = 0
    wanted: int = 0
    more: bool = False


@dataclass(frozen=True)
class PushResult:
    version: Version
    unchanged: bool
    tally: Tally


def start(
    api: DatasetApi, http: httpx.Client, retry: Retry, dataset_id: str, source_path: str, manifest: Manifest
) -> Version:
    """Creates (or finds) the version of this manifest; a large manifest is stored first."""
    content: dict[str, Any]
    if manifest.is_inline:
        content = {"files": manifest.lines()}
    else:
        staged = api.stage_manifest(dataset_id, manifest.size, manifest.sha256)
        _store(http, retry, staged, manifest)
        content = {"manifest_id": staged["manifest_id"]}
    return api.create_version(dataset_id, source_path, content)


class Push:
    """One push at work. ``resume`` is the command that goes on after an interruption."""

    def __init__(
        self,
        api: DatasetApi,
        http: httpx.Client,
        found: Listing,
        progress: PushProgress,
        *,
        concurrency: int,
        retry: Retry,
        resume: str,
    ) -> None:
        self._api, self._found, self._progress, self._resume = api, found, progress, resume
        self._uploader = Uploader(
            http, concurrency=concurrency, retry=retry, on_bytes=progress.advance, on_piece=self._piece_is_up
        )
        self._version: Version | None = None
        self._open: dict[str, _Large] = {}
        self._unfinished = self._whole_large = 0
        self._first_pass = True
        self.tally = Tally()

    def fill(self, version: Version) -> PushResult:
        """Uploads what is missing of ``version`` and confirms it, until it is ready.

        Raises Interrupted, TransferError, and what Uploader and the API raise.
        """
        if version["status"] == "ready":
            return PushResult(version, unchanged=True, tally=self.tally)
        self._version = version
        try:
            return PushResult(self._passes(version), unchanged=False, tally=self.tally)
        except KeyboardInterrupt:
            up = self._uploader.whole + self._whole_large
            stays = "is up and stays up" if up == 1 else "are up and stay up"
            raise Interrupted(
                f"Stopped. {count_text(up, 'file')} of this run {stays}.",
                advice=f"Go on with: {self._resume}",
            ) from None

    def _passes(self, version: Version) -> Version:
        idle = 0
        for _ in range(MAX_PASSES):
            self._open.clear()
            self._unfinished = 0
            copied = self.tally.copied
            done = self._uploader.run(self._pieces(version))
            self._first_pass = False
            moved = done.stored or self.tally.copied > copied
            for path in [path for path, large in self._open.items() if not large.waiting]:
                self._finish(path)
            if not done.refused and not self._unfinished:
                ready = self._confirm(version)
                if ready is not None:
                    return ready
            idle = 0 if moved else idle + 1
            if idle >= IDLE_PASSES:
                self._give_up(done.examples, done.refused, done.reason)
        raise TransferError(
            f"The files of {version['dataset_id']} still don't arrive completely after {MAX_PASSES} passes.",
            advice=f"Go on with: {self._resume}",
        )

    def _give_up(self, examples: list[str], refused: int, reason: str) -> None:
        if refused:
            more = f" and {refused - 1:,} more" if refused > 1 else ""
            raise TransferError(
                f"The storage refuses '{examples[0]}'{more}: {reason}.",
                advice="Check this computer's clock, then run the same command again.",
            )
        raise TransferError("The server goes on missing files that were sent.", advice=f"Go on with: {self._resume}")

    # --- one pass ---------------------------------------------------------------------------------------------
    def _pieces(self, version: Version) -> Iterator[Piece]:
        """What the server asks for. The next batch is fetched while this one is sent."""
        for after, batch in ahead(self._batches(version)):
            self._count(after, batch)
            for upload in batch["uploads"]:
                yield from self._pieces_of(upload)

    def _batches(self, version: Version) -> Iterator[tuple[str | None, UploadBatch]]:
        after: str | None = None
        limit = batch_limit(version["files"], version["bytes"])
        for number in range(MAX_BATCHES):
            # The first is small, so that sending begins at once; each further one is there before the last is sent.
            asked = min(limit, FIRST_BATCH * 2 ** min(number, 8))
            batch = self._api.uploads(version["dataset_id"], version["version_id"], after=after, limit=asked)
            yield after, batch
            after = batch["next"]
            if after is None:
                return
        raise TransferError("The server's list of uploads has no end.", code="endless_list")

    def _count(self, after: str | None, batch: UploadBatch) -> None:
        """Counts what needs no upload. A later pass sees again what an earlier one has sent."""
        copied, copied_bytes = batch.get("copied", 0), batch.get("copied_bytes", 0)
        self.tally.copied += copied
        self.tally.copied_bytes += copied_bytes
        kept = copied_bytes
        if self._first_pass:
            self.tally.present += max(0, batch["present"] - copied)
            size = self._found.bytes_between(after, batch["next"])
            kept = max(0, size - sum(u["size"] for u in batch["uploads"] if not u.get("more_parts")))
        self.tally.kept_bytes += kept
        self._progress.advance(kept)

    def _pieces_of(self, upload: Upload) -> Iterator[Piece]:
        file = self._found.file(upload["path"])
        if file is None or file.size != upload["size"]:
            raise TransferError(
                f"The server asks for '{upload['path']}', which is not part of this dataset.", code="unknown_file"
            )
        if "parts" not in upload:
            yield Piece(file.path, file.source, 0, file.size, file.size, upload["url"], upload["headers"])
            return
        _check_unchanged(file)
        large = self._open.setdefault(file.path, _Large())
        large.waiting += len(upload["parts"])
        large.wanted += sum(part["size"] for part in upload["parts"])
        large.more = upload.get("more_parts", False)
        if not large.more and self._first_pass:
            self.tally.kept_bytes += file.size - large.wanted
            self._progress.advance(file.size - large.wanted)
        for part in upload["parts"]:
            offset = (part["number"] - 1) * PART_BYTES
            yield Piece(
                file.path, file.source, offset, part["size"], file.size, part["url"], part["headers"], part["number"]
            )

    def _piece_is_up(self, piece: Piece) -> None:
        self.tally.sent_bytes += piece.size
        if piece.number:
            large = self._open[piece.path]
            large.waiting -= 1
            if large.waiting or large.more:
                return
            self._finish(piece.path)
        self.tally.sent += 1
        self._progress.stored(self.tally.sent)

    def _finish(self, path: str) -> None:
        version = self._version
        assert version is not None  # noqa: S101  (pieces exist in a pass alone)
        del self._open[path]
        try:
            self._api.finish_upload(version["dataset_id"], version["version_id"], path)
        except Conflict as conflict:
            # Parts that the server did not name, or that are gone: the next pass asks again.
            if conflict.code != "upload_incomplete":
                raise
            self._unfinished += 1
        else:
            self._whole_large += 1

    # --- the end ----------------------------------------------------------------------------------------------
    def _confirm(self, version: Version) -> Version | None:
        """The ready version, or None when files are missing again and another pass is due."""
        checked = -1
        for _ in range(MAX_CONFIRMS):
            try:
                now = self._api.complete(version["dataset_id"], version["version_id"])
            except Conflict as conflict:
                if conflict.code == "upload_incomplete" and all(e.code == "missing" for e in conflict.errors):
                    return None
                raise
            self._progress.confirming(now["checked"], now["files"])
            if now["status"] == "ready":
                return now
            if now["checked"] <= checked:
                break
            checked = now["checked"]
        raise TransferError(
            f"The server does not get on with confirming {version['dataset_id']}.", advice="Run the same command again."
        )


def batch_limit(files: int, size: int) -> int:
    """How many files to ask for at once."""
    average = min(size / max(1, files), PART_BYTES)
    return max(MIN_BATCH, min(MAX_BATCH, int(BATCH_BYTES / max(1.0, average))))


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; while one is used, the next is made in another thread."""
    end = object()
    stopped = threading.Event()

    def following() -> T | object:
        return end if stopped.is_set() else next(items, end)

    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        future = pool.submit(following)
        try:
            while (item := future.result()) is not end:
                future = pool.submit(following)
                yield item  # type: ignore[misc]
        finally:
            stopped.set()


def _check_unchanged(file: FoundFile) -> None:
    """A part in the middle would not show that the file has grown or shrunk."""
    try:
        same = file.source.stat().st_size == file.size
    except OSError:
        same = False
    if not same:
        raise FileChangedError(file.path)


def _store(http: httpx.Client, retry: Retry, staged: Staged, manifest: Manifest) -> None:
    """Puts the manifest to its URL. Raises NetworkError, TransferError."""
    headers = {**staged["headers"], "content-length": str(manifest.size)}
    for attempt in range(retry.attempts):
        last = attempt + 1 == retry.attempts
        try:
            response = http.put(staged["url"], content=manifest.chunks(), headers=headers)
        except httpx.TransportError as error:
            if last:
                raise NetworkError(
                    f"The list of files could not be uploaded: {error or type(error).__name__}.",
                    advice="Run the same command again.",
                ) from error
            retry.wait(attempt)
            continue
        if response.is_success:
            return
        if last or response.status_code not in TRANSIENT | {500}:
            raise TransferError(
                f"The storage refused the list of files (HTTP {response.status_code}).",
                advice="Run the same command again.",
            )
        retry.wait(attempt, parse_retry_after(response.headers.get("retry-after")))
