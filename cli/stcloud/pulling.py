"""Fetching a job's model: what is wanted, where it goes, and what is said of it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from stcloud.api import Api
from stcloud.download import Downloader, local_path
from stcloud.errors import Interrupted, TransferError
from stcloud.models import OutputFile, Outputs
from stcloud.render import count_text, size_text, time_text
from stcloud.session import Session

OUTPUTS_FOLDER = Path(".simpletuner") / "cloud_outputs"


class Kind(StrEnum):
    WEIGHTS = "weights"
    ALL = "all"


def pull_job(session: Session, job: str, *, to: Path | None, kind: Kind, overwrite: bool) -> tuple[dict[str, Any], str]:
    """Fetches the job's files. Returns what is to be told of them, as data and as text. Raises StcloudError."""
    outputs = session.api.outputs(job)
    wanted = _wanted(session.api, outputs, kind)
    for file in wanted:
        if file["problem"]:
            session.output.warn(f"{file['path']}: {file['problem']}")
    root = (to or local_path(session.runtime.home / OUTPUTS_FOLDER, outputs["job_id"])).absolute()
    total = sum(f["size"] for f in wanted)
    with session.storage(2) as http, session.output.transfer("Fetching", total) as bar:
        downloader = Downloader(
            http,
            root,
            retry=session.runtime.retry,
            renew=lambda path: _renewed(session.api, job, path),
            overwrite=overwrite,
            on_bytes=bar.advance,
        )
        try:
            fetched = [downloader.fetch(file, _local_name(file, outputs)) for file in wanted]
        except KeyboardInterrupt:
            raise Interrupted("Stopped.", advice=f"Go on with: stcloud jobs pull {job}") from None
    fresh = sum(f.fresh for f in fetched)
    session.output.note(
        f"{count_text(fresh, 'file')} fetched, {len(fetched) - fresh} there already, {size_text(total)} in {root}"
    )
    others = [] if kind is Kind.ALL else [f for f in outputs["files"] if f["kind"] != Kind.WEIGHTS]
    if others and not session.output.json_mode:
        session.output.note(
            f"{count_text(len(others), 'other file')} ({size_text(sum(f['size'] for f in others))}: samples, "
            f"checkpoints and the like) not fetched. All of them: stcloud jobs pull {job} --kind all"
        )
    data = {
        "job_id": job,
        "folder": str(root),
        "verified": outputs["verified"],
        "not_fetched": len(others),
        "files": [
            {"path": str(there.path), "size": f["size"], "sha256": f["sha256"], "kind": f["kind"], "fresh": there.fresh}
            for f, there in zip(wanted, fetched, strict=True)
        ],
    }
    weights = [there.path for f, there in zip(wanted, fetched, strict=True) if f["kind"] == Kind.WEIGHTS]
    return data, "\n".join(map(str, weights)) if weights else str(root)


def _wanted(api: Api, outputs: Outputs, kind: Kind) -> list[OutputFile]:
    files = outputs["files"]
    wanted = files if kind is Kind.ALL else [f for f in files if f["kind"] == Kind.WEIGHTS]
    if wanted:
        return wanted
    job = outputs["job_id"]
    if not outputs["complete"]:
        raise TransferError(
            f"{job} has no {'files' if kind is Kind.ALL else 'final weights'} yet: it is not over.",
            advice=f"Wait for it: stcloud jobs watch {job}",
            code="not_finished",
        )
    escrow = None if files else api.job(job).get("escrow")
    if escrow is not None and escrow["state"] == "removed":
        when = time_text(escrow["removed_at"])
        raise TransferError(
            f"The files of {job} were removed on {when}, {escrow['days']} days after its end.",
            advice="Where they were delivered to they still are: stcloud jobs get " + job,
            code="escrow_gone",
        )
    raise TransferError(
        f"{job} left no {'files' if kind is Kind.ALL else 'final weights'}.",
        advice=f"What happened: stcloud jobs events {job}"
        + (f"   What it did publish: stcloud jobs pull {job} --kind all" if files else ""),
        code="nothing_to_pull",
    )


def _local_name(file: OutputFile, outputs: Outputs) -> str:
    """The trainer publishes below a folder named like the job. Where all files do, that folder is the one we fetch
    into, and is not made a second time inside it."""
    above = f"{outputs['job_id']}/"
    if all(f["path"].startswith(above) for f in outputs["files"]):
        return file["path"].removeprefix(above)
    return file["path"]


def _renewed(api: Api, job_id: str, path: str) -> str:
    for file in api.outputs(job_id)["files"]:
        if file["path"] == path:
            return file["url"]
    raise TransferError(f"'{path}' is not there any more.", code="gone")
