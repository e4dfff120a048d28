"""The API keeps what its description says, whatever is sent: no 5xx, described statuses, described bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from chalicelib.api.openapi import document
from chalicelib.api.routing import ENDPOINTS
from tests.fakes.world import CONFIG, DATALOADER, World
from tests.unit.api.client import ApiClient, local_services
from tests.unit.api.team import Team

EXAMPLES = 12


def populated() -> tuple[World, dict[str, str]]:
    """A world with a finished, a running and a new job, and what the description's example names stand for in it."""
    world = World()
    world.push(source="/data/photos")
    version = world.push(dataset_id="my-dataset", source="/data/datasets/my-dataset")
    jobs = []
    for end in (240, 30, 0):
        jobs.append(world.submit().job.job_id)
        world.run(end, step=30)
    api = ApiClient(local_services(world))
    api.put("/api/configs/my-config", {"config": CONFIG, "dataloader_config": DATALOADER})
    return world, {"4mq1zv0kx3c9b7t2h5n8d6w0ya": jobs[0], "v-0f5d2c1e9b8a7d6c5b4a": version}


def behind_doors() -> tuple[ApiClient, dict[str, str]]:
    """An admin's client of a stack with people and keys, and what the example names stand for in it."""
    team = Team(World())
    key = team.make_key("ada")["key_info"]["id"]
    names = {"0b5c7f1e-6a0d-4c57-9d3f-2f1f6f0f6a11": team.ids["rita"], "m3xg2k5jq4a7cB1xYz9Qw0T": key}
    return team.session("ada"), names


#: Routes that are for people: the others are called as the admin of a stack that has none yet.
DOORS = ("/api/auth/", "/api/users", "/api/audit", "/api/cloud/auth/")


class Wsgi:
    """The API as a WSGI application, with a fresh world for each request so that one example can't spoil the next."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"].startswith(DOORS):
            api, names = behind_doors()
        else:
            world, names = populated()
            api = ApiClient(local_services(world))
        size = int(environ.get("CONTENT_LENGTH") or 0)
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        if environ.get("CONTENT_TYPE"):
            headers["content-type"] = environ["CONTENT_TYPE"]
        # WSGI has decoded the path; API Gateway hands it over encoded.
        path = quote(environ["PATH_INFO"].encode("latin-1"), safe="/")
        for example, name in names.items():
            path = path.replace(example, name)
        query = environ.get("QUERY_STRING", "")
        body = environ["wsgi.input"].read(size)
        answer = api.request(environ["REQUEST_METHOD"], f"{path}?{query}" if query else path, body, headers=headers)
        status = HTTPStatus(answer.status)
        start_response(f"{status.value} {status.phrase}", [(k, str(v)) for k, v in answer.headers.items()])
        return [answer.body]


schema = schemathesis.openapi.from_dict(json.loads(json.dumps(document(ENDPOINTS))))
schema.app = Wsgi()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_keeps_its_description(case: schemathesis.Case) -> None:
    response = case.call()
    if case.method.upper() != case.operation.method.upper():
        assert response.status_code in {200, 405}, "the gateway answers for a method that is not described"
        return
    assert response.status_code != 405
    case.validate_response(
        response,
        checks=[
            not_a_server_error,
            status_code_conformance,
            content_type_conformance,
            response_headers_conformance,
            response_schema_conformance,
        ],
    )
