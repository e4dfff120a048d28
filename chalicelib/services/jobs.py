"""Reading, cancelling and deleting jobs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.escrow import Manifest, OutputFile, artifacts_prefix
from chalicelib.domain.jobs import Job, JobEvent, JobInput, JobStatus, JobType
from chalicelib.domain.lifecycle import Change, JobGoneError, Note, change, mutate, prediction_is_over
from chalicelib.domain.logs import utf8_slice
from chalicelib.domain.permissions import Permission, Principal
from chalicelib.domain.ports import DeletedJob, InvalidCursorError, JobFilter, JobPage, Ports, StaleRecordError
from chalicelib.domain.progress import display_logs
from chalicelib.errors import AppError, BadRequest, Conflict, NotFound, Unavailable
from chalicelib.schemas.job_parts import MAX_LOG_CHUNK
from chalicelib.schemas.jobs import ListJobsQuery
from chalicelib.services.conclusion import ConclusionService, inventory
from chalicelib.services.delivery_records import open_of
from chalicelib.services.leftovers import forget_job
from chalicelib.services.observation import ObservationService, read_log

logger = logging.getLogger(__name__)

#: A record younger than this is shown as it is; an older one of an active job is refreshed on the reads that show
#: progress.
FRESH_FOR = timedelta(seconds=2)
#: How many active jobs one ``sync_active`` read refreshes; the workflow looks after the others.
SYNC_LIMIT = 10
URL_LIFETIME = timedelta(hours=1)
#: Files of one answer: a link has up to 2 KB, and a Lambda answers with 6 MB at most.
MAX_OUTPUTS = 1_000


@dataclass(frozen=True)
class LogSlice:
    text: str
    offset: int
    next_offset: int
    size: int
    complete: bool
    truncated: bool


@dataclass(frozen=True)
class Outputs:
    files: list[tuple[OutputFile, str]]
    total_bytes: int
    verified: bool
    manifest_url: str | None
    complete: bool
    next: str | None


class JobsService:
    def __init__(self, ports: Ports, observation: ObservationService, conclusion: ConclusionService) -> None:
        self._ports = ports
        self._observation = observation
        self._conclusion = conclusion

    def get(self, who: Principal, job_id: str) -> Job:
        """The job, if the caller may see it. Raises NotFound for an unknown job and for somebody else's alike."""
        job = self._ports.jobs.get(job_id)
        if job is None or not (job.owner == who.owner or who.may(Permission.JOB_VIEW_ALL)):
            raise NotFound(
                f"Job not found: {job_id}",
                code="job_not_found",
                extra={"error": "job_not_found", "details": {"job_id": job_id}},
            )
        return job

    def list(self, who: Principal, query: ListJobsQuery) -> JobPage:
        """One page, newest first. An unknown status or provider matches nothing; a bad job_type is refused."""
        if query.job_type is not None and query.job_type not in set(JobType):
            raise BadRequest(
                f"Invalid job_type: {query.job_type}. Must be 'local' or 'cloud'.", code="invalid_job_type"
            )
        if query.status is not None and query.status not in set(JobStatus):
            return JobPage(jobs=())
        wanted = JobFilter(
            owner=None if who.may(Permission.JOB_VIEW_ALL) else who.owner,
            status=JobStatus(query.status) if query.status else None,
            provider=query.provider,
            job_type=JobType(query.job_type) if query.job_type else None,
        )
        try:
            page = self._ports.jobs.list(wanted, limit=query.limit, cursor=query.cursor, offset=query.offset)
        except InvalidCursorError:
            raise BadRequest("The cursor is not one of this list.", code="invalid_cursor") from None
        if not query.sync_active:
            return page
        budget = SYNC_LIMIT
        jobs: list[Job] = []
        for job in page.jobs:
            refreshed = job
            if job.is_active and job.prediction_id and budget > 0:
                budget -= 1
                refreshed = self._refresh(job)
            jobs.append(refreshed)
        return JobPage(jobs=tuple(jobs), cursor=page.cursor)

    def progress(self, who: Principal, job_id: str) -> Job:
        """The job, looked at again at the provider when what we know is older than two seconds."""
        return self._refresh(self.get(who, job_id))

    def _refresh(self, job: Job) -> Job:
        if job.is_terminal or job.prediction_id is None or prediction_is_over(job):
            return job
        if job.last_confirmed_at is not None and self._ports.clock.now() - job.last_confirmed_at < FRESH_FOR:
            return job
        try:
            seen = self._observation.observe(job.job_id)
        except (JobGoneError, Unavailable):
            return job  # what we know is shown; one job that can't be asked about must not spoil a list
        if prediction_is_over(seen) and seen.task_token is not None:
            self._ports.runner.wake(seen.task_token)
        return seen

    def logs(self, who: Principal, job_id: str, *, offset: int | None, limit: int) -> LogSlice:
        """The kept log. Without ``offset`` its end, folded for reading; with it the raw bytes from there.

        Raises NotFound, BadRequest (offset past the end).
        """
        job, data = self._read_log(self._refresh(self.get(who, job_id)))
        size = job.log_bytes
        if offset is None:
            cut = max(0, len(data) - MAX_LOG_CHUNK)
            while 0 < cut < len(data) and data[cut] & 0xC0 == 0x80:
                cut += 1
            text = display_logs(data[cut:].decode("utf-8", "replace"))
            return LogSlice(text, cut, len(data), len(data), job.logs_complete, cut > 0)
        if offset > size:
            raise BadRequest(f"offset {offset} lies behind the end of the log ({size} bytes).", code="invalid_offset")
        data = data[offset : offset + limit]
        data = utf8_slice(data, at_end=offset + len(data) >= size)
        return LogSlice(data.decode("utf-8", "replace"), offset, offset + len(data), size, job.logs_complete, False)

    def _read_log(self, job: Job) -> tuple[Job, bytes]:
        """The record and its log. A look at the provider may have replaced the copy in between: then both anew."""
        data = read_log(self._ports.outputs, job)
        if len(data) == job.log_bytes:
            return job, data
        job = self._ports.jobs.get(job.job_id) or job
        return job, read_log(self._ports.outputs, job)

    def events(self, who: Principal, job_id: str, *, after: int, limit: int) -> Sequence[JobEvent]:
        self.get(who, job_id)
        return self._ports.jobs.events(job_id, after=after, limit=limit)

    def outputs(self, who: Principal, job_id: str, *, after: str | None = None, limit: int = MAX_OUTPUTS) -> Outputs:
        """What is in escrow, by path, from behind ``after``, with links that work for an hour. Before the end: what has
        been published so far; nothing once it was removed (the manifest still says what there was). ``total_bytes``
        counts all files, not only this page's."""
        job = self.get(who, job_id)
        prefix = artifacts_prefix(job.owner, job_id)
        manifest_url = None
        files: list[OutputFile] = []
        key = job.delivery.manifest_key
        if key is not None:
            data = self._ports.outputs.get(key)
            if data is not None:
                files = list(Manifest.model_validate_json(data).files)
                manifest_url = self._ports.outputs.presign_get(key, expires=URL_LIFETIME, filename="manifest.json")
        if job.escrow_removed_at is not None:
            files = []
        elif manifest_url is None:
            files = inventory(self._ports, job)
        rest = sorted((f for f in files if after is None or f.path > after), key=lambda f: f.path)
        links = [
            (f, self._ports.outputs.presign_get(prefix + f.path, expires=URL_LIFETIME, filename=f.path.split("/")[-1]))
            for f in rest[:limit]
        ]
        return Outputs(
            files=links,
            total_bytes=sum(f.size for f in files),
            verified=job.delivery.verified_at is not None,
            manifest_url=manifest_url,
            complete=job.is_terminal,
            next=links[-1][0].path if len(rest) > limit else None,
        )

    def manifest(self, who: Principal, job_id: str) -> Manifest:
        """What Verify found, file by file; of a job that ended without it what had been published. It outlives the
        files themselves. Raises NotFound (``manifest_not_found`` while there is none)."""
        job = self.get(who, job_id)
        data = self._ports.outputs.get(job.delivery.manifest_key) if job.delivery.manifest_key is not None else None
        if data is None:
            why = "published nothing" if job.is_terminal else "is not over"
            raise NotFound(f"There is no manifest: the job {why}.", code="manifest_not_found")
        return Manifest.model_validate_json(data)

    def submitted(self, who: Principal, job_id: str) -> tuple[Job, JobInput]:
        """The job and the config it was launched with. Raises NotFound."""
        job = self.get(who, job_id)
        job_input = self._ports.jobs.get_input(job_id)
        if job_input is None:
            raise NotFound(f"The config of job {job_id} is gone.", code="config_not_found")
        return job, job_input

    def cancel(self, who: Principal, job_id: str) -> Job:
        """Asks for the end of a job and ends it as soon as the provider confirms.

        Returns the record: ``cancelled``, or still active with ``cancel_requested_at`` set while the provider has not
        confirmed (the workflow goes on asking). Raises NotFound, Conflict (``invalid_job_state``).
        """
        job = self.get(who, job_id)
        if job.owner != who.owner and not who.may(Permission.JOB_CANCEL_ALL):
            raise NotFound(f"Job not found: {job_id}", code="job_not_found")
        now = self._ports.clock.now()
        job = mutate(self._ports.jobs, job_id, lambda j: _cancel_requested(j, now))
        # Woken before anything else: whoever asks the provider below may die doing it, and ending the job clears the
        # token, so the execution must be on its way by then.
        if job.task_token is not None:
            self._ports.runner.wake(job.task_token)
        job = self._observation.observe(job_id)
        return self._conclusion.conclude(job_id) if prediction_is_over(job) else job

    def delete(self, who: Principal, job_id: str) -> Job:
        """Deletes a finished job with its log and outputs, the record first: a refusal leaves everything as it was, and
        what could not be removed now the sweeper removes. Returns what it was.

        Raises NotFound, BadRequest (``job_active``, the status SimpleTuner answers with), Conflict
        (``deliveries_open``: they read from escrow; it changed at this very moment).
        """
        job = self.get(who, job_id)
        if job.owner != who.owner and not who.may(Permission.JOB_DELETE_ALL):
            raise NotFound(f"Job not found: {job_id}", code="job_not_found")
        if job.is_active:
            raise BadRequest(f"Cannot delete job in state '{job.status}'. Cancel it first.", code="job_active")
        open_now = open_of(self._ports, job_id)
        if open_now:
            shown = ", ".join(d.delivery_id for d in open_now[:3])
            raise Conflict(
                f"The job is being delivered ({shown}). Wait until that is over, or cancel it first: stcloud jobs "
                f"deliveries {job_id} --cancel all",
                code="deliveries_open",
            )
        try:
            self._ports.jobs.delete(job)
        except StaleRecordError:
            raise Conflict("The job changed meanwhile; try again.", code="changed_meanwhile") from None
        try:
            forget_job(self._ports, DeletedJob(job_id=job.job_id, owner=job.owner))
        except AppError:
            # The job is gone for its owner, and a mark names what is left.
            logger.exception("what is left of job %s could not be removed now; the sweeper will remove it", job_id)
        return job


def _cancel_requested(job: Job, now: datetime) -> Change | None:
    if job.is_terminal:
        states = [s.value for s in JobStatus if s not in {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED}]
        message = f"Job {job.job_id} is in state '{job.status}', operation requires one of: {states}"
        raise Conflict(
            message,
            code="invalid_job_state",
            extra={
                "error": "invalid_job_state",
                "message": message,
                "details": {"job_id": job.job_id, "current_state": job.status.value, "allowed_states": states},
            },
        )
    if job.cancel_requested_at is not None:
        return None
    note = Note("job.cancel_requested", "Cancellation requested")
    return change(job.moved(now=now, cancel_requested_at=now, wakes=job.wakes + 1), now, note)
