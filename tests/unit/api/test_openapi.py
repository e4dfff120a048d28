"""The API's description: committed, valid, and complete."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from chalicelib.api.openapi import document, error_statuses
from chalicelib.api.routing import ENDPOINTS, PROBLEM, Endpoint
from scripts import openapi

COMMITTED: dict[str, Any] = json.loads(openapi.TARGET.read_text(encoding="utf-8"))

endpoints = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")


def operation(endpoint: Endpoint) -> Any:
    return COMMITTED["paths"][f"/api{endpoint.path.replace('+}', '}')}"][endpoint.method.lower()]


def test_the_committed_file_is_what_the_code_says() -> None:
    assert openapi.TARGET.read_text(encoding="utf-8") == openapi.rendered(), "run: python scripts/openapi.py"


def test_check_tells_a_stale_file_from_a_fresh_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "openapi.json"
    assert openapi.main(["--check"], target=target) == 1
    assert openapi.main([], target=target) == 0
    assert openapi.main(["--check"], target=target) == 0
    target.write_text(target.read_text().replace("Submit a training job", "Old words"))
    capsys.readouterr()
    assert openapi.main(["--check"], target=target) == 1
    assert '-        "summary": "Old words"' in capsys.readouterr().out


def test_it_is_valid_openapi() -> None:
    validate(COMMITTED)
    assert COMMITTED["openapi"] == "3.1.0"


def test_it_does_not_depend_on_the_order_of_declaration() -> None:
    assert json.dumps(document(ENDPOINTS), sort_keys=True) == json.dumps(
        document(list(reversed(ENDPOINTS))), sort_keys=True
    )


@endpoints
def test_every_route_is_described(endpoint: Endpoint) -> None:
    described = operation(endpoint)
    assert described["summary"]
    assert described["operationId"] == endpoint.operation_id
    assert (described["security"] == []) == (not endpoint.needs_caller)
    names = {p["name"] for p in described["parameters"] if p["in"] == "path"}
    # A greedy one ("{key+}") is described by its name alone.
    assert all(f"{{{name}}}" in endpoint.path.replace("+}", "}") for name in names)
    assert len(names) == endpoint.path.count("{")
    assert all(p["description"] and p["example"] for p in described["parameters"] if p["in"] == "path")


@endpoints
def test_every_error_a_route_may_give_is_described_as_a_problem(endpoint: Endpoint) -> None:
    responses = operation(endpoint)["responses"]
    errors = {int(status) for status in responses if int(status) >= 400}
    assert errors == set(error_statuses(endpoint))
    assert all(PROBLEM in responses[str(status)]["content"] for status in errors)
    assert errors >= ({401, 403, 500} if endpoint.permission else {500})


def test_operation_ids_are_unique() -> None:
    ids = [e.operation_id for e in ENDPOINTS]
    assert len(ids) == len(set(ids))


def test_submit_describes_its_key_its_examples_and_its_refusals() -> None:
    submit = COMMITTED["paths"]["/api/cloud/jobs/submit"]["post"]
    (key,) = [p for p in submit["parameters"] if p["in"] == "header"]
    assert (key["name"], key["required"]) == ("Idempotency-Key", False)
    assert "24 hours" in key["description"]
    schemas = COMMITTED["components"]["schemas"]
    assert schemas["SubmitRequest"]["examples"]
    refusal = submit["responses"]["429"]
    assert refusal["headers"]["Retry-After"]["schema"]["type"] == "integer"
    assert refusal["content"][PROBLEM]["schema"] == {"$ref": "#/components/schemas/SubmitProblem"}
    assert {"success", "error", "job_id"} <= set(schemas["SubmitProblem"]["required"])


def test_webhooks_describe_their_signature() -> None:
    webhook = COMMITTED["paths"]["/api/webhooks/{provider}"]["post"]
    headers = {p["name"] for p in webhook["parameters"] if p["in"] == "header" and p["required"]}
    assert headers == {"webhook-id", "webhook-timestamp", "webhook-signature"}
