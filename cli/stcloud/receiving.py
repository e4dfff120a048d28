"""What ``stcloud receive`` does with an event: fetch, check, keep, and say so with a receipt.

An event is written down before it is answered, and forgotten when its receipt has been taken: whatever stops this
program in between, the next start goes on.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from stcloud.download import Downloader, local_path
from stcloud.errors import LocalError, NetworkError, StcloudError, TransferError
from stcloud.models import Download
from stcloud.private_files import MAX_BYTES, read_text, remove, write_private
from stcloud.retry import TRANSIENT, Retry
from stcloud.signing import sign

#: Files fetched at once.
PARALLEL = 4
#: Pages of links; a training publishes a few hundred files, and a page has 200.
MAX_PAGES = 200
MAX_ERROR = 500
#: Seconds in which the server still gives links to a delivery.
FETCHED_WITHIN = 7 * 24 * 3600
PENDING = Path(".stcloud") / "pending"
_SAFE = re.compile(r"[A-Za-z0-9._-]{1,200}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class BadEvent(Exception):
    """The event is none of ours, or of a newer release."""


@dataclass(frozen=True)
class ModelEvent:
    """``files`` are those of the first page; ``more`` is where the next one begins."""

    job_id: str
    delivery_id: str
    run_name: str
    files: tuple[Download, ...]
    more: str | None
    total_files: int
    total_bytes: int
    links_url: str
    receipt_url: str


def read_event(document: Any) -> ModelEvent:
    """Raises BadEvent. The ids become names of files, so they are looked at first."""
    try:
        data = document["data"]
        event = ModelEvent(
            job_id=str(data["job_id"]),
            delivery_id=str(data["delivery_id"]),
            run_name=str(data.get("run_name") or data["job_id"]),
            files=tuple(_file(line) for line in data["files"]),
            more=data.get("next"),
            total_files=int(data["total_files"]),
            total_bytes=int(data["total_bytes"]),
            links_url=_url(data["links_url"]),
            receipt_url=_url(data["receipt_url"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        raise BadEvent("it is not what this version of stcloud understands") from None
    for name in (event.job_id, event.delivery_id):
        if not _SAFE.fullmatch(name) or name.startswith("."):
            raise BadEvent("its ids are no names of files")
    return event


def _file(line: Any) -> Download:
    sha256, size = line["sha256"], line["size"]
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256) or type(size) is not int or size < 0:
        raise ValueError("no file")
    return {"path": str(line["path"]), "size": size, "sha256": sha256, "url": _url(line["url"])}


def _url(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith(("https://", "http://")):
        raise ValueError("no address")
    return value


class Inbox:
    """Events whose receipt has not been taken, below the folder that models go to. Links are secret: private files."""

    def __init__(self, root: Path) -> None:
        self._folder = root / PENDING

    def keep(self, event: ModelEvent, document: Any) -> None:
        text = json.dumps(document)
        if len(text) >= MAX_BYTES:
            # The links can be asked for again; the rest is small.
            text = json.dumps({**document, "data": {**document["data"], "files": [], "next": ""}})
        write_private(self._folder / f"{event.delivery_id}.json", text)

    def forget(self, event: ModelEvent) -> None:
        remove(self._folder / f"{event.delivery_id}.json")

    def waiting(self) -> list[ModelEvent]:
        """By name; what can't be read is left alone, what is too old to be fetched is removed."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                if time.time() - path.stat().st_mtime > FETCHED_WITHIN:
                    remove(path)
                    continue
                found.append(read_event(json.loads(read_text(path, secret=True) or "")))
            except (BadEvent, ValueError, LocalError, OSError):
                continue
        return found


class Collector:
    """Fetches the files of events to ``root/<job>/``. ``say`` and ``warn`` tell the user; ``key`` signs what is sent to
    the server."""

    def __init__(
        self,
        http: httpx.Client,
        root: Path,
        *,
        key: bytes,
        retry: Retry,
        now: Callable[[], datetime],
        say: Callable[[str], None],
    ) -> None:
        self._http = http
        self._root = root
        self._key = key
        self._retry = retry
        self._now = now
        self._say = say

    def collect(self, event: ModelEvent) -> Path:
        """The folder, when everything is there and the receipt has been taken. A model that could not be saved is
        reported with a receipt too, which makes the server send it again. Raises StcloudError."""
        try:
            files = self._files(event)
            folder = self._fetch(event, files)
        except StcloudError as error:
            self._send_receipt(event, {"status": "failed", "files": [], "error": error.message[:MAX_ERROR]})
            raise
        received = [{"path": f["path"], "size": f["size"], "sha256": f["sha256"]} for f in files]
        self._send_receipt(event, {"status": "saved", "files": received})
        return folder

    def _files(self, event: ModelEvent) -> list[Download]:
        files, more = list(event.files), event.more
        for _ in range(MAX_PAGES):
            if more is None:
                break
            page, more = self._links(event, more)
            files += page
        if len(files) != event.total_files or len({f["path"] for f in files}) != len(files):
            raise TransferError(f"The server names {len(files)} files where it promised {event.total_files}.")
        return files

    def _fetch(self, event: ModelEvent, files: Sequence[Download]) -> Path:
        folder = local_path(self._root, event.job_id).absolute()
        fresh = _FreshLinks(lambda after: self._links(event, after))
        downloader = Downloader(self._http, folder, retry=self._retry, renew=fresh.of, overwrite=True)
        # Before the first byte: one bad name refuses the whole.
        for file in files:
            local_path(folder, file["path"])
        pool = ThreadPoolExecutor(PARALLEL)
        try:
            fetched = list(pool.map(downloader.fetch, files))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        for file, there in zip(files, fetched, strict=True):
            self._say(f"  {'saved' if there.fresh else 'there already'}: {file['path']}")
        return folder

    def _links(self, event: ModelEvent, after: str) -> tuple[list[Download], str | None]:
        response = self._post(event, event.links_url, {}, params={"after": after} if after else None)
        try:
            answer = response.json()
            return [_file(line) for line in answer["files"]], answer["next"]
        except (KeyError, TypeError, ValueError):
            raise TransferError("The server's answer with links can't be read.") from None

    def _send_receipt(self, event: ModelEvent, receipt: dict[str, Any]) -> None:
        self._post(event, event.receipt_url, receipt)

    def _post(
        self, event: ModelEvent, url: str, more: dict[str, Any], params: dict[str, str] | None = None
    ) -> httpx.Response:
        body = json.dumps({"job_id": event.job_id, "delivery_id": event.delivery_id, **more}).encode()
        for attempt in range(self._retry.attempts):
            headers = sign(body, message_id=f"rcv_{uuid4().hex}", at=self._now(), key=self._key)
            try:
                response = self._http.post(
                    url, params=params, content=body, headers={"Content-Type": "application/json", **headers}
                )
            except httpx.TransportError as error:
                reason = str(error) or type(error).__name__
            else:
                if response.is_success:
                    return response
                reason = f"HTTP {response.status_code}"
                if response.status_code not in TRANSIENT | {500}:
                    raise TransferError(
                        f"The server refused what was sent about {event.delivery_id}: {reason} {_detail(response)}",
                        advice="Is this the secret of the delivery's credential? Else it is over: deliver again.",
                    )
            if attempt + 1 < self._retry.attempts:
                self._retry.wait(attempt)
        raise NetworkError(f"The server could not be told about {event.delivery_id}: {reason}.")


class _FreshLinks:
    """Links for those that have expired, asked for once for all files."""

    def __init__(self, ask: Callable[[str], tuple[list[Download], str | None]]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._fresh: dict[str, str] = {}

    def of(self, path: str) -> str:
        with self._lock:
            # Given once: when it is asked for again, this one has expired too.
            if path not in self._fresh:
                self._load()
            try:
                return self._fresh.pop(path)
            except KeyError:
                raise TransferError(f"'{path}' is not there any more.", code="gone") from None

    def _load(self) -> None:
        after: str | None = ""
        for _ in range(MAX_PAGES):
            if after is None:
                return
            files, after = self._ask(after)
            self._fresh |= {f["path"]: f["url"] for f in files}


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])[:300]
    except (ValueError, KeyError, TypeError):
        return ""
