"""POST /api/cloud/jobs/preflight, and what submit says of findings."""

from __future__ import annotations

from typing import Any

from chalicelib.schemas.preflight import PreflightResponse
from tests.fakes.world import CONFIG, DATALOADER, World
from tests.unit.api.client import ApiClient

PREFLIGHT = "/api/cloud/jobs/preflight?provider=replicate"
SUBMIT = "/api/cloud/jobs/submit?provider=replicate"
BODY: dict[str, Any] = {"config": {**CONFIG, "--train_batch_size": 1}, "dataloader_config": DATALOADER}
WARNED = {**BODY, "config": {**BODY["config"], "report_to": "wandb"}}


def test_the_answer_is_complete(api: ApiClient, world: World) -> None:
    answer = api.post(PREFLIGHT, BODY)
    assert answer.status == 200
    body = answer.json()
    PreflightResponse.model_validate(body)
    assert body["ok"] is True
    assert {c["name"] for c in body["checks"]} >= {"options", "datasets", "model", "budget"}
    assert body["estimate"]["samples"] == 200
    assert body["estimate"]["cost_usd"]["low"] <= body["estimate"]["cost_usd"]["high"]
    assert body["estimate"]["max_cost_usd"] == 131.76
    assert not world.jobs.slot_holders("local")


def test_a_bad_submission_is_answered_with_200_and_findings(api: ApiClient) -> None:
    body = api.post(PREFLIGHT, {"config": {"--lora_rank": "x"}}).json()
    assert body["ok"] is False
    assert body["findings"][0]["level"] == "error"
    assert {"level", "code", "check", "field", "message", "advice"} <= body["findings"][0].keys()
    assert api.post("/api/cloud/jobs/preflight?provider=nowhere", BODY).status == 404
    assert api.post(PREFLIGHT, b"{").status == 422


def test_a_submit_is_held_up_by_warnings_and_told_how_to_go_on(api: ApiClient) -> None:
    refused = api.post(SUBMIT, WARNED)
    body = refused.json()
    assert (refused.status, body["code"], body["success"]) == (422, "warnings_not_accepted", False)
    assert "accept_warnings" in body["detail"]
    assert body["findings"][0]["level"] == "warning"
    done = api.post(SUBMIT, {**WARNED, "accept_warnings": True}).json()
    assert done["success"] is True
    assert [w["code"] for w in done["warnings"]] == ["tracker_without_key"]
    assert api.post(SUBMIT, BODY).json()["warnings"] == []


def test_no_secret_comes_back_in_a_finding(api: ApiClient) -> None:
    secret = "wJalrXUtnFEMIK7MDENGbPxRfiCY"
    entry = {"id": "x", "type": "aws", "aws_secret_access_key": secret, "aws_access_key_id": "AKIAIOSFODNN7EXAMPLE"}
    answer = api.post(PREFLIGHT, {"config": {**BODY["config"], "hub_token": secret}, "dataloader_config": [entry]})
    assert answer.status == 200
    assert secret not in answer.body.decode()
    assert "AKIAIOSFODNN7EXAMPLE" not in answer.body.decode()
    assert "secret_in_config" in answer.body.decode()
