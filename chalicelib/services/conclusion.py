"""Ending a job: only when no prediction of it can be running, with everything published so far kept and listed."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.escrow import Manifest, OutputFile, artifacts_prefix, file_kind, manifest_key, scratch_prefix
from chalicelib.domain.job_deliveries import JobDeliveries, mark_of
from chalicelib.domain.jobs import DeliverySummary, Job, JobStatus
from chalicelib.domain.lifecycle import Change, Note, change, mutate, prediction_is_over, verdict
from chalicelib.domain.ports import EscrowMark, Ports
from chalicelib.services.delivery_records import start, wished

#: Published files looked at in one listing. A training publishes a few hundred at most.
MAX_OUTPUT_FILES = 20_000

_EVENTS = {
    JobStatus.COMPLETED: ("job.completed", "Completed: the model is in escrow and verified"),
    JobStatus.FAILED: ("job.failed", "Failed"),
    JobStatus.CANCELLED: ("job.cancelled", "Cancelled"),
}


def inventory(ports: Ports, job: Job) -> list[OutputFile]:
    """What the trainer has published so far, unverified, by path."""
    prefix = artifacts_prefix(job.owner, job.job_id)
    return [
        OutputFile(
            path=info.key[len(prefix) :],
            size=info.size,
            kind=file_kind(info.key[len(prefix) :], job.max_train_steps),
        )
        for info in ports.outputs.list(prefix, limit=MAX_OUTPUT_FILES)
    ]


def remind_of_escrow(ports: Ports, job: Job, ended_at: datetime) -> None:
    """Leaves a reminder for the sweeper, before the record says when the model's time in escrow is over: one too many
    does no harm."""
    if job.escrow_days is not None:
        ports.jobs.mark_escrow(EscrowMark(job.job_id, ended_at + timedelta(days=job.escrow_days)))


def write_manifest(ports: Ports, job: Job, files: list[OutputFile], *, complete: bool) -> str:
    """Writes the manifest beside the files and returns its key. An incomplete one has a name of its own: it must never
    replace Verify's."""
    key = manifest_key(job.owner, job.job_id, complete=complete)
    manifest = Manifest(
        job_id=job.job_id, created_at=ports.clock.now().isoformat(), complete=complete, files=tuple(files)
    )
    ports.outputs.put(key, manifest.model_dump_json(indent=2).encode(), content_type="application/json")
    return key


class ConclusionService:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports

    def conclude(self, job_id: str) -> Job:
        """Ends the job if its prediction is over; otherwise returns it as it is, still active.

        The end, its event and the freeing of the concurrency slot are one transaction. The trainer's scratch space is
        removed, a manifest of what was published and the deliveries that were wished for are written first (all safe to
        repeat); these begin after it. Raises JobGoneError.
        """
        job = mutate(self._ports.jobs, job_id, lambda _: None)
        if job.is_terminal or not prediction_is_over(job):
            return job
        delivery = job.delivery
        if job.prediction_id is not None and delivery.manifest_key is None:
            # Verify's manifest, also of an unsound model, says more: hashes, and which file has which problem.
            delivery = self._keep(job)
        if job.prediction_id is not None:
            self._ports.dataset_files.delete_prefix(scratch_prefix(job.owner, job.job_id))
        completed = verdict(job)[0] is JobStatus.COMPLETED
        deliveries = wished(self._ports, job) if completed else []
        known = JobDeliveries(marks={d.delivery_id: mark_of(d) for d in deliveries})
        now = self._ports.clock.now()
        remind_of_escrow(self._ports, job, now)

        def decide(current: Job) -> Change | None:
            if current.is_terminal or not prediction_is_over(current):
                return None
            status, failure = verdict(current)
            if status is JobStatus.COMPLETED and not completed:
                return None  # Verified at this very moment: whoever asks next makes the deliveries first.
            # Verify may have recorded more meanwhile.
            kept = current.delivery if current.delivery.manifest_key is not None else delivery
            kind, message = _EVENTS[status]
            ended = current.ended(
                now=now, status=status, failure=failure, logs_complete=True, delivery=kept, launch=None
            )
            if status is JobStatus.COMPLETED:
                ended = ended.model_copy(update={"deliveries": known})
            note = Note(kind, failure.message if failure else message, {"code": failure.code} if failure else None)
            return change(ended, now, note, release_slot=True)

        ended = mutate(self._ports.jobs, job_id, decide)
        if ended.status is JobStatus.COMPLETED:
            for wanted in deliveries:
                start(self._ports, wanted)
        return ended

    def _keep(self, job: Job) -> DeliverySummary:
        files = inventory(self._ports, job)
        if not files:
            return job.delivery
        key = write_manifest(self._ports, job, files, complete=False)
        return DeliverySummary(files=len(files), bytes=sum(f.size for f in files), manifest_key=key)
