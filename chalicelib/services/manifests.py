"""Manifests: how they are written, read and remembered.

A manifest is JSON lines, one file each, sorted by UTF-8 path; versions of the first release have one JSON array.
"""

from __future__ import annotations

import json
import threading
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from chalicelib.domain.datasets import DatasetVersion, ManifestFile, file_problem
from chalicelib.domain.ports import Ports
from chalicelib.errors import FieldError, NotFound

#: Files of all manifests that are kept in memory, about half a kilobyte each.
MAX_REMEMBERED = 300_000
#: How many problems one answer lists.
MAX_LISTED = 50
_WRITER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Manifests:
    """Manifests of versions. What was read stays, within bounds: a manifest never changes. Safe to share."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], Sequence[ManifestFile]] = OrderedDict()

    def of(self, version: DatasetVersion) -> Sequence[ManifestFile]:
        """The files, sorted by UTF-8 path. Raises NotFound (``version_not_found``) when the manifest is gone."""
        key = (version.manifest_key, version.merkle_root)
        with self._lock:
            known = self._known.get(key)
            if known is not None:
                self._known.move_to_end(key)
                return known
        data = self._ports.dataset_files.get(version.manifest_key)
        if data is None:
            raise NotFound(
                f"The manifest of version '{version.version_id}' is gone; push the dataset again.",
                code="version_not_found",
            )
        files = list(decode(data))
        with self._lock:
            self._known[key] = files
            while len(self._known) > 1 and sum(map(len, self._known.values())) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        return files

    def lines(self, version: DatasetVersion) -> Iterator[dict[str, Any]]:
        """The files as they are written, one at a time; nothing when the manifest is gone. Remembers nothing."""
        return _documents(self._ports.dataset_files.get(version.manifest_key) or b"")


def encode(files: Iterable[ManifestFile]) -> bytes:
    """JSON lines. The files must be sorted."""
    return "".join(f"{_WRITER.encode(_document_of(file))}\n" for file in files).encode()


def _document_of(file: ManifestFile) -> dict[str, Any]:
    # By hand: pydantic's own takes several times as long, and there may be 200,000.
    document: dict[str, Any] = {"path": file.path, "size": file.size, "sha256": file.sha256}
    if file.parts is not None:
        document["parts"] = file.parts
    return document


def decode(data: bytes) -> Iterator[ManifestFile]:
    """What ``encode`` made, or the array of the first release."""
    if data.startswith(b"["):
        yield from (ManifestFile.model_validate(line) for line in json.loads(data))
        return
    yield from (ManifestFile.model_validate_json(line) for line in _lines(data))


def _documents(data: bytes) -> Iterator[dict[str, Any]]:
    if data.startswith(b"["):
        yield from json.loads(data)
        return
    yield from map(json.loads, _lines(data))


def _lines(data: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        end = data.find(b"\n", at)
        end = len(data) if end < 0 else end
        if end > at:
            yield data[at:end]
        at = end + 1


def parse_uploaded(data: bytes, max_files: int) -> tuple[list[ManifestFile], list[FieldError]]:
    """The files of a manifest that a client wrote, and what is wrong with it; at most MAX_LISTED problems. Fields are
    named ``lines.<number>``, counted from 1."""
    files: list[ManifestFile] = []
    problems: list[FieldError] = []
    before: bytes | None = None
    for number, line in enumerate(_lines(data), 1):
        problem: str | None = None
        try:
            file = ManifestFile.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
        else:
            problem = file_problem(file)
            path = file.path.encode("utf-8", "surrogatepass")
            if problem is None and before is not None and path <= before:
                problem = f"path '{file.path}' is listed twice" if path == before else "is not sorted by UTF-8 path"
            before = path
            files.append(file)
        if problem is not None:
            problems.append(FieldError(f"lines.{number}", problem, "invalid_file"))
        if len(files) > max_files:
            problems.append(FieldError("lines", f"more than {max_files} files: split the dataset", "too_many_files"))
        if len(problems) >= MAX_LISTED or len(files) > max_files:
            break
    if not files and not problems:
        problems.append(FieldError("lines", "there is no file", "invalid_file"))
    return files, problems


def position(files: Sequence[ManifestFile], path: str, *, behind: bool = False) -> int:
    """Where ``path`` stands or would stand; ``behind`` it when it is there."""
    find = bisect_right if behind else bisect_left
    return find(files, path.encode("utf-8", "surrogatepass"), key=lambda f: f.path.encode())


def file_of(files: Sequence[ManifestFile], path: str) -> ManifestFile | None:
    at = position(files, path)
    return files[at] if at < len(files) and files[at].path == path else None
