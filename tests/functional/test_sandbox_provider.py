"""Replicate's adapter over the sandbox: declared inputs, classified faults, ends of a training, tags."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from chalicelib.domain.classify import classify_failure
from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.predictions import LaunchRequest, Prediction, PredictionStatus
from chalicelib.domain.webhook_signing import verify
from chalicelib.providers.access import ProviderAccess
from chalicelib.providers.replicate import ReplicateProvider
from chalicelib.workflow.adoption import find_tagged
from local.sandbox.process import Result
from tests.functional.sandbox_server import (
    TOKEN,
    Receiver,
    Sandbox,
    ScriptedLauncher,
    eventually,
    running_receiver,
    running_sandbox,
)
from tests.unit.sandbox.support import inputs

CREATE = {"method": "POST", "path": "^/v1/predictions$"}


@pytest.fixture
def launcher() -> ScriptedLauncher:
    return ScriptedLauncher()


@pytest.fixture
def sandbox(tmp_path: Path, launcher: ScriptedLauncher) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path, launcher=launcher, retention_seconds=1.0) as running:
        yield running


@pytest.fixture
def provider(sandbox: Sandbox) -> ReplicateProvider:
    return ReplicateProvider.connect(ProviderAccess(token=TOKEN, base_url=sandbox.origin))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


def launch(provider: ReplicateProvider, tag: str = "job_1", **changes: Any) -> LaunchRequest:
    values: dict[str, Any] = {
        "tag": tag,
        "profile": provider.profiles["l40s-x2"],
        "inputs": inputs(),
        "webhook_url": "http://127.0.0.1:1/api/webhooks/replicate",
        "max_run_seconds": 3600,
    }
    return LaunchRequest(**values | changes)


def until(provider: ReplicateProvider, prediction_id: str, status: PredictionStatus) -> Prediction:
    def look() -> Prediction | None:
        found = provider.get(prediction_id)
        return found if found is not None and found.status is status else None

    return eventually(look)


def test_the_account(provider: ReplicateProvider) -> None:
    account = provider.validate()
    assert (account.username, account.name) == ("sandbox", "Local sandbox (no GPU, no bill)")


def test_every_profile_can_be_launched(sandbox: Sandbox, provider: ReplicateProvider) -> None:
    for profile in provider.profiles.values():
        provider.create(launch(provider, profile.id, profile=profile))
    made = sandbox.client.get("/v1/predictions").json()["results"]
    assert {p["model"] for p in made} == {profile.model for profile in provider.profiles.values()}


def test_what_a_create_sends(sandbox: Sandbox, provider: ReplicateProvider, launcher: ScriptedLauncher) -> None:
    made = provider.create(launch(provider))
    seen = sandbox.get(made.id)
    assert seen["webhook"] == "http://127.0.0.1:1/api/webhooks/replicate?job=job_1"
    assert seen["webhook_events_filter"] == ["start", "completed"]
    assert made.created_at is not None
    assert made.deadline == made.created_at + timedelta(hours=1)
    until(provider, made.id, PredictionStatus.PROCESSING)
    assert launcher.inputs[made.id] == inputs()


def test_an_undeclared_input_is_never_sent(sandbox: Sandbox, provider: ReplicateProvider) -> None:
    with pytest.raises(ProviderFault) as caught:
        provider.create(launch(provider, inputs=inputs() | {"lycoris_json": "{}"}))
    assert (caught.value.code, caught.value.sent) == ("unsupported_input", False)
    assert all(r["method"] == "GET" for r in sandbox.seen("requests")["requests"])


def test_the_version_is_asked_for_once(sandbox: Sandbox, provider: ReplicateProvider) -> None:
    for _ in range(3):
        provider.create(launch(provider))
    paths = [r["path"] for r in sandbox.seen("requests")["requests"]]
    assert paths.count("/v1/models/simpletuner/advanced-trainer-l40s-x2/versions") == 1
    assert paths.count("/v1/predictions") == 3


@pytest.mark.parametrize(
    ("fault", "kind", "sent", "made"),
    [
        ({"fault": "api_429", "when": "before"}, FaultKind.THROTTLED, False, 0),
        ({"fault": "api_500", "when": "before"}, FaultKind.PROVIDER, True, 0),
        ({"fault": "api_500", "when": "after"}, FaultKind.PROVIDER, True, 1),
        ({"fault": "api_close", "when": "before"}, FaultKind.PROVIDER, True, 0),
        ({"fault": "api_close", "when": "after"}, FaultKind.PROVIDER, True, 1),
        ({"fault": "api_hang", "when": "after", "seconds": 0.1}, FaultKind.PROVIDER, True, 1),
    ],
)
def test_a_create_that_fails_says_whether_it_may_have_happened(
    sandbox: Sandbox, provider: ReplicateProvider, fault: dict[str, Any], kind: FaultKind, sent: bool, made: int
) -> None:
    sandbox.plan(fault | {"match": CREATE, "times": 1})
    before = datetime.now(UTC) - timedelta(minutes=1)
    with pytest.raises(ProviderFault) as caught:
        provider.create(launch(provider))
    assert (caught.value.kind, caught.value.sent) == (kind, sent)
    assert TOKEN not in str(caught.value)
    assert len(find_tagged(provider, "job_1", before).found) == made, "what did happen is found by its tag"


@pytest.mark.parametrize("kind", ["api_500", "api_close"])
def test_a_question_that_fails_changed_nothing(sandbox: Sandbox, provider: ReplicateProvider, kind: str) -> None:
    made = provider.create(launch(provider))
    sandbox.plan({"fault": kind, "match": {"method": "GET"}})
    for ask in (provider.validate, lambda: provider.get(made.id), provider.list, provider.webhook_secret):
        with pytest.raises(ProviderFault) as caught:
            ask()
        assert caught.value.sent is False


def test_a_wait_the_provider_asks_for(sandbox: Sandbox, provider: ReplicateProvider) -> None:
    sandbox.plan({"fault": "api_429", "times": 1}, {"fault": "api_429", "retry_after": 7})
    waits = []
    for _ in range(2):
        with pytest.raises(ProviderFault) as caught:
            provider.validate()
        waits.append(caught.value.retry_after)
    assert waits == [30, 7]


def test_a_wrong_token(sandbox: Sandbox) -> None:
    stranger = ReplicateProvider.connect(ProviderAccess(token="r8_wrong", base_url=sandbox.origin))
    with pytest.raises(ProviderFault) as caught:
        stranger.validate()
    assert (caught.value.kind, caught.value.status) == (FaultKind.AUTH, 401)
    with pytest.raises(ProviderFault) as caught:
        stranger.create(launch(stranger))
    assert caught.value.sent is False


def test_nobody_there(sandbox: Sandbox) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    access = ProviderAccess(token=TOKEN, base_url=sandbox.origin)
    provider = ReplicateProvider.connect(access, transport=httpx.MockTransport(refuse))
    with pytest.raises(ProviderFault) as caught:
        provider.validate()
    assert (caught.value.code, caught.value.sent) == ("provider_unreachable", False)


@pytest.mark.parametrize(
    ("rule", "status", "code"),
    [
        ({"fault": "abort"}, PredictionStatus.ABORTED, None),
        ({"fault": "timeout", "seconds": 0}, PredictionStatus.FAILED, "provider_timeout"),
    ],
)
def test_ends_of_the_providers_own(
    sandbox: Sandbox, provider: ReplicateProvider, rule: dict[str, Any], status: PredictionStatus, code: str | None
) -> None:
    sandbox.plan(rule)
    made = provider.create(launch(provider))
    done = until(provider, made.id, status)
    failure = classify_failure(done, now=datetime.now(UTC))
    assert failure is not None
    if code:
        assert failure.code == code
    else:
        assert done.run_seconds is None, "an aborted training is not billed"
    assert [p.status for p in provider.list().predictions] == [status], "it does not spoil the list"


def test_an_interrupted_training_is_the_providers_fault(
    sandbox: Sandbox, provider: ReplicateProvider, launcher: ScriptedLauncher
) -> None:
    launcher.result = Result(error="Prediction interrupted: the sandbox was stopped")
    done = until(provider, provider.create(launch(provider)).id, PredictionStatus.FAILED)
    failure = classify_failure(done, now=datetime.now(UTC))
    assert failure is not None
    assert (failure.code, failure.kind) == ("provider_interrupted", FaultKind.PROVIDER)


def test_tags_are_found_even_when_the_data_is_removed(
    sandbox: Sandbox, provider: ReplicateProvider, launcher: ScriptedLauncher
) -> None:
    launcher.result = Result(output="done")
    made = provider.create(launch(provider))
    until(provider, made.id, PredictionStatus.SUCCEEDED)
    removed = eventually(lambda: p if (p := provider.get(made.id)) is not None and p.data_removed else None)
    assert (removed.logs, removed.output, removed.tags) == (None, None, {"job_1"})
    assert removed.run_seconds is not None


def test_the_publishing_credentials_are_masked_in_logs(
    sandbox: Sandbox, provider: ReplicateProvider, launcher: ScriptedLauncher, tmp_path: Path
) -> None:
    made = provider.create(launch(provider))
    until(provider, made.id, PredictionStatus.PROCESSING)
    (tmp_path / "logs" / f"{made.id}.log").write_text("oops: out-secret and data-session\n")
    found = provider.get(made.id)
    assert found is not None
    assert found.logs is not None
    assert "oops" in found.logs
    assert "out-secret" not in found.logs
    assert "data-session" not in found.logs


def test_webhooks_verify_with_the_providers_secret(
    sandbox: Sandbox, provider: ReplicateProvider, launcher: ScriptedLauncher, receiver: Receiver
) -> None:
    launcher.result = Result(output="done")
    provider.create(launch(provider, webhook_url=receiver.url))
    eventually(lambda: len(receiver.got) == 2 or None)
    for path, headers, body in receiver.got:
        assert path == "/hook?job=job_1"
        assert verify(body, headers, [provider.webhook_secret()], now=datetime.now(UTC)) == headers["webhook-id"]
