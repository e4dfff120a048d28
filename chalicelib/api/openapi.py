"""The OpenAPI document, made from the routes' own declarations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from chalicelib.api.routing import PROBLEM, Endpoint
from chalicelib.schemas.base import Problem
from chalicelib.settings import VERSION

_REF = "#/components/schemas/{model}"


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these endpoints; deterministic."""
    models: list[tuple[type[BaseModel], Any]] = [(Problem, "serialization")]
    for endpoint in endpoints:
        models.append((endpoint.response, "serialization"))
        models += [(m, "validation") for m in (endpoint.body,) if m is not None]
    unique = list(dict.fromkeys(models))
    names, definitions = models_json_schema(unique, ref_template=_REF)
    paths: dict[str, Any] = {}
    for endpoint in sorted(endpoints, key=lambda e: (e.path, e.method)):
        reference = {key: value["$ref"] for key, value in names.items()}
        paths.setdefault(f"/api{endpoint.path}", {})[endpoint.method.lower()] = _operation(endpoint, reference)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "SimpleTuner Cloud, serverless",
            "version": VERSION,
            "description": "SimpleTuner's `/api/cloud` API. Errors are RFC 9457 problems with a stable `code`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "This stack"}],
        "tags": [{"name": tag} for tag in sorted({e.tag for e in endpoints})],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(definitions.get("$defs", {}).items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, reference: dict[Any, str]) -> dict[str, Any]:
    response = {"$ref": reference[(endpoint.response, "serialization")]}
    problem = {"$ref": reference[(Problem, "serialization")]}
    good = [s for s in (endpoint.status, *endpoint.statuses) if s < 400]
    bad = {s for s in endpoint.statuses if s >= 400} | {500}
    if endpoint.permission is not None:
        bad |= {401, 403}
    if endpoint.body or endpoint.query:
        bad |= {422}
    if endpoint.body:
        bad |= {400}
    operation: dict[str, Any] = {
        "operationId": endpoint.operation_id,
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "parameters": [*_path_parameters(endpoint.path), *_query_parameters(endpoint.query)],
        "responses": {
            **{str(s): _content(s, "application/json", response) for s in good},
            **{str(s): _content(s, PROBLEM, problem) for s in sorted(bad)},
        },
    }
    if endpoint.description:
        operation["description"] = endpoint.description
    if endpoint.permission is not None:
        operation["security"] = [{}, {"token": []}]
        operation["x-permission"] = endpoint.permission.value
    if endpoint.body is not None:
        body = {"$ref": reference[(endpoint.body, "validation")]}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return operation


def _content(status: int, media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": {media_type: {"schema": schema}}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)\+?}", path)
    ]


def _query_parameters(model: type[BaseModel] | None) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema()
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", []), "schema": definition}
        for name, definition in schema["properties"].items()
    ]
