"""The services over the real adapters: built from settings alone, without sending anything."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.parameters import StackParameters
from chalicelib.domain.ports import Provider
from chalicelib.providers.access import ProviderAccess
from chalicelib.providers.registry import PROVIDERS, ProviderEntry
from chalicelib.providers.replicate import ReplicateProvider
from chalicelib.settings import Settings, get_settings
from chalicelib.wiring import ProviderDirectory, build_ports, get_services
from tests.fakes.aws import InMemoryParameters
from tests.fakes.clock import FakeClock
from tests.fakes.provider import FakeProvider

ENVIRONMENT = {
    "STC_STAGE": "local",
    "STC_JOBS_TABLE": "stcloud-local-jobs",
    "STC_KEYS_TABLE": "stcloud-local-keys",
    "STC_AUDIT_TABLE": "stcloud-local-audit",
    "STC_USER_POOL_ID": "eu-west-1_Abc123xyz",
    "STC_USER_POOL_CLIENT_ID": "1example23456789",
    "STC_DATASETS_BUCKET": "stcloud-local-datasets-123456789012",
    "STC_OUTPUTS_BUCKET": "stcloud-local-outputs-123456789012",
    "STC_STATE_MACHINE_ARN": "arn:aws:states:us-east-1:123456789012:stateMachine:stcloud-local-job",
    "STC_SSM_PREFIX": "/stcloud/local/",
    "AWS_REGION": "eu-west-1",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """What a deployed function finds; nothing remembered from another test, and nothing left for the next."""
    for name in ("STC_S3_ENDPOINT_URL", "STC_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    get_services.cache_clear()
    yield monkeypatch
    get_settings.cache_clear()
    get_services.cache_clear()


def ports_of(parameters: dict[str, str] | None = None, **settings: Any) -> Any:
    known = Settings(**settings)
    clients = Clients(known.region, s3_endpoint_url=known.s3_endpoint_url, root=AccessKey("AKIA", "s"))
    return build_ports(known, clients, StackParameters(InMemoryParameters(parameters or {})))


def test_the_services_of_a_deployed_function(environment: pytest.MonkeyPatch) -> None:
    services = get_services()
    assert get_services() is services
    ports = services.ports
    assert (ports.dataset_files.bucket, ports.outputs.bucket) == (
        ENVIRONMENT["STC_DATASETS_BUCKET"],
        ENVIRONMENT["STC_OUTPUTS_BUCKET"],
    )
    assert ports.limits.launch_lease_seconds == 60
    assert len(ports.ids.job_id()) == 26


def test_a_wrong_deployment_is_told_by_the_name_of_the_variable(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("STC_DATASETS_BUCKET")
    with pytest.raises(ValidationError, match="datasets_bucket"):
        get_services()


def test_the_trainer_is_given_an_address_in_any_case(environment: pytest.MonkeyPatch) -> None:
    assert ports_of().trainer_storage.endpoint_url == "https://s3.eu-west-1.amazonaws.com"
    assert ports_of().trainer_storage.region == "eu-west-1"
    assert ports_of(region="cn-north-1").trainer_storage.endpoint_url == "https://s3.cn-north-1.amazonaws.com.cn"
    local = ports_of(s3_endpoint_url="http://127.0.0.1:8002/").trainer_storage
    assert local.endpoint_url == "http://127.0.0.1:8002"


def test_settings_take_urls_and_paths_without_a_trailing_slash(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("STC_PROVIDER_BASE_URL", "http://127.0.0.1:8003/")
    settings = get_settings()
    assert (settings.ssm_prefix, settings.provider_base_url) == ("/stcloud/local", "http://127.0.0.1:8003")


def test_the_public_url_comes_from_the_stack(environment: pytest.MonkeyPatch) -> None:
    assert ports_of({"public-url": "http://localhost:8001"}).facts.public_url() == "http://localhost:8001"


def test_replicate_is_connected_with_the_stacks_token(environment: pytest.MonkeyPatch) -> None:
    assert ports_of().providers("replicate") is None
    assert isinstance(ports_of({"replicate-token": "r8_x"}).providers("replicate"), ReplicateProvider)
    assert ports_of({"unknown-token": "x"}).providers("unknown") is None


def test_the_provider_is_reached_directly_whatever_the_environment_says(environment: pytest.MonkeyPatch) -> None:
    """A local provider answers on loopback; sent through a proxy the token would leave this computer."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        environment.setenv(name, "http://127.0.0.1:9")
    access = ProviderAccess(token="r8_x", base_url="http://127.0.0.1:8003")
    provider = PROVIDERS["replicate"].connect(access)
    assert isinstance(provider, ReplicateProvider)
    assert set(provider._client._client._mounts.values()) <= {None}


class Registry:
    """One provider whose connections are counted."""

    def __init__(self) -> None:
        self.accesses: list[ProviderAccess] = []
        self.tokens: dict[str, str] = {"replicate": "first"}
        entry = ProviderEntry("Replicate", self._connect)
        self.directory = ProviderDirectory(self.tokens.get, "http://provider", {"replicate": entry})

    def _connect(self, access: ProviderAccess) -> Provider:
        self.accesses.append(access)
        return FakeProvider(FakeClock())


def test_an_adapter_is_kept_while_its_token_stays() -> None:
    registry = Registry()
    first = registry.directory("replicate")
    assert first is not None
    assert registry.directory("replicate") is first
    assert [(a.token, a.base_url) for a in registry.accesses] == [("first", "http://provider")]


def test_a_rotated_token_makes_a_new_adapter() -> None:
    registry = Registry()
    first = registry.directory("replicate")
    registry.tokens["replicate"] = "second"
    assert registry.directory("replicate") is not first
    assert [a.token for a in registry.accesses] == ["first", "second"]


def test_a_removed_token_takes_effect() -> None:
    registry = Registry()
    assert registry.directory("replicate") is not None
    registry.tokens.clear()
    assert registry.directory("replicate") is None


def test_an_unknown_provider_is_none_and_no_token_is_read_for_it() -> None:
    asked: list[str] = []
    directory = ProviderDirectory(asked.append, "http://provider", {})
    assert directory("../public-url") is None
    assert asked == []
