"""Launch: create at most one prediction for a job, whatever is retried, raced, killed or delayed.

1. The intent is written before anything is sent, as a lease: only its holder may create. Even the first holder looks
   before it creates: a database that lost its last writes may have forgotten the intent of a training that runs.
2. Whoever finds an intent that is not its own, whose lease has run out, looks at the provider for a prediction that
   carries the job's id before it creates. Until ``adopt_settle_seconds`` have passed since the last request that may
   have been taken, not finding one proves nothing, and it waits. While the lease runs, one that is found is adopted
   all the same: its creator may be dead.
3. A failed create that certainly did nothing gives the lease back; one that may have been taken starts rule 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from chalicelib.domain.escrow import artifacts_prefix, scratch_prefix
from chalicelib.domain.failures import Failure, FaultKind, ProviderFault
from chalicelib.domain.jobs import Job, JobStatus, LaunchIntent, Phase
from chalicelib.domain.launch_payload import S3Location, index_keys, launch_dataloader, launch_inputs
from chalicelib.domain.lifecycle import Change, Note, change, mutate
from chalicelib.domain.ports import Ports, Provider
from chalicelib.domain.predictions import LaunchRequest, Prediction
from chalicelib.workflow.outcome import Next, Outcome
from chalicelib.workflow.routing import route

#: Creates that failed for certain, or whose fate nobody knows, before the job is given up.
MAX_CREATES = 40
#: Pages of the provider's list looked through for our tag; 100 predictions each.
MAX_PAGES = 30
#: Clocks differ; the provider's created_at may lie a little before our intent.
CLOCK_SKEW = timedelta(minutes=5)
#: Credentials live on behind the provider's deadline, for queueing and publishing. STS allows 36 hours in all.
CREDENTIAL_MARGIN = timedelta(hours=2)
MAX_CREDENTIALS = timedelta(hours=36)

_FINAL_KINDS = frozenset({FaultKind.USER, FaultKind.AUTH, FaultKind.LIMIT})


def launch(job_id: str, ports: Ports) -> Outcome:
    """Makes sure the job has its prediction, or that it is known why not. Raises JobGoneError, ContendedError."""
    provider_name = mutate(ports.jobs, job_id, lambda _: None).provider
    provider = ports.providers(provider_name)
    now = ports.clock.now()
    if provider is None:
        job = mutate(ports.jobs, job_id, lambda j: _give_up(j, _not_configured(provider_name), now))
        return Outcome(route(job, now))
    token = ports.ids.token()
    before: list[Job] = []

    def take_lease(job: Job) -> Change | None:
        before[:] = [job]
        if job.is_terminal or job.prediction_id is not None or job.failure is not None:
            return None
        if job.launch is None:
            if job.cancel_requested_at is not None:
                return None
        elif now < job.launch.lease_until:
            return None
        intent = LaunchIntent(
            token=token,
            intended_at=job.launch.intended_at if job.launch else now,
            lease_until=now + timedelta(seconds=ports.limits.launch_lease_seconds),
            looks=job.launch.looks + 1 if job.launch else 0,
            ambiguous_since=job.launch.ambiguous_since if job.launch else None,
        )
        moved = job.moved(now=now, phase=Phase.LAUNCHING, launch=intent)
        notes = [] if job.launch else [Note("job.launch_intent", f"Launching on {job.hardware_type}")]
        return change(moved, now, *notes)

    job = mutate(ports.jobs, job_id, take_lease)
    if job.launch is None or job.launch.token != token:
        # Over, launched, cancelled, or another execution holds the lease: the record says what to do.
        if _leased(job, now):
            return _look_meanwhile(job, provider, ports)
        return Outcome(route(job, now), job.wakes)
    earlier = before[0].launch
    outcome = _look(job, earlier, provider, ports, now) if earlier else _look_first(job, provider, ports, now)
    return _create(job, provider, ports) if outcome is None else outcome


def _leased(job: Job, now: datetime) -> bool:
    return job.prediction_id is None and job.launch is not None and now < job.launch.lease_until and job.is_active


@dataclass(frozen=True)
class Search:
    """``certain`` is False when an entry could not be read or the list did not end: absence proves nothing then."""

    found: tuple[Prediction, ...]
    certain: bool


def find_tagged(provider: Provider, tag: str, since: datetime) -> Search:
    """The provider's predictions that carry ``tag``, newest first, created since then. Raises ProviderFault."""
    found: list[Prediction] = []
    unreadable = 0
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = provider.list(created_after=since, cursor=cursor)
        found += [p for p in page.predictions if tag in p.tags]
        unreadable += page.unreadable
        cursor = page.cursor
        oldest = page.predictions[-1].created_at if page.predictions else None
        if cursor is None or (oldest is not None and oldest < since):
            return Search(tuple(found), certain=not unreadable)
    return Search(tuple(found), certain=False)


def _look_first(job: Job, provider: Provider, ports: Ports, now: datetime) -> Outcome | None:
    """Adopts a prediction that the record should know; None when there is none, which is the rule."""
    try:
        search = find_tagged(provider, job.job_id, job.created_at - CLOCK_SKEW)
    except ProviderFault as fault:
        return _not_taken(job, fault, ports, now)
    if not search.found:
        return None
    try:
        return _adopt(job, search, provider, ports)
    except ProviderFault:
        job = mutate(ports.jobs, job.job_id, lambda j: _lease_back(j, ambiguous=now, now=now))
        return Outcome(Next.AWAIT_SHORT, job.wakes)


def _look_meanwhile(job: Job, provider: Provider, ports: Ports) -> Outcome:
    """Adopts what the holder of the lease has created. Creates nothing, so it is safe beside a holder that lives."""
    try:
        search = find_tagged(provider, job.job_id, job.created_at - CLOCK_SKEW)
        if search.found:
            return _adopt(job, search, provider, ports)
    except ProviderFault:
        pass  # the next look comes in half a minute
    return Outcome(Next.AWAIT_SHORT, job.wakes)


def _adopt(job: Job, search: Search, provider: Provider, ports: Ports) -> Outcome:
    """Raises ProviderFault."""
    keep = _choose(search.found)
    for other in search.found:
        if other.id != keep.id and not other.status.is_over:
            provider.cancel(other.id)
    job = mutate(ports.jobs, job.job_id, lambda j: _launched(j, keep, ports.clock.now(), adopted=True))
    return Outcome(Next.OBSERVE, job.wakes)


def _look(job: Job, earlier: LaunchIntent, provider: Provider, ports: Ports, now: datetime) -> Outcome | None:
    """Adopts a prediction created by an earlier try; None means that there is certainly none."""
    # The earlier holder may have died right after sending, at the very end of its lease.
    sent_at = earlier.ambiguous_since or earlier.lease_until
    try:
        search = find_tagged(provider, job.job_id, earlier.intended_at - CLOCK_SKEW)
        if search.found:
            return _adopt(job, search, provider, ports)
    except ProviderFault:
        return _look_again(job, earlier, ports, now)
    if not search.certain or now < sent_at + timedelta(seconds=ports.limits.adopt_settle_seconds):
        return _look_again(job, earlier, ports, now)
    if job.cancel_requested_at is not None:
        job = mutate(ports.jobs, job.job_id, lambda j: _never_launched(j, now))
        return Outcome(route(job, now), job.wakes)
    if job.launch is not None and job.launch.looks >= MAX_CREATES:
        job = mutate(ports.jobs, job.job_id, lambda j: _give_up(j, _never_taken(), now))
        return Outcome(route(job, now), job.wakes)
    return None


def _look_again(job: Job, earlier: LaunchIntent, ports: Ports, now: datetime) -> Outcome:
    """Waits before the next look; bounded by the deadline of whatever may have been created, which ends by itself."""
    if now > earlier.intended_at + timedelta(seconds=job.max_run_seconds) + CREDENTIAL_MARGIN:
        job = mutate(ports.jobs, job.job_id, lambda j: _give_up(j, _never_taken(), now))
        return Outcome(route(job, now), job.wakes)
    sent_at = earlier.ambiguous_since or earlier.lease_until
    job = mutate(ports.jobs, job.job_id, lambda j: _lease_back(j, ambiguous=sent_at, now=now))
    return Outcome(Next.AWAIT_SHORT, job.wakes)


def _never_taken() -> Failure:
    return Failure(
        code="launch_failed",
        kind=FaultKind.PROVIDER,
        message="The provider did not take the training after several tries.",
        advice="Look at the provider's status page and submit again later.",
    )


def _choose(found: Sequence[Prediction]) -> Prediction:
    """The one to adopt: the oldest that still runs, else one that succeeded, else the newest."""
    alive = [p for p in found if not p.status.is_over]
    if alive:
        return alive[-1]
    succeeded = [p for p in found if p.status.value == "succeeded"]
    return succeeded[0] if succeeded else found[0]


def _create(job: Job, provider: Provider, ports: Ports) -> Outcome:
    try:
        request = build_request(job, provider, ports)
        prediction = provider.create(request)
    except ProviderFault as fault:
        now = ports.clock.now()
        if fault.sent:
            job = mutate(ports.jobs, job.job_id, lambda j: _lease_back(j, ambiguous=now, now=now))
            return Outcome(Next.AWAIT_SHORT, job.wakes)
        return _not_taken(job, fault, ports, now)
    now = ports.clock.now()
    job = mutate(ports.jobs, job.job_id, lambda j: _launched(j, prediction, now, adopted=False))
    if job.prediction_id != prediction.id:
        # The lease ran out while the provider took its time, and somebody adopted or created another one.
        provider.cancel(prediction.id)
    return Outcome(Next.OBSERVE if job.cancel_requested_at else Next.AWAIT_SHORT, job.wakes)


def _not_taken(job: Job, fault: ProviderFault, ports: Ports, now: datetime) -> Outcome:
    """After a fault that certainly created nothing: final ones end the job, after others the launch is tried again."""
    if fault.kind in _FINAL_KINDS:
        job = mutate(ports.jobs, job.job_id, lambda j: _give_up(j, _failure_of(fault), now))
        return Outcome(route(job, now), job.wakes)
    if fault.kind is FaultKind.OURS:
        note = Note("launch.postponed", f"The launch could not be prepared: {fault.message}")
    else:
        note = Note("provider.refused", f"The provider did not take the training: {fault.message}")
    job = mutate(ports.jobs, job.job_id, lambda j: _lease_back(j, ambiguous=None, now=now, note=note))
    return Outcome(Next.AWAIT_SHORT, job.wakes)


def build_request(job: Job, provider: Provider, ports: Ports) -> LaunchRequest:
    """The launch request with fresh temporary credentials, prefix-scoped and bound to this job.

    Writes the empty indices that the trainer looks for. Raises ProviderFault with ``sent`` False."""
    job_input = ports.jobs.get_input(job.job_id)
    if job_input is None:
        raise ProviderFault("The job's input is missing.", kind=FaultKind.USER, code="input_missing", sent=False)
    scratch = scratch_prefix(job.owner, job.job_id)
    output_prefix = artifacts_prefix(job.owner, job.job_id)
    credentials = ports.broker.scoped(
        name=job.job_id,
        read_prefixes=sorted({d.prefix for d in job.datasets}),
        scratch_prefix=scratch,
        write_prefix=output_prefix,
        duration=min(timedelta(seconds=job.max_run_seconds) + CREDENTIAL_MARGIN, MAX_CREDENTIALS),
    )

    def location(bucket: str, prefix: str) -> S3Location:
        return S3Location(
            bucket=bucket,
            prefix=prefix,
            endpoint_url=ports.trainer_storage.endpoint_url,
            region=ports.trainer_storage.region,
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            session_token=credentials.session_token,
        )

    locations = {d.entry_id: location(ports.dataset_files.bucket, d.prefix) for d in job.datasets}
    for key in index_keys(job_input.dataloader, locations, scratch):
        ports.dataset_files.put(key, b"{}", content_type="application/json")
    return LaunchRequest(
        tag=job.job_id,
        profile=provider.profiles[job.hardware_profile],
        inputs=launch_inputs(
            job_input.config,
            launch_dataloader(job_input.dataloader, locations, scratch),
            output=location(ports.outputs.bucket, output_prefix),
            job_id=job.job_id,
            run_name=job.run_name or job.job_id,
        ),
        webhook_url=f"{ports.facts.public_url()}/api/webhooks/{job.provider}?job={job.job_id}",
        max_run_seconds=job.max_run_seconds,
    )


def _launched(job: Job, prediction: Prediction, now: datetime, *, adopted: bool) -> Change | None:
    if job.is_terminal or job.prediction_id is not None:
        return None
    moved = job.moved(
        now=now,
        status=JobStatus.QUEUED,
        prediction_id=prediction.id,
        launched_at=prediction.created_at or now,
        deadline=prediction.deadline or now + timedelta(seconds=job.max_run_seconds),
        provider_status=None if prediction.status.is_over else prediction.raw_status,
    )
    if adopted:
        note = Note("job.adopted", "A prediction of an earlier try was adopted", {"prediction_id": prediction.id})
    else:
        note = Note("job.launched", "The provider took the training", {"prediction_id": prediction.id})
    return change(moved, now, note)


def _lease_back(job: Job, *, ambiguous: datetime | None, now: datetime, note: Note | None = None) -> Change | None:
    if job.is_terminal or job.launch is None or job.prediction_id is not None:
        return None
    intent = job.launch.model_copy(update={"lease_until": now, "ambiguous_since": ambiguous})
    notes = [note] if note else []
    if ambiguous is not None and job.launch.ambiguous_since is None:
        notes.append(Note("provider.no_answer", "The provider's answer was lost; looking before trying again"))
    return change(job.moved(now=now, launch=intent), now, *notes)


def _never_launched(job: Job, now: datetime) -> Change | None:
    if job.is_terminal or job.prediction_id is not None:
        return None
    return change(job.moved(now=now, launch=None), now)


def _give_up(job: Job, failure: Failure, now: datetime) -> Change | None:
    if job.is_terminal or job.prediction_id is not None:
        return None
    return change(job.moved(now=now, launch=None, failure=failure), now)


def _failure_of(fault: ProviderFault) -> Failure:
    advice = {
        FaultKind.AUTH: "Check the provider's token (stored with the stack's deployment) and submit again.",
        FaultKind.LIMIT: "Check the billing and the limits of the provider's account and submit again.",
        FaultKind.USER: "Mend the config as the message says and submit again.",
    }.get(fault.kind, "Submit again later.")
    return Failure(code=fault.code, kind=fault.kind, message=fault.message, advice=advice)


def _not_configured(name: str) -> Failure:
    return Failure(
        code="provider_not_configured",
        kind=FaultKind.AUTH,
        message=f"Provider '{name}' is not configured.",
        advice="Store its token with the deploy program and submit again.",
    )
