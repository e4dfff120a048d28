"""Fetching a job's files: resumed, verified, renamed into place only when they are right."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from stcloud.errors import LocalError, NetworkError, TransferError, UsageError
from stcloud.hashing import sha256_of
from stcloud.models import Download
from stcloud.retry import TRANSIENT, Retry, parse_retry_after

PART = ".part"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_RANGE = re.compile(r"^bytes (\d+)-\d+/(\d+)$")
_WINDOWS_FORBIDDEN = re.compile(r'[<>:"|?*]')
_WINDOWS_DEVICES = re.compile(r"^(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)", re.IGNORECASE)


class _Expired(Exception):
    """The storage says 403: the URL's hour is over."""


class _Again(Exception):
    """Worth another try; the reason is in its text."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Fetched:
    """``path`` on this disk; ``fresh`` is false when the same file was there before."""

    path: Path
    fresh: bool


def local_path(root: Path, name: str, *, windows: bool = os.name == "nt") -> Path:
    """Where the server's file ``name`` goes below ``root``. Raises TransferError when it would leave ``root``.

    Names that the file system can't hold are changed on Windows alone.
    """
    parts = unicodedata.normalize("NFC", name).split("/")
    absolute = name.startswith("/") or re.match(r"^[A-Za-z]:", name)
    if not name or absolute or "\\" in name or _CONTROL.search(name) or any(p in {"", ".", ".."} for p in parts):
        raise TransferError(
            f"The server names a file {name!r}, which is no safe path; it is not fetched.", code="unsafe_path"
        )
    if windows:
        parts = [_windows_safe(part) for part in parts]
    target = root.joinpath(*parts)
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise TransferError(f"'{name}' would be written outside of '{root}' through a link.", code="unsafe_path")
    return target


def _windows_safe(part: str) -> str:
    part = _WINDOWS_FORBIDDEN.sub("_", part)
    if part.endswith((".", " ")):
        part = f"{part.rstrip('. ')}_"
    return f"_{part}" if _WINDOWS_DEVICES.match(part) else part


class Downloader:
    """Fetches files below ``root``.

    ``replace`` is the option that sets ``overwrite``. ``renew(path)`` gives a fresh URL when one has expired.
    ``on_bytes`` hears of progress (negative: started again).
    """

    def __init__(
        self,
        http: httpx.Client,
        root: Path,
        *,
        retry: Retry,
        renew: Callable[[str], str],
        overwrite: bool = False,
        replace: str = "--overwrite",
        on_bytes: Callable[[int], None] | None = None,
    ) -> None:
        self._http = http
        self._root = root
        self._retry = retry
        self._renew = renew
        self._overwrite = overwrite
        self._replace = replace
        self._on_bytes = on_bytes or (lambda _count: None)

    def fetch(self, file: Download, name: str | None = None) -> Fetched:
        """Downloads one file, checks size and SHA-256, and puts it in place, under its own path or ``name``.

        A file that is there already is kept when it is the same, and refused when it is another (unless ``overwrite``).
        Raises TransferError, NetworkError, UsageError (another file in the way), LocalError.
        """
        target = local_path(self._root, name or file["path"])
        try:
            if self._is_there(file, target):
                self._on_bytes(file["size"])
                return Fetched(target, fresh=False)
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(target.name + PART)
            self._complete(file, part)
            if target.exists() and not self._overwrite and sha256_of(target) != sha256_of(part):
                raise self._in_the_way(target)
            os.replace(part, target)
        except OSError as error:
            raise LocalError(f"'{target}' can't be written: {error.strerror or error}.") from error
        return Fetched(target, fresh=True)

    def _is_there(self, file: Download, target: Path) -> bool:
        """Whether the right file is in place. Without a checksum from the server that can't be known before the
        download."""
        if not target.exists():
            return False
        if not target.is_file():
            raise self._in_the_way(target)
        if file["sha256"] is None and (target.stat().st_size == file["size"] or self._overwrite):
            return False
        same = target.stat().st_size == file["size"] and sha256_of(target) == file["sha256"]
        if not same and not self._overwrite:
            raise self._in_the_way(target)
        return same

    def _in_the_way(self, target: Path) -> UsageError:
        return UsageError(
            f"'{target}' is there already and is another file.",
            advice=f"Choose another folder with --to, or replace it with {self._replace}.",
            code="file_exists",
        )

    def _complete(self, file: Download, part: Path) -> None:
        """Fills ``part`` until it is the file."""
        url = file["url"]
        if file["sha256"] is None:
            part.unlink(missing_ok=True)  # nothing says that it is the beginning of this file
        wrong = False
        for attempt in range(self._retry.attempts):
            last = attempt + 1 == self._retry.attempts
            try:
                self._receive(file, url, part)
            except _Expired:
                if last:
                    raise TransferError(f"The storage refuses '{file['path']}' (403).") from None
                url = self._renew(file["path"])
                continue
            except (httpx.TransportError, _Again) as error:
                if last:
                    raise NetworkError(
                        f"'{file['path']}' could not be fetched: {error or type(error).__name__}.",
                        advice="Run the same command again: it goes on where it stopped.",
                    ) from error
                self._retry.wait(attempt, error.retry_after if isinstance(error, _Again) else None)
                continue
            if file["sha256"] is None or sha256_of(part) == file["sha256"]:
                return
            self._on_bytes(-part.stat().st_size)
            part.unlink()
            if wrong:  # once may be a stale beginning; twice is the server's file
                break
            wrong = True
        raise TransferError(
            f"'{file['path']}' does not have the SHA-256 the server names; it was thrown away.",
            advice="Run the command again; if it stays, the stored file is damaged.",
            code="checksum_mismatch",
        )

    def _receive(self, file: Download, url: str, part: Path) -> None:
        have = part.stat().st_size if part.exists() else 0
        if have > file["size"]:
            part.unlink()
            have = 0
        if have == file["size"] and part.exists():
            self._on_bytes(have)
            return
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._http.stream("GET", url, headers=headers) as response:
            resumed = _resumed(response, have, file, part)
            size = have if resumed else 0
            self._on_bytes(size)
            with part.open("ab" if resumed else "wb") as out:
                try:
                    # Without a chunk size, what arrived before a cut is written, not lost in a buffer.
                    for chunk in response.iter_bytes():
                        size += len(chunk)
                        if size > file["size"]:
                            break
                        out.write(chunk)
                        self._on_bytes(len(chunk))
                except httpx.TransportError:
                    self._on_bytes(-min(size, file["size"]))
                    raise
        if size != file["size"]:
            self._on_bytes(-min(size, file["size"]))
            if size > file["size"]:
                part.unlink()
            raise _Again(f"{size} bytes arrived instead of {file['size']}")


def _resumed(response: httpx.Response, have: int, file: Download, part: Path) -> bool:
    """Whether the answer goes on where ``part`` ends (else it is the whole file). Raises for every other answer."""
    status = response.status_code
    if status == 403:
        raise _Expired
    if status in TRANSIENT | {500}:
        raise _Again(f"HTTP {status}", parse_retry_after(response.headers.get("retry-after")))
    if status == 416 or (status == 206 and not _starts_at(response, have)):
        part.unlink(missing_ok=True)
        raise _Again("the storage did not send the part asked for")
    if status not in {200, 206}:
        raise TransferError(f"The storage answered {status} for '{file['path']}'.")
    return status == 206


def _starts_at(response: httpx.Response, offset: int) -> bool:
    match = _RANGE.match(response.headers.get("content-range", ""))
    return match is not None and int(match.group(1)) == offset
