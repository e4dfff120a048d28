"""An archive before it is sent: what the server would take of it, and what had better not leave this computer."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from stcloud.describing import list_files, warn
from stcloud.errors import LocalError, UsageError
from stcloud.findings import local_findings, secrets_finding
from stcloud.listing import Listing, Some
from stcloud.packed import Contents, look
from stcloud.packed_entries import UnreadableArchiveError
from stcloud.render import count_text, some
from stcloud.session import Session


def list_archive(session: Session, file: Path, name: str) -> None:
    """Prints every entry that would be taken, and every other with the reason. Raises UsageError."""
    contents = look(file)
    with _listing(contents, file) as found:
        head = {"archive_bytes": file.stat().st_size, "stripped_folder": contents.stripped, "notes": contents.notes}
        list_files(session, found, name, head)
    for note in contents.notes:
        session.output.note(note)
    finding = secrets_finding(_secrets(contents))
    if finding is not None:
        warn(session, [finding])
    if contents.paths("encrypted"):
        session.output.warn("Encrypted entries can't be unpacked, so a push would be refused.")


def check_archive(session: Session, file: Path) -> None:
    """Warns of what is wrong with what would be taken.

    Raises UsageError when entries are encrypted or nothing would be taken, LocalError when a text holds a secret: of an
    archive nothing can be left out. An archive that can't be read here is left to the server to judge.
    """
    try:
        contents = look(file)
    except UnreadableArchiveError:
        return
    encrypted = contents.paths("encrypted")
    if encrypted:
        raise UsageError(
            f"{count_text(len(encrypted), 'entry is', 'entries are')} encrypted: {some(encrypted)}.",
            advice="Unpack it with its password, and push the folder: stcloud datasets push FOLDER",
            code="encrypted",
        )
    if not contents.taken:
        raise _nothing(contents, file)
    finding = secrets_finding(_secrets(contents))
    if finding is not None:
        raise LocalError(
            f"{finding.message} Nothing was sent.",
            advice=f"{finding.advice} Then pack it again; or unpack it and push the folder with --exclude-secrets.",
            code="secrets_found",
        )
    with _listing(contents, file) as found:
        warn(session, local_findings(found))


def _nothing(contents: Contents, file: Path) -> UsageError:
    left_out = contents.left_out
    if not left_out:
        return UsageError(
            f"'{file}' holds no files.", advice="Pack images and a .txt caption of the same name beside each."
        )
    return UsageError(
        f"Nothing of '{file}' would be taken, like {left_out[0].path}: {left_out[0].reason}.",
        advice="See each with --list, and pack the files anew.",
    )


def _secrets(contents: Contents) -> Some:
    return Some(len(contents.secrets), [f"{v.path}" for v in contents.secrets])


def _listing(contents: Contents, file: Path) -> Listing:
    """The verdicts as those of a folder; the caller closes it."""
    found = Listing(file)
    for verdict in contents.verdicts:
        if verdict.code is not None:
            found.exclude(verdict.path, verdict.reason or verdict.code)
        else:
            stem = str(PurePosixPath(verdict.path).with_suffix(""))
            found.add(verdict.path, verdict.path, verdict.size, verdict.kind, stem, verdict.flaw)
    return found
