"""Files that only their owner may read: mode 0600 in a folder of mode 0700, replaced as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from stcloud.errors import LocalError

#: Larger than anything kept this way.
MAX_BYTES = 256_000
_POSIX = os.name == "posix"


def read_text(path: Path, *, secret: bool = False, exposed: bool = False) -> str | None:
    """The file's text; None when there is none.

    ``secret``: a file that others may read or that is a link is refused, as ssh refuses such keys.
    ``exposed``: what others may read is read all the same. Raises LocalError.
    """
    flags = os.O_RDONLY | (getattr(os, "O_NOFOLLOW", 0) if secret else 0)
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LocalError(f"'{path}' can't be read: {error.strerror}.") from error
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if secret and not exposed and _POSIX and (stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.geteuid()):
            raise LocalError(
                f"'{path}' holds a token and others may read it; it is not used.",
                advice=f"chmod 600 '{path}', or sign in again: stcloud login",
                code="file_not_private",
            )
        data = file.read(MAX_BYTES + 1)
    try:
        text = data.decode() if len(data) <= MAX_BYTES else None
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise LocalError(f"'{path}' is not a file of stcloud's.", advice="Move it away.")
    return text


def write_private(path: Path, text: str) -> None:
    """Puts ``text`` at ``path``; whoever reads meanwhile sees the old text or the new one. Raises LocalError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        private_folder(path.parent)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except OSError as error:
        raise LocalError(f"'{path}' can't be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def private_folder(folder: Path) -> None:
    """Makes the folder, closed to others; one that is there already gets closed. Raises OSError."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    if _POSIX and stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)


def remove(path: Path) -> None:
    """Raises LocalError when it stays."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise LocalError(f"'{path}' can't be removed: {error.strerror}.") from error
