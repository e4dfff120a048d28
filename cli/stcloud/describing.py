"""What a push would send and leave out, told before it is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stcloud.errors import NotFound, PermissionDenied
from stcloud.findings import Finding, local_findings
from stcloud.listing import Flaw, Kind, Listing
from stcloud.render import MAX_SHOWN, count_text, size_text
from stcloud.session import Session

#: Entries of lists in --json; all of them: --list.
MAX_LISTED = 1000


def list_files(session: Session, found: Listing, name: str, head: Mapping[str, Any] | None = None) -> None:
    """Every file and everything left out, one by one: there may be 200,000. ``head`` adds to the JSON."""
    if session.output.json_mode:
        session.output.streamed(
            {"dataset_id": name, "files_count": found.count, "bytes": found.bytes, **(head or {})},
            files=({"path": file.path, "size": file.size} for file in found.files()),
            excluded=({"path": entry.path, "reason": entry.reason} for entry in found.excluded()),
        )
        return
    session.output.lines(f"{file.size}\t{file.path}" for file in found.files())
    _summary(session, found, name)
    if found.excluded_count:
        session.output.note(f"Left out ({found.excluded_count:,}):")
    for entry in found.excluded():
        session.output.note(f"  {entry.path}: {entry.reason}")
    warn(session, local_findings(found))


def warn(session: Session, findings: list[Finding]) -> None:
    """What is wrong, each with what to do."""
    for finding in findings:
        session.output.warn(f"{finding.message} {finding.advice}")


def note_source(session: Session, name: str, source: str) -> None:
    """Says so when the dataset was pushed from elsewhere before: its name may be meant for something else."""
    try:
        before = session.datasets.dataset(name)["source_path"]
    except (NotFound, PermissionDenied):
        return
    if before and before != source:
        session.output.note(
            f"Dataset '{name}' was pushed from {before} before; this becomes its next version. "
            "For a dataset of its own: --id OTHER-NAME"
        )


def _summary(session: Session, found: Listing, name: str) -> None:
    said = [count_text(found.of(Kind.IMAGE).count, "image")]
    said += [
        count_text(count, kind.name.lower()) for kind in (Kind.VIDEO, Kind.AUDIO) if (count := found.of(kind).count)
    ]
    said += [count_text(found.of(Kind.CAPTION).count, "caption"), f"{count_text(found.count, 'file')} in all"]
    session.output.note(f"{found.root}: {', '.join(said)}, {size_text(found.bytes)}. Goes to dataset '{name}'.")


def describe(session: Session, found: Listing, name: str) -> None:
    """The sums, what is left out (the reasons when that is much), and what is wrong."""
    output, left_out = session.output, found.excluded_count
    _summary(session, found, name)
    if left_out:
        output.note(f"Left out ({left_out:,}):")
        shown = 4 * MAX_SHOWN
        if left_out <= shown:
            for entry in found.excluded():
                output.note(f"  {entry.path}: {entry.reason}")
        else:
            for reason, count in found.reasons()[:shown]:
                output.note(f"  {count:,} × {reason}")
            output.note("  (each of them: --list)")
    warn(session, local_findings(found))


def scan_json(found: Listing) -> dict[str, Any]:
    """The same for programs."""
    excluded = [{"path": entry.path, "reason": entry.reason} for entry in found.excluded(MAX_LISTED)]
    return {
        "files": found.count,
        "bytes": found.bytes,
        "images": found.of(Kind.IMAGE).count,
        "videos": found.of(Kind.VIDEO).count,
        "audio": found.of(Kind.AUDIO).count,
        "captions": found.of(Kind.CAPTION).count,
        "images_without_caption": found.without_caption.paths,
        "captions_without_image": found.without_image.paths,
        "empty_captions": found.flawed(Flaw.EMPTY).paths,
        "captions_not_utf8": found.flawed(Flaw.NOT_UTF8).paths,
        "unknown_files": found.of(Kind.UNKNOWN).paths,
        "excluded": excluded,
        "excluded_count": found.excluded_count,
    }
