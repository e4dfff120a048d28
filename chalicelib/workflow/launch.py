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

from datetime import datetime, timedelta

from chalicelib.domain.failures import Failure, FaultKind, ProviderFault
from chalicelib.domain.jobs import Job, LaunchIntent, Phase
from chalicelib.domain.lifecycle import Change, Note, change, mutate
from chalicelib.domain.ports import Ports, Provider
from chalicelib.workflow.adoption import CLOCK_SKEW, adopt, find_tagged, launched
from chalicelib.workflow.launch_request import CREDENTIAL_MARGIN, build_request
from chalicelib.workflow.outcome import Next, Outcome
from chalicelib.workflow.routing import back_off, route

#: How long a provider that refuses, or is throttled or full, is asked again; with the pauses about 40 creates.
LAUNCH_WITHIN = timedelta(hours=2)
#: The longest pause a provider's Retry-After can cause.
MAX_PAUSE = timedelta(minutes=15)

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
        elif now < job.launch.lease_until or _paused(job, now):
            return None
        intent = LaunchIntent(
            token=token,
            intended_at=job.launch.intended_at if job.launch else now,
            lease_until=now + timedelta(seconds=ports.limits.launch_lease_seconds),
            looks=job.launch.looks + 1 if job.launch else 0,
            creates=job.launch.creates if job.launch else 0,
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
        if _paused(job, now):
            return Outcome(_pause(job, now), job.wakes)
        return Outcome(route(job, now), job.wakes)
    earlier = before[0].launch
    outcome = _look(job, earlier, provider, ports, now) if earlier else _look_first(job, provider, ports, now)
    return _create(job, token, provider, ports) if outcome is None else outcome


def _paused(job: Job, now: datetime) -> bool:
    """The provider asked for a pause, and there is nothing else to do: no lost answer to look for, no cancel."""
    intent = job.launch
    if (
        job.is_terminal
        or job.prediction_id is not None
        or job.failure is not None
        or job.cancel_requested_at is not None
    ):
        return False
    if intent is None or intent.not_before is None or intent.ambiguous_since is not None:
        return False
    return now < intent.not_before


def _pause(job: Job, now: datetime) -> Next:
    """Backs off with the age of the intent, like the polls of a training."""
    return back_off(now - (job.launch.intended_at if job.launch else job.created_at))


def _leased(job: Job, now: datetime) -> bool:
    return job.prediction_id is None and job.launch is not None and now < job.launch.lease_until and job.is_active


def _look_first(job: Job, provider: Provider, ports: Ports, now: datetime) -> Outcome | None:
    """Adopts a prediction that the record should know; None when there is certainly none, which is the rule."""
    try:
        search = find_tagged(provider, job.job_id, job.created_at - CLOCK_SKEW)
    except ProviderFault as fault:
        return _not_taken(job, fault, ports, now)
    try:
        if search.found:
            return Outcome(Next.OBSERVE, adopt(job, search, provider, ports).wakes)
    except ProviderFault:
        job = mutate(ports.jobs, job.job_id, lambda j: _lease_back(j, ambiguous=now, now=now))
        return Outcome(Next.AWAIT_SHORT, job.wakes)
    if search.certain:
        return None
    job = mutate(ports.jobs, job.job_id, lambda j: _lease_back(j, ambiguous=None, now=now))
    return Outcome(Next.AWAIT_SHORT, job.wakes)


def _look_meanwhile(job: Job, provider: Provider, ports: Ports) -> Outcome:
    """Adopts what the holder of the lease has created. Creates nothing, so it is safe beside a holder that lives."""
    try:
        search = find_tagged(provider, job.job_id, job.created_at - CLOCK_SKEW)
        if search.found:
            return Outcome(Next.OBSERVE, adopt(job, search, provider, ports).wakes)
    except ProviderFault:
        pass  # the next look comes in half a minute
    return Outcome(Next.AWAIT_SHORT, job.wakes)


def _look(job: Job, earlier: LaunchIntent, provider: Provider, ports: Ports, now: datetime) -> Outcome | None:
    """Adopts a prediction created by an earlier try; None means that there is certainly none."""
    try:
        settled = look_for_lost(job, earlier, provider, ports, now)
    except ProviderFault:
        return _look_again(job, earlier, ports, now)
    if settled is None:
        return _look_again(job, earlier, ports, now)
    if settled.prediction_id is not None:
        return Outcome(Next.OBSERVE, settled.wakes)
    if job.cancel_requested_at is not None:
        job = mutate(ports.jobs, job.job_id, lambda j: never_launched(j, now))
        return Outcome(route(job, now), job.wakes)
    if now > earlier.intended_at + LAUNCH_WITHIN:
        job = mutate(ports.jobs, job.job_id, lambda j: _give_up(j, _never_taken(), now))
        return Outcome(route(job, now), job.wakes)
    return None


def look_for_lost(job: Job, earlier: LaunchIntent, provider: Provider, ports: Ports, now: datetime) -> Job | None:
    """The job with the prediction that a lost answer or a dead worker left behind, or without one when there is
    certainly none; None while nobody can tell. Raises ProviderFault."""
    # The earlier holder may have died right after sending, at the very end of its lease.
    sent_at = earlier.ambiguous_since or earlier.lease_until
    search = find_tagged(provider, job.job_id, earlier.intended_at - CLOCK_SKEW)
    if search.found:
        return adopt(job, search, provider, ports)
    if not search.certain or now < sent_at + timedelta(seconds=ports.limits.adopt_settle_seconds):
        return None
    return job


def is_surely_over(job: Job, now: datetime) -> bool:
    """Whether whatever a launch may have created has ended by the provider's own deadline."""
    intended_at = job.launch.intended_at if job.launch else job.created_at
    return now > intended_at + timedelta(seconds=job.max_run_seconds) + CREDENTIAL_MARGIN


def _look_again(job: Job, earlier: LaunchIntent, ports: Ports, now: datetime) -> Outcome:
    """Waits before the next look; bounded by the deadline of whatever may have been created, which ends by itself."""
    if is_surely_over(job, now):
        job = mutate(ports.jobs, job.job_id, lambda j: _give_up(j, _never_taken(), now, unknown=True))
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


def _create(job: Job, token: str, provider: Provider, ports: Ports) -> Outcome:
    try:
        request = build_request(job, provider, ports)
        # The last moment at which a cancel costs nothing.
        latest = mutate(ports.jobs, job.job_id, lambda _: None)
        if latest.cancel_requested_at is not None or latest.launch is None or latest.launch.token != token:
            now = ports.clock.now()
            latest = mutate(ports.jobs, job.job_id, lambda j: never_launched(j, now) if _holds(j, token) else None)
            return Outcome(route(latest, now), latest.wakes)
        prediction = provider.create(request)
    except ProviderFault as fault:
        now = ports.clock.now()
        if fault.sent:
            job = mutate(ports.jobs, job.job_id, lambda j: _lease_back(j, ambiguous=now, now=now, created=True))
            return Outcome(Next.AWAIT_SHORT, job.wakes)
        return _not_taken(job, fault, ports, now, created=True)
    now = ports.clock.now()
    job = mutate(ports.jobs, job.job_id, lambda j: launched(j, prediction, now, adopted=False))
    if job.prediction_id != prediction.id:
        # The lease ran out while the provider took its time, and somebody adopted or created another one.
        provider.cancel(prediction.id)
    return Outcome(Next.OBSERVE if job.cancel_requested_at else Next.AWAIT_SHORT, job.wakes)


def _holds(job: Job, token: str) -> bool:
    return job.launch is not None and job.launch.token == token


def _not_taken(job: Job, fault: ProviderFault, ports: Ports, now: datetime, *, created: bool = False) -> Outcome:
    """After a fault that certainly created nothing: final ones end the job, after others the launch is tried again."""
    if fault.kind in _FINAL_KINDS:
        job = mutate(ports.jobs, job.job_id, lambda j: _give_up(j, _failure_of(fault), now))
        return Outcome(route(job, now), job.wakes)
    if fault.kind is FaultKind.OURS:
        note = Note("launch.postponed", f"The launch could not be prepared: {fault.message}")
    else:
        note = Note("provider.refused", f"The provider did not take the training: {fault.message}")
    pause = min(timedelta(seconds=fault.retry_after), MAX_PAUSE) if fault.retry_after else None
    job = mutate(
        ports.jobs,
        job.job_id,
        lambda j: _lease_back(j, ambiguous=None, now=now, note=note, created=created, pause=pause),
    )
    return Outcome(_pause(job, now), job.wakes)


def _lease_back(
    job: Job,
    *,
    ambiguous: datetime | None,
    now: datetime,
    note: Note | None = None,
    created: bool = False,
    pause: timedelta | None = None,
) -> Change | None:
    if job.is_terminal or job.launch is None or job.prediction_id is not None:
        return None
    intent = job.launch.model_copy(
        update={
            "lease_until": now,
            "ambiguous_since": ambiguous,
            "creates": job.launch.creates + int(created),
            "not_before": now + pause if pause else None,
        }
    )
    # One event for a run of refusals, or a throttled launch would fill the timeline.
    notes = [note] if note and job.launch.creates <= 1 else []
    if ambiguous is not None and job.launch.ambiguous_since is None:
        notes.append(Note("provider.no_answer", "The provider's answer was lost; looking before trying again"))
    return change(job.moved(now=now, launch=intent), now, *notes)


def never_launched(job: Job, now: datetime, *, unknown: bool = False) -> Change | None:
    """Takes the intent back: there is certainly no prediction, or (``unknown``) none that could still run."""
    if job.is_terminal or job.prediction_id is not None:
        return None
    return change(job.moved(now=now, launch=None, launch_unknown=unknown), now)


def _give_up(job: Job, failure: Failure, now: datetime, *, unknown: bool = False) -> Change | None:
    if job.is_terminal or job.prediction_id is not None:
        return None
    return change(job.moved(now=now, launch=None, launch_unknown=unknown, failure=failure), now)


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
