"""What every route has in common: who may call, what a body may be, what an answer carries."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
from typing import Any

import pytest
from chalice.local import LambdaContext

from chalicelib.api.parsing import MAX_BODY_BYTES
from chalicelib.api.routing import ENDPOINTS, PROBLEM, SECURITY_HEADERS, Api, Endpoint
from chalicelib.domain.lifecycle import ContendedError, JobGoneError
from chalicelib.domain.permissions import Permission, Principal
from chalicelib.domain.ports import StaleRecordError
from chalicelib.schemas.base import Problem
from chalicelib.schemas.system import LiveResponse
from chalicelib.services.deploy_token import OWNER as HOSTED_OWNER
from tests.fakes.world import CONFIG, DATALOADER, World
from tests.unit.api.client import Answer, ApiClient, hosted_services, with_ports

SUBMIT = "/api/cloud/jobs/submit"
TOKEN = "stc_0123456789abcdef0123456789abcdef"

#: What nobody in particular gets from the public routes for an empty body.
PUBLIC_ANSWERS = {
    ("/auth/check", 200),
    ("/auth/login", 422),
    ("/auth/login/challenge", 422),
    ("/auth/login/pool-token", 422),
    ("/auth/logout", 200),
    ("/auth/refresh", 401),
    ("/auth/setup/first-admin", 422),
    ("/auth/setup/status", 200),
    ("/cloud/health", 200),
    ("/cloud/health/live", 200),
    ("/cloud/health/ready", 200),
    ("/cloud/jobs/{job_id}/deliveries/{delivery_id}/links", 401),
    ("/cloud/jobs/{job_id}/deliveries/{delivery_id}/receipt", 401),
    ("/cloud/storage", 401),
    ("/cloud/storage/{bucket}", 401),
    ("/cloud/storage/{bucket}/{key+}", 401),
    ("/webhooks/{provider}", 404),
}
endpoints = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")


def concrete(endpoint: Endpoint) -> str:
    """A public path of this route."""
    return "/api" + re.sub(r"{\w+\+?}", "x", endpoint.path)


def code(answer: Answer) -> Any:
    assert answer.headers["Content-Type"] == PROBLEM
    return Problem.model_validate(answer.json()).code


# --- who may call ---------------------------------------------------------------------------------------------
@endpoints
def test_every_route_names_a_permission_or_says_why_it_is_public(endpoint: Endpoint) -> None:
    assert (endpoint.permission is None) == bool(endpoint.public_reason)
    assert endpoint.summary
    assert not endpoint.summary.endswith(".")


def test_only_these_need_no_permission() -> None:
    assert {(e.method, e.path) for e in ENDPOINTS if e.permission is None} == {
        ("GET", "/auth/me"),
        ("GET", "/auth/check"),
        ("GET", "/auth/setup/status"),
        ("POST", "/auth/login"),
        ("POST", "/auth/login/challenge"),
        ("POST", "/auth/login/pool-token"),
        ("POST", "/auth/logout"),
        ("POST", "/auth/refresh"),
        ("POST", "/auth/setup/first-admin"),
        ("GET", "/cloud/health"),
        ("GET", "/cloud/health/live"),
        ("GET", "/cloud/health/ready"),
        ("POST", "/cloud/jobs/{job_id}/deliveries/{delivery_id}/receipt"),
        ("POST", "/cloud/jobs/{job_id}/deliveries/{delivery_id}/links"),
        ("GET", "/cloud/storage"),
        ("GET", "/cloud/storage/{bucket}"),
        ("GET", "/cloud/storage/{bucket}/{key+}"),
        ("PUT", "/cloud/storage/{bucket}/{key+}"),
        ("POST", "/cloud/storage/{bucket}/{key+}"),
        ("POST", "/webhooks/{provider}"),
    }


def test_a_public_route_without_a_reason_can_not_be_declared() -> None:
    with pytest.raises(ValueError, match="says why"):
        Api(tag="x").endpoint("GET", "/x", permission=None, response=LiveResponse)


@endpoints
def test_a_hosted_stack_lets_nobody_in_without_its_token(world: World, endpoint: Endpoint) -> None:
    api = ApiClient(hosted_services(world, TOKEN))
    answer = api.request(endpoint.method, concrete(endpoint), {})
    if not endpoint.needs_caller:
        assert (endpoint.path, answer.status) in PUBLIC_ANSWERS
        return
    assert (answer.status, code(answer)) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert world.provider.calls == []


@endpoints
def test_a_caller_without_the_permission_gets_403(api: ApiClient, endpoint: Endpoint) -> None:
    if endpoint.permission is None:
        return
    others = [p for p in Permission if not Principal("o", frozenset({p})).may(endpoint.permission)]
    api.act_as("o", *others)
    answer = api.request(endpoint.method, concrete(endpoint), {})
    assert (answer.status, code(answer)) == (403, "permission_denied")
    assert endpoint.permission.value in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {TOKEN}"},
        {"authorization": f"bearer {TOKEN}"},
        {"Authorization": f"Bearer  {TOKEN} "},
        {"X-API-Key": TOKEN},
    ],
)
def test_the_deploy_token_opens_a_hosted_stack(world: World, headers: dict[str, str]) -> None:
    api = ApiClient(hosted_services(world, TOKEN))
    assert api.get("/api/cloud/jobs", headers=headers).status == 200
    body = {
        "config": CONFIG,
        "dataloader_config": [{"id": "photos", "type": "huggingface", "dataset_name": "owner/photos"}],
    }
    assert api.post(SUBMIT, body, headers=headers).json()["job"]["user_id"] == HOSTED_OWNER


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Authorization": f"Bearer {TOKEN}x"}, "invalid_token"),
        ({"Authorization": f"Bearer {hashlib.sha256(TOKEN.encode()).hexdigest()}"}, "invalid_session"),
        ({"Authorization": "Bearer tok\xe9n"}, "invalid_session"),
        ({"Authorization": "Bearer \ud800"}, "invalid_session"),
        ({"X-API-Key": "x"}, "invalid_session"),
        ({"X-API-Key": "stk_x"}, "invalid_key"),
        ({"Authorization": "Bearer stk_\ud800"}, "invalid_key"),
        ({"Authorization": f"Basic {TOKEN}"}, "unauthenticated"),
        ({"Authorization": TOKEN}, "unauthenticated"),
        ({"Authorization": "Bearer "}, "unauthenticated"),
        ({"Authorization": "", "X-API-Key": TOKEN}, "unauthenticated"),
        ({"X-API-Key": " "}, "unauthenticated"),
    ],
)
def test_other_credentials_do_not(world: World, headers: dict[str, str], expected: str) -> None:
    api = ApiClient(hosted_services(world, TOKEN))
    answer = api.get("/api/cloud/jobs", headers=headers)
    assert (answer.status, code(answer)) == (401, expected)
    assert TOKEN not in answer.body.decode()


def test_a_hosted_stack_whose_token_was_never_set_lets_nobody_in(world: World) -> None:
    api = ApiClient(hosted_services(world, None))
    assert api.get("/api/cloud/jobs", headers={"Authorization": f"Bearer {TOKEN}"}).status == 401


# --- other web pages ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8001"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Origin": "https://cloud.test"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.test"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "https://cloud.test"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.test"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://cloud.test.evil.test"}, 403),
    ],
)
def test_another_sites_page_can_not_spend_money(
    api: ApiClient, world: World, headers: dict[str, str], status: int
) -> None:
    body = json.dumps({"config": CONFIG, "dataloader_config": DATALOADER}).encode()
    answer = api.post(SUBMIT, body, headers={"content-type": "text/plain", **headers})
    assert answer.status == status
    assert len(world.jobs.slot_holders("local")) == (status == 200)
    if status == 403:
        assert code(answer) == "cross_site_request"


@endpoints
def test_no_route_that_changes_something_takes_another_sites_request(api: ApiClient, endpoint: Endpoint) -> None:
    headers = {"Sec-Fetch-Site": "cross-site"}
    answer = api.request(endpoint.method, concrete(endpoint), {}, headers=headers)
    refused = answer.status == 403
    assert refused == (endpoint.method != "GET" and not endpoint.from_machines)


# --- bodies ---------------------------------------------------------------------------------------------------
BAD_JSON = [
    b"{bad",
    b"{",
    b'{"config": {"a": NaN}}',
    b'{"config": {"a": -Infinity}}',
    b'{"config": {"a": 1e999}}',
    b'{"config": {"a": ' + b"9" * 22 + b"}}",
    b'{"config": {"a": ' + b"9" * 5000 + b"}}",
    b'{"config": {"a": -9223372036854775809}}',
    b'{"config": {"a": "\\ud800"}}',
    b'{"config": {"\\udfff": 1}}',
    b'{"config": {"a": ["\\ud83d x"]}}',
    b"[" * 100_000,
    b'{"config":' + b'{"a":' * 40 + b"1" + b"}" * 41,
    b'{"config":' + b"[" * 40 + b"]" * 40 + b"}",
    b'{"config": "\xc3\x28"}',
    b"\xff\xfe\x00",
    b"\x00",
    b"config=1&x=2",
    b"--boundary\r\nContent-Disposition: form-data\r\n",
]


@pytest.mark.parametrize("body", BAD_JSON, ids=lambda b: repr(b[:30]))
@pytest.mark.parametrize(
    ("method", "path"), [("POST", SUBMIT), ("PUT", "/api/configs/c"), ("POST", "/api/cloud/datasets")]
)
def test_what_is_no_json_is_refused_with_a_reason(api: ApiClient, method: str, path: str, body: bytes) -> None:
    answer = api.request(method, path, body)
    assert (answer.status, code(answer)) == (422, "invalid_json")
    assert answer.json()["detail"]


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"x"', b"1", b"true"])
def test_a_body_must_be_an_object(api: ApiClient, body: bytes) -> None:
    answer = api.post(SUBMIT, body)
    assert (answer.status, answer.json()["errors"]) == (
        422,
        [{"field": "body", "message": "must be a JSON object", "code": "dict_type"}],
    )


def test_what_fits_into_64_bits_and_any_text_passes(api: ApiClient) -> None:
    config = {
        "seed": 2**64 - 1,
        "low": -(2**63),
        "text": "日本語 😀 \x00",
        "rate": 1e-300,
        "deep": {"a": [[{"b": None}]]},
    }
    assert api.put("/api/configs/c", {"config": config}).status == 200
    assert api.get("/api/configs/c").json()["config"] == config


def test_a_whole_surrogate_pair_is_a_character(api: ApiClient) -> None:
    assert api.put("/api/configs/c", b'{"config": {"a": "\\ud83d\\ude00"}}').status == 200
    assert api.get("/api/configs/c").json()["config"] == {"a": "😀"}


@endpoints
def test_a_body_beyond_the_limit(api: ApiClient, endpoint: Endpoint) -> None:
    if endpoint.method == "GET" or endpoint.storage:
        return  # objects of any size are redirected
    answer = api.request(endpoint.method, concrete(endpoint), b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status, code(answer)) == (413, "payload_too_large")
    assert str(MAX_BODY_BYTES) in answer.json()["detail"]
    assert "shorten the files' paths, or split the dataset" in answer.json()["detail"]


def test_an_answer_about_many_errors_stays_small(api: ApiClient) -> None:
    files = [{"path": 1, "size": "x", "sha256": None}] * 1000
    answer = api.post("/api/cloud/datasets", {"dataset_id": "d", "files": files, "k" * 100_000: 1})
    assert answer.status == 422
    assert len(answer.json()["errors"]) == 50
    assert len(answer.body) < 20_000


def lambda_event(body: str | None, *, encoded: bool) -> dict[str, Any]:
    """What API Gateway hands to the function for a submit."""
    return {
        "requestContext": {
            "httpMethod": "POST",
            "resourcePath": "/cloud/jobs/submit",
            "requestId": "r-1",
            "identity": {},
            "path": SUBMIT,
        },
        "headers": None,
        "pathParameters": None,
        "stageVariables": None,
        "multiValueQueryStringParameters": None,
        "body": body,
        "isBase64Encoded": encoded,
    }


@pytest.mark.parametrize(
    ("body", "encoded", "status"),
    [
        (json.dumps({"config": CONFIG, "dataloader_config": DATALOADER}), False, 200),
        (
            base64.b64encode(json.dumps({"config": CONFIG, "dataloader_config": DATALOADER}).encode()).decode(),
            True,
            200,
        ),
        (None, False, 422),
        ("\ud800", False, 422),
        ("abc", True, 422),
        ("äöü", True, 422),
    ],
)
def test_bodies_as_api_gateway_hands_them_over(api: ApiClient, body: str | None, encoded: bool, status: int) -> None:
    context = LambdaContext("f", 128, 1000)
    answer = api.app(lambda_event(body, encoded=encoded), context)
    assert answer["statusCode"] == status
    if status != 200:
        assert json.loads(answer["body"])["request_id"] == "r-1"


# --- answers --------------------------------------------------------------------------------------------------
@endpoints
def test_every_answer_carries_the_security_headers(api: ApiClient, endpoint: Endpoint) -> None:
    answer = api.request(endpoint.method, concrete(endpoint), {})
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert "no-store" in answer.headers["Cache-Control"]
    if answer.status >= 400:
        body = answer.json()
        Problem.model_validate(body)
        assert body["status"] == answer.status


@pytest.mark.parametrize("error", [StaleRecordError("x"), ContendedError("x"), JobGoneError("x")])
def test_what_changed_at_this_very_moment_is_a_conflict(api: ApiClient, error: Exception) -> None:
    api.services = with_ports(api.services, jobs=_Raises(error))
    answer = api.get("/api/cloud/jobs/j")
    assert (answer.status, code(answer)) == (409, "changed_meanwhile")


def test_what_nobody_foresaw_is_logged_and_not_shown(api: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    api.services = with_ports(api.services, jobs=_Raises(RuntimeError("password=hunter2")))
    with caplog.at_level(logging.ERROR, "chalicelib"):
        answer = api.get("/api/cloud/jobs/j")
    assert (answer.status, code(answer)) == (500, "internal_error")
    assert "hunter2" not in answer.body.decode()
    assert answer.json()["request_id"] in answer.json()["detail"]
    assert "hunter2" in caplog.text


def test_an_answer_that_can_not_be_written_is_a_problem_too(api: ApiClient) -> None:
    config = {"a": "\ud800"}  # stored by something that was less strict
    api.put("/api/configs/c", {"config": {}})
    stored = api.services.ports.configs.get("local", "c")
    assert stored is not None
    api.services.ports.configs.save(stored.model_copy(update={"version": 2, "config": config}))
    assert code(api.get("/api/configs/c")) == "internal_error"


def test_the_gateway_answers_for_what_is_no_route(api: ApiClient) -> None:
    """Chalice answers a wrong method; API Gateway itself answers unknown paths before any code of ours runs."""
    assert api.get("/api/nope").status == 403
    assert api.post("/api/cloud/jobs", {}).status == 405


class _Raises:
    """A store that fails, whatever is asked."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            raise self._error

        return fail
