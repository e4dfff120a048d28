"""The routes of deliveries, and what a submission says of where its model goes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.credentials import CredentialKind
from chalicelib.domain.deliveries import DeliveryState
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.escrow import artifacts_prefix
from tests.fakes.world import CONFIG, DATALOADER, OWNER, World
from tests.support.deliveries import HUB_TOKEN, completed_job, deliver, delivery_of, with_credentials
from tests.unit.api.client import ApiClient
from tests.unit.api.test_jobs_routes import problem

JOB = "/api/cloud/jobs/job1"
SUBMIT = "/api/cloud/jobs/submit"
CATS = {"kind": "huggingface", "repo_id": "acme/cats"}
DOGS = {"kind": "huggingface", "repo_id": "acme/dogs"}
BUCKET = {"kind": "s3", "bucket": "models", "prefix": "cats"}
HOOK = {"kind": "webhook", "url": "https://hooks.example.com/in?key=verysecret"}
PUSHED = {**CONFIG, "push_to_hub": True}
DOWN = DeliveryFault("unavailable", "503", "Wait.", retry=True, retry_after=timedelta(hours=1))


@pytest.fixture
def done(world: World) -> World:
    """A world with credentials, and the completed job job1."""
    completed_job(with_credentials(world))
    return world


def labels(job: dict[str, Any]) -> list[tuple[str, str]]:
    return [(d["label"], d["origin"]) for d in job["destinations"]]


# --- deliver --------------------------------------------------------------------------------------------------
def test_a_job_is_delivered_later(api: ApiClient, done: World) -> None:
    answer = api.post(f"{JOB}/deliver", {"destination": CATS})
    assert answer.status == 202
    (made,) = answer.json()["deliveries"]
    assert (made["delivery_id"], made["state"], made["origin"]) == ("d-job1-001", "pending", "request")
    assert answer.json()["made"] == 1
    assert api.get(JOB).json()["job"]["deliveries"] == {"state": "delivering", "verified": 0, "open": 1, "failed": 0}
    deliver(done)
    listed = api.get(f"{JOB}/deliveries").json()
    assert [(d["kind"], d["state"]) for d in listed["deliveries"]] == [
        ("escrow", "verified"),
        ("huggingface", "verified"),
    ]
    assert listed["summary"]["state"] == "verified"
    one = api.get(f"{JOB}/deliveries/d-job1-001").json()["delivery"]
    assert (one["percent"], one["credential"], one["problem"]) == (100.0, "huggingface", None)
    assert one["result"]["url"] == "https://target.test/huggingface:acme/cats"
    assert api.get(JOB).json()["job"]["output_url"] == one["result"]["url"]


def test_what_is_on_its_way_is_not_begun_again(api: ApiClient, done: World) -> None:
    api.post(f"{JOB}/deliver", {"destination": CATS})
    again = api.post(f"{JOB}/deliver", {"destinations": [{**CATS, "repo_id": "Acme/Cats"}]})
    assert (again.status, again.json()["made"]) == (200, 0)
    assert again.json()["deliveries"][0]["delivery_id"] == "d-job1-001"
    both = api.post(f"{JOB}/deliver", {"destinations": [CATS, DOGS, BUCKET, DOGS]})
    assert both.status == 202
    assert [d["delivery_id"] for d in both.json()["deliveries"]] == ["d-job1-001", "d-job1-002", "d-job1-003"]
    deliver(done)
    after = api.post(f"{JOB}/deliver", {"destination": CATS}).json()
    assert after["deliveries"][0]["delivery_id"] == "d-job1-004"


def test_include_replaces_what_each_includes(api: ApiClient, done: World) -> None:
    body = {"destinations": [CATS, {**BUCKET, "include": ["samples"]}], "include": ["weights"]}
    found = api.post(f"{JOB}/deliver", body).json()["deliveries"]
    assert [d["destination"]["include"] for d in found] == [["weights"], ["weights"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, ""),
        ({"destination": CATS, "destinations": [CATS]}, ""),
        ({"destinations": []}, "destinations"),
        ({"destination": {"kind": "ftp", "host": "x"}}, "destination"),
        ({"destination": {**CATS, "token": HUB_TOKEN}}, "destination"),
        ({"destination": CATS, "include": []}, "include"),
    ],
)
def test_what_is_no_request(api: ApiClient, done: World, body: dict[str, Any], field: str) -> None:
    answer = api.post(f"{JOB}/deliver", body)
    assert answer.status == 422
    assert all(e["field"].startswith(field) for e in answer.json()["errors"])
    assert HUB_TOKEN.encode() not in answer.body


@pytest.mark.parametrize(
    ("destination", "code"),
    [
        ({"kind": "huggingface", "repo_id": "a/b/c"}, "bad_destination"),
        ({"kind": "s3", "bucket": "no such name"}, "bad_destination"),
        ({"kind": "s3", "bucket": "models", "prefix": "a/../b"}, "bad_destination"),
        ({"kind": "s3", "bucket": "models", "endpoint_url": "https://169.254.169.254"}, "address_refused"),
        ({"kind": "webhook", "url": "https://127.0.0.1/x"}, "address_refused"),
        ({"kind": "webhook", "url": "http://hooks.example.com/x"}, "address_refused"),
        ({**CATS, "credential": "other"}, "credential_missing"),
        ({**CATS, "credential": "s3"}, "credential_kind"),
    ],
)
def test_destinations_that_can_t_be(api: ApiClient, done: World, destination: dict[str, Any], code: str) -> None:
    found = problem(api.post(f"{JOB}/deliver", {"destination": destination}), 422, code)
    assert found["errors"][0]["field"].startswith("destinations.0")
    assert done.deliveries.list_of("job1") == []
    stored = problem(api.put("/api/cloud/delivery/defaults", {"destinations": [destination]}), 422, code)
    assert stored["errors"]


def test_without_a_credential_it_is_refused_with_the_command(api: ApiClient, world: World) -> None:
    completed_job(world)
    found = problem(api.post(f"{JOB}/deliver", {"destination": CATS}), 422, "credential_missing")
    assert "stcloud credentials add" in found["detail"]


def test_only_a_verified_model_is_delivered(api: ApiClient, world: World) -> None:
    with_credentials(world)
    job_id = world.submit().job.job_id
    url = f"/api/cloud/jobs/{job_id}/deliver"
    problem(api.post(url, {"destination": CATS}), 409, "nothing_verified")
    world.weights = None
    world.run(900, sweep_every=60)
    assert world.job(job_id).status == "failed"
    problem(api.post(url, {"destination": CATS}), 409, "nothing_verified")
    assert api.get(f"/api/cloud/jobs/{job_id}/deliveries").json()["deliveries"][0]["state"] == "failed"


def test_a_model_that_left_escrow_is_gone(api: ApiClient, done: World) -> None:
    done.outputs.delete_prefix(artifacts_prefix(OWNER, "job1"))
    done.jobs.save(done.job("job1").annotated(now=done.clock.now(), escrow_removed_at=done.clock.now()))
    problem(api.post(f"{JOB}/deliver", {"destination": CATS}), 409, "escrow_gone")


# --- cancel and retry -----------------------------------------------------------------------------------------
def test_one_of_which_nothing_was_sent_is_cancelled_at_once(api: ApiClient, done: World) -> None:
    api.post(f"{JOB}/deliver", {"destination": CATS})
    answer = api.post(f"{JOB}/deliveries/d-job1-001/cancel")
    assert (answer.status, answer.json()["delivery"]["state"]) == (202, "cancelled")
    deliver(done, 300)
    assert done.targets.calls == []
    assert done.event_types("job1") == ["delivery.cancelled"]
    assert api.get(JOB).json()["job"]["deliveries"]["state"] == "none"
    problem(api.post(f"{JOB}/deliveries/d-job1-001/cancel"), 409, "delivery_over")


def test_one_that_rests_is_cancelled_soon(api: ApiClient, done: World) -> None:
    done.targets.faults["send"] = [None, DOWN]
    api.post(f"{JOB}/deliver", {"destination": CATS})
    done.settle()
    assert delivery_of(done).state is DeliveryState.PENDING
    answer = api.post(f"{JOB}/deliveries/d-job1-001/cancel").json()["delivery"]
    assert (answer["state"], answer["cancel_requested"]) == ("pending", True)
    done.settle()
    assert delivery_of(done).state is DeliveryState.CANCELLED
    assert done.targets.abandoned == ["d-job1-001"]


def test_one_that_is_at_work_is_cancelled_after_its_step(api: ApiClient, done: World) -> None:
    api.post(f"{JOB}/deliver", {"destination": CATS})
    done.delivery_runner.tick()
    answer = api.post(f"{JOB}/deliveries/d-job1-001/cancel").json()["delivery"]
    assert (answer["state"], answer["cancel_requested"]) == ("delivering", True)
    done.settle()
    assert delivery_of(done).state is DeliveryState.CANCELLED


def test_one_that_failed_is_repeated_by_another(api: ApiClient, done: World) -> None:
    done.targets.faults["send"] = [DeliveryFault("forbidden", "The token may not write.", "Rotate.", retry=False)]
    api.post(f"{JOB}/deliver", {"destination": CATS, "include": ["weights"]})
    deliver(done, 300)
    failed = api.get(f"{JOB}/deliveries/d-job1-001").json()["delivery"]
    assert failed["problem"]["advice"] == "Rotate."
    assert api.get(JOB).json()["job"]["deliveries"] == {"state": "failed", "verified": 0, "open": 0, "failed": 1}
    again = api.post(f"{JOB}/deliveries/d-job1-001/retry")
    assert (again.status, again.json()["delivery"]["delivery_id"]) == (202, "d-job1-002")
    assert again.json()["delivery"]["destination"]["include"] == ["weights"]
    deliver(done, 300)
    assert api.get(JOB).json()["job"]["deliveries"] == {"state": "verified", "verified": 1, "open": 0, "failed": 0}


def test_one_that_rests_is_tried_now(api: ApiClient, done: World) -> None:
    done.targets.faults["send"] = [DOWN]
    api.post(f"{JOB}/deliver", {"destination": CATS})
    done.settle()
    assert api.post(f"{JOB}/deliveries/d-job1-001/retry").json()["delivery"]["delivery_id"] == "d-job1-001"
    done.settle()
    assert delivery_of(done).state is DeliveryState.VERIFIED


def test_a_delivery_that_is_not_there(api: ApiClient, done: World) -> None:
    for path in ("", "/cancel", "/retry"):
        method = api.post if path else api.get
        problem(method(f"{JOB}/deliveries/d-job1-009{path}"), 404, "delivery_not_found")
        problem(method(f"/api/cloud/jobs/nope/deliveries/d-job1-001{path}"), 404, "job_not_found")


# --- deleting -------------------------------------------------------------------------------------------------
def test_a_job_that_is_being_delivered_is_not_deleted(api: ApiClient, done: World) -> None:
    api.post(f"{JOB}/deliver", {"destination": CATS})
    found = problem(api.delete(JOB), 409, "deliveries_open")
    assert "d-job1-001" in found["detail"]
    deliver(done)
    assert api.delete(JOB).status == 200
    assert done.deliveries.list_of("job1") == []
    assert list(done.outputs.list(f"{OWNER}/job1/")) == []


# --- secrets --------------------------------------------------------------------------------------------------
def test_addresses_are_shown_without_their_secrets(api: ApiClient, done: World) -> None:
    answers = [
        api.post(f"{JOB}/deliver", {"destination": HOOK}),
        api.get(f"{JOB}/deliveries"),
        api.put("/api/cloud/delivery/defaults", {"destinations": [HOOK]}),
        api.get("/api/cloud/delivery/defaults"),
    ]
    assert all(a.status < 300 and b"verysecret" not in a.body for a in answers)
    shown = answers[1].json()["deliveries"][1]["destination"]
    assert (shown["label"], shown["url"]) == ("https://hooks.example.com", "https://hooks.example.com/in")


# --- where a submission's model goes -------------------------------------------------------------------------
def submitted(api: ApiClient, **body: Any) -> dict[str, Any]:
    answer = api.post(SUBMIT, {"config": CONFIG, "dataloader_config": DATALOADER, **body})
    assert answer.status == 200, answer.body
    job: dict[str, Any] = answer.json()["job"]
    return job


def test_the_request_is_heard_first(api: ApiClient, world: World) -> None:
    with_credentials(world)
    api.put("/api/cloud/delivery/defaults", {"destinations": [BUCKET]})
    assert labels(submitted(api)) == [("s3://models/cats", "default")]
    assert labels(submitted(api, destinations=[CATS])) == [("huggingface:acme/cats", "submit")]
    assert labels(submitted(api, destinations=[])) == []
    config = {**CONFIG, "push_to_hub": True, "hub_model_id": "acme/dogs"}
    assert labels(submitted(api, config=config)) == [("huggingface:acme/dogs", "config")]
    assert labels(submitted(api, config=config, destinations=[])) == []


def test_a_saved_config_says_where_its_models_go(api: ApiClient, world: World) -> None:
    with_credentials(world)
    api.put("/api/cloud/delivery/defaults", {"destinations": [BUCKET]})
    saved = {"config": CONFIG, "dataloader_config": DATALOADER, "destinations": [CATS]}
    assert api.put("/api/configs/mine", saved).status == 200
    assert api.get("/api/configs/mine").json()["destinations"][0]["repo_id"] == "acme/cats"
    job = api.post(SUBMIT, {"config_name_to_load": "mine"}).json()["job"]
    assert labels(job) == [("huggingface:acme/cats", "config")]
    api.put("/api/configs/mine", {**saved, "destinations": []})
    assert labels(api.post(SUBMIT, {"config_name_to_load": "mine"}).json()["job"]) == []
    api.put("/api/configs/mine", {**saved, "destinations": None})
    job = api.post(SUBMIT, {"config_name_to_load": "mine"}).json()["job"]
    assert labels(job) == [("s3://models/cats", "default")]


def test_simpletuners_own_options_are_understood(api: ApiClient, world: World) -> None:
    with_credentials(world)
    publishing = [{"provider": "s3", "bucket": "models", "base_path": "cats", "access_key": "AKIAEXAMPLE12345"}]
    config = {
        **CONFIG,
        "--push_to_hub": "true",
        "--hub_model_id": "cats",
        "--push_checkpoints_to_hub": True,
        "--model_card_private": False,
        "--publishing_config": publishing,
    }
    job = submitted(api, config=config, webhook_url=HOOK["url"], destinations=[{**CATS, "repo_id": "cats"}])
    assert labels(job) == [
        ("huggingface:cats", "submit"),
        ("s3://models/cats", "config"),
        ("https://hooks.example.com", "submit"),
    ]
    assert job["destinations"][1]["credential"] == "s3"
    only_options = submitted(api, config=config)["destinations"]
    assert (only_options[0]["include"], only_options[0]["private"]) == (["weights", "samples", "checkpoints"], False)
    assert only_options[1]["include"] == ["weights", "samples"]
    launched = api.get(f"/api/cloud/jobs/{job['job_id']}/config").json()
    assert not {"push_to_hub", "publishing_config", "hub_model_id"} & launched["config"].keys()
    said = (
        "push_to_hub and push_checkpoints_to_hub and hub_model_id and publishing_config were left out: the trainer "
        "sends nothing; this service does, from escrow, to the job's destinations"
    )
    assert launched["adjustments"].count(said) == 1


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"destinations": [CATS]}, "credential_missing", "destinations.0"),
        ({"webhook_url": "https://hooks.example.com/x"}, "credential_missing", "webhook_url"),
        (
            {"config": {**CONFIG, "push_to_hub": True, "hub_model_id": "a/b"}},
            "credential_missing",
            "config.hub_model_id",
        ),
        ({"config": PUSHED}, "missing", "config.hub_model_id"),
        (
            {"config": {**CONFIG, "publishing_config": [{"provider": "s3", "bucket": "b", "secret_key": "x" * 40}]}},
            "secret_in_config",
            "config.publishing_config.0.secret_key",
        ),
        (
            {
                "config": {
                    **CONFIG,
                    "publishing_config": '[{"provider": "s3", "bucket": "b", "secret_key": "xxxxxxxx"}]',
                }
            },
            "secret_in_config",
            "config.publishing_config.0.secret_key",
        ),
        (
            {"config": {**CONFIG, "publishing_config": [{"provider": "dropbox"}]}},
            "publishing_unsupported",
            "config.publishing_config.0.provider",
        ),
    ],
)
def test_a_submission_that_could_not_be_delivered_is_refused(
    api: ApiClient, world: World, body: dict[str, Any], code: str, field: str
) -> None:
    answer = api.post(SUBMIT, {"config": CONFIG, "dataloader_config": DATALOADER, **body})
    assert answer.status == 422
    assert (field, code) in {(e["field"], e["code"]) for e in answer.json()["errors"]}
    checked = api.post("/api/cloud/jobs/preflight", {"config": CONFIG, "dataloader_config": DATALOADER, **body}).json()
    assert not checked["ok"]
    assert code in {f["code"] for f in checked["findings"]}


def test_too_many_destinations(api: ApiClient, world: World) -> None:
    with_credentials(world, CredentialKind.HUGGINGFACE)
    many = [{**CATS, "repo_id": f"acme/cats{i}"} for i in range(8)]
    config = {**CONFIG, "push_to_hub": True, "hub_model_id": "acme/more"}
    answer = api.post(SUBMIT, {"config": config, "dataloader_config": DATALOADER, "destinations": many})
    assert (answer.status, answer.json()["code"]) == (422, "too_many_destinations")


def test_a_trained_model_arrives_everywhere(api: ApiClient, world: World) -> None:
    with_credentials(world)
    job = submitted(api, destinations=[CATS, BUCKET, HOOK])
    seen = []
    for _ in range(60):
        world.run(15, sweep_every=60, step=5)
        now = api.get(f"/api/cloud/jobs/{job['job_id']}").json()["job"]
        seen.append((now["status"], now["deliveries"]["state"]))
        if now["deliveries"]["state"] == "verified":
            break
    assert seen[-1] == ("completed", "verified")
    assert ("completed", "none") not in seen
    assert set(world.targets.places) == {"huggingface:acme/cats", "s3://models/cats", "https://hooks.example.com"}
    assert [d["origin"] for d in api.get(f"/api/cloud/jobs/{job['job_id']}/deliveries").json()["deliveries"]] == [
        None,
        "submit",
        "submit",
        "submit",
    ]


# --- others ---------------------------------------------------------------------------------------------------
def test_a_job_that_failed_is_delivered_nowhere(api: ApiClient, world: World) -> None:
    with_credentials(world)
    world.weights = None
    job = submitted(api, destinations=[CATS])
    world.run(900, sweep_every=60)
    assert world.job(job["job_id"]).status == "failed"
    assert world.deliveries.list_of(job["job_id"]) == []
    assert {call for call, _ in world.targets.calls} == {"connect", "check"}, "submit asked, and nothing was sent"
