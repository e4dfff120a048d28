"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from chalicelib.domain.access_ports import AccessStore, AuditStore, RateStore, SessionVerifier, UserPool
from chalicelib.domain.credentials import CredentialStore, SecretStore
from chalicelib.domain.delivery_ports import DeliveryRunner, DeliveryStore, Target, TargetLookup
from chalicelib.domain.inspection_facts import ImageProbe
from chalicelib.domain.ports import (
    ArchiveStore,
    Clock,
    ConfigStore,
    CredentialsBroker,
    DatasetRunner,
    DatasetStore,
    IdSource,
    JobStore,
    ObjectStore,
    Provider,
    StackFacts,
    WebhookLog,
    WorkflowRunner,
)
from tests.fakes.access import InMemoryAccessStore, InMemoryAuditStore, InMemoryRateStore
from tests.fakes.archives import InMemoryArchiveStore
from tests.fakes.aws import FakeBroker, FakeFacts, InMemoryObjectStore
from tests.fakes.clock import FakeClock, SequentialIds
from tests.fakes.credentials import InMemoryCredentialStore, InMemorySecretStore
from tests.fakes.dataset_runner import FakeDatasetRunner
from tests.fakes.deliveries import InMemoryDeliveryStore
from tests.fakes.delivery_runner import FakeDeliveryRunner
from tests.fakes.machine import VirtualMachine
from tests.fakes.pool import FakeUserPool, FakeVerifier
from tests.fakes.probe import FakeProbe
from tests.fakes.provider import FakeProvider
from tests.fakes.stores import InMemoryConfigStore, InMemoryDatasetStore, InMemoryJobStore
from tests.fakes.targets import FakeTarget, FakeTargets
from tests.fakes.webhook_log import InMemoryWebhookLog

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("app.py", "chalicelib", "infra", "local", "cli", "scripts", "benchmarks", "webui/src", "webui/dev", "tests")
CODE = {".py", ".ts", ".tsx", ".mjs", ".css"}
TEXT = CODE | {".md", ".json", ".toml", ".yaml", ".yml", ".html", ".txt", ".sh", ".cfg"}
GENERATED = {"node_modules", "dist", "build", "__pycache__", "package-lock.json", "openapi.ts"}
MAX_LINES = 400
#: Put together from parts, so that this file does not hold them itself. ``me`` is nobody: an example's user.
MACHINE_PATHS = re.compile(
    "|".join(
        ("/" + "work/(?:main|shared)", "/" + "home/(?!me/)[a-z]+/", "/" + "Users/(?!me/)[A-Za-z]+/", "/tmp/" + "brief")
    )
)
PATCHING = re.compile(
    "|".join(("unittest" + r"\.mock", "from unittest import " + "mock", "monkeypatch" + r"\.setattr"))
)


def files(*places: str, suffixes: set[str]) -> list[Path]:
    found: list[Path] = []
    for place in places:
        root = ROOT / place
        candidates = [root] if root.is_file() else sorted(root.rglob("*"))
        found += [
            p
            for p in candidates
            if p.suffix in suffixes
            and p.is_file()
            and not GENERATED & set(p.relative_to(ROOT).parts)
            and not any(part.startswith(".") or part.endswith(".egg-info") for part in p.relative_to(ROOT).parts[:-1])
        ]
    return found


def test_the_rules_look_at_something() -> None:
    assert len(files(*SOURCES, suffixes=CODE)) > 100


def test_no_module_is_too_long_to_read() -> None:
    long = {
        str(p.relative_to(ROOT)): lines
        for p in files(*SOURCES, suffixes=CODE)
        if p.name != "mock-data.mjs"  # a table of sample answers
        and (lines := len(p.read_text(encoding="utf-8").splitlines())) > MAX_LINES
    }
    assert long == {}


def test_nothing_is_patched_in_place_of_injected() -> None:
    assert [
        str(p.relative_to(ROOT))
        for p in files("tests", suffixes={".py"})
        if PATCHING.search(p.read_text(encoding="utf-8"))
    ] == []


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    places = (*SOURCES, "docs", "Makefile", "README.md", "README.ja.md", "CONTRIBUTING.md", "SECURITY.md", ".chalice")
    guilty = [
        str(p.relative_to(ROOT))
        for p in files(*[place for place in places if (ROOT / place).exists()], suffixes=TEXT | {""})
        if MACHINE_PATHS.search(p.read_text(encoding="utf-8", errors="replace"))
    ]
    assert guilty == []


def test_every_port_has_a_fake_with_its_shape() -> None:
    """The assignments are what mypy checks; at run time every member of the port must be there."""
    clock: Clock = FakeClock()
    jobs: JobStore = InMemoryJobStore()
    datasets: DatasetStore = InMemoryDatasetStore()
    archives: ArchiveStore = InMemoryArchiveStore()
    configs: ConfigStore = InMemoryConfigStore()
    webhooks: WebhookLog = InMemoryWebhookLog()
    objects: ObjectStore = InMemoryObjectStore()
    runner: WorkflowRunner = VirtualMachine(clock)
    dataset_runner: DatasetRunner = FakeDatasetRunner()
    probe: ImageProbe = FakeProbe()
    broker: CredentialsBroker = FakeBroker()
    provider: Provider = FakeProvider(clock)
    ids: IdSource = SequentialIds()
    facts: StackFacts = FakeFacts()
    access: AccessStore = InMemoryAccessStore()
    audit: AuditStore = InMemoryAuditStore()
    rates: RateStore = InMemoryRateStore()
    credentials: CredentialStore = InMemoryCredentialStore()
    secrets: SecretStore = InMemorySecretStore()
    deliveries: DeliveryStore = InMemoryDeliveryStore()
    delivery_runner: DeliveryRunner = FakeDeliveryRunner(clock)
    targets: TargetLookup = FakeTargets()
    target: Target = FakeTarget(FakeTargets(), "somewhere")
    fake_pool = FakeUserPool(clock)
    pool: UserPool = fake_pool
    verifier: SessionVerifier = FakeVerifier(fake_pool)
    pairs = [
        (Clock, clock),
        (JobStore, jobs),
        (DatasetStore, datasets),
        (ArchiveStore, archives),
        (ConfigStore, configs),
        (WebhookLog, webhooks),
        (ObjectStore, objects),
        (WorkflowRunner, runner),
        (DatasetRunner, dataset_runner),
        (ImageProbe, probe),
        (CredentialsBroker, broker),
        (Provider, provider),
        (IdSource, ids),
        (StackFacts, facts),
        (AccessStore, access),
        (AuditStore, audit),
        (RateStore, rates),
        (CredentialStore, credentials),
        (SecretStore, secrets),
        (DeliveryStore, deliveries),
        (DeliveryRunner, delivery_runner),
        (TargetLookup, targets),
        (Target, target),
        (UserPool, pool),
        (SessionVerifier, verifier),
    ]
    missing = [
        f"{type(fake).__name__} has no {member}"
        for port, fake in pairs
        for member in vars(port)
        if not member.startswith("_") and not hasattr(fake, member)
    ]
    assert missing == []


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_the_fakes_have_the_types_of_the_ports() -> None:
    done = run(sys.executable, "-m", "mypy", "--follow-imports=silent", "tests/unit/test_house.py")
    assert done.returncode == 0, done.stdout


def test_imports_follow_the_layers() -> None:
    done = run(str(Path(sys.executable).with_name("lint-imports")), "--no-cache")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["domain", "services", "workflow", "schemas", "errors.py", "api"])
def test_only_the_settings_read_the_environment(name: str) -> None:
    environment = re.compile(r"\bos\.(environ|getenv)\b|from os import environ")
    guilty = [p.name for p in files(f"chalicelib/{name}", suffixes={".py"}) if environment.search(p.read_text())]
    assert guilty == []
