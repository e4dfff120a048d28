"""The storage endpoint: who may write and read where, and what is there.

A token writes and reads its own job's keys while the job is active. Owners read the keys of all their jobs, with the
job's id as the first folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.audit import AuditAction, AuditResult
from chalicelib.domain.jobs import Job
from chalicelib.domain.permissions import Principal
from chalicelib.domain.ports import JobFilter, ObjectInfo, Ports, PresignedPut, StaleRecordError
from chalicelib.domain.storage import (
    BUCKET,
    MAX_DIRECT_BYTES,
    MAX_JOB_BYTES,
    MAX_JOB_FILES,
    MAX_OBJECT_BYTES,
    MAX_TOKENS,
    SECRET_LENGTH,
    UnfitKeyError,
    checked,
    compose,
    hash_of,
    job_of,
    uploads_prefix,
)
from chalicelib.errors import AuthenticationError, BadRequest, Conflict, NotFound, PayloadTooLarge
from chalicelib.services.audit import Actor, AuditService
from chalicelib.services.doors import Doors
from chalicelib.services.jobs import JobsService

#: How long a redirect is good for: the upload must have begun by then.
LINK_LIFETIME = timedelta(hours=1)
#: The record of a job's tokens is kept for this long after a token was made; no job waits and runs longer.
TOKENS_KEPT = timedelta(days=60)
#: An owner's newest jobs, which the list without a job's id looks at.
MAX_JOBS_LISTED = 50
MAX_PAGE = 1_000


@dataclass(frozen=True)
class Listed:
    """``objects`` with their keys as the caller names them, ``folders`` when a delimiter was asked for. ``next`` is
    what the next page starts after; None at the end."""

    objects: Sequence[ObjectInfo]
    folders: Sequence[str]
    next: str | None


@dataclass(frozen=True)
class Scope:
    """Who reads: a job's token, or an owner."""

    job: Job | None
    who: Principal | None


class StorageService:
    def __init__(
        self,
        ports: Ports,
        doors: Doors,
        audit: AuditService,
        jobs: JobsService,
        *,
        max_job_bytes: int = MAX_JOB_BYTES,
    ) -> None:
        self._ports = ports
        self._doors = doors
        self._audit = audit
        self._jobs = jobs
        self._max_job_bytes = max_job_bytes

    # --- tokens -----------------------------------------------------------------------------------------------
    def issue(self, actor: Actor, who: Principal, job_id: str) -> str:
        """A new token of the caller's own active job. Raises NotFound, Conflict (``job_over``, ``too_many_tokens``,
        ``changed_meanwhile``)."""
        job = self._jobs.get(who, job_id)
        if job.owner != who.owner:
            raise NotFound(f"Job not found: {job_id}", code="job_not_found")
        if job.is_terminal:
            raise Conflict("The job is over, and its upload tokens with it.", code="job_over")
        before = self._doors.upload_tokens.get(job_id)
        if len(before.hashes) >= MAX_TOKENS:
            raise Conflict(f"The job has {MAX_TOKENS} upload tokens, which is the limit.", code="too_many_tokens")
        token = compose(job_id, self._doors.random_text(SECRET_LENGTH))
        after = before.model_copy(
            update={
                "hashes": (*before.hashes, hash_of(token)),
                "vanishes_at": self._ports.clock.now() + TOKENS_KEPT,
                "revision": before.revision + 1,
            }
        )
        self._audit.record(
            actor, AuditAction.UPLOAD_TOKEN_CREATE, AuditResult.ALLOWED, target=f"job:{job_id}", owner=job.owner
        )
        try:
            self._doors.upload_tokens.put(after)
        except StaleRecordError:
            raise Conflict("Another token was made at this moment; try again.", code="changed_meanwhile") from None
        return token

    def job_with(self, token: str) -> Job:
        """The active job of a token. Raises AuthenticationError, the same one whatever is wrong."""
        job_id = job_of(token)
        if job_id is None or not self._doors.upload_tokens.get(job_id).knows(token):
            raise _invalid()
        job = self._ports.jobs.get(job_id)
        if job is None or job.is_terminal:
            raise _invalid()
        return job

    # --- writing ----------------------------------------------------------------------------------------------
    def accept(self, job: Job, bucket: str, key: str, size: int) -> str:
        """The whole key for an upload of ``size`` bytes. Raises NotFound (``no_such_bucket``), BadRequest
        (``invalid_key``), PayloadTooLarge."""
        whole = self._whole(job.owner, job.job_id, bucket, key)
        if size > MAX_OBJECT_BYTES:
            raise PayloadTooLarge(
                "One upload has 5 GiB at most. Models of any size reach S3 with the job's own credentials, and you "
                "with: stcloud jobs pull",
                code="entity_too_large",
            )
        there = list(self._ports.outputs.list(uploads_prefix(job.owner, job.job_id), limit=MAX_JOB_FILES + 1))
        others = [found for found in there if found.key != whole]
        if len(others) >= MAX_JOB_FILES or sum(found.size for found in others) + size > self._max_job_bytes:
            raise PayloadTooLarge(
                f"A job may upload {MAX_JOB_FILES} files and {self._max_job_bytes >> 30} GiB here, and this is more.",
                code="upload_quota",
            )
        return whole

    def put(self, whole: str, data: bytes) -> str:
        """Stores a small body; returns its ETag, without quotes."""
        if len(data) > MAX_DIRECT_BYTES:
            raise PayloadTooLarge("The body is too large to pass through here.", code="entity_too_large")
        self._ports.outputs.put(whole, data)
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    def link_to_put(self, whole: str, size: int) -> PresignedPut:
        """For a large body: S3 takes exactly ``size`` bytes at exactly this key."""
        return self._ports.outputs.presign_put(
            whole, size=size, sha256=None, now=self._ports.clock.now(), expires=LINK_LIFETIME
        )

    # --- reading ----------------------------------------------------------------------------------------------
    def find(self, scope: Scope, bucket: str, key: str) -> ObjectInfo:
        """The object, with its whole key. Raises NotFound."""
        job, rest = self._place(scope, key)
        found = None
        if job is not None and bucket == BUCKET:
            try:
                found = self._ports.outputs.head(self._whole(job.owner, job.job_id, bucket, rest))
            except BadRequest:
                found = None
        if found is None:
            raise NotFound("Object not found", code="no_such_key")
        return found

    def link_to_get(self, found: ObjectInfo) -> str:
        name = found.key.rpartition("/")[2]
        return self._ports.outputs.presign_get(found.key, expires=LINK_LIFETIME, filename=name)

    def read(self, found: ObjectInfo) -> bytes | None:
        """A small object's bytes."""
        return self._ports.outputs.get(found.key, length=MAX_DIRECT_BYTES)

    def page(self, scope: Scope, bucket: str, *, prefix: str, delimiter: str, after: str, limit: int) -> Listed:
        """One page by key. Of an unknown bucket: nothing, as SimpleTuner's server answers."""
        if bucket != BUCKET or limit <= 0:
            return Listed((), (), None)
        if scope.job is None and "/" not in prefix:
            folders = [f"{job.job_id}/" for job, _ in self._with_uploads(scope)]
            return Listed((), sorted(f for f in folders if f.startswith(prefix) and f > after), None)
        job, rest = self._place(scope, prefix)
        if job is None:
            return Listed((), (), None)
        base = uploads_prefix(job.owner, job.job_id)
        shown = "" if scope.job is not None else f"{job.job_id}/"
        objects: list[ObjectInfo] = []
        folders = []
        last = after
        start = base + after.removeprefix(shown) if after else None
        # A folder's own objects are passed by; whole jobs are bounded in files.
        for found in self._ports.outputs.list(base + rest, start_after=start, limit=MAX_JOB_FILES + 1):
            name = shown + found.key.removeprefix(base)
            head, mark, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            folder = prefix + head + mark if mark else ""
            if folder and (folder in folders or after.startswith(folder)):
                last = name
                continue
            if len(objects) + len(folders) == limit:
                return Listed(objects, folders, last)
            last = name
            if folder:
                folders.append(folder)
            else:
                objects.append(ObjectInfo(name, found.size, found.modified_at))
        return Listed(objects, folders, None)

    def usage(self, scope: Scope) -> tuple[int, int, datetime | None]:
        """Bytes, files and the newest change in the one bucket."""
        infos = [info for _, found in self._with_uploads(scope) for info in found]
        return sum(i.size for i in infos), len(infos), max((i.modified_at for i in infos), default=None)

    def _with_uploads(self, scope: Scope) -> list[tuple[Job, list[ObjectInfo]]]:
        """The token's job, or an owner's newest ones, each with what was uploaded; those without any are left out."""
        if scope.job is not None:
            jobs: Sequence[Job] = [scope.job]
        elif scope.who is not None:
            jobs = self._ports.jobs.list(JobFilter(owner=scope.who.owner), limit=MAX_JOBS_LISTED).jobs
        else:
            jobs = []
        found = ((j, list(self._ports.outputs.list(uploads_prefix(j.owner, j.job_id), limit=MAX_PAGE))) for j in jobs)
        return [(job, infos) for job, infos in found if infos]

    def _place(self, scope: Scope, key: str) -> tuple[Job | None, str]:
        """Whose key it is, and what is left of it. Owners name the job first; another's job is none."""
        if scope.job is not None:
            return scope.job, key
        job_id, _, rest = key.partition("/")
        job = self._ports.jobs.get(job_id) if job_id else None
        mine = job is not None and scope.who is not None and job.owner == scope.who.owner
        return (job if mine else None), rest

    def _whole(self, owner: str, job_id: str, bucket: str, key: str) -> str:
        if bucket != BUCKET:
            raise NotFound(f"There is one bucket, and it is called {BUCKET}.", code="no_such_bucket")
        try:
            return checked(uploads_prefix(owner, job_id), key)
        except UnfitKeyError as error:
            raise BadRequest(f"This is no key of an object: {error}.", code="invalid_key") from None


def _invalid() -> AuthenticationError:
    return AuthenticationError("Invalid upload token. Token must match an active job.", code="invalid_upload_token")
