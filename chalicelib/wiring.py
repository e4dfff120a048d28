"""Builds the services from adapters. Used by app.py, the edges and tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from chalicelib.domain.jobs import Job
from chalicelib.domain.ports import Limits, Ports, TrainerStorage
from chalicelib.providers.registry import PROVIDERS
from chalicelib.schemas.jobs import JobView, job_view
from chalicelib.services.conclusion import ConclusionService
from chalicelib.services.configs import ConfigService
from chalicelib.services.datasets import DatasetService
from chalicelib.services.jobs import JobsService
from chalicelib.services.observation import ObservationService
from chalicelib.services.submission import SubmissionService
from chalicelib.services.system import SystemService
from chalicelib.services.webhooks import WebhookService
from chalicelib.settings import Settings, get_settings


@dataclass(frozen=True)
class Services:
    """Every use case, ready to call. ``deploy_token_sha256`` gives the hash of the hosted stack's token, or None."""

    ports: Ports
    settings: Settings
    submission: SubmissionService
    jobs: JobsService
    datasets: DatasetService
    configs: ConfigService
    webhooks: WebhookService
    system: SystemService
    deploy_token_sha256: Callable[[], str | None]

    def view(self, job: Job) -> JobView:
        return job_view(job, now=self.ports.clock.now(), sandbox=self.settings.sandbox)


def build_services(ports: Ports, settings: Settings, deploy_token_sha256: Callable[[], str | None]) -> Services:
    """The services over these ports; no side effects."""
    observation, conclusion = ObservationService(ports), ConclusionService(ports)
    return Services(
        ports=ports,
        settings=settings,
        submission=SubmissionService(ports),
        jobs=JobsService(ports, observation, conclusion),
        datasets=DatasetService(ports),
        configs=ConfigService(ports),
        webhooks=WebhookService(ports),
        system=SystemService(ports, {name: entry.title for name, entry in PROVIDERS.items()}),
        deploy_token_sha256=deploy_token_sha256,
    )


def limits_of(settings: Settings) -> Limits:
    return Limits(
        max_concurrent_jobs=settings.max_concurrent_jobs,
        default_max_run_seconds=settings.default_max_run_seconds,
        launch_lease_seconds=settings.launch_lease_seconds,
        adopt_settle_seconds=settings.adopt_settle_seconds,
        sweep_grace_seconds=settings.sweep_grace_seconds,
    )


@lru_cache(maxsize=1)
def get_services() -> Services:
    """The services of this process, over the real adapters; built at first use."""
    raise NotImplementedError


__all__ = ["Services", "TrainerStorage", "build_services", "get_services", "get_settings", "limits_of"]
