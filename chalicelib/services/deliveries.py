"""Deliveries as their owner sees them: asked for, looked at, cancelled, repeated; and what is set for all jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.domain.deliveries import MAX_DELIVERIES, Delivery, DeliveryState, Origin
from chalicelib.domain.delivery_wishes import Asked, destination_problems
from chalicelib.domain.destinations import HubDestination, Part, S3Destination, WebhookDestination, label
from chalicelib.domain.escrow import artifacts_prefix
from chalicelib.domain.job_deliveries import place_of
from chalicelib.domain.jobs import Job, JobStatus
from chalicelib.domain.lifecycle import JobGoneError
from chalicelib.domain.permissions import Principal
from chalicelib.domain.ports import Ports, StaleRecordError
from chalicelib.domain.trainer import ConfigProblem
from chalicelib.errors import Conflict, FieldError, NotFound, Unavailable, ValidationFailed
from chalicelib.services.delivery_care import start_next
from chalicelib.services.delivery_records import TooManyDeliveriesError, change_delivery, make, open_of, start, tell
from chalicelib.services.destinations import with_credential
from chalicelib.services.jobs import JobsService

AnyDestination = HubDestination | S3Destination | WebhookDestination
#: Tries to store a setting when several clients change it at once.
MAX_TRIES = 10


@dataclass(frozen=True)
class Requested:
    """``made`` is False when the same place was being delivered to already."""

    delivery: Delivery
    made: bool


class DeliveryService:
    def __init__(self, ports: Ports, jobs: JobsService) -> None:
        self._ports = ports
        self._jobs = jobs

    def deliver(
        self, who: Principal, job_id: str, destinations: Sequence[AnyDestination], include: Sequence[Part] | None = None
    ) -> list[Requested]:
        """Begins to deliver a job's model to each destination. One that an open delivery goes to already is not begun
        again: that delivery is returned.

        Raises NotFound, ValidationFailed (a destination, a credential), Conflict (``nothing_verified``,
        ``escrow_gone``, ``too_many_deliveries``).
        """
        job = self._own(who, job_id)
        self._check_escrow(job)
        wanted = self._usable(job.owner, destinations, "destinations")
        if include is not None:
            wanted = [d.model_copy(update={"include": tuple(include)}) for d in wanted]
        going = {place_of(d.destination): d for d in open_of(self._ports, job_id)}
        requested: list[Requested] = []
        for destination in wanted:
            there = going.get(place_of(destination))
            delivery = there or self._make(job, destination)
            going[place_of(destination)] = delivery
            requested.append(Requested(delivery, there is None))
        for one in requested:
            if one.made:
                start(self._ports, one.delivery)
        return requested

    def of_job(self, who: Principal, job_id: str) -> tuple[Job, Sequence[Delivery]]:
        """The job, which tells of escrow, and its deliveries in order of creation. Raises NotFound."""
        job = self._jobs.get(who, job_id)
        return job, self._ports.deliveries.list_of(job_id, limit=MAX_DELIVERIES)

    def get(self, who: Principal, job_id: str, delivery_id: str) -> Delivery:
        """Raises NotFound."""
        self._jobs.get(who, job_id)
        return self._found(job_id, delivery_id)

    def cancel(self, who: Principal, job_id: str, delivery_id: str) -> Delivery:
        """Asks for the end of a delivery. One of which nothing was sent yet is over at once; another after its present
        step, when what it left unfinished at the destination has been removed as far as that can be done. What has
        arrived there stays.

        Raises NotFound, Conflict (``delivery_over``).
        """
        self._own(who, job_id)
        self._found(job_id, delivery_id)
        now = self._ports.clock.now()

        def decide(current: Delivery) -> Delivery | None:
            if current.is_over:
                raise Conflict(f"The delivery is over: {current.state}.", code="delivery_over")
            if current.started_at is None:
                return current.moved(now, DeliveryState.CANCELLED, cancel_requested_at=now)
            return None if current.cancel_requested_at else current.moved(now, cancel_requested_at=now)

        changed = change_delivery(self._ports, job_id, delivery_id, decide)
        if changed is None:
            raise _not_found(delivery_id)
        if changed.is_over:
            tell(self._ports, changed)
        elif changed.state is DeliveryState.PENDING:
            # It rests, perhaps for an hour: its next execution begins now.
            changed = self._hurry(changed)
        return changed

    def retry(self, who: Principal, job_id: str, delivery_id: str) -> Requested:
        """Delivers to the same destination again: by a new delivery when this one is over, else at once what would be
        tried later.

        Raises what ``deliver`` raises.
        """
        job = self._own(who, job_id)
        delivery = self._found(job_id, delivery_id)
        if delivery.is_over:
            return self.deliver(who, job_id, [delivery.destination])[0]
        self._check_escrow(job)
        self._usable(job.owner, [delivery.destination], "destination")
        now = self._ports.clock.now()

        def decide(current: Delivery) -> Delivery | None:
            waits = current.state is DeliveryState.PENDING and current.next_try_at is not None
            return current.moved(now, next_try_at=None) if waits and not current.is_over else None

        changed = change_delivery(self._ports, job_id, delivery_id, decide)
        if changed is None:
            raise _not_found(delivery_id)
        if not changed.is_over and changed.state is DeliveryState.PENDING:
            changed = self._hurry(changed)
        return Requested(changed, made=False)

    def defaults(self, owner: str) -> tuple[AnyDestination, ...]:
        return self._ports.owner_settings.get(owner).destinations

    def set_defaults(self, owner: str, destinations: Sequence[AnyDestination]) -> tuple[AnyDestination, ...]:
        """Holds for jobs that are submitted from now on and say nothing else. Raises ValidationFailed, Conflict."""
        wanted = tuple(self._usable(owner, destinations, "destinations"))
        for _ in range(MAX_TRIES):
            before = self._ports.owner_settings.get(owner)
            changes = {"destinations": wanted, "updated_at": self._ports.clock.now(), "revision": before.revision + 1}
            try:
                self._ports.owner_settings.put(before.model_copy(update=changes))
            except StaleRecordError:
                continue
            return wanted
        raise Conflict("The setting is being changed at the same time; try again.", code="changed_meanwhile")

    def _own(self, who: Principal, job_id: str) -> Job:
        """Credentials are their owner's: nobody delivers with somebody else's."""
        job = self._jobs.get(who, job_id)
        if job.owner != who.owner:
            raise NotFound(f"Job not found: {job_id}", code="job_not_found")
        return job

    def _found(self, job_id: str, delivery_id: str) -> Delivery:
        found = self._ports.deliveries.get(job_id, delivery_id)
        if found is None:
            raise _not_found(delivery_id)
        return found

    def _usable(self, owner: str, destinations: Sequence[AnyDestination], field: str) -> list[AnyDestination]:
        """Each place once. Raises ValidationFailed."""
        problems: list[ConfigProblem] = []
        places: dict[str, AnyDestination] = {}
        for number, destination in enumerate(destinations):
            where = f"{field}.{number}"
            allowed = self._ports.limits.private_destinations
            problems += destination_problems(destination, where, allow_private=allowed)
            usable, problem = with_credential(self._ports, owner, Asked(destination, Origin.REQUEST, where))
            problems += [problem] if problem is not None else []
            places.setdefault(place_of(usable), usable)
        if problems:
            first = problems[0]
            raise ValidationFailed(
                f"{first.field}: {first.message}",
                code=first.code if len({p.code for p in problems}) == 1 else None,
                errors=[FieldError(p.field, p.message, p.code) for p in problems],
            )
        return list(places.values())

    def _check_escrow(self, job: Job) -> None:
        if job.status is not JobStatus.COMPLETED or job.delivery.verified_at is None:
            said = "has not ended yet" if job.is_active else f"ended as {job.status}, without a verified model"
            raise Conflict(
                f"There is no verified model of this job to deliver: it {said}. What was published can be fetched: "
                f"stcloud jobs pull {job.job_id}",
                code="nothing_verified",
            )
        key = job.delivery.manifest_key
        weights = artifacts_prefix(job.owner, job.job_id) + job.delivery.weights[0] if job.delivery.weights else key
        gone = job.escrow_removed_at is not None or key is None or weights is None
        if gone or any(self._ports.outputs.head(name) is None for name in (key, weights) if name is not None):
            raise _escrow_gone()

    def _make(self, job: Job, destination: AnyDestination) -> Delivery:
        try:
            delivery = make(self._ports, job, destination)
        except TooManyDeliveriesError:
            raise Conflict(
                f"The job has had {MAX_DELIVERIES} deliveries, which is the limit.", code="too_many_deliveries"
            ) from None
        except JobGoneError:
            raise NotFound(f"Job not found: {job.job_id}", code="job_not_found") from None
        # The sweeper writes to the job and then looks at the deliveries; this is the other way round, so that one of
        # the two sees the other.
        current = self._ports.jobs.get(job.job_id)
        if current is not None and current.escrow_removed_at is not None:
            now = self._ports.clock.now()
            cancelled = change_delivery(
                self._ports,
                job.job_id,
                delivery.delivery_id,
                lambda d: None if d.is_over else d.moved(now, DeliveryState.CANCELLED, cancel_requested_at=now),
            )
            if cancelled is not None:
                tell(self._ports, cancelled)
            raise _escrow_gone()
        return delivery

    def _hurry(self, delivery: Delivery) -> Delivery:
        try:
            return start_next(self._ports, delivery) or delivery
        except Unavailable:
            # The record says what is wanted; the sweeper sees to it.
            return self._ports.deliveries.get(delivery.job_id, delivery.delivery_id) or delivery


def _escrow_gone() -> Conflict:
    return Conflict(
        "The model has left escrow, so there is nothing to deliver any more. To have it again, submit the job again.",
        code="escrow_gone",
    )


def _not_found(delivery_id: str) -> NotFound:
    return NotFound(f"Delivery not found: {delivery_id}", code="delivery_not_found")


def described(delivery: Delivery) -> str:
    """For the audit: the place without what may be secret in its address."""
    return label(delivery.destination)
