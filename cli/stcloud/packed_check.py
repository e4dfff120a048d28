"""An archive before it is sent: what the server would take of it, and what had better not leave this computer."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from stcloud.describing import list_files, warn
from stcloud.errors import LocalError, UsageError
from stcloud.findings import Finding, local_findings, named_secrets_finding, secrets_finding
from stcloud.listing import Listing, Some
from stcloud.packed import NAMED_SECRET, Contents, look
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
    warn(session, _secrets(contents))
    if contents.paths("encrypted"):
        session.output.warn("Encrypted entries can't be unpacked, so a push would be refused.")


def check_archive(session: Session, file: Path) -> None:
    """Warns of what is wrong with what would be taken, and names what leaves this computer without being taken.

    Raises UsageError when entries are encrypted or nothing would be taken, LocalError when the archive holds a secret,
    by a name or in a text: of an archive nothing can be left out. One that can't be read here is left to the server to
    judge.
    """
    output = session.output
    try:
        contents = look(file)
    except UnreadableArchiveError:
        output.warn("It can't be read here, so nobody has looked for keys and tokens in it. It would be sent as it is.")
        return
    encrypted = contents.paths("encrypted")
    if encrypted:
        raise UsageError(
            f"{count_text(len(encrypted), 'entry is', 'entries are')} encrypted: {some(encrypted)}.",
            advice="Unpack it with its password, and push the folder: stcloud datasets push FOLDER",
            code="encrypted",
        )
    secrets = _secrets(contents)
    if secrets:
        said, advised = (" ".join(texts) for texts in zip(*((f.message, f.advice) for f in secrets), strict=True))
        raise LocalError(
            f"{said} Nothing was sent: an archive leaves this computer whole.",
            advice=f"{advised} Then pack it again; or unpack it and push the folder with --exclude-secrets.",
            code="secrets_found",
        )
    if not contents.taken:
        raise _nothing(contents, file)
    left_out = [entry.path for entry in contents.left_out]
    if left_out:
        output.note(
            f"{count_text(len(left_out), 'entry leaves', 'entries leave')} this computer in it, to be left out on the "
            f"server's side: {some(left_out)}. The reasons: --list"
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


def _secrets(contents: Contents) -> list[Finding]:
    """What had better not leave this computer, by its name and by its text."""
    named = contents.paths(NAMED_SECRET)
    texts = [v.path for v in contents.secrets if v.code != NAMED_SECRET]
    found = (named_secrets_finding(Some(len(named), named)), secrets_finding(Some(len(texts), texts)))
    return [finding for finding in found if finding is not None]


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
