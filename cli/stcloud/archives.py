"""Pushing a zip or tar as it is: one upload in parts, unpacked on the server's side."""

from __future__ import annotations

import shlex
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stcloud.consent import consent
from stcloud.dataset_api import DatasetApi
from stcloud.datasets import source_path_of
from stcloud.errors import ApiError, Conflict, Interrupted, LocalError, TransferError, UsageError
from stcloud.hashing import hashes_of
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


def is_archive(path: Path) -> bool:
    return path.name.lower().endswith(SUFFIXES)


def stem_of(path: Path) -> Path:
    """The path without the archive's suffix: where the folder that was packed would be."""
    name = path.name.lower()
    suffix = max((s for s in SUFFIXES if name.endswith(s)), key=len, default="")
    return path.with_name(path.name[: len(path.name) - len(suffix)] or path.name)


def push_archive(session: Session, file: Path, name: str, *, yes: bool, listing: bool, concurrency: int) -> None:
    """Uploads ``file`` and waits until it is unpacked. Raises what the API raises, UsageError, TransferError."""
    output = session.output
    size = file.stat().st_size
    if size == 0:
        raise UsageError(f"'{file}' is empty.")
    output.note(f"{file}: {size_text(size)}. Goes to dataset '{name}', as it is; it is unpacked on the server's side.")
    if listing:
        _list_entries(session, file, name)
        return
    consent(session, f"Upload to {session.url}?", yes=yes)
    with output.transfer("Reading", size) as bar:
        sha256 = _hashed(file, bar.advance)
    body = {"filename": file.name, "size": size, "sha256": sha256, "source_path": source_path_of(stem_of(file))}
    record = _find(session.datasets, name, body) or session.datasets.create_archive(name, body)
    resume = f"stcloud datasets push {shlex.quote(str(file))} --id {name}"
    if record["status"] == "uploading":
        with session.storage(concurrency) as http, output.transfer("Uploading", size) as bar:
            uploader = Uploader(http, concurrency=concurrency, retry=session.runtime.retry, on_bytes=bar.advance)
            record = _upload(session.datasets, uploader, name, record, file, resume=resume, advance=bar.advance)
    output.note("Unpacking …")
    done = _unpacked(session, name, record["archive_id"])
    _tell(session, name, done)


def _find(api: DatasetApi, name: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The same archive's upload of an earlier run that was broken off."""
    try:
        for record in api.archives(name):
            same = all(record.get(key) == body[key] for key in ("filename", "size", "sha256"))
            if same and record["status"] == "uploading":
                return record
    except ApiError as error:
        if error.status != 404:
            raise
    return None


def _hashed(file: Path, advance: Callable[[int], None]) -> str:
    try:
        return hashes_of(file, None, advance).sha256
    except OSError as error:
        raise LocalError(f"'{file}' can't be read: {error.strerror}.") from error


def _upload(
    api: DatasetApi,
    uploader: Uploader,
    name: str,
    record: Mapping[str, Any],
    file: Path,
    *,
    resume: str,
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Sends the parts that are not there, in passes (a later one renews URLs), and says that they are all there."""
    size, part_size = file.stat().st_size, int(record.get("part_size") or 0)
    idle, told = 0, False
    try:
        for _ in range(MAX_PASSES):
            pieces = list(_pieces(api, name, record["archive_id"], file, size, part_size))
            if not told:
                advance(size - sum(piece.size for piece in pieces))
                told = True
            done = uploader.run(pieces)
            if not done.refused:
                try:
                    return api.complete_archive(name, record["archive_id"])
                except Conflict as conflict:
                    if conflict.code != "upload_incomplete":
                        raise
            idle = 0 if done.stored else idle + 1
            if idle >= IDLE_PASSES:
                break
    except KeyboardInterrupt:
        raise Interrupted("Stopped. What is up stays up.", advice=f"Go on with: {resume}") from None
    raise TransferError(f"'{file}' does not arrive completely.", advice=f"Go on with: {resume}")


def _pieces(api: DatasetApi, name: str, archive_id: str, file: Path, size: int, part_size: int) -> Iterator[Piece]:
    after = 0
    for _ in range(MAX_PAGES):
        page = api.archive_parts(name, archive_id, after=after, limit=PAGE)
        for part in page["parts"]:
            offset = (part["number"] - 1) * int(page.get("part_size") or part_size)
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
    total = int(report.get("left_out_count") or len(left_out))
    if left_out:
        session.output.note(f"Left out ({total:,}):")
        for entry in left_out[: 4 * MAX_SHOWN]:
            session.output.note(f"  {entry.get('path')}: {entry.get('reason')}")
        if total > 4 * MAX_SHOWN:
            session.output.note(f"  and {total - 4 * MAX_SHOWN:,} more (--json shows more of them)")
    for note in report.get("notes") or []:
        session.output.note(str(note))
    if record["status"] == "failed":
        failure = record.get("failure") or report.get("failure") or report
        raise TransferError(
            f"The archive was not taken: {failure.get('message') or failure.get('detail') or 'it can not be unpacked'}",
            advice=failure.get("advice") or "Push the unpacked folder: stcloud datasets push FOLDER",
            code=str(failure.get("code") or "archive_refused"),
        )
    taken = report.get("taken") or {}
    if taken:
        session.output.note(f"Took {count_text(taken['files'], 'file')} ({size_text(taken['bytes'])}).")
    session.output.result(record, f"{name} {record.get('version_id')}")


def _list_entries(session: Session, file: Path, name: str) -> None:
    try:
        entries = _entries(file)
        if session.output.json_mode:
            session.output.streamed({"dataset_id": name, "bytes": file.stat().st_size}, entries=entries)
        else:
            session.output.lines(f"{entry['size']}\t{entry['path']}" for entry in entries)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, ValueError, NotImplementedError) as error:
        raise UsageError(f"'{file}' can't be listed: {error}.", advice="Is it damaged? Pack it again.") from error
    session.output.note("What of it is no image, caption or the like, or may hold secrets, is left out when unpacking.")


def _entries(file: Path) -> Iterator[dict[str, Any]]:
    if file.name.lower().endswith(".zip"):
        with zipfile.ZipFile(file) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    yield {"path": info.filename, "size": info.file_size}
        return
    with tarfile.open(file, "r|*") as packed_tar:
        for member in packed_tar:
            if not member.isdir():
                yield {"path": member.name, "size": member.size}
