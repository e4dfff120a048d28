"""Health, providers, webhooks and the API's own description over HTTP."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.webhook_signing import sign
from chalicelib.services.webhooks import MAX_BODY_BYTES
from chalicelib.settings import VERSION
from tests.fakes.world import World
from tests.unit.api.client import ApiClient, with_ports

HOOK = "/api/webhooks/replicate"


class Sick:
    """A bucket that does not answer."""

    def head(self, key: str) -> Any:
        raise TimeoutError(key)


# --- health and providers -------------------------------------------------------------------------------------
def test_health_has_the_recorded_fields(api: ApiClient, world: World) -> None:
    world.clock.advance(90)
    body = api.get("/api/cloud/health").json()
    assert body.keys() >= {"status", "version", "uptime_seconds", "components", "timestamp"}
    assert (body["status"], body["version"], body["uptime_seconds"]) == ("healthy", VERSION, 90)
    assert {c["name"] for c in body["components"]} == {"database", "storage", "settings"}
    assert all(c.keys() == {"name", "status", "latency_ms", "message"} for c in body["components"])


def test_health_names_the_sick_part_and_stays_200(api: ApiClient) -> None:
    api.services = with_ports(api.services, outputs=Sick())
    answer = api.get("/api/cloud/health")
    parts = {c["name"]: c for c in answer.json()["components"]}
    assert (answer.status, answer.json()["status"]) == (200, "unhealthy")
    assert (parts["storage"]["status"], parts["database"]["status"]) == ("unhealthy", "healthy")
    assert parts["storage"]["message"] == "does not answer (TimeoutError)"


def test_live_and_ready(api: ApiClient) -> None:
    assert api.get("/api/cloud/health/live").json() == {"status": "ok"}
    assert api.get("/api/cloud/health/ready").json() == {"status": "ready"}
    api.services = with_ports(api.services, dataset_files=Sick())
    answer = api.get("/api/cloud/health/ready")
    assert (answer.status, answer.json()["code"], answer.headers["Retry-After"]) == (503, "not_ready", "5")
    assert "storage" in answer.json()["detail"]
    assert api.get("/api/cloud/health/live").status == 200


def test_providers_have_the_recorded_fields(api: ApiClient) -> None:
    (provider,) = api.get("/api/cloud/providers").json()["providers"]
    assert provider.keys() >= {"id", "name", "description", "configured", "coming_soon", "hardware_profiles"}
    assert (provider["id"], provider["configured"], provider["hardware_profile"]) == ("replicate", True, "h100")
    assert provider["hardware_profiles"][0] == {
        "id": "h100",
        "model": "simpletuner/advanced-trainer-h100",
        "label": "H100",
        "hardware_type": "H100",
        "cost_per_hour": 5.49,
        "cost_per_second": 0.001525,
    }


def test_a_provider_without_a_token_is_listed_as_not_configured(api: ApiClient) -> None:
    api.services = with_ports(api.services, providers=lambda _: None)
    (provider,) = api.get("/api/cloud/providers").json()["providers"]
    assert (provider["configured"], provider["hardware_profile"], provider["hardware_profiles"]) == (False, "", [])


def test_the_description_is_served(api: ApiClient) -> None:
    answer = api.get("/api/openapi.json")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert "/api/cloud/jobs/submit" in answer.json()["paths"]


# --- webhooks -------------------------------------------------------------------------------------------------
@pytest.fixture
def job_id(world: World) -> str:
    """A launched job whose workflow waits."""
    job_id = world.submit().job.job_id
    world.run(5)
    return job_id


def signed(world: World, body: bytes, **options: Any) -> dict[str, str]:
    options = {"webhook_id": "msg_1", "at": world.clock.now(), "secrets": [world.provider.secret], **options}
    return {"content-type": "application/json", **sign(body, **options)}


def about(world: World, job_id: str, status: str) -> bytes:
    return json.dumps({"id": world.job(job_id).prediction_id, "status": status}).encode()


def test_a_signed_webhook_wakes_the_workflow(api: ApiClient, world: World, job_id: str) -> None:
    world.clock.advance(8)
    body = about(world, job_id, "processing")
    answer = api.post(f"{HOOK}?job={job_id}", body, headers=signed(world, body))
    assert (answer.status, answer.json()) == (
        200,
        {"status": "received", "job_id": job_id, "reason": None, "updates": {}},
    )
    world.settle()
    assert world.job(job_id).status == "running"


def test_the_job_is_found_by_its_prediction_too(api: ApiClient, world: World, job_id: str) -> None:
    body = about(world, job_id, "processing")
    assert api.post(HOOK, body, headers=signed(world, body)).json()["job_id"] == job_id


def test_what_it_claims_is_not_believed(api: ApiClient, world: World, job_id: str) -> None:
    body = about(world, job_id, "failed")
    assert api.post(f"{HOOK}?job={job_id}", body, headers=signed(world, body)).json()["status"] == "received"
    world.settle()
    assert world.job(job_id).is_active


def test_a_replay_is_told_apart(api: ApiClient, world: World, job_id: str) -> None:
    body = about(world, job_id, "processing")
    headers = signed(world, body)
    assert api.post(f"{HOOK}?job={job_id}", body, headers=headers).json()["status"] == "received"
    wakes = world.job(job_id).wakes
    again = api.post(f"{HOOK}?job={job_id}", body, headers=headers)
    assert (again.status, again.json()["status"]) == (200, "duplicate")
    assert world.job(job_id).wakes == wakes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"webhook-signature": ""}, "needs the headers"),
        ({"webhook-signature": "v1,AAAA"}, "does not match"),
        ({"webhook-signature": "v2,AAAA"}, "no v1 signature"),
        ({"webhook-timestamp": "1"}, "too old"),
        ({"webhook-timestamp": "99999999999"}, "in the future"),
        ({"webhook-timestamp": "now"}, "number of seconds"),
        ({"webhook-id": "a.b"}, "full stops"),
        ({"webhook-id": "msg_2"}, "does not match"),
    ],
)
def test_an_unsigned_or_wrongly_signed_one_is_401(
    api: ApiClient, world: World, job_id: str, change: dict[str, str], said: str
) -> None:
    body = about(world, job_id, "processing")
    answer = api.post(f"{HOOK}?job={job_id}", body, headers={**signed(world, body), **change})
    assert (answer.status, answer.json()["code"]) == (401, "invalid_webhook_signature")
    assert said in answer.json()["detail"]
    assert world.job(job_id).webhook_seen_at is None


@pytest.mark.parametrize(("age", "status"), [(-299, 200), (299, 200), (-302, 401), (302, 401)])
def test_five_minutes_of_tolerance(api: ApiClient, world: World, job_id: str, age: int, status: int) -> None:
    body = about(world, job_id, "processing")
    headers = signed(world, body, at=world.clock.now() - timedelta(seconds=age))
    assert api.post(f"{HOOK}?job={job_id}", body, headers=headers).status == status


def test_a_changed_body_is_401(api: ApiClient, world: World, job_id: str) -> None:
    body = about(world, job_id, "processing")
    assert api.post(f"{HOOK}?job={job_id}", body + b" ", headers=signed(world, body)).status == 401


@pytest.mark.parametrize("body", [b"", b"{bad", b"[]", b"1", b"\xff\xfe", b"[" * 100_000])
def test_a_signed_body_that_is_no_object_is_400(api: ApiClient, world: World, body: bytes) -> None:
    answer = api.post(HOOK, body, headers=signed(world, body))
    assert (answer.status, answer.json()["code"]) == (400, "invalid_json")
    assert answer.json()["detail"].startswith("Invalid JSON payload")


def test_a_body_beyond_the_limit_is_not_even_checked(api: ApiClient, world: World) -> None:
    world.provider.calls.clear()
    answer = api.post(HOOK, b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status == 413
    assert world.provider.calls == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"id": "' + b"x" * 100_000 + b'"}',
        b"{}",
        b'{"id": 1}',
        b'{"id": "nosuch"}',
        b'{"id": "\\ud800"}',
        b'{"id": {"a": []}, "status": []}',
    ],
)
def test_what_is_about_no_job_of_ours_is_ignored_with_a_reason(api: ApiClient, world: World, body: bytes) -> None:
    answer = api.post(f"{HOOK}?job=nosuch", body, headers=signed(world, body))
    assert (answer.status, answer.json()["status"], answer.json()["reason"]) == (200, "ignored", "unknown job")


def test_an_unknown_provider(api: ApiClient) -> None:
    assert api.post("/api/webhooks/nosuch", {}).json()["code"] == "provider_not_found"


def test_when_the_secret_can_not_be_read_the_sender_shall_come_again(api: ApiClient, world: World, job_id: str) -> None:
    world.provider.faults["webhook_secret"] = [
        ProviderFault("down", kind=FaultKind.PROVIDER, code="provider_error", sent=False)
    ]
    body = about(world, job_id, "processing")
    headers = signed(world, body)
    assert api.post(f"{HOOK}?job={job_id}", body, headers=headers).status == 503
    assert api.post(f"{HOOK}?job={job_id}", body, headers=headers).json()["status"] == "received"
