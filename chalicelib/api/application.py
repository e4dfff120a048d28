"""All routes of the API, and the one that describes them."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable

from chalice.app import Chalice, Response

from chalicelib.api import (
    archives,
    audit,
    configs,
    consent,
    credentials,
    dataset_versions,
    datasets,
    deliveries,
    escrow,
    factors,
    inspections,
    jobs,
    keys,
    notifications,
    receipts,
    sessions,
    storage,
    system,
    users,
)
from chalicelib.api.auth import Caller
from chalicelib.api.facts import RequestFacts
from chalicelib.api.openapi import document
from chalicelib.api.routing import ENDPOINTS, SECURITY_HEADERS, Runtime
from chalicelib.wiring import Services

RESOURCES = (
    jobs.api,
    configs.api,
    datasets.api,
    archives.api,
    dataset_versions.api,
    consent.api,
    credentials.api,
    deliveries.api,
    escrow.api,
    inspections.api,
    sessions.api,
    factors.api,
    keys.api,
    receipts.api,
    users.api,
    audit.api,
    notifications.api,
    storage.api,
    system.api,
)


def mount(
    app: Chalice,
    services: Callable[[], Services],
    authenticate: Callable[[Services, RequestFacts], Caller],
) -> None:
    """Registers every route on ``app``; ``services`` and ``authenticate`` are called for each request."""
    runtime = Runtime(services, authenticate)
    for resource in RESOURCES:
        resource.mount(app, runtime)

    @app.route("/openapi.json", methods=["GET"], content_types=["*/*"])
    def openapi() -> Response:
        return Response(body=_description(), headers={"Content-Type": "application/json", **SECURITY_HEADERS})


@functools.cache
def _description() -> str:
    return json.dumps(document(ENDPOINTS))
