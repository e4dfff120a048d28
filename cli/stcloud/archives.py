"""Pushing a zip or tar as it is: one upload in parts, unpacked on the server's side."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stcloud.consent import consent
from stcloud.dataset_api import DatasetApi
from stcloud.datasets import source_path_of
from stcloud.describing import note_source
from stcloud.errors import Conflict, Interrupted, LocalError, NotFound, TransferError, UsageError
from stcloud.hashing import hashes_of
from stcloud.packed_check import check_archive, list_archive
from stcloud.render import MAX_SHOWN, count_text, size_text
from stcloud.session import Session
from stcloud.upload import Piece, Uploader

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
#: Part URLs asked for at once.
PAGE = 100
MAX_PAGES = 1000
IDLE_PASSES = 2
MAX_PASSES = 100
#: Seconds between looks at an unpacking, and how long a command looks.
LOOK_SECONDS = 2.0
MAX_LOOKS = 3600
#: A look through a larger archive takes a while.
SLOW_BYTES = 200_000_000
#: The server compares the SHA-256 of archives up to this size.
MAX_HASHED_BYTES = 20 * 1024**3


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def stem_of(path: Path) -> Path:
    """The path without the archive's suffix, of which a dataset's name is made."""
    name = path.name.lower()
    suffix = max((s for s in SUFFIXES if name.endswith(s)), key=len, default="")
    return path.with_name(path.name[: len(path.name) - len(suffix)] or path.name)


def push_archive(session: Session, file: Path, name: str, *, yes: bool, listing: bool, concurrency: int) -> None:
    """Uploads ``file`` and waits until it is unpacked. Raises what the API raises, UsageError, TransferError."""
    output = session.output
    size = file.stat().st_size
    if size == 0:
        raise UsageError(f"'{file}' is empty.")
    output.note(
        f"{file}: {size_text(size)}. Goes to dataset '{name}'. It leaves this computer whole, with all that is in it; "
        "what is left out is left out on the server's side, where it is unpacked."
    )
    if listing:
        list_archive(session, file, name)
        return
    if size > SLOW_BYTES:
        output.note("Looking through it …")
    check_archive(session, file)
    note_source(session, name, source_path_of(file))
    consent(session, f"Upload {file.name}, whole, to {session.url}?", yes=yes)
    with output.transfer("Reading", size) as bar:
        sha256 = _hashed(file, bar.advance)
    body = {"filename": file.name, "size": size, "source_path": source_path_of(file)}
    if size <= MAX_HASHED_BYTES:
        body["sha256"] = sha256
    memory = Memory.of(session.runtime.cache_dir, session.url, name, sha256, size)
    upload = _resumed(session.datasets, name, memory) or _created(session.datasets, name, body, memory)
    resume = f"stcloud datasets push {shlex.quote(str(file))} --id {name}"
    with session.storage(concurrency) as http, output.transfer("Uploading", size) as bar:
        uploader = Uploader(http, concurrency=concurrency, retry=session.runtime.retry, on_bytes=bar.advance)
        _upload(session.datasets, uploader, name, upload, file, resume=resume, advance=bar.advance)
    memory.forget()
    output.note("Unpacking …")
    _tell(session, name, _unpacked(session, name, upload.archive_id))


@dataclass(frozen=True)
class Upload:
    archive_id: str
    part_size: int


class Memory:
    """Which upload an archive's earlier push began, so that a broken-off one goes on: a file in the cache folder, by
    server, dataset and content. Only an aid: when it can't be read or written, all is sent again."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @classmethod
    def of(cls, cache_dir: Path, url: str, name: str, sha256: str, size: int) -> Memory:
        key = hashlib.sha256(json.dumps([url, name, sha256, size]).encode()).hexdigest()[:24]
        return cls(cache_dir / "archives" / f"{key}.json")

    def load(self) -> Upload | None:
        try:
            data = json.loads(self._file.read_bytes())
            return Upload(str(data["archive_id"]), int(data["part_size"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, upload: Upload) -> None:
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.write_text(json.dumps(asdict(upload)), encoding="utf-8")

    def forget(self) -> None:
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def _resumed(api: DatasetApi, name: str, memory: Memory) -> Upload | None:
    upload = memory.load()
    if upload is None or upload.part_size < 1:
        return None
    try:
        status = api.archive(name, upload.archive_id)["status"]
    except NotFound:
        return None
    return upload if status == "uploading" else None


def _created(api: DatasetApi, name: str, body: Mapping[str, Any], memory: Memory) -> Upload:
    record = api.create_archive(name, body)
    upload = Upload(record["archive_id"], int(record["part_size"]))
    memory.save(upload)
    return upload


def _hashed(file: Path, advance: Callable[[int], None]) -> str:
    try:
        return hashes_of(file, None, advance).sha256
    except OSError as error:
        raise LocalError(f"'{file}' can't be read: {error.strerror}.") from error


def _upload(
    api: DatasetApi,
    uploader: Uploader,
    name: str,
    upload: Upload,
    file: Path,
    *,
    resume: str,
    advance: Callable[[int], None],
) -> None:
    """Sends the parts that are not there, in passes (a later one renews URLs), and says that they are all there."""
    size = file.stat().st_size
    idle, told = 0, False
    try:
        for _ in range(MAX_PASSES):
            pieces = list(_pieces(api, name, upload, file, size))
            if not told:
                advance(size - sum(piece.size for piece in pieces))
                told = True
            done = uploader.run(pieces)
            if not done.refused:
                try:
                    api.complete_archive(name, upload.archive_id)
                except Conflict as conflict:
                    if conflict.code != "upload_incomplete":
                        raise
                else:
                    return
            idle = 0 if done.stored else idle + 1
            if idle >= IDLE_PASSES:
                break
    except KeyboardInterrupt:
        raise Interrupted("Stopped. What is up stays up.", advice=f"Go on with: {resume}") from None
    raise TransferError(f"'{file}' does not arrive completely.", advice=f"Go on with: {resume}")


def _pieces(api: DatasetApi, name: str, upload: Upload, file: Path, size: int) -> Iterator[Piece]:
    after = 0
    for _ in range(MAX_PAGES):
        page = api.archive_parts(name, upload.archive_id, after=after, limit=PAGE)
        for part in page["parts"]:
            offset = (part["number"] - 1) * upload.part_size
            headers = part.get("headers") or {}
            yield Piece(file.name, file, offset, part["size"], size, part["url"], headers, part["number"])
        if page["next"] is None:
            return
        after = page["next"]
    raise TransferError("The server's list of parts has no end.", code="endless_list")


def _unpacked(session: Session, name: str, archive_id: str) -> dict[str, Any]:
    """The archive's record when it is over. Raises TransferError when it takes too long."""
    for _ in range(MAX_LOOKS):
        record = session.datasets.archive(name, archive_id)
        if record["status"] in {"ready", "failed"}:
            return record
        session.runtime.sleep(LOOK_SECONDS)
    raise TransferError(
        f"'{name}' is still being unpacked.", advice=f"Look later: stcloud datasets show {name}", code="not_finished"
    )


def _tell(session: Session, name: str, record: dict[str, Any]) -> None:
    report = record.get("report") or {}
    left_out = report.get("left_out") or []
    total = sum((report.get("left_out_counts") or {}).values()) or len(left_out)
    if left_out:
        session.output.note(f"Left out ({total:,}):")
        for entry in left_out[: 4 * MAX_SHOWN]:
            session.output.note(f"  {entry['path']}: {entry['reason']}")
        if total > 4 * MAX_SHOWN:
            session.output.note(f"  and {total - 4 * MAX_SHOWN:,} more (the first 1,000: --json)")
    for note in report.get("notes") or []:
        session.output.note(str(note))
    if record["status"] == "failed":
        failure = record.get("failure") or {}
        raise TransferError(
            f"The archive was not taken: {failure.get('message') or 'it can not be unpacked.'}",
            advice=failure.get("advice") or "Push the unpacked folder: stcloud datasets push FOLDER",
            code=str(failure.get("code") or "archive_refused"),
        )
    taken = report.get("taken") or {}
    if taken:
        session.output.note(f"Took {count_text(taken['files'], 'file')} ({size_text(taken['bytes'])}).")
    session.output.result(record, f"{name} {record.get('version_id')}")
