"""One suite per port, run against the in-memory fake and the real adapter on the AWS emulator."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.domain.access_ports import AccessStore, AuditStore, RateStore
from chalicelib.domain.ports import ConfigStore, CredentialStore, DatasetStore, JobStore, OwnerSettingsStore, WebhookLog
from chalicelib.domain.storage import UploadTokenStore
from chalicelib.store import (
    DynamoAccessStore,
    DynamoAuditStore,
    DynamoConfigStore,
    DynamoCredentialStore,
    DynamoDatasetStore,
    DynamoJobStore,
    DynamoOwnerSettingsStore,
    DynamoRateStore,
    DynamoUploadTokenStore,
    DynamoWebhookLog,
)
from chalicelib.store.records import record_model
from tests.fakes.access import InMemoryAccessStore, InMemoryAuditStore, InMemoryRateStore, InMemoryUploadTokenStore
from tests.fakes.credentials import InMemoryCredentialStore
from tests.fakes.owner_settings import InMemoryOwnerSettingsStore
from tests.fakes.stores import (
    InMemoryConfigStore,
    InMemoryDatasetStore,
    InMemoryJobStore,
)
from tests.fakes.webhook_log import InMemoryWebhookLog
from tests.support.emulator import Emulator, running_emulator
from tests.support.pools import CognitoStage, MemoryStage, Stage
from tests.support.tables import create_audit_table, create_jobs_table, create_keys_table

MEMORY, DYNAMODB = "memory", "dynamodb"


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """An AWS emulator with IAM on, shared by the session."""
    with running_emulator(tmp_path_factory.mktemp("emulator")) as running:
        yield running


@pytest.fixture
def aws_environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the AWS SDK finds in its environment inside a deployed function."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_DYNAMODB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", emulator.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_REGION", "us-east-1")


@pytest.fixture
def jobs_table(emulator: Emulator, aws_environment: None) -> Iterator[str]:
    """An empty jobs table of this test's own."""
    yield from _table(emulator, "jobs", create_jobs_table)


@pytest.fixture
def keys_table(emulator: Emulator, aws_environment: None) -> Iterator[str]:
    """An empty keys table of this test's own."""
    yield from _table(emulator, "keys", create_keys_table)


@pytest.fixture
def audit_table(emulator: Emulator, aws_environment: None) -> Iterator[str]:
    """An empty audit table of this test's own."""
    yield from _table(emulator, "audit", create_audit_table)


def _table(emulator: Emulator, kind: str, create: Callable[[Any, str], None]) -> Iterator[str]:
    client, name = emulator.client("dynamodb"), f"test-{uuid.uuid4().hex[:12]}-{kind}"
    create(client, name)
    yield name
    record_model(name)._get_connection().connection.client.close()
    client.delete_table(TableName=name)


@pytest.fixture(params=[MEMORY, DYNAMODB])
def access_store(request: pytest.FixtureRequest) -> AccessStore:
    if request.param == MEMORY:
        return InMemoryAccessStore()
    return DynamoAccessStore(request.getfixturevalue("keys_table"))


@pytest.fixture(params=[MEMORY, DYNAMODB])
def rate_store(request: pytest.FixtureRequest) -> RateStore:
    if request.param == MEMORY:
        return InMemoryRateStore()
    return DynamoRateStore(request.getfixturevalue("keys_table"))


@pytest.fixture(params=[MEMORY, DYNAMODB])
def upload_tokens(request: pytest.FixtureRequest) -> UploadTokenStore:
    if request.param == MEMORY:
        return InMemoryUploadTokenStore()
    return DynamoUploadTokenStore(request.getfixturevalue("keys_table"))


@pytest.fixture(params=[MEMORY, DYNAMODB])
def audit_store(request: pytest.FixtureRequest) -> AuditStore:
    if request.param == MEMORY:
        return InMemoryAuditStore()
    return DynamoAuditStore(request.getfixturevalue("audit_table"))


@pytest.fixture(params=[MEMORY, DYNAMODB])
def job_store(request: pytest.FixtureRequest) -> JobStore:
    if request.param == MEMORY:
        return InMemoryJobStore()
    return DynamoJobStore(request.getfixturevalue("jobs_table"))


@pytest.fixture(params=[MEMORY, DYNAMODB])
def dataset_store(request: pytest.FixtureRequest) -> DatasetStore:
    if request.param == MEMORY:
        return InMemoryDatasetStore()
    return DynamoDatasetStore(request.getfixturevalue("jobs_table"))


@pytest.fixture(params=[MEMORY, DYNAMODB])
def config_store(request: pytest.FixtureRequest) -> ConfigStore:
    if request.param == MEMORY:
        return InMemoryConfigStore()
    return DynamoConfigStore(request.getfixturevalue("jobs_table"))


@pytest.fixture(params=[MEMORY, DYNAMODB])
def owner_settings(request: pytest.FixtureRequest) -> OwnerSettingsStore:
    if request.param == MEMORY:
        return InMemoryOwnerSettingsStore()
    return DynamoOwnerSettingsStore(request.getfixturevalue("jobs_table"))


@pytest.fixture(params=[MEMORY, DYNAMODB])
def credential_store(request: pytest.FixtureRequest) -> CredentialStore:
    if request.param == MEMORY:
        return InMemoryCredentialStore()
    return DynamoCredentialStore(request.getfixturevalue("jobs_table"))


@pytest.fixture(params=[MEMORY, DYNAMODB])
def webhook_log(request: pytest.FixtureRequest) -> WebhookLog:
    if request.param == MEMORY:
        return InMemoryWebhookLog()
    return DynamoWebhookLog(request.getfixturevalue("jobs_table"))


@pytest.fixture
def sleeps() -> tuple[list[float], Callable[[float], None]]:
    """Pauses that were asked for, and the sleeper that writes them down instead of sleeping."""
    asked: list[float] = []
    return asked, asked.append


@pytest.fixture(scope="module")
def cognito(emulator: Emulator) -> Iterator[CognitoStage]:
    stage = CognitoStage(emulator)
    yield stage
    stage.clients.close()


@pytest.fixture(params=["memory", "cognito"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "memory":
        return MemoryStage()
    stage: Stage = request.getfixturevalue("cognito")
    return stage


@pytest.fixture
def name() -> str:
    return f"u{uuid.uuid4().hex[:10]}"
