"""``stcloud datasets show`` and ``check``: what is known of a dataset, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from stcloud.commands.datasets import DatasetId, VersionId, app
from stcloud.errors import ExitCode, LocalError, NetworkError, NotFound, TransferError, UsageError
from stcloud.files import parse_duration
from stcloud.findings import Finding, counts, counts_text, local_findings, worst_first
from stcloud.models import Version
from stcloud.render import count_text, size_text, some, time_text
from stcloud.scan import scan
from stcloud.session import Session, command
from stcloud.versions import latest

#: Seconds between looks at an inspection that goes on.
LOOK_SECONDS = 2.0
MAX_SHEET_BYTES = 100_000_000
#: The report's counts, and what one of each is called.
_COUNTS = {
    "images": ("image", "images"),
    "captions": ("caption", "captions"),
    "video": ("video", "videos"),
    "audio": ("audio file", "audio files"),
    "metadata": ("metadata file", "metadata files"),
    "other": ("other file", "other files"),
}


@command(app, "show")
def show(session: Session, dataset: DatasetId) -> None:
    """Show a dataset with its versions, newest first, and what the inspection of the latest one found."""
    found = session.datasets.dataset(dataset)
    output = session.output
    version_id = found["latest_version"]
    versions: list[Version] = found["versions"]
    inspected = next((v for v in versions if v["version_id"] == version_id), None)
    report = _report(session, dataset, version_id) if inspected and _is_done(inspected) else None
    if not output.json_mode:
        output.note(f"{found['dataset_id']}, pushed from {found['source_path'] or '–'}")
    rows = [
        [
            v["version_id"],
            v["status"],
            f"{v['files']:,}",
            size_text(v["bytes"]),
            time_text(v["created_at"]),
            _inspection_text(v.get("inspection")),
            "latest" if v["version_id"] == version_id else "",
        ]
        for v in versions
    ]
    columns = ("VERSION", "STATUS", "FILES", "SIZE", "CREATED", "FOUND", "")
    data = {**found, "report": report}
    output.table(columns, rows, data=data, empty="No versions.")
    if report is not None and not output.json_mode:
        _tell(session, [Finding.of(f) for f in report.get("findings") or []], to_result=False)


@command(app, "check")
def check(
    session: Session,
    target: Annotated[str, typer.Argument(metavar="DATASET|FOLDER", help="A dataset's id, or a folder: ./photos")],
    version: VersionId = None,
    again: Annotated[bool, typer.Option("--again", help="Inspect it once more.")] = False,
    contact_sheet: Annotated[
        Path | None, typer.Option("--contact-sheet", metavar="FILE", help="Save the pictures' thumbnails as JPEG.")
    ] = None,
    open_sheet: Annotated[bool, typer.Option("--open", help="Print the address of the thumbnails.")] = False,
    timeout: Annotated[str, typer.Option("--timeout", metavar="TIME", help="How long to wait.")] = "15m",
) -> int:
    """Tell what is wrong with a dataset, errors first, each with what to do. Waits for its inspection.

    A folder is looked at on this computer, and nothing is sent. Ends with 1 when there are errors.
    """
    if is_folder(target):
        return _check_folder(session, Path(target).expanduser())
    seconds = parse_duration(timeout)
    found = _inspected(session, target, version, again=again, seconds=seconds)
    report = _report(session, target, found["version_id"])
    findings = worst_first(Finding.of(f) for f in report.get("findings") or [])
    sheet = report.get("contact_sheet_url")
    if contact_sheet is not None:
        _save_sheet(session, sheet, contact_sheet)
    if session.output.json_mode:
        session.output.result({"dataset_id": target, "version_id": found["version_id"], "report": report})
    else:
        session.output.note(f"{target} {found['version_id']}: {_counts_line(found, report)}")
        for fit in report.get("fits") or []:
            session.output.note(
                f"  at {fit['resolution']}: {count_text(fit['buckets_in_all'], 'aspect bucket')}, "
                f"{count_text(fit['scaled_up'], 'image')} scaled up"
            )
        _tell(session, findings, to_result=True)
        if open_sheet:
            session.output.result(None, str(sheet) if sheet else "There are no thumbnails of this version.")
    return ExitCode.FAILED if any(f.level == "error" for f in findings) else ExitCode.OK


def is_folder(text: str) -> bool:
    """Whether an argument means a folder here: it has a separator, or is one of ``.``, ``..``, ``~``."""
    return text in {".", "..", "~"} or "/" in text or os.sep in text


def _check_folder(session: Session, folder: Path) -> int:
    with scan(folder) as found:
        findings = local_findings(found)
        excluded = [{"reason": reason, "count": count} for reason, count in found.reasons()]
        data = {
            "folder": str(folder),
            "files": found.count,
            "bytes": found.bytes,
            "left_out": excluded,
            "findings": [f.as_dict() for f in findings],
            **counts(findings),
        }
        size = f"{count_text(found.count, 'file')}, {size_text(found.bytes)}"
    session.output.note(f"{folder}: {size}; names, sizes, first bytes and texts were looked at.")
    for entry in excluded:
        session.output.note(f"  left out: {entry['count']:,} × {entry['reason']}")
    if session.output.json_mode:
        session.output.result(data)
    else:
        _tell(session, findings, to_result=True)
    return ExitCode.FAILED if any(f.level == "error" for f in findings) else ExitCode.OK


def _inspected(session: Session, dataset: str, version: str | None, *, again: bool, seconds: float) -> dict[str, Any]:
    """The version once its inspection is over. Raises TransferError when it fails or takes too long."""
    version_id = version or _latest(session, dataset)
    ends = session.runtime.monotonic() + seconds
    found = session.datasets.version(dataset, version_id)
    if found["status"] != "ready":
        raise UsageError(
            f"{dataset} {version_id} is not complete.", advice="Go on with its push, then check it.", code="not_ready"
        )
    if again or not found.get("inspection"):
        session.datasets.inspect(dataset, version_id)
        found = session.datasets.version(dataset, version_id)
    told = False
    while True:
        inspection = found.get("inspection") or {}
        status, why = inspection.get("status"), inspection.get("problem") or "no reason is known"
        if status == "done":
            return found
        if status == "failed":
            raise TransferError(
                f"The inspection of {dataset} {version_id} failed: {why}.",
                advice=f"Try once more: stcloud datasets check {dataset} --again   Trainings are not held up by it.",
                code="inspection_failed",
            )
        if session.runtime.monotonic() >= ends:
            raise TransferError(
                f"The inspection of {dataset} {version_id} goes on.",
                advice=f"Look again later: stcloud datasets check {dataset}",
                code="not_finished",
            )
        if not told:
            session.output.note("The inspection goes on …")
            told = True
        session.runtime.sleep(LOOK_SECONDS)
        found = session.datasets.version(dataset, version_id)


def _latest(session: Session, dataset: str) -> str:
    try:
        return latest(session.datasets.dataset(dataset))
    except NotFound as error:
        if Path(dataset).is_dir():
            error.advice = f"For the folder of this name: stcloud datasets check ./{dataset}"
        raise


def _report(session: Session, dataset: str, version_id: str) -> dict[str, Any]:
    """The findings with all that belongs to them; ``contact_sheet_url`` beside."""
    answer = session.datasets.report(dataset, version_id)
    return {**(answer.get("report") or {}), "contact_sheet_url": answer.get("contact_sheet_url")}


def _is_done(version: Version) -> bool:
    return (version.get("inspection") or {}).get("status") == "done"


def _inspection_text(inspection: Mapping[str, Any] | None) -> str:
    if not inspection:
        return ""
    if inspection.get("status") != "done":
        return f"inspection {inspection.get('status')}"
    return counts_text({name: int(inspection.get(name) or 0) for name in ("errors", "warnings", "notes")})


def _counts_line(version: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    kinds = report.get("counts") or {}
    said = [count_text(int(kinds[name]), *words) for name, words in _COUNTS.items() if kinds.get(name)]
    return ", ".join([*said, size_text(version["bytes"])])


def _tell(session: Session, findings: list[Finding], *, to_result: bool) -> None:
    """The findings, each with what to do. A result goes to stdout."""
    write = (lambda text: session.output.result(None, text)) if to_result else session.output.note
    for finding in worst_first(findings):
        write(f"{finding.level.upper():<8} {finding.message}")
        # A message of our own names its files already.
        if finding.paths and not any(path in finding.message for path in finding.paths[:1]):
            write(f"         {some(finding.paths, finding.count)}")
        if finding.advice:
            write(f"         → {finding.advice}")
    write(counts_text(counts(findings)).capitalize() + ".")


def _save_sheet(session: Session, url: object, file: Path) -> None:
    """Raises UsageError, NetworkError, TransferError, LocalError."""
    if not isinstance(url, str):
        raise UsageError("There are no thumbnails of this version.")
    try:
        with session.storage(1) as http:
            answer = http.get(url)
    except httpx.TransportError as error:
        raise NetworkError(f"The thumbnails could not be fetched: {error or type(error).__name__}.") from error
    if not answer.is_success or len(answer.content) > MAX_SHEET_BYTES:
        raise TransferError(f"The thumbnails could not be fetched (HTTP {answer.status_code}).")
    try:
        file.write_bytes(answer.content)
    except OSError as error:
        raise LocalError(f"'{file}' can't be written: {error.strerror}.") from error
    session.output.note(f"Thumbnails: {file}")
