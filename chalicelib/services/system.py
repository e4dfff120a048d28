"""Health and providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from chalicelib.domain.ports import Clock, JobFilter, Ports
from chalicelib.domain.predictions import HardwareProfile
from chalicelib.errors import AppError, Unavailable
from chalicelib.schemas.system import Status

HEALTH_LIFETIME = timedelta(seconds=5)


@dataclass(frozen=True)
class Component:
    name: str
    status: Status
    latency_ms: float | None
    message: str


@dataclass(frozen=True)
class Health:
    status: Status
    uptime_seconds: float
    components: list[Component]
    timestamp: datetime


@dataclass(frozen=True)
class ProviderInfo:
    name: str
    title: str
    configured: bool
    profiles: Mapping[str, HardwareProfile]


class SystemService:
    def __init__(self, ports: Ports, provider_titles: Mapping[str, str]) -> None:
        self._ports = ports
        self._titles = provider_titles
        self._started = ports.clock.now()
        self._seen: Health | None = None

    def health(self) -> Health:
        """Looks at the database, the buckets and the settings; never raises for a sick part. Anybody may ask, so what
        was seen is told again for a few seconds."""
        seen, now = self._seen, self._ports.clock.now()
        if seen is None or not timedelta(0) <= now - seen.timestamp < HEALTH_LIFETIME:
            seen = self._seen = self._look()
        return replace(seen, uptime_seconds=round((now - self._started).total_seconds(), 3))

    def _look(self) -> Health:
        parts = [
            self._check("database", "job table answers", self._database),
            self._check("storage", "buckets answer", self._storage),
            self._check("settings", "public URL is set", self._settings),
        ]
        worst: Status = "healthy"
        for part in parts:
            if part.status == "unhealthy":
                worst = "unhealthy"
        now = self._ports.clock.now()
        return Health(worst, round((now - self._started).total_seconds(), 3), parts, now)

    def ready(self) -> None:
        """Raises Unavailable unless a submit could work now."""
        sick = [part.name for part in self.health().components if part.status == "unhealthy"]
        if sick:
            raise Unavailable(f"Not ready: {', '.join(sick)}", code="not_ready", retry_after=5)

    def providers(self) -> list[ProviderInfo]:
        found = []
        for name, title in self._titles.items():
            provider = self._ports.providers(name)
            found.append(ProviderInfo(name, title, provider is not None, provider.profiles if provider else {}))
        return found

    def _database(self) -> None:
        self._ports.jobs.list(JobFilter(owner="health"), limit=1)

    def _storage(self) -> None:
        self._ports.dataset_files.head("health")
        self._ports.outputs.head("health")

    def _settings(self) -> None:
        self._ports.facts.public_url()

    def _check(self, name: str, fine: str, probe: Callable[[], None]) -> Component:
        clock: Clock = self._ports.clock
        start = clock.now()
        try:
            probe()
        except AppError as error:
            return Component(name, "unhealthy", None, error.detail)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, the health page must say which part is sick
            return Component(name, "unhealthy", None, f"does not answer ({type(error).__name__})")
        return Component(name, "healthy", round((clock.now() - start).total_seconds() * 1000, 2), fine)
