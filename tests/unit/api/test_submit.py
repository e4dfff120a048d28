"""POST /api/cloud/jobs/submit: what SimpleTuner's clients send, and every way it can be refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.domain.permissions import Permission
from chalicelib.domain.ports import ExecutionState, Limits
from chalicelib.domain.trainer import MAX_CONFIG_BYTES
from chalicelib.schemas.base import SubmitProblem
from tests.fakes.world import CONFIG, DATALOADER, World
from tests.unit.api.client import FORM, Answer, ApiClient, local_services

SUBMIT = "/api/cloud/jobs/submit?provider=replicate"
BODY: dict[str, Any] = {"config": CONFIG, "dataloader_config": DATALOADER}
#: The keys of SimpleTuner's recorded answer.
RECORDED = {
    "success",
    "job_id",
    "status",
    "error",
    "data_uploaded",
    "upload_id",
    "cost_limit_warning",
    "quota_warnings",
    "idempotent_hit",
}


def refused(answer: Answer, status: int, code: str) -> Any:
    """Checks the shape of every refused submit and returns it."""
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    body = answer.json()
    SubmitProblem.model_validate(body)
    assert body["code"] == code
    assert body["error"] == body["detail"] == body["message"]
    assert body.keys() >= RECORDED
    return body


def test_an_accepted_submit_has_the_recorded_fields(api: ApiClient, world: World) -> None:
    answer = api.post(SUBMIT, BODY)
    body = answer.json()
    assert answer.status == 200
    assert {key: body[key] for key in RECORDED} == {
        "success": True,
        "job_id": body["job"]["job_id"],
        "status": "queued",
        "error": None,
        "data_uploaded": True,
        "upload_id": None,
        "cost_limit_warning": None,
        "quota_warnings": [],
        "idempotent_hit": False,
    }
    assert body["adjustments"]
    assert world.machine.state(body["job_id"], 1) is ExecutionState.RUNNING


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", FORM, "text/plain", "x/y", "*/*"]
)
def test_a_body_is_json_whatever_it_is_called(api: ApiClient, content_type: str) -> None:
    assert api.post(SUBMIT, BODY, headers={"content-type": content_type}).status == 200


def test_the_tutorial_as_printed(api: ApiClient, world: World) -> None:
    """Both curl calls of SimpleTuner's tutorial, and the one with an idempotency key, with nothing changed in them."""
    world.push(dataset_id="my-dataset", source="/data/datasets/my-dataset")
    config = {
        "--model_family": "flux",
        "--model_type": "lora",
        "--pretrained_model_name_or_path": "black-forest-labs/FLUX.1-dev",
        "--output_dir": "/outputs/flux-lora",
        "--max_train_steps": 1000,
        "--lora_rank": 16,
    }
    dataloader = [
        {
            "id": "training-images",
            "type": "local",
            "dataset_type": "image",
            "instance_data_dir": "/data/datasets/my-dataset",
            "caption_strategy": "textfile",
            "resolution": 1024,
        }
    ]
    inline = api.post(SUBMIT, {"config": config, "dataloader_config": dataloader}).json()
    assert inline["success"]
    assert inline["job"]["datasets"][0]["dataset_id"] == "my-dataset"

    body = {"config": config, "dataloader_config": dataloader}
    assert api.put("/api/configs/my-training-config", body).status == 200
    named = {"config_name_to_load": "my-training-config", "tracker_run_name": "api-test-run"}
    job = api.post(SUBMIT, named).json()["job"]
    assert (job["config_name"], job["config_version"], job["run_name"]) == ("my-training-config", 1, "api-test-run")

    keyed = {"config_name_to_load": "my-training-config", "idempotency_key": "ci-build-12345"}
    first, second = api.post(SUBMIT, keyed).json(), api.post(SUBMIT, keyed).json()
    assert (first["job_id"], first["idempotent_hit"]) == (second["job_id"], False)
    assert second["idempotent_hit"]


def test_simpletuners_other_fields_are_accepted(api: ApiClient) -> None:
    extra = {"webhook_url": "https://h/x", "upload_id": "u-1", "snapshot_name": "s", "hardware_profile": "l40s"}
    body = api.post(SUBMIT, {**BODY, **extra}).json()
    assert body["job"]["metadata"]["model"] == "simpletuner/advanced-trainer-l40s"


@pytest.mark.parametrize(
    ("change", "status", "code", "says"),
    [
        ({"config": None}, 422, "no_config", "No configuration provided"),
        ({"config_name_to_load": "x"}, 422, "validation_failed", "not both"),
        ({"config": None, "config_name_to_load": "nosuch"}, 404, "config_not_found", "'nosuch' not found"),
        ({"config": "notadict"}, 422, "validation_failed", "config"),
        ({"hardware_profile": "zzz"}, 422, "invalid", "Valid profiles: h100, l40s"),
        ({"max_run_seconds": 1}, 422, "validation_failed", "max_run_seconds"),
        ({"max_run_seconds": 10**9}, 422, "validation_failed", "max_run_seconds"),
        ({"idempotency_key": ""}, 422, "validation_failed", "idempotency_key"),
        ({"config_version": 10**10}, 422, "validation_failed", "config_version"),
        ({"dataloader_config": []}, 422, "no_dataset", "names no dataset"),
        ({"dataloader_config": {}}, 422, "validation_failed", "dataloader_config"),
        (
            {"dataloader_config": [{**DATALOADER[0], "id": "z", "instance_data_dir": "/z"}]},
            422,
            "dataset_unresolved",
            "z",
        ),
        ({"config": {**CONFIG, "--max_train_steps": 0}}, 422, "out_of_range", "max_train_steps"),
        ({"config": {**CONFIG, "hub_token": "hf_" + "a" * 30}}, 422, "secret_in_config", "config.hub_token"),
        ({"config": {**CONFIG, "x": "y" * MAX_CONFIG_BYTES}}, 422, "too_large", "100000 is the limit"),
    ],
)
def test_refused_before_anything_is_written(
    api: ApiClient, world: World, change: dict[str, Any], status: int, code: str, says: str
) -> None:
    body = refused(api.post(SUBMIT, {**BODY, **change}), status, code)
    assert says in body["detail"]
    assert "hf_a" not in json.dumps(body)
    assert world.jobs.slot_holders("local") == frozenset()
    assert world.provider.calls == []


def test_an_unknown_provider(api: ApiClient) -> None:
    refused(api.post("/api/cloud/jobs/submit?provider=nosuch", BODY), 404, "provider_not_found")


def test_the_provider_defaults_to_replicate(api: ApiClient) -> None:
    assert api.post("/api/cloud/jobs/submit", BODY).json()["job"]["provider"] == "replicate"


def test_all_problems_are_named_at_once(api: ApiClient) -> None:
    body = {**BODY, "hardware_profile": "zzz", "config": {"--lora_rank": 4}}
    problem = refused(api.post(SUBMIT, body), 422, "validation_failed")
    assert {e["field"] for e in problem["errors"]} == {
        "hardware_profile",
        "config.model_family",
        "config.max_train_steps",
    }
    assert "see errors" in problem["detail"]


def test_a_saved_config_that_is_gone_says_how_to_save_one(api: ApiClient) -> None:
    answer = api.post(SUBMIT, {"config_name_to_load": "nosuch"})
    assert "stcloud configs push nosuch" in answer.json()["detail"]


def test_a_version_that_does_not_exist(api: ApiClient) -> None:
    api.put("/api/configs/c", {"config": CONFIG, "dataloader_config": DATALOADER})
    refused(api.post(SUBMIT, {"config_name_to_load": "c", "config_version": 2}), 404, "config_not_found")


# --- idempotency ----------------------------------------------------------------------------------------------
def test_the_key_may_come_in_the_header(api: ApiClient) -> None:
    first = api.post(SUBMIT, BODY, headers={"Idempotency-Key": "k"}).json()
    again = api.post(SUBMIT, BODY, headers={"idempotency-key": "k"}).json()
    in_body = api.post(SUBMIT, {**BODY, "idempotency_key": "k"}).json()
    assert first["job_id"] == again["job_id"] == in_body["job_id"]
    assert (first["idempotent_hit"], again["idempotent_hit"], in_body["idempotent_hit"]) == (False, True, True)
    assert again["adjustments"] == first["adjustments"]


def test_two_different_keys_are_refused(api: ApiClient) -> None:
    answer = api.post(SUBMIT, {**BODY, "idempotency_key": "a"}, headers={"Idempotency-Key": "b"})
    refused(answer, 400, "bad_idempotency_key")


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_header_that_is_no_key(api: ApiClient, key: str) -> None:
    refused(api.post(SUBMIT, BODY, headers={"Idempotency-Key": key}), 400, "bad_idempotency_key")


def test_another_request_under_the_same_key_names_what_differs(api: ApiClient, world: World) -> None:
    first = api.post(SUBMIT, {**BODY, "idempotency_key": "k"}).json()
    other = {**BODY, "config": {**CONFIG, "--lora_rank": 64}, "tracker_run_name": "n", "idempotency_key": "k"}
    body = refused(api.post(SUBMIT, other), 422, "idempotency_mismatch")
    assert [e["field"] for e in body["errors"]] == ["config", "tracker_run_name"]
    assert body["job_id"] == first["job_id"]
    assert len(world.jobs.slot_holders("local")) == 1


def test_a_key_belongs_to_its_owner(api: ApiClient, world: World) -> None:
    first = api.post(SUBMIT, {**BODY, "idempotency_key": "k"}).json()
    entry = {"id": "photos", "type": "huggingface", "dataset_name": "owner/photos"}
    api.act_as("other", *Permission)
    second = api.post(SUBMIT, {**BODY, "dataloader_config": [entry], "idempotency_key": "k"}).json()
    assert second["job_id"] != first["job_id"]
    assert not second["idempotent_hit"]


# --- limits ---------------------------------------------------------------------------------------------------
def test_a_full_queue_says_when_to_come_back() -> None:
    world = World(limits=Limits(max_concurrent_jobs=1))
    world.push(source="/data/photos")
    api = ApiClient(local_services(world))
    assert api.post(SUBMIT, {**BODY, "idempotency_key": "k"}).status == 200
    answer = api.post(SUBMIT, BODY)
    refused(answer, 429, "concurrency_limit")
    assert answer.headers["Retry-After"] == "60"
    # a repeated request is no new job, and is answered even now
    assert api.post(SUBMIT, {**BODY, "idempotency_key": "k"}).json()["idempotent_hit"]


def test_without_the_permission(api: ApiClient) -> None:
    api.act_as("o", Permission.JOB_VIEW_OWN)
    body = refused(api.post(SUBMIT, BODY), 403, "permission_denied")
    assert body["permission"] == "job.submit"
