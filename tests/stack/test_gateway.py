"""What only the deployed way in can show: bodies that must arrive byte for byte, the gateway's own answers, headers,
the console's pages."""

from __future__ import annotations

import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.sandbox.webhooks import new_message_id, sign
from tests.support.stack import Answer, Stack
from tests.support.trainings import submission

ROOT = Path(__file__).resolve().parents[2]
PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def secret(whole_stack: Stack) -> str:
    """The provider's webhook signing secret."""
    token = whole_stack.layout.provider_token.read_text(encoding="ascii").strip()
    answer = whole_stack.http.get(
        f"{whole_stack.ports.sandbox_url}/v1/webhooks/default/secret", headers={"Authorization": f"Bearer {token}"}
    )
    found: str = answer.json()["key"]
    return found


def send(stack: Stack, secret: str, body: bytes, *, signed: bytes | None = None, **headers: str) -> Answer:
    """A webhook with ``body`` as it is, signed over ``signed`` (default: the same)."""
    message, now = new_message_id(), int(time.time())
    signature = sign(secret, message, now, body if signed is None else signed)
    signing = {"webhook-id": message, "webhook-timestamp": str(now), "webhook-signature": signature}
    return stack.api(
        "POST",
        "/webhooks/replicate",
        content=body,
        headers={"content-type": "application/json", **signing, **{k.replace("_", "-"): v for k, v in headers.items()}},
    )


BODIES = {
    "plain": b'{"id": "p1", "status": "succeeded"}',
    "not our spelling": b' {\r\n\t"id" :"p1" ,\n"n": 1e2, "status":"succeeded"}\r\n\n ',
    "utf-8": '{"id": "p1", "logs": "学習 🎨 é \u2028 \\u00e9", "status": "processing"}'.encode(),
    "over 256 KB": b'{"id": "p1", "logs": "' + "ログ \\n\\r ".encode() * 30_000 + b'", "status": "processing"}',
    "over a megabyte": b'{"id": "p1", "logs": "' + b"x" * 1_500_000 + b'"}',
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("media_type", ["application/json", "application/json; charset=utf-8", "text/plain", ""])
def test_a_webhook_arrives_byte_for_byte(stack: Stack, secret: str, name: str, media_type: str) -> None:
    answer = send(stack, secret, BODIES[name], content_type=media_type)
    assert answer.status == 200, answer.text
    assert (answer.json["status"], answer.json["reason"]) == ("ignored", "unknown job")


def test_a_webhook_changed_on_the_way_is_refused(stack: Stack, secret: str) -> None:
    for name, body in BODIES.items():
        answer = send(stack, secret, body + b" ", signed=body)
        assert (answer.status, answer.json["code"]) == (401, "invalid_webhook_signature"), name
    assert send(stack, "whsec_" + "A" * 32, BODIES["plain"]).status == 401
    assert stack.api("POST", "/webhooks/replicate", content=BODIES["plain"]).status == 401


def test_a_webhook_sent_twice_counts_once(stack: Stack, secret: str) -> None:
    body, message, now = BODIES["plain"], new_message_id(), int(time.time())
    headers = {
        "webhook-id": message,
        "webhook-timestamp": str(now),
        "webhook-signature": sign(secret, message, now, body),
    }
    answers = [stack.api("POST", "/webhooks/replicate", content=body, headers=headers) for _ in range(2)]
    assert [a.json["status"] for a in answers] == ["ignored", "duplicate"]
    old = int(time.time()) - 3600
    late = headers | {"webhook-timestamp": str(old), "webhook-signature": sign(secret, message, old, body)}
    assert stack.api("POST", "/webhooks/replicate", content=body, headers=late).status == 401


# Answers of the gateway and of the API


def check_problem(answer: Answer, status: int, code: str) -> dict[str, Any]:
    assert (answer.status, answer.json["status"], answer.json["code"]) == (status, status, code), answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.json["detail"]
    assert answer.json["type"]
    assert answer.json["request_id"]
    found: dict[str, Any] = answer.json
    return found


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/cloud/nothing-here"),
        ("GET", "/nothing"),
        ("POST", "/cloud/jobs"),
        ("PATCH", "/cloud/jobs/some-job"),
        ("GET", "/cloud/jobs/some-job/cancel"),
        ("DELETE", "/cloud/health"),
    ],
)
def test_what_is_no_route_is_a_problem_with_advice(stack: Stack, method: str, path: str) -> None:
    problem = check_problem(stack.api(method, path), 404, "route_not_found")
    assert "/api/openapi.json" in problem["detail"]


def test_things_that_are_not_there_have_simpletuners_words_too(stack: Stack) -> None:
    problem = check_problem(stack.api("GET", "/cloud/jobs/01arz3ndektsv4rrffq69g5fav"), 404, "job_not_found")
    assert problem["detail"] == "Job not found: 01arz3ndektsv4rrffq69g5fav"
    assert problem["error"] == "job_not_found"


def test_names_arrive_decoded(stack: Stack) -> None:
    problem = check_problem(stack.api("GET", "/cloud/jobs/a%20b%C3%A9"), 404, "job_not_found")
    assert problem["details"] == {"job_id": "a bé"}


def test_bodies_that_are_too_large_are_refused_with_413(stack: Stack) -> None:
    six = json.dumps({"config": {"--note": "x" * (6 * 1024 * 1024)}}).encode()
    answer = stack.api("POST", "/cloud/jobs/submit", content=six)
    assert check_problem(answer, 413, "payload_too_large")["success"] is False
    eleven = stack.api("POST", "/cloud/jobs/submit", content=b"x" * (11 * 1024 * 1024))
    assert (eleven.status, eleven.json["code"]) == (413, "payload_too_large")
    assert "10 MB" in eleven.json["detail"]


def test_a_body_that_is_no_json_is_a_422_that_says_so(stack: Stack) -> None:
    for body in (b"{", b"\xff\xfe{}", b"", b"[]"):
        answer = stack.api("POST", "/cloud/jobs/submit", content=body)
        assert answer.status == 422, (body, answer.text)
        assert answer.json["success"] is False


def test_a_query_given_twice_or_oddly_encoded_is_understood(stack: Stack) -> None:
    assert stack.api("GET", "/cloud/jobs?limit=1&limit=2").status == 200
    assert stack.ok("GET", "/cloud/jobs?status=caf%C3%A9+%26")["jobs"] == []
    answer = stack.api("GET", "/cloud/jobs?limit=many")
    assert check_problem(answer, 422, "validation_failed")["errors"][0]["field"] == "limit"


def test_what_a_client_says_about_where_it_comes_from_counts_for_nothing(stack: Stack) -> None:
    """Neither the emulator's router nor the API may take another service, source or host from it."""
    for headers in (
        {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"},
        {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", "Forwarded": "for=203.0.113.9"},
        {"X-Amz-Target": "DynamoDB_20120810.ListTables", "Content-Type": "application/x-amz-json-1.0"},
        {"X-Ministack-Service": "dynamodb", "CloudFront-Viewer-Address": "203.0.113.9:1"},
    ):
        answer = stack.api("POST", "/cloud/datasets", json={}, headers=headers)
        assert (answer.status, answer.json["code"]) == (422, "validation_failed"), headers
    lines = [e["message"] for e in api_log(stack)]
    assert lines
    assert not [line for line in lines if "203.0.113.9" in line or "evil.example" in line]
    assert stack.api("GET", "/cloud/jobs", headers={"Host": "evil.example"}).status == 421


def api_log(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = stack.client("logs").filter_log_events(
        logGroupName=f"/aws/lambda/stcloud-{stack.facts['stage']}-api-handler"
    )["events"]
    return found


def test_a_page_of_another_site_can_not_act(stack: Stack) -> None:
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = stack.api("POST", "/cloud/jobs/submit", json=submission("x"), headers=headers)
        assert answer.status == 403, headers


def test_the_emulators_own_addresses_are_closed(stack: Stack) -> None:
    for path in (
        "/_ministack/health",
        "/_ministack/reset",
        "/_aws/execute-api/x/api/cloud/jobs",
        "/_localstack/health",
    ):
        assert stack.http.get(path).status_code == 404, path


# The description


def test_the_description_is_the_one_in_the_repository_and_what_is_deployed(stack: Stack) -> None:
    document = stack.ok("GET", "/openapi.json")
    assert document == json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    described = {
        (path.removeprefix("/api"), method.upper())
        for path, operations in document["paths"].items()
        for method in operations
        if method in {"get", "put", "post", "delete", "patch"}
    }
    gateway = stack.client("apigateway")
    items = gateway.get_resources(restApiId=stack.facts["api_id"], limit=500)["items"]
    # A greedy parameter ("{key+}") is described by its name alone.
    deployed = {
        (item["path"].replace("+}", "}"), method) for item in items for method in item.get("resourceMethods", {})
    }
    assert {route for route in deployed if route[1] != "OPTIONS"} == described | {("/openapi.json", "GET")}


# Pages

CONSOLE = ["/", "/jobs", "/jobs/01arz3ndektsv4rrffq69g5fav", "/datasets", "/settings?tab=keys"]


@pytest.mark.parametrize("path", [*CONSOLE, "/docs", "/docs/"])
def test_pages_run_nothing_but_their_own_files(stack: Stack, path: str) -> None:
    page = stack.http.get(path)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = dict(
        part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";") if part.strip()
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy.get("object-src", "'none'") == "'none'"
    assert "unsafe" not in str(policy)
    assert "*" not in str(policy)
    for name, value in {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
    }.items():
        assert page.headers[name] == value, name
    assert "camera=()" in page.headers["permissions-policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|javascript:", page.text)
    referred = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert any(url.endswith(".js") for url in referred)
    for url in referred:
        assert url.startswith("/"), url
        asset = stack.http.get(url)
        assert asset.status_code == 200, url
        kind = {"js": "javascript", "css": "css", "svg": "svg"}[url.rpartition(".")[2]]
        assert kind in asset.headers["content-type"], url
        assert asset.headers["x-content-type-options"] == "nosniff"


def test_the_console_and_the_reference_are_different_pages(stack: Stack) -> None:
    titles = {
        path: re.findall("<title>(.*)</title>", stack.http.get(path).text)[0] for path in ("/", "/jobs/x", "/docs")
    }
    assert titles["/"] == titles["/jobs/x"] != titles["/docs"]


def test_what_the_console_lacks_is_not_the_console(stack: Stack) -> None:
    """A missing script must not be answered with a page: browsers would try to run it."""
    for path in ("/assets/gone-00000000.js", "/nothing.json", "/.env"):
        answer = stack.http.get(path)
        assert answer.status_code in {403, 404}, path
        assert "<title>SimpleTuner" not in answer.text
    assert stack.http.post("/jobs").status_code in {403, 405}


def test_answers_of_the_api_can_not_be_framed_cached_or_sniffed(stack: Stack) -> None:
    for path in ("/api/cloud/jobs", "/api/cloud/jobs/none", "/api/openapi.json", "/api/cloud/health/live"):
        answer = stack.http.get(path)
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'", path
        assert answer.headers["cache-control"] == "no-store", path
        assert answer.headers["x-content-type-options"] == "nosniff", path
        assert "access-control-allow-origin" not in answer.headers, path


def test_only_the_consoles_own_origin_may_upload_from_a_browser(stack: Stack) -> None:
    bucket = f"{stack.ports.emulator_url}/{stack.facts['datasets_bucket']}/local/x"

    def preflight(origin: str) -> httpx.Response:
        asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
        return stack.http.request("OPTIONS", bucket, headers={"Origin": origin, **asked})

    allowed = preflight(stack.url)
    assert allowed.headers["access-control-allow-origin"] == stack.url
    assert "PUT" in allowed.headers["access-control-allow-methods"]
    assert "access-control-allow-origin" not in preflight("http://localhost:1").headers
    assert "access-control-allow-origin" not in preflight("https://evil.example").headers


def test_a_presigned_upload_takes_the_announced_bytes_alone(stack: Stack) -> None:
    data = b"announced"
    manifest = [{"path": "a.png", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}]
    version = stack.ok("POST", "/cloud/datasets", json={"dataset_id": "presigned", "files": manifest})
    route = f"/cloud/datasets/presigned/versions/{version['version_id']}"
    (upload,) = stack.ok("POST", f"{route}/uploads", json={})["uploads"]
    assert stack.http.put(upload["url"], content=b"something", headers=upload["headers"]).status_code == 400
    assert stack.http.put(upload["url"] + "x", content=data, headers=upload["headers"]).status_code == 403
    unfinished = stack.api("POST", f"{route}/complete")
    assert unfinished.status == 409, unfinished.text
    assert stack.http.put(upload["url"], content=data, headers=upload["headers"]).status_code == 200
    assert stack.ok("POST", f"{route}/complete")["status"] == "ready"
