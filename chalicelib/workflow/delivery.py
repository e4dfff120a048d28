"""Deliver and Verify: what was published is listed, read back, and only then called a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import datetime, timedelta

from chalicelib.domain.escrow import FileKind, OutputFile, artifacts_prefix, job_prefix, missing_shards
from chalicelib.domain.failures import Failure, FaultKind
from chalicelib.domain.jobs import DeliverySummary, Job, Phase
from chalicelib.domain.lifecycle import Change, Note, change, mutate
from chalicelib.domain.ports import Ports
from chalicelib.domain.safetensors import MAX_HEADER_BYTES, SafetensorsError, parse_header
from chalicelib.domain.wording import count_text
from chalicelib.services.conclusion import inventory, write_manifest
from chalicelib.services.observation import read_log
from chalicelib.workflow.outcome import Next, Outcome
from chalicelib.workflow.routing import route
from chalicelib.workflow.steps import record_failure

#: One Verify invocation begins no new file after this; a Lambda has 15 minutes.
VERIFY_BUDGET = timedelta(minutes=8)
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
    """Reads every file back: SHA-256 of all, header and layout of every safetensors. Records the result and writes the
    manifest. Works in slices of VERIFY_BUDGET and remembers what is done, so many large files take several calls."""
    started = ports.clock.now()
    job = mutate(ports.jobs, job_id, lambda _: None)
    if job.is_terminal or job.failure is not None or job.phase is not Phase.VERIFYING:
        return Outcome(route(job, started), job.wakes)
    state_key = f"{job_prefix(job.owner, job_id)}verify.json"
    done = _load(ports.outputs.get(state_key))
    files = inventory(ports, job)
    checked: list[OutputFile] = []
    for file in files:
        known = done.get(file.path)
        if known is not None and known.size == file.size:
            checked.append(known)
            continue
        if ports.clock.now() - started > VERIFY_BUDGET:
            return Outcome(Next.VERIFY, job.wakes)
        result = _check(ports, job, file)
        checked.append(result)
        done[file.path] = result
        state = json.dumps([f.model_dump(mode="json") for f in done.values()])
        ports.outputs.put(state_key, state.encode(), content_type="application/json")
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
        verified_at=None if failure else now,
    )
    job = mutate(ports.jobs, job_id, lambda j: _verified(j, summary, failure, now))
    return Outcome(Next.FINISH if job.is_active else Next.DONE, job.wakes)


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


def _load(data: bytes | None) -> dict[str, OutputFile]:
    if data is None:
        return {}
    return {f.path: f for f in map(OutputFile.model_validate, json.loads(data))}


def _check(ports: Ports, job: Job, file: OutputFile) -> OutputFile:
    key = artifacts_prefix(job.owner, job.job_id) + file.path
    stream = ports.outputs.open(key)
    if stream is None:
        return file.model_copy(update={"problem": "it disappeared while being read"})
    digest, head, size = hashlib.sha256(), bytearray(), 0
    wanted = MAX_HEADER_BYTES + 8 if file.path.endswith(".safetensors") else 0
    with stream:
        read: Callable[[], bytes] = lambda: stream.read(CHUNK)  # noqa: E731 - iter() wants a callable
        for block in iter(read, b""):
            digest.update(block)
            size += len(block)
            if len(head) < min(wanted, _header_end(head, wanted)):
                head += block[: wanted - len(head)]
    update: dict[str, object] = {"sha256": digest.hexdigest(), "size": size}
    if size != file.size:
        update["problem"] = f"it has {size} bytes where {file.size} were listed"
    elif wanted:
        update |= _inspect(bytes(head), size)
    return file.model_copy(update=update)


def _header_end(head: bytearray, wanted: int) -> int:
    """How many bytes of the file the header takes, as far as is known yet."""
    return wanted if len(head) < 8 else 8 + int.from_bytes(head[:8], "little")


def _inspect(head: bytes, size: int) -> dict[str, object]:
    try:
        header = parse_header(head, file_size=size)
    except SafetensorsError as error:
        return {"problem": str(error)}
    if header.tensor_count == 0:
        return {"problem": "it holds no tensors"}
    return {
        "tensors": header.tensor_count,
        "parameters": header.parameters,
        "dtypes": tuple(sorted(header.dtypes)),
        "rank": header.rank,
    }


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
    return Failure(
        code="model_corrupt",
        kind=FaultKind.PROVIDER,
        message="; ".join(f"{f.path}: {f.problem}" for f in broken[:3]),
        advice="The file is kept as it arrived. Earlier checkpoints in the outputs may be sound; else submit again.",
    )
