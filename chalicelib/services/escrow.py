"""How long models stay in escrow: what a person has set, for all new jobs and for one."""

from __future__ import annotations

from chalicelib.domain.jobs import Job
from chalicelib.domain.lifecycle import Change, Note, change, mutate
from chalicelib.domain.permissions import Permission, Principal
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.errors import Conflict, NotFound
from chalicelib.schemas.jobs import SubmitRequest
from chalicelib.services.conclusion import remind_of_escrow
from chalicelib.services.jobs import JobsService

#: Tries to store a setting when several clients change it at once.
MAX_TRIES = 10


def days_for(ports: Ports, owner: str, request: SubmitRequest) -> int | None:
    """Of a new job: what the request says, null included; else what its owner has set."""
    if "escrow_days" in request.model_fields_set:
        return request.escrow_days
    return ports.owner_settings.get(owner).escrow_days


class EscrowService:
    def __init__(self, ports: Ports, jobs: JobsService) -> None:
        self._ports = ports
        self._jobs = jobs

    def settings(self, owner: str) -> int | None:
        """Days that models of new jobs are kept; None: without an end."""
        return self._ports.owner_settings.get(owner).escrow_days

    def set(self, owner: str, days: int | None) -> int | None:
        """Holds for jobs that are submitted from now on. Raises Conflict."""
        for _ in range(MAX_TRIES):
            before = self._ports.owner_settings.get(owner)
            changes = {"escrow_days": days, "updated_at": self._ports.clock.now(), "revision": before.revision + 1}
            try:
                self._ports.owner_settings.put(before.model_copy(update=changes))
            except StaleRecordError:
                continue
            return days
        raise Conflict("The setting is being changed at the same time; try again.", code="changed_meanwhile")

    def keep(self, who: Principal, job_id: str, days: int | None) -> Job:
        """Sets how long this job's model is kept, counted from the job's end; None: without an end.

        Raises NotFound, Conflict (``escrow_gone``: it was removed already).
        """
        job = self._jobs.get(who, job_id)
        if job.owner != who.owner and not who.may(Permission.JOB_DELETE_ALL):
            raise NotFound(f"Job not found: {job_id}", code="job_not_found")
        now = self._ports.clock.now()
        if job.completed_at is not None:
            remind_of_escrow(self._ports, job.model_copy(update={"escrow_days": days}), job.completed_at)

        def decide(current: Job) -> Change | None:
            if current.escrow_removed_at is not None:
                raise gone(current)
            if current.escrow_days == days:
                return None
            said = "Kept in escrow without an end" if days is None else f"Kept in escrow for {days} days after the end"
            changed = current.annotated(now=now, escrow_days=days)
            return change(changed, now, Note("escrow.retention", said, {"days": days}))

        return mutate(self._ports.jobs, job_id, decide)


def gone(job: Job) -> Conflict:
    """The job's model has left escrow."""
    at = f"{job.escrow_removed_at:%Y-%m-%d}" if job.escrow_removed_at else "meanwhile"
    return Conflict(
        f"The model was removed from escrow on {at}, {job.escrow_days} days after the job's end, as was set. Its "
        "record and manifest stay; to have it again, submit the job again.",
        code="escrow_gone",
    )
