"""Builds the services from adapters. Used by app.py, the edges and tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from chalicelib.aws.ambient import SystemClock, UlidSource, random_text
from chalicelib.aws.broker import StsBroker
from chalicelib.aws.clients import Clients, partition_of
from chalicelib.aws.cognito import CognitoUserPool
from chalicelib.aws.dataset_runner import StepFunctionsDatasetRunner
from chalicelib.aws.delivery_runner import StepFunctionsDeliveryRunner
from chalicelib.aws.jwks import pool_verifier
from chalicelib.aws.mail import SnsMailer
from chalicelib.aws.nudge import LambdaNudge
from chalicelib.aws.object_store import S3ObjectStore
from chalicelib.aws.parameters import SsmParameters, StackParameters
from chalicelib.aws.runner import StepFunctionsRunner
from chalicelib.aws.secrets import SsmSecretStore
from chalicelib.delivery.directory import Connector, TargetDirectory
from chalicelib.delivery.hooks import Hooks
from chalicelib.domain.credentials import HubSecret, S3Secret, Secret
from chalicelib.domain.delivery_ports import DeliveryFault, Target
from chalicelib.domain.destinations import HubDestination, S3Destination, WebhookDestination
from chalicelib.domain.foreign_bucket import ForeignBucket
from chalicelib.domain.inspection_facts import ImageProbe
from chalicelib.domain.jobs import Job
from chalicelib.domain.ports import Clock, Limits, Ports, Provider, StackFacts, TrainerStorage
from chalicelib.providers.access import ProviderAccess
from chalicelib.providers.hub import HttpModelHub
from chalicelib.providers.registry import PROVIDERS, ProviderEntry
from chalicelib.schemas.jobs import JobView, job_view
from chalicelib.services.archives import ArchiveService
from chalicelib.services.audit import AuditService
from chalicelib.services.channels import ChannelService
from chalicelib.services.conclusion import ConclusionService
from chalicelib.services.configs import ConfigService
from chalicelib.services.consent import ConsentService
from chalicelib.services.credential_tests import CredentialTests
from chalicelib.services.credentials import CredentialService
from chalicelib.services.datasets import DatasetService
from chalicelib.services.deliveries import DeliveryService
from chalicelib.services.deploy_token import DeployTokenService
from chalicelib.services.doors import Doors
from chalicelib.services.escrow import EscrowService
from chalicelib.services.factors import FactorService
from chalicelib.services.handover import HandoverService
from chalicelib.services.inspection import InspectionService
from chalicelib.services.jobs import JobsService
from chalicelib.services.keys import KeyService
from chalicelib.services.observation import ObservationService
from chalicelib.services.people import PeopleService
from chalicelib.services.preflight import PreflightService
from chalicelib.services.rates import RateService
from chalicelib.services.receipts import ReceiptService
from chalicelib.services.sessions import SessionService, Wait
from chalicelib.services.setup import SetupService
from chalicelib.services.standing import StandingService
from chalicelib.services.storage import StorageService
from chalicelib.services.submission import SubmissionService
from chalicelib.services.system import SystemService
from chalicelib.services.webhooks import WebhookService
from chalicelib.settings import Settings, get_settings
from chalicelib.store import (
    DynamoAccessStore,
    DynamoArchiveStore,
    DynamoAuditStore,
    DynamoConfigStore,
    DynamoCredentialStore,
    DynamoDatasetStore,
    DynamoDeliveryStore,
    DynamoJobStore,
    DynamoNotificationStore,
    DynamoOwnerSettingsStore,
    DynamoRateStore,
    DynamoUploadTokenStore,
    DynamoWebhookLog,
)


@dataclass(frozen=True)
class Services:
    """Every use case, ready to call."""

    ports: Ports
    doors: Doors
    settings: Settings
    preflight: PreflightService
    submission: SubmissionService
    jobs: JobsService
    escrow: EscrowService
    receipts: ReceiptService
    storage: StorageService
    datasets: DatasetService
    consent: ConsentService
    inspections: InspectionService
    archives: ArchiveService
    configs: ConfigService
    credentials: CredentialService
    credential_tests: CredentialTests
    channels: ChannelService
    deliveries: DeliveryService
    webhooks: WebhookService
    system: SystemService
    audit: AuditService
    rates: RateService
    setup: SetupService
    sessions: SessionService
    factors: FactorService
    people: PeopleService
    keys: KeyService
    deploy_token: DeployTokenService

    def view(self, job: Job) -> JobView:
        return job_view(job, now=self.ports.clock.now(), sandbox=self.settings.sandbox)


def build_services(ports: Ports, doors: Doors, settings: Settings, wait: Wait | None = None) -> Services:
    """The services over these ports; no side effects."""
    observation, conclusion = ObservationService(ports), ConclusionService(ports)
    audit = AuditService(doors.audit, ports.clock, doors.random_text)
    rates = RateService(doors.rates, ports.clock)
    handover = HandoverService(ports, doors, audit)
    setup = SetupService(doors, audit, rates, handover, ports.clock)
    standing = StandingService(doors.access, ports.clock)
    people = PeopleService(ports, doors, audit)
    credentials = CredentialService(ports)
    preflight = PreflightService(ports, on_sandbox=settings.sandbox)
    jobs = JobsService(ports, observation, conclusion)
    return Services(
        ports=ports,
        doors=doors,
        settings=settings,
        preflight=preflight,
        submission=SubmissionService(ports, preflight),
        jobs=jobs,
        escrow=EscrowService(ports, jobs),
        receipts=ReceiptService(ports),
        storage=StorageService(ports, doors, audit, jobs),
        deliveries=DeliveryService(ports, jobs),
        datasets=DatasetService(ports),
        consent=ConsentService(ports),
        inspections=InspectionService(ports),
        archives=ArchiveService(ports),
        configs=ConfigService(ports),
        credentials=credentials,
        credential_tests=CredentialTests(ports, credentials, rates),
        channels=ChannelService(ports, rates),
        webhooks=WebhookService(ports),
        system=SystemService(ports, {name: entry.title for name, entry in PROVIDERS.items()}),
        audit=audit,
        rates=rates,
        setup=setup,
        sessions=SessionService(doors, audit, rates, standing, handover, ports.clock, wait),
        factors=FactorService(doors, rates),
        people=people,
        keys=KeyService(ports, doors, audit, people, PROVIDERS),
        deploy_token=DeployTokenService(doors.secrets, setup, audit, ports.clock),
    )


def limits_of(settings: Settings) -> Limits:
    return Limits(
        max_concurrent_jobs=settings.max_concurrent_jobs,
        default_max_run_seconds=settings.default_max_run_seconds,
        launch_lease_seconds=settings.launch_lease_seconds,
        adopt_settle_seconds=settings.adopt_settle_seconds,
        sweep_grace_seconds=settings.sweep_grace_seconds,
        dataset_quota_bytes=settings.dataset_quota_bytes,
        private_destinations=settings.allow_private_destinations,
    )


class ProviderDirectory:
    """The ProviderLookup port: adapters by name, connected with the token that ``token_of`` gives at that moment.

    An adapter is kept while its token stays the same, for the sake of what it caches (signing secret, model versions);
    a rotated token makes a new one. Without a token a provider is not configured: None, as for an unknown name.
    """

    def __init__(
        self,
        token_of: Callable[[str], str | None],
        base_url: str,
        known: Mapping[str, ProviderEntry] = PROVIDERS,
    ) -> None:
        self._token_of = token_of
        self._base_url = base_url
        self._known = known
        self._lock = threading.Lock()
        self._connected: dict[str, tuple[str, Provider]] = {}

    def __call__(self, name: str) -> Provider | None:
        entry = self._known.get(name)
        token = self._token_of(name) if entry is not None else None
        if entry is None or not token:
            return None
        with self._lock:
            connected = self._connected.get(name)
            if connected is None or connected[0] != token:
                connected = (token, entry.connect(ProviderAccess(token=token, base_url=self._base_url)))
                self._connected[name] = connected
            return connected[1]


def build_ports(settings: Settings, clients: Clients, parameters: StackParameters) -> Ports:
    """The real adapters; sends nothing."""
    clock = SystemClock()
    table = settings.jobs_table
    nudge = LambdaNudge(settings.notify_function, clients.lambdas)
    return Ports(
        jobs=DynamoJobStore(table, told=nudge),
        datasets=DynamoDatasetStore(table),
        archives=DynamoArchiveStore(table),
        configs=DynamoConfigStore(table),
        owner_settings=DynamoOwnerSettingsStore(table),
        webhooks=DynamoWebhookLog(table),
        credentials=DynamoCredentialStore(table),
        secrets=SsmSecretStore(settings.ssm_prefix, clients.ssm),
        dataset_files=S3ObjectStore(settings.datasets_bucket, clients.s3),
        outputs=S3ObjectStore(settings.outputs_bucket, clients.s3),
        runner=StepFunctionsRunner(settings.state_machine_arn, clients.stepfunctions),
        dataset_runner=StepFunctionsDatasetRunner(
            inspection_arn=settings.inspection_arn, unpack_arn=settings.unpack_arn, client=clients.stepfunctions
        ),
        deliveries=DynamoDeliveryStore(table),
        delivery_runner=StepFunctionsDeliveryRunner(settings.delivery_arn, clients.stepfunctions),
        notifications=DynamoNotificationStore(table),
        mailer=SnsMailer(settings.mail_topic_arn, clients.sns),
        hooks=Hooks(allow_private=settings.allow_private_destinations),
        nudge=nudge,
        targets=TargetDirectory(connectors(settings, parameters, clock)),
        broker=StsBroker(
            datasets_bucket=settings.datasets_bucket,
            outputs_bucket=settings.outputs_bucket,
            key=parameters.trainer_key,
            connect=clients.sts,
            partition=partition_of(settings.region),
        ),
        providers=ProviderDirectory(parameters.provider_token, settings.provider_base_url),
        hub=HttpModelHub(),
        facts=parameters,
        clock=clock,
        ids=UlidSource(clock),
        trainer_storage=TrainerStorage(
            endpoint_url=settings.s3_endpoint_url or s3_endpoint_of(settings.region), region=settings.region
        ),
        limits=limits_of(settings),
    )


def connectors(settings: Settings, facts: StackFacts, clock: Clock) -> dict[str, Connector]:
    """The adapters of destinations by kind, each imported when it is first needed."""

    def webhook(destination: WebhookDestination, secret: Secret | None) -> Target:
        from chalicelib.delivery.safe_http import safe_client
        from chalicelib.delivery.webhook import WebhookTarget

        client = safe_client(allow_private=settings.allow_private_destinations)
        return WebhookTarget(destination, secret, client=client, public_url=facts.public_url, now=clock.now)

    def hub(destination: HubDestination, secret: Secret | None) -> Target:
        from chalicelib.delivery.hub import HubTarget

        if not isinstance(secret, HubSecret):
            raise DeliveryFault(
                "credential_missing",
                "There is no Hugging Face token for this destination.",
                "Store one: stcloud credentials add NAME --kind huggingface",
                retry=False,
            )
        return HubTarget(destination, secret, endpoint=settings.hub_url)

    bucket = s3_connector(allow_private=settings.allow_private_destinations)
    return {"webhook": webhook, "huggingface": hub, "s3": bucket}


def s3_connector(*, allow_private: bool) -> Connector:
    """Users' buckets. ``allow_private`` also lets http in."""

    def connect(destination: S3Destination, secret: Secret | None) -> Target:
        from chalicelib.aws.foreign_s3 import connect_foreign
        from chalicelib.delivery.s3 import S3Target
        from chalicelib.delivery.safe_http import guard

        def addresses(url: str) -> list[str]:
            return [str(address) for address in guard(url, allow_private=allow_private).addresses]

        def bucket(seconds: float | None = None) -> ForeignBucket:
            keys = secret if isinstance(secret, S3Secret) else None
            return connect_foreign(destination, keys, addresses, allow_http=allow_private, seconds=seconds)

        return S3Target(destination, bucket(), bucket)

    return connect


def image_probe() -> ImageProbe:
    """What decodes images. Only the package of the function that inspects holds the library; ImportError elsewhere."""
    from chalicelib.imaging.pillow_probe import PillowProbe

    return PillowProbe()


def build_doors(settings: Settings, clients: Clients, parameters: StackParameters) -> Doors:
    """The real adapters of the doors; sends nothing."""
    return Doors(
        pool=CognitoUserPool(clients.cognito, settings.user_pool_id, settings.user_pool_client_id),
        sessions=pool_verifier(settings.user_pool_id, settings.user_pool_client_id, settings.jwks_url),
        access=DynamoAccessStore(settings.keys_table),
        audit=DynamoAuditStore(settings.audit_table),
        rates=DynamoRateStore(settings.keys_table),
        secrets=parameters,
        upload_tokens=DynamoUploadTokenStore(settings.keys_table),
        random_text=random_text,
    )


def s3_endpoint_of(region: str) -> str:
    """S3's regional address: the trainer's backend wants one, and ignores the region beside it."""
    return f"https://s3.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


@lru_cache(maxsize=1)
def get_services() -> Services:
    """The services of this process, over the real adapters; built at first use. Sends nothing.

    Raises pydantic's ValidationError when the deployment's settings are wrong.
    """
    settings = get_settings()
    clients = Clients(settings.region, s3_endpoint_url=settings.s3_endpoint_url)
    parameters = StackParameters(SsmParameters(settings.ssm_prefix, clients.ssm))
    ports, doors = build_ports(settings, clients, parameters), build_doors(settings, clients, parameters)
    return build_services(ports, doors, settings)


__all__ = [
    "ProviderDirectory",
    "Services",
    "TrainerStorage",
    "build_doors",
    "build_ports",
    "build_services",
    "get_services",
    "get_settings",
    "image_probe",
    "limits_of",
]
