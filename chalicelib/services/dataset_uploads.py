"""Filling a version: what is in S3 is passed over, what the owner has elsewhere is copied, the rest gets URLs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chalicelib.domain.datasets import DatasetVersion, ManifestFile, VersionStatus
from chalicelib.domain.ports import Ports, PresignedPut
from chalicelib.errors import NotFound
from chalicelib.services.dataset_parts import LargeFiles
from chalicelib.services.dataset_sources import Content, CopySources
from chalicelib.services.manifests import Manifests, position

URL_LIFETIME = timedelta(hours=1)
#: One call looks and copies for about so long, then lets the client ask for the rest.
BUDGET = timedelta(seconds=9)
#: Files looked at in one listing, S3's page.
WINDOW = 1_000
#: Copies between two looks at the clock.
COPY_ROUND = 128
COPY_THREADS = 16
#: Separates path and part number in a cursor; no path holds it.
_MARK = "\n"


@dataclass(frozen=True)
class PartPut:
    number: int
    size: int
    put: PresignedPut


@dataclass(frozen=True)
class FileUpload:
    """Either ``put`` is there, or ``parts`` are. ``more_parts``: further parts come with the next batch."""

    file: ManifestFile
    put: PresignedPut | None = None
    parts: tuple[PartPut, ...] = ()
    more_parts: bool = False
    expires_at: datetime | None = None


@dataclass
class UploadBatch:
    """``present`` files are there, ``copied`` of them were copied just now, all ``copied_bytes`` in this call.
    ``next`` is None when there is nothing behind."""

    uploads: list[FileUpload] = field(default_factory=list)
    present: int = 0
    copied: int = 0
    copied_bytes: int = 0
    next: str | None = None


class DatasetUploads:
    def __init__(self, ports: Ports, manifests: Manifests) -> None:
        self._ports = ports
        self._manifests = manifests
        self._sources = CopySources(ports, manifests)
        self._large = LargeFiles(ports)

    def batch(self, version: DatasetVersion, *, after: str | None, limit: int) -> UploadBatch:
        """Up to ``limit`` presigned PUTs for files or parts behind ``after`` that are not in S3 yet, good for an hour.

        Each URL accepts exactly its content: the checksum is part of the signature. A batch may be empty while ``next``
        says that there is more: then time went into looking and copying. Raises NotFound.
        """
        if version.status is VersionStatus.READY:
            return UploadBatch(present=version.files)
        walk = _Walk(self._ports, self._manifests.of(version), version, limit)
        walk.begin(after)
        while walk.goes_on:
            window = walk.window()
            there = self._sizes(version, walk.at, window)
            for run in _runs(window, there):
                self._take(walk, run, there)
                if not walk.goes_on or walk.stopped:
                    break
        if walk.copied_keys and self._is_done_elsewhere(version, walk.copied_keys):
            return UploadBatch(present=version.files)
        return walk.result()

    def _take(self, walk: _Walk, run: Sequence[ManifestFile], there: Mapping[str, int]) -> None:
        if run[0].parts is not None and there.get(run[0].path) != run[0].size:
            self._take_large(walk, run[0])
        else:
            self._take_small(walk, run, there)

    def _take_small(self, walk: _Walk, run: Sequence[ManifestFile], there: Mapping[str, int]) -> None:
        missing = [f for f in run if there.get(f.path) != f.size]
        sources = self._sources_of(walk) if missing else {}
        to_send = 0
        for end, file in enumerate(run, 1):  # what comes behind the last URL of this batch need not be copied yet
            to_send += there.get(file.path) != file.size and _content(file) not in sources
            if to_send >= walk.room:
                run = run[:end]
                break
        wanted = [f for f in run if there.get(f.path) != f.size and _content(f) in sources]
        copies, looked_at = self._copy(walk, wanted, sources)
        for file in run:
            if there.get(file.path) == file.size:
                walk.pass_over(1)
            elif file.path in copies:
                walk.copied(file, walk.version.prefix + file.path)
            elif looked_at is not None and file.path == looked_at:
                walk.stopped = True  # not tried for want of time; it must not be sent if it can be copied
            else:
                walk.send(file)
            if walk.stopped or not walk.goes_on_in_run:
                return

    def _copy(
        self, walk: _Walk, wanted: Sequence[ManifestFile], sources: Mapping[Content, str]
    ) -> tuple[set[str], str | None]:
        """Paths that were copied, and the first one that was not tried."""
        store, prefix = self._ports.dataset_files, walk.version.prefix
        done: set[str] = set()

        def copy(file: ManifestFile) -> bool:
            return store.copy(sources[_content(file)], prefix + file.path, size=file.size, sha256=file.sha256)

        if not wanted:
            return done, None
        with ThreadPoolExecutor(COPY_THREADS) as pool:
            for at in range(0, len(wanted), COPY_ROUND):
                if at and walk.is_late:
                    return done, wanted[at].path
                batch = wanted[at : at + COPY_ROUND]
                done |= {f.path for f, copied in zip(batch, pool.map(copy, batch), strict=True) if copied}
        return done, None

    def _take_large(self, walk: _Walk, file: ManifestFile) -> None:
        source = self._sources_of(walk).get(_content(file))
        state = self._large.prepare(walk.version, file, source, walk.until)
        key = walk.version.prefix + file.path
        if not state.missing:
            walk.copied(file, key, state.copied_bytes) if state.copied_bytes else walk.pass_over(1)
            return
        walk.copied_bytes += state.copied_bytes
        if state.unfinished:
            walk.stopped = True
            return
        numbers = [n for n in state.missing if n > walk.behind_part]
        sizes, parts = file.part_sizes, file.parts or ()
        puts = [
            PartPut(
                n,
                sizes[n - 1],
                self._ports.dataset_files.presign_part(
                    key,
                    state.upload_id,
                    n,
                    size=sizes[n - 1],
                    sha256=parts[n - 1],
                    now=walk.now,
                    expires=URL_LIFETIME,
                ),
            )
            for n in numbers[: walk.room]
        ]
        walk.send_parts(file, puts, more=len(numbers) > len(puts))

    def _sources_of(self, walk: _Walk) -> Mapping[Content, str]:
        if walk.sources is None:
            walk.sources = self._sources.of(walk.version)
        return walk.sources

    def _sizes(self, version: DatasetVersion, at: int, window: Sequence[ManifestFile]) -> dict[str, int]:
        """What is in S3 between the first and the last file of the window: no more keys than it has files."""
        files = self._manifests.of(version)
        start = version.prefix + files[at - 1].path if at else None
        last = (version.prefix + window[-1].path).encode()
        found: dict[str, int] = {}
        for info in self._ports.dataset_files.list(version.prefix, start_after=start, limit=len(window)):
            if info.key.encode() > last:
                break
            found[info.key[len(version.prefix) :]] = info.size
        return found

    def _is_done_elsewhere(self, version: DatasetVersion, copied: Sequence[str]) -> bool:
        """Whether an archive with the same files has become this version meanwhile. What was copied to a place that is
        the version's no more is removed: a deletion that went on meanwhile has not seen it. Raises NotFound."""
        current = self._ports.datasets.get_version(version.owner, version.dataset_id, version.version_id)
        if current is not None and current.status is not VersionStatus.DELETING and current.prefix == version.prefix:
            return False
        self._ports.dataset_files.delete(copied)
        if current is not None and current.status is VersionStatus.READY:
            return True
        raise NotFound(f"Version {version.version_id} was deleted meanwhile.", code="version_not_found")


class _Walk:
    """One call's way through the files of a version."""

    def __init__(self, ports: Ports, files: Sequence[ManifestFile], version: DatasetVersion, limit: int) -> None:
        self._ports = ports
        self._files = files
        self.version = version
        self.now = ports.clock.now()
        self.until = self.now + BUDGET
        self.room = limit
        self.at = 0
        self.behind_part = 0
        self.stopped = False
        self.sources: Mapping[Content, str] | None = None
        self.copied_keys: list[str] = []
        self.copied_bytes = 0
        self._presign = ports.dataset_files.presign_put
        self._batch = UploadBatch()
        self._next_part: int | None = None

    def begin(self, after: str | None) -> None:
        if after is None:
            return
        path, mark, number = after.partition(_MARK)
        self.at = position(self._files, path, behind=not mark)
        in_file = self.at < len(self._files) and self._files[self.at].path == path
        self.behind_part = int(number) if mark and in_file and number.isascii() and number.isdigit() else 0

    @property
    def is_late(self) -> bool:
        return self._ports.clock.now() > self.until

    @property
    def goes_on_in_run(self) -> bool:
        return self.at < len(self._files) and self.room > 0 and self._next_part is None

    @property
    def goes_on(self) -> bool:
        return self.goes_on_in_run and not self.stopped and not self.is_late

    def window(self) -> Sequence[ManifestFile]:
        return self._files[self.at : self.at + WINDOW]

    def pass_over(self, count: int) -> None:
        self._batch.present += count
        self._step()

    def copied(self, file: ManifestFile, key: str, size: int | None = None) -> None:
        self._batch.copied += 1
        self._batch.present += 1
        self.copied_bytes += file.size if size is None else size
        self.copied_keys.append(key)
        self._step()

    def send(self, file: ManifestFile) -> None:
        key = self.version.prefix + file.path
        put = self._presign(key, size=file.size, sha256=file.sha256, now=self.now, expires=URL_LIFETIME)
        self._batch.uploads.append(FileUpload(file, put=put, expires_at=put.expires_at))
        self.room -= 1
        self._step()

    def send_parts(self, file: ManifestFile, puts: Sequence[PartPut], *, more: bool) -> None:
        if puts:
            expires_at = puts[0].put.expires_at
            self._batch.uploads.append(FileUpload(file, parts=tuple(puts), more_parts=more, expires_at=expires_at))
            self.room -= len(puts)
        if more:
            self._next_part = puts[-1].number
        else:
            self._step()

    def _step(self) -> None:
        self.at += 1
        self.behind_part = 0

    def result(self) -> UploadBatch:
        self._batch.copied_bytes = self.copied_bytes
        self._batch.next = self._cursor()
        return self._batch

    def _cursor(self) -> str | None:
        if self.at >= len(self._files):
            return None
        here = self._files[self.at].path
        if self._next_part is not None:
            return f"{here}{_MARK}{self._next_part}"
        if self.behind_part:
            return f"{here}{_MARK}{self.behind_part}"
        return self._files[self.at - 1].path if self.at else f"{here}{_MARK}0"


def _content(file: ManifestFile) -> Content:
    return file.sha256, file.size


def _runs(window: Sequence[ManifestFile], there: Mapping[str, int]) -> list[Sequence[ManifestFile]]:
    """Files in order, in pieces: each missing large file alone, what is in between together."""
    runs: list[list[ManifestFile]] = [[]]
    for file in window:
        if file.parts is not None and there.get(file.path) != file.size:
            runs += [[file], []]
        else:
            runs[-1].append(file)
    return [run for run in runs if run]
