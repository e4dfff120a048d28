"""The routes of one job and of the list: SimpleTuner's recorded fields and statuses, and ours beside them."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.permissions import Permission
from chalicelib.domain.predictions import PredictionStatus
from chalicelib.schemas.base import Problem
from tests.fakes.provider import REFUSED, Life
from tests.fakes.world import DATALOADER, World
from tests.unit.api.client import Answer, ApiClient, with_ports

JOBS = "/api/cloud/jobs"
#: The keys of a job in SimpleTuner's recorded answers.
RECORDED = {
    "job_id",
    "job_type",
    "provider",
    "status",
    "config_name",
    "created_at",
    "started_at",
    "completed_at",
    "cost_usd",
    "hardware_type",
    "error_message",
    "output_url",
    "upload_token",
    "user_id",
    "metadata",
    "is_terminal",
    "is_active",
    "duration_seconds",
    "queue_position",
}
RECORDED_METADATA = {"prediction_id", "webhook_url", "hardware_profile", "model"}


@pytest.fixture
def job_id(world: World) -> str:
    """A submitted job that nobody has worked on yet."""
    return world.submit().job.job_id


def problem(answer: Answer, status: int, code: str) -> Any:
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    body = answer.json()
    Problem.model_validate(body)
    assert (body["status"], body["code"]) == (status, code)
    return body


# --- get ------------------------------------------------------------------------------------------------------
def test_a_queued_job_has_the_recorded_fields(api: ApiClient, job_id: str) -> None:
    answer = api.get(f"{JOBS}/{job_id}")
    job = answer.json()["job"]
    assert answer.status == 200
    assert job.keys() >= RECORDED
    assert job["metadata"].keys() >= RECORDED_METADATA
    assert (job["job_type"], job["status"], job["is_active"], job["is_terminal"]) == ("cloud", "queued", True, False)
    assert (job["queue_position"], job["upload_token"], job["user_id"]) == (0, None, "local")
    assert job["created_at"] == "2026-11-24T12:00:00Z"
    assert (job["hardware_type"], job["price_per_hour"]) == ("H100", 5.49)


def test_a_running_job_shows_progress_and_cost(api: ApiClient, world: World, job_id: str) -> None:
    world.run(71)
    job = api.get(f"{JOBS}/{job_id}").json()["job"]
    assert (job["status"], job["phase"], job["queue_position"]) == ("running", "training", None)
    assert job["started_at"] == "2026-11-24T12:00:10Z"
    assert job["duration_seconds"] == 61
    assert 0 < job["progress"]["percent"] < 100
    assert job["progress"]["total_steps"] == 200
    assert job["cost_usd"] > 0
    assert job["metadata"]["prediction_id"] == "pred1"


def test_a_completed_job(api: ApiClient, world: World, job_id: str) -> None:
    world.run(300)
    job = api.get(f"{JOBS}/{job_id}").json()["job"]
    assert (job["status"], job["is_terminal"], job["progress"]["percent"]) == ("completed", True, 100.0)
    assert job["delivery"]["weights"] == ["checkpoint-200/pytorch_lora_weights.safetensors"]
    assert job["delivery"]["verified_at"] is not None
    assert job["error_message"] is None


def test_a_failed_job_says_why_and_what_to_do(api: ApiClient, world: World) -> None:
    world.provider.lives = [Life(end=PredictionStatus.FAILED, error="CUDA out of memory")]
    job_id = world.submit().job.job_id
    world.run(300)
    job = api.get(f"{JOBS}/{job_id}").json()["job"]
    assert (job["status"], job["failure"]["code"], job["failure"]["kind"]) == ("failed", "out_of_memory", "user")
    assert job["error_message"] == job["failure"]["message"]
    assert "train_batch_size" in job["failure"]["advice"]


def test_nothing_secret_is_in_any_answer(api: ApiClient, world: World, job_id: str) -> None:
    world.run(20)
    token = world.job(job_id).task_token
    assert token is not None
    for path in ("", "/config", "/events", "/logs", "/outputs", "/inline-progress"):
        text = api.get(f"{JOBS}/{job_id}{path}").body.decode()
        assert token not in text
        assert world.provider.secret not in text
        assert "task_token" not in text
        assert "secret_access_key" not in text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/logs"),
        ("GET", "/inline-progress"),
        ("GET", "/events"),
        ("GET", "/outputs"),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ],
)
@pytest.mark.parametrize("who", ["nobody's", "another's"])
def test_an_unknown_job_and_somebody_elses_look_the_same(
    api: ApiClient, job_id: str, method: str, path: str, who: str
) -> None:
    if who == "another's":
        api.act_as("other", Permission.JOB_VIEW_OWN, Permission.JOB_CANCEL_OWN, Permission.JOB_DELETE_OWN)
    wanted = "does-not-exist" if who == "nobody's" else job_id
    body = problem(api.request(method, f"{JOBS}/{wanted}{path}"), 404, "job_not_found")
    assert (body["error"], body["message"], body["details"]) == (
        "job_not_found",
        f"Job not found: {wanted}",
        {"job_id": wanted},
    )
    assert body["detail"] == body["message"]


@pytest.mark.parametrize("name", ["a%2Fb", "%2e%2e", "%00", "a%20b", "%F0%9F%98%80", "%ff%fe", "%", "x" * 512, "%25"])
def test_any_name_in_the_path_is_just_unknown(api: ApiClient, name: str) -> None:
    assert api.get(f"{JOBS}/{name}").status == 404
    assert api.post(f"{JOBS}/{name}/cancel").status == 404


@pytest.mark.parametrize("name", ["x" * 513, "%F0%9F%98%80" * 200])
def test_a_name_that_no_key_can_hold_is_not_even_looked_up(api: ApiClient, name: str) -> None:
    problem(api.get(f"{JOBS}/{name}"), 404, "not_found")


# --- list -----------------------------------------------------------------------------------------------------
def test_the_list_is_newest_first_and_total_counts_the_page(api: ApiClient, world: World) -> None:
    ids = []
    for _ in range(3):
        ids.append(world.submit().job.job_id)
        world.clock.advance(1)
    body = api.get(f"{JOBS}?limit=2").json()
    assert [j["job_id"] for j in body["jobs"]] == [ids[2], ids[1]]
    assert body["total"] == 2
    rest = api.get(f"{JOBS}?limit=2&cursor={body['next']}").json()
    assert ([j["job_id"] for j in rest["jobs"]], rest["total"], rest["next"]) == ([ids[0]], 1, None)
    shifted = api.get(f"{JOBS}?limit=1&offset=1").json()
    assert [j["job_id"] for j in shifted["jobs"]] == [ids[1]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=queued", 1),
        ("status=running", 0),
        ("status=nosuch", 0),
        ("provider=replicate", 1),
        ("provider=nosuch", 0),
        ("job_type=cloud", 1),
        ("job_type=local", 0),
        ("unknown=1", 1),
        ("limit=1&limit=500", 1),
    ],
)
def test_filters(api: ApiClient, job_id: str, query: str, found: int) -> None:
    body = api.get(f"{JOBS}?{query}").json()
    assert (len(body["jobs"]), body["total"]) == (found, found)


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "offset=-1", "limit=x", "limit=", "sync_active=maybe"])
def test_bad_paging_names_the_parameter(api: ApiClient, query: str) -> None:
    body = problem(api.get(f"{JOBS}?{query}"), 422, "validation_failed")
    assert body["errors"][0]["field"] == query.split("=")[0]


def test_a_bad_job_type(api: ApiClient) -> None:
    body = problem(api.get(f"{JOBS}?job_type=zzz"), 400, "invalid_job_type")
    assert body["detail"] == "Invalid job_type: zzz. Must be 'local' or 'cloud'."


def test_a_cursor_that_is_not_ours(api: ApiClient) -> None:
    problem(api.get(f"{JOBS}?cursor=%F0%9F%98%80"), 400, "invalid_cursor")


def test_a_list_holds_only_what_the_caller_may_see(api: ApiClient, world: World, job_id: str) -> None:
    api.act_as("other", Permission.JOB_VIEW_OWN)
    assert api.get(JOBS).json()["jobs"] == []
    api.act_as("other", Permission.JOB_VIEW_ALL)
    assert [j["job_id"] for j in api.get(JOBS).json()["jobs"]] == [job_id]
    assert api.get(f"{JOBS}/{job_id}").status == 200


def test_sync_active_asks_the_provider(api: ApiClient, world: World, job_id: str) -> None:
    world.settle()
    world.clock.advance(60)
    assert api.get(JOBS).json()["jobs"][0]["status"] == "queued"
    assert api.get(f"{JOBS}?sync_active=true").json()["jobs"][0]["status"] == "running"
    assert api.get(JOBS).json()["jobs"][0]["status"] == "running"


def test_a_provider_that_does_not_answer_does_not_spoil_the_list(api: ApiClient, world: World, job_id: str) -> None:
    world.settle()
    world.clock.advance(60)
    world.provider.faults["get"] = [REFUSED]
    body = api.get(f"{JOBS}?sync_active=true").json()
    assert [j["job_id"] for j in body["jobs"]] == [job_id]


# --- logs, progress, events, outputs --------------------------------------------------------------------------
def test_logs_have_the_recorded_fields_and_end_with_the_newest_line(api: ApiClient, world: World, job_id: str) -> None:
    world.run(71)
    body = api.get(f"{JOBS}/{job_id}/logs").json()
    assert body.keys() >= {"job_id", "logs"}
    assert "[COG] Webhook receiver started" in body["logs"]
    assert "Steps:" in body["logs"].rstrip().rsplit("\n", 1)[-1]
    assert (body["complete"], body["truncated"]) == (False, False)


def test_a_job_without_a_log(api: ApiClient, job_id: str) -> None:
    body = api.get(f"{JOBS}/{job_id}/logs").json()
    assert (body["logs"], body["size"], body["next_offset"], body["complete"]) == ("", 0, 0, False)


def test_following_a_log_by_bytes_gives_all_of_it_once(api: ApiClient, world: World, job_id: str) -> None:
    world.run(300)
    text, offset = "", 0
    for _ in range(10_000):
        part = api.get(f"{JOBS}/{job_id}/logs?offset={offset}&limit=7").json()
        assert part["offset"] == offset
        text, offset = text + part["logs"], part["next_offset"]
        if offset == part["size"]:
            break
    assert part["complete"]
    key = f"local/{job_id}/logs.txt"
    assert text.encode() == world.outputs.get(key)
    assert "⏳" in text


def test_an_offset_behind_the_end(api: ApiClient, job_id: str) -> None:
    problem(api.get(f"{JOBS}/{job_id}/logs?offset=1"), 400, "invalid_offset")
    problem(api.get(f"{JOBS}/{job_id}/logs?offset={2**53 + 1}"), 422, "validation_failed")
    problem(api.get(f"{JOBS}/{job_id}/logs?limit=3"), 422, "validation_failed")


def test_progress_has_the_recorded_fields_and_is_fresh(api: ApiClient, world: World, job_id: str) -> None:
    world.settle()
    world.clock.advance(71)
    body = api.get(f"{JOBS}/{job_id}/inline-progress").json()
    assert body.keys() >= {"job_id", "stage", "last_log", "progress"}
    assert (body["stage"], body["status"]) == ("Training", "running")
    assert body["progress"] == 50.0
    assert "Steps:" in body["last_log"]
    calls = world.provider.calls.count("get")
    api.get(f"{JOBS}/{job_id}/inline-progress")
    assert world.provider.calls.count("get") == calls, "what is younger than two seconds is not asked for again"


def test_progress_tells_of_a_cancellation_and_of_the_provider(api: ApiClient, world: World, job_id: str) -> None:
    route = f"{JOBS}/{job_id}/inline-progress"
    world.settle()
    world.clock.advance(71)
    before = api.get(route).json()
    assert before["cancel_requested"] is False
    assert before["last_confirmed_at"] == api.get(f"{JOBS}/{job_id}").json()["job"]["last_confirmed_at"] is not None
    api.post(f"{JOBS}/{job_id}/cancel")
    assert api.get(route).json()["cancel_requested"] is True


def test_progress_of_a_job_the_provider_does_not_know_yet(api: ApiClient, job_id: str) -> None:
    body = api.get(f"{JOBS}/{job_id}/inline-progress").json()
    assert (body["cancel_requested"], body["last_confirmed_at"]) == (False, None)


def test_events_page_without_gaps(api: ApiClient, world: World, job_id: str) -> None:
    world.run(300)
    everything = api.get(f"{JOBS}/{job_id}/events?limit=500").json()
    assert everything["next"] is None
    assert [e["seq"] for e in everything["events"]] == list(range(1, len(everything["events"]) + 1))
    seen, after = [], 0
    while after is not None:
        page = api.get(f"{JOBS}/{job_id}/events?limit=2&after={after}").json()
        seen += page["events"]
        after = page["next"]
    assert seen == everything["events"]
    assert {"job.submitted", "job.launched", "job.running", "job.completed"} <= {e["type"] for e in seen}


def test_outputs_come_in_pages_by_path(api: ApiClient, world: World, job_id: str) -> None:
    world.run(300)
    whole = api.get(f"{JOBS}/{job_id}/outputs").json()
    paths = [file["path"] for file in whole["files"]]
    assert paths == sorted(paths)
    assert whole["next"] is None
    first = api.get(f"{JOBS}/{job_id}/outputs?limit=1").json()
    assert [file["path"] for file in first["files"]] == paths[:1]
    assert (first["next"], first["total_bytes"]) == (paths[0], whole["total_bytes"])
    rest = api.get(f"{JOBS}/{job_id}/outputs?after={first['next']}").json()
    assert [file["path"] for file in rest["files"]] == paths[1:]
    assert rest["next"] is None


def test_a_job_shows_the_config_it_was_launched_with(api: ApiClient, world: World, job_id: str) -> None:
    body = api.get(f"{JOBS}/{job_id}/config").json()
    assert body["config"]["max_train_steps"] == 200
    assert body["config"]["num_train_epochs"] == 0
    assert body["dataloader_config"] == DATALOADER
    assert any("validation_prompt" in note for note in body["adjustments"])
    assert "aws_secret_access_key" not in str(body)


def test_outputs_have_links_hashes_and_the_verified_mark(api: ApiClient, world: World, job_id: str) -> None:
    before = api.get(f"{JOBS}/{job_id}/outputs").json()
    assert (before["files"], before["complete"], before["verified"], before["manifest_url"]) == ([], False, False, None)
    world.run(300)
    body = api.get(f"{JOBS}/{job_id}/outputs").json()
    assert (body["complete"], body["verified"]) == (True, True)
    assert body["total_bytes"] == sum(f["size"] for f in body["files"])
    assert {f["kind"] for f in body["files"]} == {"weights", "sample"}
    assert all(f["url"].endswith("expires=3600") and len(f["sha256"]) == 64 and f["verified"] for f in body["files"])
    assert body["manifest_url"] is not None


# --- cancel and delete ----------------------------------------------------------------------------------------
def test_cancel_before_the_launch_ends_the_job_at_once(api: ApiClient, world: World, job_id: str) -> None:
    body = api.post(f"{JOBS}/{job_id}/cancel").json()
    assert body == {"success": True, "job_id": job_id, "status": "cancelled", "cancel_requested": True}
    world.run(60)
    assert world.provider.records == {}


def test_cancel_says_the_truth_while_the_provider_has_not_confirmed(api: ApiClient, world: World, job_id: str) -> None:
    world.provider.cancel_takes = 30
    world.run(40)
    first = api.post(f"{JOBS}/{job_id}/cancel").json()
    assert (first["status"], first["cancel_requested"]) == ("running", True)
    assert api.post(f"{JOBS}/{job_id}/cancel").status == 200, "asking twice is no error"
    world.run(120)
    assert api.get(f"{JOBS}/{job_id}").json()["job"]["status"] == "cancelled"
    assert world.provider.live() == []


def test_cancelling_a_finished_job_names_the_states(api: ApiClient, world: World, job_id: str) -> None:
    world.run(300)
    body = problem(api.post(f"{JOBS}/{job_id}/cancel"), 409, "invalid_job_state")
    assert body["error"] == "invalid_job_state"
    assert body["message"].startswith(f"Job {job_id} is in state 'completed', operation requires one of: ['pending'")
    assert body["details"]["current_state"] == "completed"
    assert body["details"]["allowed_states"] == ["pending", "uploading", "queued", "running"]


def test_an_active_job_is_not_deleted(api: ApiClient, job_id: str) -> None:
    body = problem(api.delete(f"{JOBS}/{job_id}"), 400, "job_active")
    assert body["detail"] == "Cannot delete job in state 'queued'. Cancel it first."


def test_delete_removes_the_job_and_its_objects(api: ApiClient, world: World, job_id: str) -> None:
    world.run(300)
    assert api.delete(f"{JOBS}/{job_id}").json() == {"success": True, "job_id": job_id}
    problem(api.delete(f"{JOBS}/{job_id}"), 404, "job_not_found")
    problem(api.get(f"{JOBS}/{job_id}"), 404, "job_not_found")
    assert list(world.outputs.list(f"local/{job_id}/")) == []


def test_a_viewer_of_all_jobs_can_neither_cancel_nor_delete_anothers(api: ApiClient, world: World, job_id: str) -> None:
    api.act_as("lead", Permission.JOB_VIEW_ALL, Permission.JOB_CANCEL_OWN, Permission.JOB_DELETE_OWN)
    assert api.get(f"{JOBS}/{job_id}").status == 200
    problem(api.post(f"{JOBS}/{job_id}/cancel"), 404, "job_not_found")
    problem(api.delete(f"{JOBS}/{job_id}"), 404, "job_not_found")
    api.act_as("lead", Permission.JOB_VIEW_ALL, Permission.JOB_CANCEL_ALL)
    assert api.post(f"{JOBS}/{job_id}/cancel").status == 200


def test_a_job_whose_provider_is_not_configured_any_more(api: ApiClient, world: World, job_id: str) -> None:
    world.run(30)
    api.services = with_ports(api.services, providers=lambda _: None)
    world.clock.advance(60)
    body = problem(api.post(f"{JOBS}/{job_id}/cancel"), 503, "unavailable")
    assert "'replicate' is not configured" in body["detail"]
    assert world.job(job_id).cancel_requested_at is not None, "the wish stands and the workflow acts on it"
