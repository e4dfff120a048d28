"""The sandbox over HTTP: Replicate's API as its description and its client know it, and a fault plan's effect."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import replicate.client
from openapi_schema_validator import OAS30Validator
from replicate.webhook import Webhooks, WebhookSigningSecret

from local.sandbox.process import Result
from tests.functional.sandbox_server import (
    MODEL,
    TOKEN,
    Receiver,
    Sandbox,
    ScriptedLauncher,
    eventually,
    running_receiver,
    running_sandbox,
)

DESCRIPTION = json.loads((Path(__file__).parent / "data" / "replicate-answers.json").read_text())
DONE = Result(output="Training complete. Output: output/x")


def conforms(name: str, answer: Any) -> None:
    """Fails when ``answer`` is not what Replicate's OpenAPI description calls ``name``."""
    schema = DESCRIPTION | {"$ref": f"#/components/schemas/{name}"}
    errors = [f"{'/'.join(map(str, e.path))}: {e.message}" for e in OAS30Validator(schema).iter_errors(answer)]
    assert errors == []


@pytest.fixture
def launcher() -> ScriptedLauncher:
    return ScriptedLauncher()


@pytest.fixture
def sandbox(tmp_path: Path, launcher: ScriptedLauncher) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path, launcher=launcher) as running:
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


# -- shape ------------------------------------------------------------------------------------------------------------


def test_the_check_itself_can_fail() -> None:
    with pytest.raises(AssertionError):
        conforms("prediction_response", {"id": "x"})
    with pytest.raises(AssertionError):
        conforms("account", {"type": "robot", "username": "x"})


def test_answers_conform_to_the_description(sandbox: Sandbox, launcher: ScriptedLauncher) -> None:
    created = sandbox.create(headers={"Cancel-After": "1h"})
    conforms("prediction_response", created)
    running = sandbox.until(created["id"], "processing")
    conforms("prediction_response", running)
    launcher.runs[created["id"]].result = DONE
    conforms("prediction_response", sandbox.until(created["id"], "succeeded"))
    waiting = sandbox.create()
    cancelled = sandbox.client.post(f"/v1/predictions/{waiting['id']}/cancel")
    assert cancelled.status_code == 200
    conforms("prediction_response", cancelled.json())
    conforms("paginated_prediction_response", sandbox.client.get("/v1/predictions").json())
    for name, path in {
        "account": "/v1/account",
        "hardware": "/v1/hardware",
        "secret": "/v1/webhooks/default/secret",
        "paginated_model_response": "/v1/models",
        "model_response": f"/v1/models/{MODEL}",
        "paginated_version_response": f"/v1/models/{MODEL}/versions",
        "version_response": f"/v1/models/{MODEL}/versions/{created['version']}",
    }.items():
        answer = sandbox.client.get(path)
        assert answer.status_code == 200
        conforms(name, answer.json())


def test_a_create_answers_201_with_its_location(sandbox: Sandbox) -> None:
    answer = sandbox.client.post("/v1/predictions", json={"version": MODEL, "input": {}})
    assert answer.status_code == 201
    assert answer.headers["location"] == answer.json()["urls"]["get"]
    assert answer.json()["model"] == MODEL


def test_the_official_client_works(sandbox: Sandbox, launcher: ScriptedLauncher) -> None:
    client = replicate.client.Client(api_token=TOKEN, base_url=sandbox.origin, timeout=10)
    launcher.result = DONE
    assert client.accounts.current().username == "sandbox"
    assert {h.sku for h in client.hardware.list()} >= {"gpu-h100", "gpu-l40s"}
    version = client.models.get(MODEL).versions.list().results[0]
    created = client.predictions.create(
        version=f"{MODEL}:{version.id}", input={"max_train_steps": 5}, wait=None, webhook="http://127.0.0.1:1/?job=a"
    )
    sandbox.until(created.id, "succeeded")
    assert client.predictions.get(created.id).output == DONE.output
    assert [p.id for p in client.predictions.list()] == [created.id]
    assert client.predictions.cancel(created.id).status == "succeeded"
    secret = client.webhooks.default.secret()
    assert secret.key.startswith("whsec_")
    client._client.close()


def test_long_lists_are_paged(sandbox: Sandbox) -> None:
    ids = [sandbox.create()["id"] for _ in range(103)]
    first = sandbox.client.get("/v1/predictions").json()
    assert [p["id"] for p in first["results"]] == ids[:2:-1]
    second = sandbox.client.get(first["next"]).json()
    assert [p["id"] for p in second["results"]] == ids[2::-1]
    assert second["next"] is None
    assert all("logs" not in p for p in first["results"])


def test_lists_are_bounded_by_time_on_every_page(sandbox: Sandbox) -> None:
    early = sandbox.create()
    time.sleep(0.01)
    later = [sandbox.create() for _ in range(101)]
    query = {"created_after": later[0]["created_at"]}
    first = sandbox.client.get("/v1/predictions", params=query).json()
    second = sandbox.client.get(first["next"]).json()
    found = {p["id"] for p in first["results"] + second["results"]}
    assert found == {p["id"] for p in later}
    before = sandbox.client.get("/v1/predictions", params={"created_before": later[0]["created_at"]}).json()
    assert [p["id"] for p in before["results"]] == [early["id"]]
    assert sandbox.client.get("/v1/predictions", params={"source": "web"}).json()["results"] == []


# -- refusals ---------------------------------------------------------------------------------------------------------


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["title"]
    assert document["detail"]
    return document


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer r8_wrong", "Basic abc", f"Token {TOKEN}"])
def test_without_the_token_nothing_is_answered(sandbox: Sandbox, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    for method, path in [("GET", "/v1/account"), ("POST", "/v1/predictions"), ("GET", "/v1/webhooks/default/secret")]:
        problem(sandbox.control.request(method, path, headers=headers), 401)
    assert sandbox.seen("predictions")["predictions"] == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ([], "body: Invalid type"),
        ({"input": {}}, "The specified version does not exist"),
        ({"version": MODEL}, "input: Invalid type"),
        ({"version": "simpletuner/none", "input": {}}, "The specified version does not exist"),
        ({"version": MODEL, "input": {"lycoris_json": "{}"}}, "input.lycoris_json: is not an input of this model"),
        ({"version": MODEL, "input": {}, "webhook": "ftp://x"}, "webhook: Does not match format 'uri'"),
        ({"version": MODEL, "input": {}, "webhook": "http://[x"}, "webhook: Does not match format 'uri'"),
        ({"version": MODEL, "input": {}, "webhook_events_filter": ["end"]}, "webhook_events_filter"),
        ({"version": MODEL, "input": {}, "priority": 1}, "priority: Additional property is not allowed"),
    ],
)
def test_a_wrong_create_is_refused(sandbox: Sandbox, body: Any, words: str) -> None:
    assert words in problem(sandbox.client.post("/v1/predictions", json=body), 422)["detail"]
    assert sandbox.seen("predictions")["predictions"] == []


def test_what_is_no_json_or_too_large(sandbox: Sandbox) -> None:
    problem(sandbox.client.post("/v1/predictions", content=b"{"), 400)
    problem(sandbox.client.post("/v1/predictions", content=b"[" * 100_000), 400)
    problem(sandbox.client.post("/v1/predictions", content=b" " * (10 * 1024 * 1024 + 1)), 413)


def test_a_deadline_that_is_none_creates_nothing(sandbox: Sandbox) -> None:
    body = {"version": MODEL, "input": {}}
    problem(sandbox.client.post("/v1/predictions", json=body, headers={"Cancel-After": "4s"}), 422)
    assert sandbox.seen("predictions")["predictions"] == []


def test_unknown_things_are_not_found(sandbox: Sandbox) -> None:
    for path in ("/v1/predictions/nothing", "/v1/models/a/b", f"/v1/models/{MODEL}/versions/abc", "/v1/nothing", "/"):
        problem(sandbox.client.get(path), 404)
    problem(sandbox.client.post("/v1/predictions/nothing/cancel"), 404)
    problem(sandbox.client.delete("/v1/predictions"), 405)


@pytest.mark.parametrize("cursor", ["x", "!!!", "ü", base64.urlsafe_b64encode(b"o=abc").decode(), ""])
def test_a_cursor_that_is_not_ours(sandbox: Sandbox, cursor: str) -> None:
    problem(sandbox.client.get("/v1/predictions", params={"cursor": cursor}), 422)


def test_a_time_that_is_none(sandbox: Sandbox) -> None:
    problem(sandbox.client.get("/v1/predictions", params={"created_after": "yesterday"}), 422)


def test_rate_limits_have_the_documented_words(tmp_path: Path) -> None:
    with running_sandbox(tmp_path, launcher=ScriptedLauncher(), creates_per_minute=2, others_per_minute=3) as sandbox:
        body = {"version": MODEL, "input": {}}
        answers = [sandbox.client.post("/v1/predictions", json=body) for _ in range(3)]
        assert [a.status_code for a in answers] == [201, 201, 429]
        detail = problem(answers[2], 429)["detail"]
        assert detail == "Request was throttled. Your rate limit resets in ~30s."
        assert "retry-after" not in answers[2].headers
        assert [sandbox.client.get("/v1/account").status_code for _ in range(4)] == [200, 200, 200, 429]
        assert len(sandbox.seen("predictions")["predictions"]) == 2


# -- control ----------------------------------------------------------------------------------------------------------


def test_control_is_for_programs_on_this_machine(sandbox: Sandbox) -> None:
    assert sandbox.seen("health") == {"status": "ok", "sandbox": True}
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
        problem(sandbox.control.get("/__sandbox__/health", headers=headers), 403)
        problem(sandbox.control.post("/__sandbox__/reset", headers=headers), 403)


def test_the_recorder_remembers_requests(sandbox: Sandbox) -> None:
    created = sandbox.create()
    sandbox.client.get("/v1/predictions/nothing")
    first, second = sandbox.seen("requests")["requests"]
    assert (first["method"], first["path"], first["status"]) == ("POST", "/v1/predictions", 201)
    assert first["prediction"] == created["id"]
    assert (second["prediction"], second["status"]) == ("nothing", 404)
    assert TOKEN not in json.dumps(sandbox.seen("requests"))


def test_reset_forgets_everything(sandbox: Sandbox, launcher: ScriptedLauncher) -> None:
    created = sandbox.create()
    sandbox.until(created["id"], "processing")
    sandbox.plan({"fault": "oom"})
    assert sandbox.control.post("/__sandbox__/reset").status_code == 200
    assert launcher.runs[created["id"]].killed
    assert sandbox.seen("predictions") == {"predictions": [], "jobs": {}}
    assert sandbox.seen("faults")["rules"] == []
    problem(sandbox.client.get(f"/v1/predictions/{created['id']}"), 404)


def test_a_wrong_plan_changes_nothing(sandbox: Sandbox) -> None:
    sandbox.plan({"fault": "oom"})
    answer = sandbox.control.put("/__sandbox__/faults", json={"rules": [{"fault": "meteor"}]})
    assert "'meteor' is none of" in problem(answer, 422)["detail"]
    assert [r["fault"] for r in sandbox.seen("faults")["rules"]] == ["oom"]


def test_overlaps_by_job(sandbox: Sandbox) -> None:
    sandbox.create(job="a")
    sandbox.create(job="a")
    sandbox.create(job="b")
    jobs = sandbox.seen("predictions")["jobs"]
    assert jobs["a"]["max_alive"] == 2
    assert jobs["b"]["max_alive"] == 1


def test_the_web_page_says_what_this_is(sandbox: Sandbox) -> None:
    created = sandbox.create()
    page = sandbox.control.get(created["urls"]["web"])
    assert page.text.startswith("Local sandbox provider: a tiny CPU trainer, not a GPU.")


# -- faults over the wire ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("when", "made"), [("before", 0), ("after", 1)])
@pytest.mark.parametrize("kind", ["api_429", "api_500", "api_close", "api_hang"])
def test_a_create_that_goes_wrong(sandbox: Sandbox, kind: str, when: str, made: int) -> None:
    hang = {"seconds": 0.2} if kind == "api_hang" else {}
    sandbox.plan(
        {"fault": kind, "when": when, "times": 1, "match": {"path": "^/v1/predictions$", "method": "POST"}} | hang
    )
    body = {"version": MODEL, "input": {}, "webhook": "http://127.0.0.1:1/?job=j"}
    if kind in {"api_429", "api_500"}:
        problem(sandbox.client.post("/v1/predictions", json=body), 429 if kind == "api_429" else 500)
    else:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            sandbox.client.post("/v1/predictions", json=body)
    assert len(sandbox.seen("predictions")["predictions"]) == made
    entry = sandbox.seen("requests")["requests"][-1]
    assert entry["fault"] == f"{kind} {when}"
    assert bool(entry["prediction"]) is bool(made)
    assert sandbox.client.post("/v1/predictions", json=body).status_code == 201, "only once"


def test_a_hanging_answer_outlasts_the_client(sandbox: Sandbox) -> None:
    sandbox.plan({"fault": "api_hang", "seconds": 5, "times": 1})
    with pytest.raises(httpx.ReadTimeout):
        sandbox.client.get("/v1/account", timeout=0.2)
    assert sandbox.client.get("/v1/account").status_code == 200


def test_retry_after_is_sent_when_the_plan_has_it(sandbox: Sandbox) -> None:
    sandbox.plan({"fault": "api_429", "retry_after": 7})
    answer = sandbox.client.get("/v1/account")
    assert answer.headers["retry-after"] == "7"
    assert "~7s" in answer.json()["detail"]


def test_faults_find_their_prediction_and_job(sandbox: Sandbox) -> None:
    first, second = sandbox.create(job="a"), sandbox.create(job="b")
    sandbox.plan(
        {"fault": "api_500", "match": {"job": "a", "method": "GET"}},
        {"fault": "api_429", "match": {"prediction": 2, "path": "cancel"}},
    )
    assert sandbox.client.get(f"/v1/predictions/{first['id']}").status_code == 500
    assert sandbox.client.get(f"/v1/predictions/{second['id']}").status_code == 200
    assert sandbox.client.post(f"/v1/predictions/{second['id']}/cancel").status_code == 429


# -- webhooks over the wire -------------------------------------------------------------------------------------------


def test_webhooks_arrive_signed(sandbox: Sandbox, launcher: ScriptedLauncher, receiver: Receiver) -> None:
    launcher.result = DONE
    created = sandbox.create(webhook=f"{receiver.url}?job=job_7", webhook_events_filter=["start", "completed"])
    eventually(lambda: len(receiver.got) == 2 or None)
    secret = sandbox.client.get("/v1/webhooks/default/secret").json()["key"]
    for path, headers, body in receiver.got:
        assert path == "/hook?job=job_7"
        Webhooks.validate(headers=headers, body=body.decode(), secret=WebhookSigningSecret(key=secret), tolerance=60)
        conforms("prediction_response", json.loads(body))
    assert [json.loads(body)["status"] for *_, body in receiver.got] == ["processing", "succeeded"]
    recorded = eventually(lambda: w if len(w := sandbox.seen("webhooks")["webhooks"]) == 2 else None)
    assert [(w["event"], w["status"]) for w in recorded] == [("start", 200), ("completed", 200)]
    listed = eventually(
        lambda: p if (p := sandbox.seen("predictions")["predictions"][0])["terminal_webhook"] != "pending" else None
    )
    assert (listed["id"], listed["terminal_webhook"], listed["job"]) == (created["id"], "sent", "job_7")


def test_a_failing_receiver_is_tried_again(sandbox: Sandbox, launcher: ScriptedLauncher, receiver: Receiver) -> None:
    launcher.result = DONE
    receiver.answers = [500]
    sandbox.create(webhook=f"{receiver.url}?job=a", webhook_events_filter=["completed"])
    eventually(lambda: len(receiver.got) == 2 or None)
    assert receiver.got[0][1]["webhook-id"] == receiver.got[1][1]["webhook-id"]
    assert receiver.got[0][2] == receiver.got[1][2]
