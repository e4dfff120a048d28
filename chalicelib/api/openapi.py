"""The OpenAPI document, made from the routes' own declarations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from chalicelib.api.routing import PROBLEM, Endpoint
from chalicelib.schemas.base import Problem, SubmitProblem
from chalicelib.settings import VERSION

JSON = "application/json"
_REF = "#/components/schemas/{model}"
_ABOUT = """SimpleTuner's `/api/cloud` API. Errors are RFC 9457 problems with a stable `code`.

Send a session or an API key as `Authorization: Bearer <token>`; keys also as `X-API-Key`. The console uses cookies, and
then repeats the cookie `stc_csrf` in the header `X-CSRF-Token` whenever it changes something. A stack on this computer
takes requests from this computer without any, until its first admin is made.

Each caller has a number of requests a minute: see the `RateLimit-*` headers."""

_PATH_PARAMETERS = {
    "job_id": ("The id that submit returned.", "4mq1zv0kx3c9b7t2h5n8d6w0ya"),
    "dataset_id": ("The name the dataset was pushed under.", "my-dataset"),
    "version_id": ("A version of the dataset: `v-` and the beginning of its content's hash.", "v-0f5d2c1e9b8a7d6c5b4a"),
    "archive_id": ("The id of an archive that was uploaded to be unpacked.", "1kd7x9c2v5b8n3m6q4w0e1r2t3"),
    "name": ("The name it was saved under.", "my-config"),
    "delivery_id": ("The id of a delivery.", "d-4mq1zv0kx3c9b7t2h5n8d6w0ya-001"),
    "channel_id": ("The id of a channel of notifications.", "1kd7x9c2v5b8n3m6q4w0e1r2t3"),
    "message_id": ("The id of a message, which is its `webhook-id`.", "msg_17640000000000000f5d2c1e9b8a7d6c5b4a"),
    "bucket": ("There is one.", "outputs"),
    "key": ("The key of an object; it may hold slashes.", "run-1/model.safetensors"),
    "provider": ("The id of a GPU provider.", "replicate"),
    "user_id": ("The id of a person.", "0b5c7f1e-6a0d-4c57-9d3f-2f1f6f0f6a11"),
    "key_id": ("The id of an API key: what stands between `stk_` and the next `_`.", "m3xg2k5jq4a7cB1xYz9Qw0T"),
}
_RETRY_AFTER = {
    "Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer", "minimum": 0}}
}
_CHALLENGE = {"WWW-Authenticate": {"description": "How to authenticate.", "schema": {"type": "string"}}}
_HEADERS = {401: _CHALLENGE, 429: _RETRY_AFTER, 503: _RETRY_AFTER}
#: On every answer to a caller who was let in, but for the owner of this computer; described where they matter most.
_RATE = {
    "RateLimit-Limit": "Requests that this caller has in a minute.",
    "RateLimit-Remaining": "How many of them are left.",
    "RateLimit-Reset": "Seconds until they are all back.",
}
_RATE_REFERENCES = {name: {"$ref": f"#/components/headers/{name}"} for name in _RATE}


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these endpoints; deterministic."""
    models: list[tuple[type[BaseModel], Any]] = [(Problem, "serialization"), (SubmitProblem, "serialization")]
    for endpoint in endpoints:
        models.append((endpoint.response, "serialization"))
        models += [(m, "validation") for m in (endpoint.body,) if m is not None]
    unique = list(dict.fromkeys(models))
    names, definitions = models_json_schema(unique, ref_template=_REF)
    reference = {key: {"$ref": value["$ref"]} for key, value in names.items()}
    paths: dict[str, Any] = {}
    for endpoint in sorted(endpoints, key=lambda e: (e.path, e.method)):
        paths.setdefault(f"/api{endpoint.path.replace('+}', '}')}", {})[endpoint.method.lower()] = _operation(
            endpoint, reference
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SimpleTuner Cloud, serverless",
            "version": VERSION,
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This stack"}],
        "tags": [{"name": tag} for tag in sorted({e.tag for e in endpoints})],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(definitions.get("$defs", {}).items())),
            "headers": {
                name: {"description": text, "schema": {"type": "integer", "minimum": 0}} for name, text in _RATE.items()
            },
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "cookie": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-stc_session",
                    "description": "The console's; without the prefix on http://localhost.",
                },
            },
        },
    }


def error_statuses(endpoint: Endpoint) -> list[int]:
    """Every status of 400 and above this route may answer with, ascending; what its declaration implies included."""
    bad = {s for s in endpoint.statuses if s >= 400} | {500, 503}
    if endpoint.needs_caller:
        bad |= {401, 403, 429}
        if endpoint.changes_something:
            bad |= {409}  # two callers at once
    if endpoint.body or endpoint.query:
        bad |= {422}
    if endpoint.changes_something:
        bad |= {413}
    if "{" in endpoint.path:
        bad |= {404}
    return sorted(bad)


def _operation(endpoint: Endpoint, reference: dict[Any, dict[str, str]]) -> dict[str, Any]:
    response = reference[(endpoint.response, "serialization")]
    problem = reference[(SubmitProblem if endpoint.submit_errors else Problem, "serialization")]
    good = [s for s in (endpoint.status, *endpoint.statuses) if s < 400]
    operation: dict[str, Any] = {
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": [
            *_path_parameters(endpoint.path),
            *_parameters(endpoint.query, "query"),
            *_parameters(endpoint.headers, "header"),
        ],
        "responses": {
            **{str(s): _content(s, JSON, response, endpoint) for s in good},
            **{str(s): _content(s, PROBLEM, problem, endpoint) for s in error_statuses(endpoint)},
        },
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.needs_caller:
        # None at all is right on a stack without an admin on this computer.
        operation["security"] = [{}, {"token": []}, {"key": []}, {"cookie": []}]
    else:
        operation["security"] = []
    if endpoint.permission is not None:
        operation["x-permission"] = endpoint.permission.value
    else:
        operation["x-public-because"] = endpoint.public_reason
    if endpoint.audited is not None:
        operation["x-audited-as"] = endpoint.audited.action.value
    if endpoint.body is not None:
        body = reference[(endpoint.body, "validation")]
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    elif endpoint.raw_body:
        content = {JSON: {"schema": {"type": "object"}}}
        operation["requestBody"] = {"required": True, "description": endpoint.raw_body, "content": content}
    return operation


def _content(status: int, media_type: str, schema: dict[str, str], endpoint: Endpoint) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": {media_type: {"schema": schema}}}
    counted = endpoint.needs_caller and (status < 400 or status == 429)
    headers = {**_HEADERS.get(status, {}), **(_RATE_REFERENCES if counted else {})}
    if headers:
        described["headers"] = headers
    return described


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)\+?}", path):
        description, example = _PATH_PARAMETERS[name]
        schema = {"type": "string", "minLength": 1, "maxLength": 512}
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": description,
            "schema": schema,
            "example": example,
        }


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """The schema with what it refers to in its place: parameters have no room for definitions of their own."""
    if isinstance(node, list):
        return [_inlined(child, definitions) for child in node]
    if not isinstance(node, dict):
        return node
    reference = node.get("$ref")
    if isinstance(reference, str):
        return {**definitions[reference.rpartition("/")[2]], **{k: v for k, v in node.items() if k != "$ref"}}
    return {key: _inlined(child, definitions) for key, child in node.items()}


def _parameters(model: type[BaseModel] | None, where: str) -> Iterator[dict[str, Any]]:
    if model is None:
        return
    schema = model.model_json_schema(by_alias=True)
    properties = _inlined(schema["properties"], schema.get("$defs", {}))
    for name, definition in properties.items():
        parameter = {"name": name, "in": where, "required": name in schema.get("required", [])}
        described = {key: value for key, value in definition.items() if key not in {"description", "title"}}
        if "description" in definition:
            parameter["description"] = definition["description"]
        yield {**parameter, "schema": described}
