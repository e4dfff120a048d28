"""The deploy program's parameters: from memory, and from SSM with a role that may read nothing else."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.parameters import LIFETIME, MISSING_LIFETIME, ParameterSource, SsmParameters, StackParameters
from chalicelib.errors import Unavailable
from tests.fakes.aws import InMemoryParameters
from tests.support.emulator import Emulator


@dataclass
class Stored:
    """A source, and how the deploy program stores and removes a value."""

    source: ParameterSource
    store: Callable[[str, str], None]
    remove: Callable[[str], None]


@pytest.fixture(scope="module")
def reader(emulator: Emulator) -> Iterator[Clients]:
    iam, name = emulator.client("iam"), f"test-{uuid.uuid4().hex[:12]}"
    iam.create_user(UserName=name)
    statement = {
        "Effect": "Allow",
        "Action": "ssm:GetParameter",
        "Resource": "arn:aws:ssm:us-east-1:123456789012:parameter/stcloud/test-*",
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName=name, PolicyName="read", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    clients = Clients(
        "us-east-1", endpoint_url=emulator.url, root=AccessKey(key["AccessKeyId"], key["SecretAccessKey"])
    )
    yield clients
    clients.close()


@pytest.fixture(params=["memory", "ssm"])
def stored(request: pytest.FixtureRequest) -> Stored:
    if request.param == "memory":
        memory = InMemoryParameters()
        return Stored(memory, memory.values.__setitem__, memory.values.__delitem__)
    clients: Clients = request.getfixturevalue("reader")
    ssm = request.getfixturevalue("emulator").client("ssm")
    prefix = f"/stcloud/test-{uuid.uuid4().hex[:12]}"

    def store(name: str, value: str) -> None:
        kind = "SecureString" if name in {"replicate-token", "trainer-key"} else "String"
        ssm.put_parameter(Name=f"{prefix}/{name}", Value=value, Type=kind, Overwrite=True)

    return Stored(SsmParameters(prefix, clients.ssm), store, lambda n: ssm.delete_parameter(Name=f"{prefix}/{n}"))


@dataclass
class Time:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def test_what_is_not_stored_is_none(stored: Stored) -> None:
    assert stored.source.get("public-url") is None


def test_secrets_come_in_clear(stored: Stored) -> None:
    stored.store("replicate-token", "r8_secret")
    assert stored.source.get("replicate-token") == "r8_secret"


def test_each_value_by_its_meaning(stored: Stored) -> None:
    stored.store("public-url", "https://d111.cloudfront.net/")
    stored.store("replicate-token", "r8_secret")
    stored.store("deploy-token-sha256", "ab" * 32)
    stored.store("trainer-key", json.dumps({"access_key_id": "AKIA1", "secret_access_key": "s"}))
    stack = StackParameters(stored.source)
    assert stack.public_url() == "https://d111.cloudfront.net"
    assert stack.provider_token("replicate") == "r8_secret"
    assert stack.provider_token("other") is None
    assert stack.deploy_token_sha256() == "ab" * 32
    assert stack.trainer_key() == AccessKey("AKIA1", "s")


def test_before_the_deployment_is_finished(stored: Stored) -> None:
    stack = StackParameters(stored.source)
    with pytest.raises(Unavailable, match="public URL"):
        stack.public_url()
    assert stack.provider_token("replicate") is None
    assert stack.deploy_token_sha256() is None
    assert stack.trainer_key() is None


def test_a_changed_value_is_seen_when_the_known_one_is_old(stored: Stored) -> None:
    time = Time()
    stack = StackParameters(stored.source, time)
    stored.store("replicate-token", "first")
    assert stack.provider_token("replicate") == "first"
    stored.store("replicate-token", "second")
    time.now += LIFETIME - 1
    assert stack.provider_token("replicate") == "first"
    time.now += 1
    assert stack.provider_token("replicate") == "second"


def test_a_removed_value_is_gone_when_the_known_one_is_old(stored: Stored) -> None:
    time = Time()
    stack = StackParameters(stored.source, time)
    stored.store("deploy-token-sha256", "ab" * 32)
    assert stack.deploy_token_sha256()
    stored.remove("deploy-token-sha256")
    time.now += LIFETIME
    assert stack.deploy_token_sha256() is None


def test_a_value_stored_late_is_seen_soon(stored: Stored) -> None:
    time = Time()
    stack = StackParameters(stored.source, time)
    assert stack.provider_token("replicate") is None
    stored.store("replicate-token", "r8_new")
    assert stack.provider_token("replicate") is None
    time.now += MISSING_LIFETIME
    assert stack.provider_token("replicate") == "r8_new"


def test_without_permission_it_is_an_error_and_not_a_missing_value(reader: Clients) -> None:
    """Taken for missing, a forbidden token would read as 'provider not configured' to the user."""
    with pytest.raises(ClientError, match="AccessDenied"):
        SsmParameters("/elsewhere", reader.ssm).get("replicate-token")
