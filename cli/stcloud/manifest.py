"""A dataset's manifest on its way to the server: one JSON line a file, sorted by path, on disk."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

from stcloud.errors import UsageError
from stcloud.listing import Listing

#: What goes in the body of the request that creates a version; more is stored first and named there.
MAX_INLINE_FILES = 20_000
MAX_INLINE_BYTES = 3_000_000
#: What the server reads of a stored one.
MAX_STAGED_BYTES = 64 * 1024**2
CHUNK = 256 * 1024


@dataclass
class Manifest:
    """The lines in a temporary file; ``size`` and ``sha256`` are of them. Use as a context manager."""

    file: IO[bytes]
    size: int
    sha256: str
    files: int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.file.close()

    @property
    def is_inline(self) -> bool:
        return self.files <= MAX_INLINE_FILES and self.size <= MAX_INLINE_BYTES

    def lines(self) -> list[dict[str, Any]]:
        """All in memory: for an inline one."""
        self.file.seek(0)
        return [json.loads(line) for line in self.file]

    def chunks(self) -> Iterator[bytes]:
        self.file.seek(0)
        while chunk := self.file.read(CHUNK):
            yield chunk


def write_manifest(found: Listing) -> Manifest:
    """Of a listing whose files have been hashed. Raises UsageError when it would be larger than the server reads."""
    file = tempfile.TemporaryFile()  # noqa: SIM115  (the Manifest closes it)
    try:
        return _written(found, file)
    except BaseException:
        file.close()
        raise


def _written(found: Listing, file: IO[bytes]) -> Manifest:
    digest, size, files = hashlib.sha256(), 0, 0
    for entry in found.files():
        line = json.dumps(entry.line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        digest.update(line)
        file.write(line)
        size, files = size + len(line), files + 1
    if size > MAX_STAGED_BYTES:
        raise UsageError(
            f"The list of {files:,} files is {size / 1e6:.0f} MB; {MAX_STAGED_BYTES / 1e6:.0f} MB fit.",
            advice="Use shorter paths, or split the folder into several datasets.",
        )
    return Manifest(file, size, digest.hexdigest(), files)
