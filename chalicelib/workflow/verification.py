"""Deliver and Verify: what was published is listed, read back, and only then called a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.escrow import FileKind, OutputFile, artifacts_prefix, job_prefix, missing_shards
from chalicelib.domain.failures import Failure, FaultKind
from chalicelib.domain.file_check import NOT_FINITE, Expected, FileCheck, expected_of, repeated
from chalicelib.domain.jobs import DeliverySummary, Job, Phase
from chalicelib.domain.lifecycle import Change, Note, change, mutate
from chalicelib.domain.ports import Ports
from chalicelib.domain.wording import count_text
from chalicelib.services.conclusion import inventory, write_manifest
from chalicelib.services.observation import read_log
from chalicelib.workflow.outcome import Next, Outcome
from chalicelib.workflow.routing import route
from chalicelib.workflow.steps import record_failure

#: One Verify invocation begins no new file after this; a Lambda has 15 minutes.
VERIFY_BUDGET = timedelta(minutes=8)
#: And stops reading after this, counted from its begin.
FILE_BUDGET = timedelta(minutes=13)
#: Tries to read one file in time: a slow day is not a large file.
MAX_SLOW_READS = 3
#: Of the model's warnings, kept in the job's record; the manifest has them all.
MAX_WARNINGS = 10
CHUNK = 8 * 1024 * 1024


def deliver(job_id: str, ports: Ports) -> Outcome:
    """First form of delivery: the trainer has published into escrow. Checks that the final weights are among it and
    keeps the log beside them. A model that never arrived is a failure with its reason; what did arrive stays."""
    now = ports.clock.now()
    job = mutate(
        ports.jobs, job_id, lambda j: _enter(j, Phase.DELIVERING, now, "job.delivering", "Collecting the model")
    )
    if job.is_terminal or job.failure is not None or job.phase is not Phase.DELIVERING:
        return Outcome(route(job, now), job.wakes)
    log = read_log(ports.outputs, job)
    if log:
        ports.outputs.put(f"{job_prefix(job.owner, job_id)}logs.txt", log, content_type="text/plain; charset=utf-8")
    files = inventory(ports, job)
    if not any(f.kind is FileKind.WEIGHTS for f in files):
        failure = _no_weights(job, files)
        job = mutate(ports.jobs, job_id, lambda j: record_failure(j, failure, ports))
        return Outcome(route(job, now), job.wakes)
    job = mutate(
        ports.jobs, job_id, lambda j: _enter(j, Phase.VERIFYING, now, "job.verifying", "Reading the model back")
    )
    return Outcome(route(job, now), job.wakes)


def verify(job_id: str, ports: Ports) -> Outcome:
    """Reads every file back: SHA-256 of all, header, layout and a sample of the values of every safetensors. Records
    the result and writes the manifest. Works in slices of VERIFY_BUDGET and remembers what is done, so many large files
    take several calls. One file is read in one go, within FILE_BUDGET: half a SHA-256 can't be kept."""
    started = ports.clock.now()
    job = mutate(ports.jobs, job_id, lambda _: None)
    if job.is_terminal or job.failure is not None or job.phase is not Phase.VERIFYING:
        return Outcome(route(job, started), job.wakes)
    state_key = f"{job_prefix(job.owner, job_id)}verify.json"
    notes = _Notes.read(ports.outputs.get(state_key))
    files = inventory(ports, job)
    expected = _expected(ports, job)
    checked: list[OutputFile] = []
    for file in files:
        known = notes.done.get(file.path)
        if known is not None and known.size == file.size:
            checked.append(known)
            continue
        if ports.clock.now() - started > VERIFY_BUDGET:
            return Outcome(Next.VERIFY, job.wakes)
        result = _check(ports, job, file, expected, started + FILE_BUDGET)
        if result is None:
            result = notes.slow(file)
        if result is not None:
            checked.append(result)
            notes.done[file.path] = result
        ports.outputs.put(state_key, notes.written(), content_type="application/json")
        if result is None:
            return Outcome(Next.VERIFY, job.wakes)
    checked = repeated(checked)
    manifest_key = write_manifest(ports, job, checked, complete=True)
    ports.outputs.delete([state_key])
    now = ports.clock.now()
    weights = [f for f in checked if f.kind is FileKind.WEIGHTS]
    failure = _unsound(job, checked, weights)
    summary = DeliverySummary(
        files=len(checked),
        bytes=sum(f.size for f in checked),
        manifest_key=manifest_key,
        weights=tuple(f.path for f in weights),
        verified_files=sum(f.verified for f in checked),
        broken_files=sum(f.problem is not None for f in checked),
        warnings=tuple(f"{f.path}: {warning}" for f in weights for warning in f.warnings)[:MAX_WARNINGS],
        verified_at=None if failure else now,
    )
    job = mutate(ports.jobs, job_id, lambda j: _verified(j, summary, failure, now))
    return Outcome(Next.FINISH if job.is_active else Next.DONE, job.wakes)


def _expected(ports: Ports, job: Job) -> Expected:
    submitted = ports.jobs.get_input(job.job_id)
    return expected_of(submitted.config) if submitted is not None else Expected()


def _enter(job: Job, phase: Phase, now: datetime, event: str, message: str) -> Change | None:
    before = Phase.COLLECTING if phase is Phase.DELIVERING else Phase.DELIVERING
    if job.is_terminal or job.failure is not None or job.phase is not before:
        return None
    return change(job.moved(now=now, phase=phase), now, Note(event, message))


def _verified(job: Job, summary: DeliverySummary, failure: Failure | None, now: datetime) -> Change | None:
    if job.is_terminal or job.failure is not None:
        return None
    if failure is not None:
        note = Note("job.problem", failure.message, {"code": failure.code})
    else:
        count = summary.verified_files
        said = f"{count} file{'s' if count != 1 else ''} verified"
        note = Note("job.verified", said, {"weights": list(summary.weights)})
    return change(job.moved(now=now, delivery=summary, failure=failure), now, note)


@dataclass
class _Notes:
    """What Verify remembers between its calls: files that are done, and how often one took too long."""

    done: dict[str, OutputFile]
    tries: dict[str, int]

    @classmethod
    def read(cls, data: bytes | None) -> _Notes:
        found = json.loads(data) if data else {}
        if isinstance(found, list):  # of the release before
            found = {"done": found}
        return cls(
            {f.path: f for f in map(OutputFile.model_validate, found.get("done", []))}, dict(found.get("tries", {}))
        )

    def written(self) -> bytes:
        done = [f.model_dump(mode="json") for f in self.done.values()]
        return json.dumps({"done": done, "tries": self.tries}).encode()

    def slow(self, file: OutputFile) -> OutputFile | None:
        """Counts a file that took too long; it is given up after MAX_SLOW_READS."""
        self.tries[file.path] = self.tries.get(file.path, 0) + 1
        if self.tries[file.path] < MAX_SLOW_READS:
            return None
        minutes = int(FILE_BUDGET.total_seconds() // 60)
        return file.model_copy(update={"problem": f"it could not be read back within {minutes} minutes"})


def _check(ports: Ports, job: Job, file: OutputFile, expected: Expected, stop_at: datetime) -> OutputFile | None:
    """The file with what was found; None when time was up before its end."""
    key = artifacts_prefix(job.owner, job.job_id) + file.path
    stream = ports.outputs.open(key)
    if stream is None:
        return file.model_copy(update={"problem": "it disappeared while being read"})
    digest, check, size = hashlib.sha256(), FileCheck(file, expected), 0
    with stream:
        read: Callable[[], bytes] = lambda: stream.read(CHUNK)  # noqa: E731 - iter() wants a callable
        for block in iter(read, b""):
            digest.update(block)
            check.feed(block)
            size += len(block)
            if ports.clock.now() > stop_at and size < file.size:
                return None
    update: dict[str, object] = {"sha256": digest.hexdigest(), "size": size}
    if size != file.size:
        update["problem"] = f"it has {size} bytes where {file.size} were listed"
    else:
        update |= check.outcome(size)
    return file.model_copy(update=update)


def _no_weights(job: Job, files: list[OutputFile]) -> Failure:
    others = count_text(len(files), "other file was published and is", "other files were published and are")
    kept = f" {others} kept." if files else " Nothing was published."
    return Failure(
        code="model_missing",
        kind=FaultKind.PROVIDER,
        message=f"The training ended, but the weights of its last step ({job.max_train_steps}) never arrived.{kept}",
        advice="Look at the end of the log for publishing errors; earlier checkpoints can be downloaded from the "
        "outputs.",
    )


def _unsound(job: Job, checked: list[OutputFile], weights: list[OutputFile]) -> Failure | None:
    """Why the model is none. A broken file beside it (earlier checkpoint, sample) is noted in the manifest only."""
    if not weights:
        return _no_weights(job, checked)
    missing = missing_shards(f.path for f in weights)
    if missing:
        return Failure(
            code="model_incomplete",
            kind=FaultKind.PROVIDER,
            message=f"{len(missing)} part{'s' if len(missing) != 1 else ''} of the model never arrived: "
            f"{', '.join(missing[:3])}",
            advice="What arrived is kept. Look at the end of the log for publishing errors, then submit again.",
        )
    broken = [f for f in weights if f.problem is not None]
    return _corrupt(broken) if broken else None


def _corrupt(broken: list[OutputFile]) -> Failure:
    diverged = all((f.problem or "").startswith(NOT_FINITE) for f in broken)
    advice = "The file is kept as it arrived. Earlier checkpoints in the outputs may be sound; else submit again."
    if diverged:
        advice = (
            "The training diverged. Look where its loss became NaN, and submit again with a lower learning rate, or "
            "with gradient clipping. Earlier checkpoints in the outputs may be sound."
        )
    return Failure(
        code="model_diverged" if diverged else "model_corrupt",
        kind=FaultKind.USER if diverged else FaultKind.PROVIDER,
        message="; ".join(f"{f.path}: {f.problem}" for f in broken[:3]),
        advice=advice,
    )
