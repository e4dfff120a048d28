"""The ports of delivery; part of ``ports.py``, see there for what holds for every port."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from chalicelib.domain.credentials import Secret
from chalicelib.domain.deliveries import Delivery
from chalicelib.domain.destinations import HubDestination, S3Destination, WebhookDestination
from chalicelib.domain.escrow import FileKind
from chalicelib.domain.executions import ExecutionState
from chalicelib.domain.objects import ObjectStore

AnyDestination = HubDestination | S3Destination | WebhookDestination


class DeliveryStore(Protocol):
    """Records of deliveries. Strongly consistent unless said otherwise."""

    def create(self, delivery: Delivery) -> None:
        """Stores a new record (``revision`` 1). Raises StaleRecordError when there is one of this id."""

    def get(self, job_id: str, delivery_id: str) -> Delivery | None: ...

    def update(self, delivery: Delivery) -> None:
        """Replaces the record whose revision is ``delivery.revision - 1``. Raises StaleRecordError otherwise."""

    def list_of(self, job_id: str, *, limit: int = 100) -> Sequence[Delivery]:
        """Of one job, by delivery id, which is the order of creation."""

    def list_open(self, *, limit: int = 100, after: str | None = None) -> Sequence[Delivery]:
        """Of anybody, that are not settled, by delivery id, which is about the age of their jobs; behind the id
        ``after``."""

    def delete_of(self, job_id: str) -> None:
        """Removes all records of a job that is deleted. Safe to repeat."""


class DeliveryRunner(Protocol):
    """The workflow of deliveries. Starting the same attempt twice is a no-op; states are eventually consistent."""

    def start(self, delivery: Delivery) -> None:
        """Starts ``<delivery_id>-<attempt>``."""

    def state(self, delivery: Delivery) -> ExecutionState: ...


@dataclass(frozen=True)
class ShippedFile:
    """One file: ``source_key`` in the outputs bucket, ``path`` below the root of the destination,
    ``sha256`` lower-case hex as Verify read it."""

    source_key: str
    path: str
    size: int
    sha256: str
    kind: FileKind


@dataclass(frozen=True)
class Shipment:
    """Everything a destination needs to know. ``facts`` describes the job for people (model card, event): base model,
    steps, rank, trigger words, datasets, licence, run name; JSON values only. ``state_prefix`` ends in a slash: the
    adapter's own notes may lie below it in ``escrow``."""

    delivery_id: str
    job_id: str
    owner: str
    run_name: str
    created_at: datetime
    files: Sequence[ShippedFile]
    facts: Mapping[str, Any]
    escrow: ObjectStore
    state_prefix: str

    @property
    def bytes(self) -> int:
        return sum(f.size for f in self.files)


@dataclass(frozen=True)
class Budget:
    """Time for one step. ``left`` says how much remains; a step begins no piece that may not fit into it."""

    stop_at: datetime
    now: Callable[[], datetime]

    def left(self) -> timedelta:
        return self.stop_at - self.now()

    @property
    def is_up(self) -> bool:
        return self.left() <= timedelta(0)


@dataclass(frozen=True)
class Advance:
    """What one step came to. ``state`` is the adapter's own JSON, given back at the next step. ``done``: there is
    nothing more to do in this part (sending, or confirming). ``fan`` are pieces for parallel workers: they are given to
    ``Target.piece``, each once at least, then the next step sees their answers below ``state_prefix``; what was too
    much for one round, or failed, must be in the next step's ``fan`` again. Without ``done``, the next step begins
    after ``pause`` (none: at once): how to wait for something at the other end, which is no fault."""

    state: Mapping[str, Any]
    done: bool = False
    files_done: int = 0
    bytes_done: int = 0
    fan: Sequence[Mapping[str, Any]] = ()
    result: Mapping[str, Any] = field(default_factory=dict)
    pause: timedelta = timedelta(0)


class DeliveryFault(Exception):
    """A destination did not do what was asked.

    ``code`` is stable: unauthorized, forbidden, not_found, conflict, quota, too_large, throttled, unavailable,
    timeout, address_refused, bad_destination, credential_missing, corrupt_at_target, source_missing, gone. ``retry``:
    whether trying again later can help by itself, ``restart`` that the adapter's notes are of no more use (its state is
    forgotten). ``message`` is what happened, ``advice`` what to do; no secrets.
    """

    def __init__(
        self,
        code: str,
        message: str,
        advice: str,
        *,
        retry: bool,
        retry_after: timedelta | None = None,
        restart: bool = False,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.advice = advice
        self.retry = retry
        self.retry_after = retry_after
        self.restart = restart


@dataclass(frozen=True)
class CheckedTarget:
    """What a check found, in words for the user: ``facts`` such as "writes to acme/cats as alice"."""

    facts: Sequence[str] = ()
    result: Mapping[str, Any] = field(default_factory=dict)


class Target(Protocol):
    """One destination, connected with its credential. Every call raises DeliveryFault and is bounded in time; all may
    be repeated: sending the same shipment twice leaves the destination as sending it once does."""

    def check(self, *, seconds: float) -> CheckedTarget:
        """Whether a delivery would be let in, with no trace left: a canary object written and deleted, the token's
        rights on that repository, a signed ping. Takes at most about ``seconds``."""

    def send(self, shipment: Shipment, state: Mapping[str, Any] | None, budget: Budget) -> Advance:
        """Sends as much as fits into ``budget``. ``state`` is None at first."""

    def piece(self, shipment: Shipment, piece: Mapping[str, Any]) -> None:
        """Does one piece of ``Advance.fan`` and notes its answer below ``state_prefix``. Run by many at once."""

    def confirm(self, shipment: Shipment, state: Mapping[str, Any], budget: Budget) -> Advance:
        """Reads back what is there: sizes and SHA-256. Raises DeliveryFault ``corrupt_at_target`` when it differs."""

    def abandon(self, shipment: Shipment, state: Mapping[str, Any] | None) -> None:
        """Removes what an unfinished delivery left at the destination (unfinished uploads), best effort."""


class TargetLookup(Protocol):
    def __call__(self, destination: AnyDestination, secret: Secret | None) -> Target:
        """Connects, without sending anything. Raises DeliveryFault ``bad_destination`` or ``credential_missing``."""
