"""Escrow and receipts over HTTP: what is shown, who may, and what is noted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.domain.audit import AuditAction
from chalicelib.domain.credentials import CredentialKind, WebhookSecret
from chalicelib.domain.destinations import WebhookDestination
from chalicelib.domain.permissions import Permission
from chalicelib.domain.webhook_signing import sign
from chalicelib.services.credentials import find_credential, load_secret
from tests.fakes.world import OWNER, World
from tests.support.deliveries import HOOK, HUB, begin, completed_job, with_credentials
from tests.unit.api.client import Answer, ApiClient

SETTINGS = "/api/cloud/escrow/settings"
RECEIPT = "/api/cloud/jobs/job1/deliveries/d-job1-001/receipt"
LINKS = "/api/cloud/jobs/job1/deliveries/d-job1-001/links"
ABOUT = {"job_id": "job1", "delivery_id": "d-job1-001"}


def test_the_setting(api: ApiClient, world: World) -> None:
    assert api.get(SETTINGS).json() == {"days": None}
    assert api.put(SETTINGS, {"days": 90}).json() == {"days": 90}
    assert api.get(SETTINGS).json() == {"days": 90}
    for bad in ({"days": 0}, {"days": 3651}, {"days": "many"}, {}, {"day": 1}):
        assert api.put(SETTINGS, bad).status == 422
    assert api.put(SETTINGS, {"days": None}).json() == {"days": None}
    noted = [r for r in world.audit.records if r.action is AuditAction.ESCROW_SETTINGS and not r.code]
    assert [r.details for r in noted] == [{"days": 90}, {"days": None}]


def test_a_job_shows_its_escrow_and_its_manifest(api: ApiClient, world: World) -> None:
    completed_job(world)
    job = api.get("/api/cloud/jobs/job1").json()["job"]
    assert job["escrow"] == {"state": "kept", "days": None, "expires_at": None, "removed_at": None}
    answer = api.put("/api/cloud/jobs/job1/escrow", {"days": 5}).json()
    assert answer["days"] == 5
    assert answer["expires_at"] == api.get("/api/cloud/jobs/job1").json()["job"]["escrow"]["expires_at"]
    manifest = api.get("/api/cloud/jobs/job1/manifest?limit=2").json()
    assert (manifest["complete"], manifest["total_files"], len(manifest["files"])) == (True, 3, 2)
    rest = api.get(f"/api/cloud/jobs/job1/manifest?after={manifest['next']}").json()
    assert (len(rest["files"]), rest["next"]) == (1, None)
    assert manifest["files"][0]["sha256"]
    assert api.get("/api/cloud/jobs/nosuch/manifest").status == 404


def test_escrow_is_the_owners(api: ApiClient, world: World) -> None:
    completed_job(world)
    api.act_as("other", Permission.JOB_VIEW_OWN, Permission.JOB_DELETE_OWN)
    assert api.put("/api/cloud/jobs/job1/escrow", {"days": 1}).status == 404
    assert api.get("/api/cloud/jobs/job1/manifest").status == 404
    api.act_as(OWNER, Permission.JOB_VIEW_OWN)
    assert api.put("/api/cloud/jobs/job1/escrow", {"days": 1}).status == 403
    assert api.put(SETTINGS, {"days": 1}).status == 403


# --- receipts and links -------------------------------------------------------------------------------------------
@pytest.fixture
def sent(api: ApiClient, world: World) -> ApiClient:
    with_credentials(world)
    begin(world, completed_job(world), HOOK)
    world.settle()
    api.act_as("nobody")
    return api


def signed(
    api: ApiClient, world: World, path: str, document: Any, *, secrets: list[str] | None = None, late: int = 0
) -> Answer:
    secret = load_secret(world.ports, find_credential(world.ports, OWNER, CredentialKind.WEBHOOK, None))
    assert isinstance(secret, WebhookSecret)
    body = json.dumps(document).encode()
    keys = secrets or [s.get_secret_value() for s in secret.secrets]
    headers = sign(body, webhook_id="r1", at=world.clock.now(), secrets=keys)
    if late:
        world.clock.advance(late)
    return api.request("POST", path, body, headers=headers)


def test_a_signed_receiver_gets_links_and_leaves_a_receipt(sent: ApiClient, world: World) -> None:
    links = signed(sent, world, LINKS, ABOUT).json()
    assert len(links["files"]) == 4
    assert all(f["url"] and f["sha256"] for f in links["files"])
    files = [{k: f[k] for k in ("path", "size", "sha256")} for f in links["files"]]
    answer = signed(sent, world, RECEIPT, {**ABOUT, "files": files})
    assert (answer.status, answer.json()["success"]) == (200, True)


def test_whatever_is_wrong_the_answer_is_the_same(sent: ApiClient, world: World) -> None:
    other = ["whsec_" + "A" * 43 + "="]
    begin(world, world.job("job1"), HUB)
    answers = [
        signed(sent, world, LINKS, ABOUT, secrets=other),
        signed(sent, world, LINKS.replace("job1", "job2"), ABOUT),
        signed(sent, world, LINKS.replace("001", "009"), ABOUT),
        signed(sent, world, LINKS.replace("001", "002"), ABOUT),
        signed(sent, world, RECEIPT, ABOUT, secrets=other),
    ]
    assert {(a.status, a.json()["code"], a.json()["detail"]) for a in answers} == {
        (401, "invalid_signature", answers[0].json()["detail"])
    }


def test_old_and_other_bodies_are_refused(sent: ApiClient, world: World) -> None:
    assert signed(sent, world, LINKS, ABOUT, late=301).status == 401
    assert signed(sent, world, RECEIPT, {**ABOUT, "delivery_id": "d-job1-002"}).json()["code"] == "invalid_receipt"
    assert signed(sent, world, LINKS, {"job_id": "job1"}).status == 422
    assert signed(sent, world, RECEIPT, {**ABOUT, "files": [{"path": "x"}]}).status == 422
    assert signed(sent, world, RECEIPT, []).status == 422
    assert sent.request("POST", RECEIPT, b"{}").status == 401
    assert sent.request("POST", RECEIPT, b"{}", headers={"cookie": "stc_session=x"}).status == 401


def test_an_api_key_of_the_owner_will_do(sent: ApiClient, world: World) -> None:
    key = {"authorization": "Bearer whatever"}
    sent.act_as(OWNER, Permission.JOB_VIEW_OWN)
    assert sent.request("POST", LINKS, b"{}", headers=key).status == 200
    assert sent.request("POST", RECEIPT, ABOUT, headers=key).status == 401
    sent.act_as(OWNER, Permission.JOB_SUBMIT)
    assert sent.request("POST", RECEIPT, ABOUT, headers=key).status == 200
    sent.act_as("other", Permission.JOB_VIEW_OWN, Permission.JOB_SUBMIT)
    assert sent.request("POST", LINKS, b"{}", headers=key).status == 401
    assert sent.request("POST", RECEIPT, ABOUT, headers=key).status == 401


def test_links_end_with_the_model_and_after_a_week(sent: ApiClient, world: World) -> None:
    job = world.job("job1")
    world.jobs.save(job.annotated(now=world.clock.now(), escrow_removed_at=world.clock.now()))
    assert signed(sent, world, LINKS, ABOUT).json()["code"] == "escrow_gone"
    world.jobs.save(world.job("job1").annotated(now=world.clock.now(), escrow_removed_at=None))
    assert signed(sent, world, LINKS, ABOUT).status == 200
    world.clock.advance(8 * 86400)
    assert signed(sent, world, LINKS, ABOUT).json()["code"] == "links_gone"


def test_a_webhook_of_its_own_secret_only(sent: ApiClient, world: World) -> None:
    """The secret of another credential of the same owner opens nothing."""
    hook = WebhookDestination(url="https://other.example.com/", credential="nosuch")
    begin(world, world.job("job1"), hook)
    answer = signed(sent, world, LINKS.replace("001", "002"), {**ABOUT, "delivery_id": "d-job1-002"})
    assert answer.status == 401
