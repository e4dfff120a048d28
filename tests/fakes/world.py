"""A whole service in memory and virtual time: services, workflow, provider, state machine."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

from chalicelib.domain.datasets import PART_BYTES, DatasetVersion, InspectionStatus, ManifestFile, VersionStatus
from chalicelib.domain.jobs import Job
from chalicelib.domain.permissions import Principal, administrator
from chalicelib.domain.ports import Limits, Ports, TrainerStorage
from chalicelib.domain.predictions import LaunchRequest
from chalicelib.domain.webhook_signing import sign
from chalicelib.schemas.datasets import NewVersionBody
from chalicelib.schemas.jobs import SubmitRequest
from chalicelib.services import inspection
from chalicelib.services.datasets import DatasetService
from chalicelib.services.delivery_care import tend_deliveries
from chalicelib.services.doors import Doors
from chalicelib.services.sessions import Wait
from chalicelib.services.submission import Submitted
from chalicelib.settings import Settings
from chalicelib.wiring import Services, build_services
from chalicelib.workflow.delivering import deliver_piece, deliver_step
from chalicelib.workflow.sweep import SweepReport, sweep
from tests.fakes.access import InMemoryAccessStore, InMemoryAuditStore, InMemoryRateStore, InMemoryUploadTokenStore
from tests.fakes.archives import InMemoryArchiveStore
from tests.fakes.aws import FakeBroker, FakeFacts, InMemoryObjectStore
from tests.fakes.clock import FakeClock, PredictableText, SequentialIds
from tests.fakes.credentials import InMemoryCredentialStore, InMemorySecretStore
from tests.fakes.dataset_runner import FakeDatasetRunner
from tests.fakes.deliveries import InMemoryDeliveryStore
from tests.fakes.delivery_runner import FakeDeliveryRunner
from tests.fakes.hub import FLUX, KREA, FakeModelHub
from tests.fakes.machine import VirtualMachine
from tests.fakes.notifications import FakeHooks, FakeMailer, InMemoryNotificationStore
from tests.fakes.owner_settings import InMemoryOwnerSettingsStore
from tests.fakes.pool import FakeUserPool, FakeVerifier
from tests.fakes.provider import FakeProvider, Life
from tests.fakes.stores import (
    InMemoryConfigStore,
    InMemoryDatasetStore,
    InMemoryJobStore,
)
from tests.fakes.targets import FakeTargets
from tests.fakes.webhook_log import InMemoryWebhookLog

OWNER = "local"
ME = administrator(OWNER)
FILES = {"a.jpg": b"not really a picture", "a.txt": b"a cat", "b.jpg": b"another", "b.txt": b"a cup of coffee"}
CONFIG = {"--model_family": "flux", "--model_type": "lora", "--max_train_steps": 200, "--lora_rank": 4}
DATALOADER = [{"id": "photos", "type": "local", "instance_data_dir": "/data/photos", "caption_strategy": "textfile"}]


def safetensors(tensors: dict[str, list[int]] | None = None) -> bytes:
    """A sound little safetensors file, made by hand."""
    tensors = tensors or {"layer.lora_A.weight": [4, 8], "layer.lora_B.weight": [8, 4]}
    header, at = {}, 0
    for name, shape in tensors.items():
        size = 4 * shape[0] * shape[1]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + (bytes(range(120)) * (at // 120 + 1))[:at]


@lru_cache(maxsize=16)
def manifest_file(path: str, data: bytes) -> ManifestFile:
    """The line of a file with this content."""
    pieces = [data[at : at + PART_BYTES] for at in range(0, len(data), PART_BYTES)]
    parts = tuple(hashlib.sha256(piece).hexdigest() for piece in pieces) if len(pieces) > 1 else None
    return ManifestFile(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest(), parts=parts)


@dataclass
class FakeDoorSecrets:
    """What the deploy program left; a test sets it."""

    deploy_token: str | None = None
    setup_code: str | None = None
    key_of_names: bytes = b"k" * 32

    def deploy_token_sha256(self) -> str | None:
        return _sha256(self.deploy_token)

    def setup_code_sha256(self) -> str | None:
        return _sha256(self.setup_code)

    def name_key(self) -> bytes:
        return self.key_of_names


def _sha256(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


@dataclass
class World:
    clock: FakeClock = field(default_factory=FakeClock)
    limits: Limits = field(default_factory=lambda: Limits(max_concurrent_jobs=5))

    def __post_init__(self) -> None:
        self.machine = VirtualMachine(self.clock)
        self.provider = FakeProvider(self.clock, publish=self._publish)
        datasets = InMemoryDatasetStore()
        self.notifications = InMemoryNotificationStore()
        self.nudges = 0
        self.jobs = InMemoryJobStore(datasets, self.notifications, self._nudge)
        self.mailer = FakeMailer()
        self.hooks = FakeHooks()
        self.outputs = InMemoryObjectStore("outputs")
        self.dataset_files = InMemoryObjectStore("datasets")
        self.broker = FakeBroker()
        self.archives = InMemoryArchiveStore()
        self.dataset_runner = FakeDatasetRunner()
        self.deliveries = InMemoryDeliveryStore()
        self.delivery_runner = FakeDeliveryRunner(self.clock)
        self.targets = FakeTargets()
        self.facts = FakeFacts()
        self.credentials = InMemoryCredentialStore()
        self.credential_secrets = InMemorySecretStore()
        self.hub = FakeModelHub()
        self.hub.put(FLUX)
        self.hub.put(KREA)
        self.weights: bytes | None = safetensors()
        self.ports = Ports(
            jobs=self.jobs,
            datasets=datasets,
            archives=self.archives,
            configs=InMemoryConfigStore(),
            owner_settings=InMemoryOwnerSettingsStore(),
            webhooks=InMemoryWebhookLog(),
            credentials=self.credentials,
            secrets=self.credential_secrets,
            dataset_files=self.dataset_files,
            outputs=self.outputs,
            runner=self.machine,
            dataset_runner=self.dataset_runner,
            deliveries=self.deliveries,
            delivery_runner=self.delivery_runner,
            targets=self.targets,
            notifications=self.notifications,
            mailer=self.mailer,
            hooks=self.hooks,
            nudge=self._nudge,
            broker=self.broker,
            providers=lambda name: self.provider if name == "replicate" else None,
            hub=self.hub,
            facts=self.facts,
            clock=self.clock,
            ids=SequentialIds(),
            trainer_storage=TrainerStorage("https://s3.test", "us-east-1"),
            limits=self.limits,
        )
        self.machine.ports = self.ports
        self.delivery_runner.step = lambda event: deliver_step(event, self.ports)
        self.delivery_runner.piece = lambda event: deliver_piece(event, self.ports)
        # The files of most tests are no pictures. A test of inspections takes this away, or puts its own here.
        self.dataset_runner.when_inspecting = self.pass_inspection
        settings = Settings(
            stage="test",
            jobs_table="j",
            keys_table="k",
            audit_table="a",
            user_pool_id="us-east-1_Test",
            user_pool_client_id="client",
            datasets_bucket="d",
            outputs_bucket="o",
            ssm_prefix="/t",
        )
        self.pool = FakeUserPool(self.clock)
        self.verifier = FakeVerifier(self.pool)
        self.access = InMemoryAccessStore()
        self.audit = InMemoryAuditStore()
        self.rates = InMemoryRateStore()
        self.secrets = FakeDoorSecrets()
        self.doors = Doors(
            pool=self.pool,
            sessions=self.verifier,
            access=self.access,
            audit=self.audit,
            rates=self.rates,
            secrets=self.secrets,
            upload_tokens=InMemoryUploadTokenStore(),
            random_text=PredictableText(),
        )
        self.slept: list[float] = []
        wait = Wait(monotonic=lambda: self.clock.now().timestamp(), sleep=self.slept.append)
        self.services: Services = build_services(self.ports, self.doors, settings, wait)

    def _nudge(self) -> None:
        self.nudges += 1

    # --- doing ------------------------------------------------------------------------------------------------
    def push(
        self, files: dict[str, bytes] | None = None, *, dataset_id: str = "photos", source: str | None = None
    ) -> str:
        """Pushes a dataset as a client would; returns the version id."""
        files = files or FILES
        service: DatasetService = self.services.datasets
        manifest = [manifest_file(path, data) for path, data in files.items()]
        body = NewVersionBody(dataset_id=dataset_id, source_path=source, files=manifest)
        version, _ = service.create_version(OWNER, body)
        self.send(version.version_id, files, dataset_id=dataset_id)
        while service.complete(OWNER, dataset_id, version.version_id).status is not VersionStatus.READY:
            continue
        return version.version_id

    def send(self, version_id: str, files: Mapping[str, bytes], *, dataset_id: str = "photos") -> int:
        """Sends the files of a version that are missing; returns how many that were."""
        after, sent = None, 0
        for _ in range(1_000):
            batch = self.services.datasets.uploads(OWNER, dataset_id, version_id, after=after, limit=500)
            for upload in batch.uploads:
                data = files[upload.file.path]
                if upload.put is not None:
                    self.dataset_files.upload(upload.put.url, upload.put.headers, data, now=self.clock.now())
                for part in upload.parts:
                    at = (part.number - 1) * PART_BYTES
                    piece = data[at : at + part.size]
                    self.dataset_files.upload(part.put.url, part.put.headers, piece, now=self.clock.now())
                if upload.parts and not upload.more_parts:
                    self.services.datasets.finish_file(OWNER, dataset_id, version_id, upload.file.path)
            sent += len(batch.uploads)
            after = batch.next
            if after is None:
                return sent
        raise AssertionError("the uploads have no end")

    def pass_inspection(self, version: DatasetVersion, attempt: int) -> None:
        """An inspection that finds nothing."""
        clean = {"status": InspectionStatus.DONE, "finished_at": self.clock.now()}
        inspection.change(
            self.ports,
            version.owner,
            version.dataset_id,
            version.version_id,
            lambda i: i.model_copy(update=clean) if i.attempt == attempt else None,
        )

    def submit(self, *, key: str | None = None, who: Principal = ME, **body: Any) -> Submitted:
        request = SubmitRequest.model_validate({"config": CONFIG, "dataloader_config": DATALOADER, **body})
        return self.services.submission.submit(who, request, provider_name="replicate", idempotency_key=key)

    def job(self, job_id: str) -> Job:
        found = self.jobs.get(job_id)
        assert found is not None
        return found

    def event_types(self, job_id: str) -> list[str]:
        return [e.type for e in self.jobs.events(job_id, limit=1000)]

    def settle(self) -> None:
        """Runs everything that is due now."""
        for _ in range(200):
            if self.machine.tick() + self.delivery_runner.tick() == 0:
                return
        raise AssertionError("the state machine does not come to rest")

    def run(self, seconds: float, *, sweep_every: float | None = None, step: float = 5) -> None:
        """Lets ``seconds`` of virtual time pass, running what becomes due."""
        end = self.clock.now() + timedelta(seconds=seconds)
        next_sweep = self.clock.now() + timedelta(seconds=sweep_every) if sweep_every else None
        self.settle()
        while self.clock.now() < end:
            self.clock.advance(min(step, (end - self.clock.now()).total_seconds()))
            self.settle()
            if next_sweep is not None and sweep_every is not None and self.clock.now() >= next_sweep:
                self.sweep()
                next_sweep = self.clock.now() + timedelta(seconds=sweep_every)
                self.settle()

    def sweep(self) -> SweepReport:
        tend_deliveries(self.ports, self.clock.now() + timedelta(seconds=30))
        return sweep(self.ports, ["replicate"], timedelta(seconds=200))

    def webhook(self, job_id: str, status: str, *, webhook_id: str = "msg_1", prediction_id: str | None = None) -> Any:
        """Delivers a signed webhook as the provider would."""
        job = self.jobs.get(job_id)
        body = json.dumps({"id": prediction_id or (job and job.prediction_id), "status": status}).encode()
        headers = sign(body, webhook_id=webhook_id, at=self.clock.now(), secrets=[self.provider.secret])
        return self.services.webhooks.receive("replicate", headers, body, job_id)

    def _publish(self, request: LaunchRequest, life: Life) -> None:
        config = json.loads(request.inputs["config_json"])
        base = config["publishing_config"][0]["base_path"]
        if self.weights is not None:
            name = f"checkpoint-{config['max_train_steps']}/pytorch_lora_weights.safetensors"
            self.outputs.put(f"{base}/{name}", self.weights)
        self.outputs.put(f"{base}/validation_images/sample.png", b"png")
