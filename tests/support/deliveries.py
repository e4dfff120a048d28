"""Jobs whose model is in escrow, and deliveries of it, in virtual time."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

from chalicelib.domain.credential_secrets import Given
from chalicelib.domain.credentials import CredentialKind
from chalicelib.domain.deliveries import Delivery, Origin
from chalicelib.domain.destinations import HubDestination, S3Destination, WebhookDestination
from chalicelib.domain.escrow import Manifest, OutputFile, artifacts_prefix, file_kind, manifest_key
from chalicelib.domain.job_deliveries import Wish
from chalicelib.domain.jobs import DeliverySummary, Job, JobStatus
from chalicelib.services.credentials import CredentialService
from chalicelib.services.delivery_records import make, start
from tests.fakes.world import OWNER, World
from tests.support.jobs import a_job, an_input

HUB = HubDestination(repo_id="acme/cats")
BUCKET = S3Destination(bucket="models", prefix="cats")
HOOK = WebhookDestination(url="https://hooks.example.com/in?key=abc")
FILES = {
    "checkpoint-200/pytorch_lora_weights.safetensors": b"w" * 1000,
    "validation_images/one.png": b"1" * 10,
    "validation_images/two.png": b"2" * 20,
}
HUB_TOKEN = "hf_" + "a" * 34
#: The longest that a delivery may take to end, once nothing stands in its way.
SOON = timedelta(hours=2).total_seconds()


def with_credentials(world: World, *kinds: CredentialKind) -> World:
    """A world whose owner has a credential of each kind, called as its kind."""
    given = {
        CredentialKind.HUGGINGFACE: Given(token=HUB_TOKEN),
        CredentialKind.S3: Given(access_key_id="AKIAEXAMPLE12345", secret_access_key="s" * 40),
        CredentialKind.WEBHOOK: Given(),
    }
    service = CredentialService(world.ports)
    for kind in kinds or tuple(CredentialKind):
        service.create(OWNER, kind.value, kind, given[kind])
    return world


def completed_job(world: World, job_id: str = "job1", *, files: dict[str, bytes] | None = None, **changes: Any) -> Job:
    """A job whose files are in escrow and verified, as Verify and Finish leave it."""
    files = FILES if files is None else files
    prefix = artifacts_prefix(OWNER, job_id)
    listed = []
    for path, data in sorted(files.items()):
        world.outputs.put(prefix + path, data)
        sha256 = hashlib.sha256(data).hexdigest()
        listed.append(OutputFile(path=path, size=len(data), kind=file_kind(path, 200), sha256=sha256))
    manifest = Manifest(job_id=job_id, created_at=world.clock.now().isoformat(), complete=True, files=tuple(listed))
    key = manifest_key(OWNER, job_id)
    world.outputs.put(key, manifest.model_dump_json().encode())
    now = world.clock.now()
    job = a_job(job_id, created_at=now, max_train_steps=200, **changes)
    world.jobs.submit(job, an_input(job_id), [], None, 1000, now)
    summary = DeliverySummary(files=len(files), bytes=sum(map(len, files.values())), manifest_key=key, verified_at=now)
    running = job.moved(now=now, status=JobStatus.RUNNING, delivery=summary)
    world.jobs.save(running)
    ended = running.ended(now=now, status=JobStatus.COMPLETED)
    world.jobs.save(ended, release_slot=True)
    return ended


def wishes(*destinations: HubDestination | S3Destination | WebhookDestination) -> tuple[Wish, ...]:
    return tuple(Wish(destination=destination, origin=Origin.SUBMIT) for destination in destinations)


def begin(world: World, job: Job, destination: HubDestination | S3Destination | WebhookDestination = HUB) -> Delivery:
    """A delivery that was asked for and started."""
    delivery = make(world.ports, job, destination)
    start(world.ports, delivery)
    return delivery


def delivery_of(world: World, job_id: str = "job1", number: int = 1) -> Delivery:
    found = world.deliveries.get(job_id, f"d-{job_id}-{number:03d}")
    assert found is not None
    return found


def deliver(world: World, seconds: float = SOON, *, step: float = 30) -> None:
    """Lets the workflow and the sweeper work until nothing is open, ``seconds`` at most."""
    for _ in range(int(seconds // step)):
        world.run(step, sweep_every=step, step=step)
        if not world.deliveries.list_open():
            return
