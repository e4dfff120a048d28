"""What one call of a delivery works with: the shipment, the target, and the notes that it left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from chalicelib.domain.credential_secrets import without_secret
from chalicelib.domain.credentials import CredentialKind, Secret
from chalicelib.domain.deliveries import Delivery, state_prefix
from chalicelib.domain.delivery_ports import DeliveryFault, Shipment, ShippedFile, Target
from chalicelib.domain.escrow import Manifest, artifacts_prefix
from chalicelib.domain.jobs import Job, JobStatus
from chalicelib.domain.ports import Ports
from chalicelib.domain.shipping import MANIFEST_NAME, delivered_manifest, manifest_file, shipment_files
from chalicelib.domain.shipping_facts import shipment_facts
from chalicelib.errors import ValidationFailed
from chalicelib.services.credentials import find_credential, load_secret

SEND, CONFIRM = "send", "confirm"


@dataclass(frozen=True)
class Notes:
    """``state`` is the target's own; ``came`` is how far it came in this ``phase``: files and bytes."""

    phase: str = SEND
    state: Mapping[str, Any] | None = None
    came: tuple[int, int] = (0, 0)

    def dump(self) -> bytes:
        return json.dumps({"phase": self.phase, "state": self.state, "came": self.came}).encode()


@dataclass(frozen=True)
class Work:
    """``credential`` is the name of the one in use."""

    shipment: Shipment
    target: Target = field(repr=False)
    credential: str | None
    secret: Secret | None = field(repr=False, default=None)

    @contextmanager
    def at_target(self) -> Iterator[Target]:
        """The target, whose faults repeat nothing of the secret, whatever the destination says."""
        try:
            yield self.target
        except DeliveryFault as fault:
            fault.message, fault.advice = (without_secret(text, self.secret) for text in (fault.message, fault.advice))
            raise


def open_work(ports: Ports, delivery: Delivery, job: Job) -> Work:
    """Raises DeliveryFault: ``source_missing``, ``credential_missing``, and what the target says. Unavailable."""
    secret, name = _secret(ports, delivery)
    shipment = _shipment(ports, delivery, job)
    # By its name, also where it was found as the only one of its kind: advice tells which to rotate.
    destination = delivery.destination.model_copy(update={"credential": name})
    return Work(shipment, ports.targets(destination, secret), name, secret)


def load_notes(ports: Ports, delivery: Delivery) -> Notes:
    data = ports.outputs.get(delivery.notes_key) if delivery.notes_key is not None else None
    if data is None:
        return Notes()
    known = json.loads(data)
    files, size = known["came"]
    return Notes(known["phase"], known["state"], (files, size))


def save_notes(ports: Ports, delivery: Delivery, notes: Notes) -> str:
    """Under a key of its own, so that what a record names is never written over."""
    prefix = state_prefix(delivery.owner, delivery.job_id, delivery.delivery_id)
    key = f"{prefix}state-{ports.ids.token()}.json"
    ports.outputs.put(key, notes.dump(), content_type="application/json")
    return key


def _secret(ports: Ports, delivery: Delivery) -> tuple[Secret, str]:
    destination = delivery.destination
    try:
        credential = find_credential(ports, delivery.owner, CredentialKind(destination.kind), destination.credential)
    except ValidationFailed as missing:
        raise DeliveryFault(
            "credential_missing",
            missing.detail,
            f"Then deliver again: stcloud jobs deliver {delivery.job_id} --retry {delivery.delivery_id}",
            retry=False,
        ) from None
    return load_secret(ports, credential), credential.name


def _shipment(ports: Ports, delivery: Delivery, job: Job) -> Shipment:
    manifest = _manifest(ports, job)
    artifacts = artifacts_prefix(job.owner, job.job_id)
    prefix = state_prefix(delivery.owner, delivery.job_id, delivery.delivery_id)
    files = shipment_files(manifest, delivery.destination.include, artifacts)
    if not files:
        wanted = ", ".join(delivery.destination.include)
        raise DeliveryFault(
            "source_missing", f"The job published nothing of what is wanted ({wanted}).", "Include more.", retry=False
        )
    listed = _delivered_manifest(ports, prefix, delivered_manifest(manifest, files, artifacts))
    return Shipment(
        delivery_id=delivery.delivery_id,
        job_id=job.job_id,
        owner=job.owner,
        run_name=job.run_name or job.job_id,
        created_at=job.completed_at or job.created_at,
        files=[*files, listed],
        facts=shipment_facts(job, ports.jobs.get_input(job.job_id), manifest),
        escrow=ports.outputs,
        state_prefix=prefix,
    )


def _manifest(ports: Ports, job: Job) -> Manifest:
    verified = job.status is JobStatus.COMPLETED and job.delivery.verified_at is not None
    data = ports.outputs.get(job.delivery.manifest_key) if verified and job.delivery.manifest_key else None
    manifest = Manifest.model_validate_json(data) if data is not None else None
    if manifest is None or not manifest.complete:
        raise DeliveryFault(
            "source_missing",
            "There is no verified model of this job in escrow (any more).",
            "Look at the job's outputs; if they are gone, train again.",
            retry=False,
        )
    return manifest


def _delivered_manifest(ports: Ports, prefix: str, data: bytes) -> ShippedFile:
    key = f"{prefix}{MANIFEST_NAME}"
    if ports.outputs.get(key) != data:
        ports.outputs.put(key, data, content_type="application/json")
    return manifest_file(key, data)
