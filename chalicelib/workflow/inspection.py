"""The steps of an inspection: plan, batches, contact sheet, report. Plain functions, each safe to run twice.

What passes between them is small and names the rest: files below the report's own work prefix. A step whose
version is gone, or whose inspection was asked for anew meanwhile, does nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from chalicelib.domain.datasets import DatasetVersion, InspectionStatus, InspectionSummary, ManifestFile, VersionStatus
from chalicelib.domain.inspection import Collector
from chalicelib.domain.inspection_facts import MAX_IMAGE_BYTES, MAX_THUMBNAILS, FileFacts, ImageProbe, Problem
from chalicelib.domain.inspection_findings import Level, counted
from chalicelib.domain.inspection_report import make_report, report_prefix, reports_prefix, work_prefix
from chalicelib.domain.jobs import Job
from chalicelib.domain.lifecycle import Change, ContendedError, JobGoneError, mutate
from chalicelib.domain.lifecycle import change as job_change
from chalicelib.domain.media import Kind, promised
from chalicelib.domain.ports import Ports
from chalicelib.services import inspection as records
from chalicelib.services.manifests import decode
from chalicelib.workflow.inspection_files import HASH_ABOVE, Planned

#: A batch is about as much as one call looks at in a minute or two. More batches than MAX_BATCHES would fill the
#: history of an execution (25,000 events), so those of very large versions are larger; a call goes on where the one
#: before it ended.
BATCH_FILES = 400
BATCH_BYTES = 512 * 1024**2
MAX_BATCHES = 1_000
#: Bytes that looking at any file costs, about.
_LOOK = 64 * 1024
#: Messages of errors that the version's record repeats, and the length of each.
MAX_FIRST_ERRORS = 3
MAX_MESSAGE = 300


class IncompleteError(Exception):
    """The list of the version's files, or what was found of some of them, is not there: nothing can be said."""


@dataclass(frozen=True)
class Run:
    """One execution's version and attempt."""

    version: DatasetVersion
    attempt: int

    @property
    def prefix(self) -> str:
        return report_prefix(self.version, self.attempt)

    @property
    def work(self) -> str:
        version = self.version
        return work_prefix(version.owner, version.dataset_id, version.version_id, self.attempt)


def run_of(event: Mapping[str, Any], ports: Ports) -> Run | None:
    """The version that an execution is about; None when that is no longer its business."""
    version = ports.datasets.get_version(event["owner"], event["dataset_id"], event["version_id"])
    if version is None or version.status is not VersionStatus.READY or version.inspection is None:
        return None
    wanted = version.inspection
    return None if wanted.status.is_over or wanted.attempt != event["attempt"] else Run(version, event["attempt"])


def plan(event: Mapping[str, Any], ports: Ports) -> dict[str, Any]:
    """Cuts the manifest into batches; answers with their numbers and says in the record that the inspection runs.
    Raises IncompleteError when there is no manifest."""
    run = run_of(event, ports)
    if run is None:
        return {**event, "prefix": "", "work": "", "batches": []}
    data = ports.dataset_files.get(run.version.manifest_key)
    if data is None:
        raise IncompleteError(f"{run.version.dataset_id}/{run.version.version_id} has no manifest")
    files = list(decode(data))
    batches = cut(files)
    shown = _sampled(files)
    at = 0
    for number, batch in enumerate(batches):
        lines = [Planned(f, shown.get(at + i)) for i, f in enumerate(batch)]
        at += len(batch)
        ports.dataset_files.put(f"{run.work}batch-{number:05d}.jsonl", b"".join(line.line() for line in lines))
    now = ports.clock.now()
    _record(run, ports, lambda i: i.model_copy(update={"status": InspectionStatus.RUNNING, "started_at": now}))
    return {**event, "prefix": run.version.prefix, "work": run.work, "batches": list(range(len(batches)))}


def cut(files: Sequence[ManifestFile]) -> list[list[ManifestFile]]:
    """Batches in order, none empty, at most about MAX_BATCHES."""
    costs = [_cost(file) for file in files]
    scale = max(len(files) / (BATCH_FILES * MAX_BATCHES / 2), sum(costs) / (BATCH_BYTES * MAX_BATCHES / 2), 1.0)
    batches: list[list[ManifestFile]] = []
    room_files = room_bytes = 0.0
    for file, cost in zip(files, costs, strict=True):
        if not batches or room_files < 1 or cost > room_bytes:
            batches.append([])
            room_files, room_bytes = BATCH_FILES * scale, BATCH_BYTES * scale
        batches[-1].append(file)
        room_files -= 1
        room_bytes -= cost
    return batches


def _cost(file: ManifestFile) -> int:
    read_whole = promised(file.path)[0] is Kind.IMAGE and file.size <= MAX_IMAGE_BYTES
    return _LOOK + (file.size if read_whole or file.size > HASH_ABOVE else 0)


def _sampled(files: Sequence[ManifestFile]) -> dict[int, int]:
    """Place in the manifest → place on the contact sheet, of images sampled evenly over the whole."""
    images = [i for i, file in enumerate(files) if promised(file.path)[0] is Kind.IMAGE]
    if len(images) <= MAX_THUMBNAILS:
        return {i: at for at, i in enumerate(images)}
    return {images[at * len(images) // MAX_THUMBNAILS]: at for at in range(MAX_THUMBNAILS)}


def sheet(event: Mapping[str, Any], ports: Ports, probe: ImageProbe) -> dict[str, Any]:
    """Puts the thumbnails together to one picture, which the report takes over. Looks at no record: the function that
    decodes images may read none."""
    work = work_prefix(event["owner"], event["dataset_id"], event["version_id"], event["attempt"])
    keys = [info.key for info in ports.dataset_files.list(f"{work}thumbs/", limit=MAX_THUMBNAILS)]
    thumbnails = [data for key in keys if (data := ports.dataset_files.get(key)) is not None]
    if thumbnails:
        ports.dataset_files.put(f"{work}sheet.jpg", probe.sheet(thumbnails), content_type="image/jpeg")
    return dict(event)


def report(event: Mapping[str, Any], ports: Ports) -> dict[str, Any]:
    """Adds everything up, stores the report, says so in the record, and wakes the jobs that wait for it. Raises
    IncompleteError when files are missing among the results."""
    run = run_of(event, ports)
    if run is None:
        return dict(event)
    collected = Collector()
    for info in ports.dataset_files.list(f"{run.work}result-"):
        for facts in _facts(ports.dataset_files.get(info.key) or b""):
            collected.add(facts)
    if collected.files < run.version.files:
        raise IncompleteError(f"only {collected.files} of {run.version.files} files were looked at")
    places = [info.key for info in ports.dataset_files.list(f"{run.work}thumbs/", limit=MAX_THUMBNAILS)]
    shown = dict(_shown_paths(run, ports))
    sheet_paths = tuple(shown.get(_place(key), "") for key in places)
    now = ports.clock.now()
    picture = ports.dataset_files.get(f"{run.work}sheet.jpg")
    if picture is not None:
        ports.dataset_files.put(f"{run.prefix}sheet.jpg", picture, content_type="image/jpeg")
    made = make_report(run.version, run.attempt, collected, sheet_paths, now)
    key = f"{run.prefix}report.json"
    ports.dataset_files.put(key, made.model_dump_json().encode(), content_type="application/json")
    errors = [f.message[:MAX_MESSAGE] for f in made.findings if f.level is Level.ERROR]
    stored = _record(
        run,
        ports,
        lambda i: i.model_copy(
            update={
                "status": InspectionStatus.DONE,
                "finished_at": now,
                "errors": len(errors),
                "warnings": counted(made.findings, Level.WARNING),
                "notes": counted(made.findings, Level.NOTE),
                "first_errors": tuple(errors[:MAX_FIRST_ERRORS]),
                "report_key": key,
                "problem": None,
            }
        ),
    )
    # Of a version that was deleted meanwhile nothing may stay behind.
    ports.dataset_files.delete_prefix(run.work if stored is not None else run.prefix)
    if stored is not None:
        _remove_earlier(stored, run.attempt, ports)
        wake_jobs(stored, ports)
    return {"status": InspectionStatus.DONE.value, "errors": len(errors)}


def _remove_earlier(version: DatasetVersion, attempt: int, ports: Ports) -> None:
    """Reports of earlier inspections, which nothing names any more."""
    everything, own = reports_prefix(version), report_prefix(version, attempt)
    old = [info.key for info in ports.dataset_files.list(everything) if not info.key.startswith(own)]
    ports.dataset_files.delete(key for key in old if _attempt_of(key, everything) < attempt)


def _attempt_of(key: str, prefix: str) -> int:
    number = key[len(prefix) :].partition("/")[0]
    return int(number) if number.isdecimal() else 0


def fail(event: Mapping[str, Any], ports: Ports) -> dict[str, Any]:
    """Notes that the inspection itself could not be done; nothing waits for it any more."""
    run = run_of(event, ports)
    if run is None:
        return dict(event)
    now = ports.clock.now()
    cause = event.get("error", {})
    name = str(cause.get("Error", "unknown"))[:100] if isinstance(cause, Mapping) else "unknown"
    problem = f"The inspection itself failed ({name}). That says nothing about the dataset; it can be inspected again."
    update = {"status": InspectionStatus.FAILED, "finished_at": now, "problem": problem}
    stored = _record(run, ports, lambda i: i.model_copy(update=update))
    if stored is not None:
        wake_jobs(stored, ports)
    return {"status": InspectionStatus.FAILED.value}


def wake_jobs(version: DatasetVersion, ports: Ports) -> None:
    """Tells the owner's jobs that wait before their launch, so that they look at once. One that can't be told looks by
    itself a little later."""
    for job_id in ports.jobs.slot_holders(version.owner):

        def decide(job: Job) -> Change | None:
            uses = any((d.dataset_id, d.version_id) == (version.dataset_id, version.version_id) for d in job.datasets)
            if job.is_terminal or job.prediction_id is not None or not uses:
                return None
            return job_change(job.moved(now=ports.clock.now(), wakes=job.wakes + 1), ports.clock.now())

        try:
            job = mutate(ports.jobs, job_id, decide)
        except (JobGoneError, ContendedError):
            continue
        if job.task_token is not None and job.prediction_id is None and not job.is_terminal:
            ports.runner.wake(job.task_token)


def _record(run: Run, ports: Ports, new: Any) -> DatasetVersion | None:
    def decide(current: InspectionSummary) -> InspectionSummary | None:
        if current.status.is_over or current.attempt != run.attempt:
            return None
        changed: InspectionSummary = new(current)
        return changed

    version = run.version
    return records.change(ports, version.owner, version.dataset_id, version.version_id, decide)


def _facts(data: bytes) -> Iterable[FileFacts]:
    return (FileFacts.model_validate_json(line) for line in data.splitlines() if line)


def _shown_paths(run: Run, ports: Ports) -> Iterator[tuple[int, str]]:
    for info in ports.dataset_files.list(f"{run.work}batch-"):
        for planned in Planned.lines(ports.dataset_files.get(info.key) or b""):
            if planned.thumbnail is not None:
                yield planned.thumbnail, planned.file.path


def _place(key: str) -> int:
    return int(key.rsplit("/", 1)[-1].split(".")[0])


__all__ = ["Problem", "cut", "fail", "plan", "report", "sheet"]
