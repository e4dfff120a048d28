"""Files of a version that go up in parts: what is there of them, what can be copied, and putting them together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from chalicelib.domain.datasets import PART_BYTES, DatasetVersion, ManifestFile
from chalicelib.domain.objects import MultipartGoneError, ObjectInfo, PartInfo, PartRefusedError, composite_of
from chalicelib.domain.ports import Ports
from chalicelib.errors import Conflict, FieldError, Unavailable

COPY_THREADS = 16
#: Unfinished uploads of one key that are looked at: several clients that began at the same moment.
MAX_UPLOADS = 20
#: Missing parts that one answer names.
MAX_NAMED = 1_000
MAX_TRIES = 3


@dataclass(frozen=True)
class LargeFile:
    """``missing`` part numbers still have to be sent into ``upload_id``; none when the file is whole. ``copied_bytes``
    were copied just now. ``unfinished``: time ran out before everything that can be copied was."""

    upload_id: str
    missing: Sequence[int]
    copied_bytes: int = 0
    unfinished: bool = False


class LargeFiles:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._store = ports.dataset_files

    def prepare(self, version: DatasetVersion, file: ManifestFile, source: str | None, until: datetime) -> LargeFile:
        """Copies what the owner has elsewhere, puts the file together when all parts are there, else says what is
        missing. Goes on where an earlier call, also of another client, ended."""
        key = version.prefix + file.path
        for _ in range(MAX_TRIES):
            try:
                return self._prepare(key, file, source, until)
            except MultipartGoneError:
                found = self._store.head(key)
                if found is not None and is_whole(file, found):
                    return LargeFile("", ())
            except PartRefusedError:
                continue  # a part was replaced at this moment
        raise Unavailable(f"'{file.path}' is being uploaded by several clients at once; try again.", retry_after=1)

    def _prepare(self, key: str, file: ManifestFile, source: str | None, until: datetime) -> LargeFile:
        upload_id = self._upload_of(key)
        there = self._good_parts(key, upload_id, file)
        copied, unfinished = 0, False
        if source is not None:
            copied, unfinished = self._copy(key, upload_id, file, source, there, until)
        missing = [n for n in range(1, len(file.part_sizes) + 1) if n not in there]
        if not missing:
            self._finish(key, upload_id, there)
        return LargeFile(upload_id, missing, copied, unfinished and bool(missing))

    def _upload_of(self, key: str) -> str:
        """The oldest unfinished upload, so that clients that begin at the same moment agree; a new one if none."""
        open_ones = self._open_ones(key)
        if open_ones:
            return open_ones[0]
        mine = self._store.start_multipart(key)
        agreed = self._open_ones(key)
        if not agreed or agreed[0] == mine:
            return mine
        self._store.abort_multipart(key, mine)
        return agreed[0]

    def _open_ones(self, key: str) -> list[str]:
        return [m.upload_id for m in self._store.multiparts(key, limit=MAX_UPLOADS) if m.key == key]

    def _good_parts(self, key: str, upload_id: str, file: ManifestFile) -> dict[int, PartInfo]:
        parts = self._store.list_parts(key, upload_id)
        return {part.number: part for part in parts if _is_good(file, part)}

    def _copy(
        self,
        key: str,
        upload_id: str,
        file: ManifestFile,
        source: str,
        there: dict[int, PartInfo],
        until: datetime,
    ) -> tuple[int, bool]:
        """Copies missing parts into ``there``. Returns the bytes copied, and whether there are more to copy."""
        sizes, copied = file.part_sizes, 0
        wanted = [n for n in range(1, len(sizes) + 1) if n not in there]

        def copy(number: int) -> PartInfo | None:
            start, length = (number - 1) * PART_BYTES, sizes[number - 1]
            return self._store.copy_part(source, key, upload_id, number, start=start, length=length)

        with ThreadPoolExecutor(COPY_THREADS) as pool:
            for at in range(0, len(wanted), COPY_THREADS):
                if at and self._ports.clock.now() > until:
                    return copied, True
                made = list(pool.map(copy, wanted[at : at + COPY_THREADS]))
                good = [part for part in made if part is not None and _is_good(file, part)]
                there.update({part.number: part for part in good})
                copied += sum(part.size for part in good)
                if len(good) < len(made):
                    break  # the source is gone, or not what it was: the rest is sent
        return copied, False

    def finish(self, version: DatasetVersion, file: ManifestFile) -> None:
        """Puts the parts together; no effect when that was done. Raises Conflict (``upload_incomplete``)."""
        key = version.prefix + file.path
        for _ in range(MAX_TRIES):
            found = self._store.head(key)
            if found is not None and is_whole(file, found):
                return
            open_ones = self._open_ones(key)
            best: Mapping[int, PartInfo] = {}
            for upload_id in open_ones:
                try:
                    there = self._good_parts(key, upload_id, file)
                    if len(there) == len(file.part_sizes):
                        self._finish(key, upload_id, there)
                        self._abort_all(key)
                        return
                except (MultipartGoneError, PartRefusedError):
                    break  # somebody else is at it: look again
                best = there if len(there) > len(best) else best
            else:
                raise _incomplete(file, best)
        raise Unavailable(f"'{file.path}' is being uploaded by several clients at once; try again.", retry_after=1)

    def _finish(self, key: str, upload_id: str, parts: Mapping[int, PartInfo]) -> None:
        self._store.finish_multipart(key, upload_id, [parts[number] for number in sorted(parts)])

    def _abort_all(self, key: str) -> None:
        """Of a file that is whole: nobody needs the other uploads any more."""
        for upload_id in self._open_ones(key):
            self._store.abort_multipart(key, upload_id)


def is_whole(file: ManifestFile, found: ObjectInfo) -> bool:
    """Whether the object has the file's size and checksum, whichever of the two S3 keeps."""
    if found.size != file.size:
        return False
    if found.sha256 is not None:
        return found.sha256 == file.sha256
    return file.parts is not None and found.composite_sha256 == composite_of(file.parts)


def _is_good(file: ManifestFile, part: PartInfo) -> bool:
    sizes = file.part_sizes
    if file.parts is None or not 1 <= part.number <= len(sizes):
        return False
    return (part.size, part.sha256) == (sizes[part.number - 1], file.parts[part.number - 1])


def _incomplete(file: ManifestFile, there: Mapping[int, PartInfo]) -> Conflict:
    missing = [n for n in range(1, len(file.part_sizes) + 1) if n not in there]
    verb = "is" if len(missing) == 1 else "are"
    return Conflict(
        f"{len(missing)} of {len(file.part_sizes)} parts of '{file.path}' {verb} missing. Ask for "
        "upload URLs again, upload what is missing, then finish again.",
        code="upload_incomplete",
        errors=[FieldError(file.path, f"part {n} is missing", "missing_part") for n in missing[:50]],
        extra={"missing_parts": missing[:MAX_NAMED]},
    )
