"""Submitting a job: check everything, then one transaction, then start the execution."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from chalicelib.domain.check_results import Finding
from chalicelib.domain.idempotency import (
    LIFETIME,
    MAX_KEY_LENGTH,
    IdempotencyRecord,
    differing_fields,
    field_hashes,
    key_hash,
)
from chalicelib.domain.jobs import Job, JobInput
from chalicelib.domain.lifecycle import Note, change
from chalicelib.domain.permissions import Principal
from chalicelib.domain.ports import (
    BudgetExceededError,
    DatasetGoneError,
    IdempotencyHitError,
    Ports,
    Provider,
    SlotsFullError,
)
from chalicelib.domain.trainer import ConfigProblem
from chalicelib.errors import (
    BadRequest,
    Conflict,
    FieldError,
    TooManyRequests,
    Unavailable,
    ValidationFailed,
)
from chalicelib.schemas.jobs import SubmitRequest
from chalicelib.services.dataset_lookup import resolve
from chalicelib.services.draft import find_provider, make_draft
from chalicelib.services.key_terms import budget_of, over_budget
from chalicelib.services.preflight import PreflightService
from chalicelib.services.submit_findings import check_findings, noted, refusal, warnings_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Submitted:
    """What a submit gave: the job, and whether it was there before under the same idempotency key. ``warnings`` are
    those that were accepted; none are told again for a job that was there."""

    job: Job
    idempotent_hit: bool
    adjustments: tuple[str, ...]
    warnings: tuple[Finding, ...] = ()


class SubmissionService:
    def __init__(self, ports: Ports, preflight: PreflightService | None = None) -> None:
        self._ports = ports
        self._preflight = preflight or PreflightService(ports)

    def submit(
        self, who: Principal, request: SubmitRequest, *, provider_name: str, idempotency_key: str | None = None
    ) -> Submitted:
        """Creates a job of ``who.owner`` and starts its workflow, once per idempotency key and owner within 24 hours.

        The key comes from the ``Idempotency-Key`` header (``idempotency_key``) or the body; both must agree. Raises
        NotFound (provider, config), ValidationFailed (config, dataset, ``idempotency_mismatch``,
        ``warnings_not_accepted``), TooManyRequests
        (``concurrency_limit``), Conflict (the key's job was deleted), PermissionDenied (the API key in use:
        ``provider_not_allowed``, ``key_budget_exceeded``), Unavailable (``submit_uncertain``: the job may stand or
        not). When the execution can't be started now the job still stands: the sweeper starts it.
        """
        provider = find_provider(self._ports, who, provider_name)
        key = self._key(request, idempotency_key)
        hashes = field_hashes(
            {
                **request.model_dump(exclude={"idempotency_key", "upload_id", "accept_warnings"}),
                "provider": provider_name,
            }
        )
        now = self._ports.clock.now()
        if key is not None:
            record = self._ports.jobs.find_idempotency(who.owner, key_hash(key), now)
            if record is not None:
                return self._existing(record, hashes)
        return self._create(who, request, provider, key, hashes, now)

    @staticmethod
    def _key(request: SubmitRequest, header: str | None) -> str | None:
        if header is not None and not 1 <= len(header) <= MAX_KEY_LENGTH:
            raise BadRequest(f"Idempotency-Key must have 1 to {MAX_KEY_LENGTH} characters.", code="bad_idempotency_key")
        if header is not None and request.idempotency_key is not None and header != request.idempotency_key:
            raise BadRequest(
                "The Idempotency-Key header and idempotency_key in the body differ: send one of them, or the same.",
                code="bad_idempotency_key",
            )
        return header if header is not None else request.idempotency_key

    def _existing(self, record: IdempotencyRecord, hashes: Mapping[str, str]) -> Submitted:
        different = differing_fields(record.field_hashes, hashes)
        if different:
            raise ValidationFailed(
                f"This idempotency key was used with another request (different: {', '.join(different)}). Use a new "
                "key for a new job, or repeat the first request unchanged.",
                code="idempotency_mismatch",
                errors=[FieldError(name, "differs from the first request", "differs") for name in different],
                extra={"job_id": record.job_id},
            )
        job = self._ports.jobs.get(record.job_id)
        if job is None:
            raise Conflict(
                f"The job of this idempotency key ({record.job_id}) was deleted. Use a new key for a new job.",
                code="idempotent_job_deleted",
            )
        job_input = self._ports.jobs.get_input(record.job_id)
        return Submitted(job=job, idempotent_hit=True, adjustments=job_input.adjustments if job_input else ())

    def _create(
        self,
        who: Principal,
        request: SubmitRequest,
        provider: Provider,
        key: str | None,
        hashes: dict[str, str],
        now: datetime,
    ) -> Submitted:
        owner = who.owner
        draft = make_draft(self._ports, who, request, provider)
        saved, prepared, profile = draft.saved, draft.prepared, draft.profile
        if draft.problems or prepared is None or profile is None:
            raise refusal([(p.field, p.text, p.code) for p in draft.problems])
        findings = self._preflight.before_submit(draft)
        check_findings(findings, accepted=request.accept_warnings)
        dataloader, references, max_run_seconds = draft.dataloader, draft.references, draft.max_run_seconds
        budget = budget_of(who)
        job = Job(
            job_id=self._ports.ids.job_id(),
            owner=owner,
            provider=provider.name,
            config_name=saved.name if saved else None,
            config_version=saved.version if saved else None,
            run_name=request.tracker_run_name,
            created_at=now,
            updated_at=now,
            hardware_profile=profile.id,
            hardware_type=profile.hardware_type,
            model=profile.model,
            price_per_second=profile.price_per_second,
            max_run_seconds=max_run_seconds,
            max_train_steps=prepared.max_train_steps,
            datasets=references,
            idempotency_hash=key_hash(key) if key else None,
            key_id=who.key_id,
            budget_id=budget.budget_id if budget else None,
            budget_hold_usd=profile.price_per_second * max_run_seconds if budget else None,
        )
        notes = [Note("job.submitted", "Submitted", {"provider": provider.name, "hardware": profile.hardware_type})]
        notes += [Note("job.config_adjusted", note) for note in prepared.adjustments]
        notes += noted(findings)
        first = change(job, now, *notes)
        job_input = JobInput(
            job_id=job.job_id, config=prepared.config, dataloader=dataloader, adjustments=prepared.adjustments
        )
        record = key and IdempotencyRecord(
            owner=owner,
            key_hash=key_hash(key),
            job_id=job.job_id,
            field_hashes=hashes,
            created_at=now,
            expires_at=now + LIFETIME,
        )
        for last_try in (False, True):
            try:
                self._ports.jobs.submit(
                    first.job,
                    job_input,
                    first.events,
                    record or None,
                    self._ports.limits.max_concurrent_jobs,
                    now,
                    budget,
                )
                break
            except IdempotencyHitError as hit:
                return self._existing(hit.record, hashes)
            except BudgetExceededError as exceeded:
                raise over_budget(job, exceeded.left) from None
            except SlotsFullError:
                if last_try or not self._free_stale_slots(owner):
                    raise self._too_many() from None
            except DatasetGoneError:
                # Deleted since it was looked up; looking again says which one.
                gone = resolve(self._ports, owner, dataloader)[2] or [_CHANGED]
                raise refusal([(p.field, p.text, p.code) for p in gone]) from None
            except Unavailable as lost:
                raise _uncertain(lost, key) from lost
        self._start(first.job)
        return Submitted(
            job=first.job, idempotent_hit=False, adjustments=prepared.adjustments, warnings=warnings_of(findings)
        )

    def _start(self, job: Job) -> None:
        try:
            self._ports.runner.start(job.job_id, job.attempt)
        except Exception:
            # The job stands and the sweeper starts it. An error would make a caller without a key submit again, and pay
            # twice.
            logger.exception("job %s could not be started now; the sweeper will start it", job.job_id)

    def _too_many(self) -> TooManyRequests:
        limit = self._ports.limits.max_concurrent_jobs
        return TooManyRequests(
            f"Quota exceeded: Maximum {limit} concurrent jobs allowed. Wait for one to end, or cancel one.",
            code="concurrency_limit",
            retry_after=60,
        )

    def _free_stale_slots(self, owner: str) -> bool:
        """Frees slots whose job is over or gone; True when there was one.

        A slot is freed in the transaction that ends its job, so this finds something only after the database itself
        lost writes (a restored backup, a killed emulator).
        """
        freed = False
        for job_id in self._ports.jobs.slot_holders(owner):
            job = self._ports.jobs.get(job_id)
            if job is None or job.is_terminal:
                self._ports.jobs.release_slot(owner, job_id)
                freed = True
        return freed


_CHANGED = ConfigProblem(
    "dataloader_config", "a dataset changed at this very moment; submit again", "dataset_changed_meanwhile"
)


def _uncertain(lost: Unavailable, key: str | None) -> Unavailable:
    """Nobody knows whether the job was taken, and the natural thing to do, to submit again, might pay twice."""
    safely = (
        "repeat the request with the same Idempotency-Key, which never makes a second job"
        if key is not None
        else "look at your list of jobs before you submit again; with an Idempotency-Key a repeat is always safe"
    )
    return Unavailable(
        f"The database did not answer in time. The job may have been taken all the same: {safely}.",
        code="submit_uncertain",
        retry_after=lost.retry_after,
    )
