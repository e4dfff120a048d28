"""Inspections over HTTP: how far one is, its report, and asking for a new one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.api.routing import ENDPOINTS
from chalicelib.domain.permissions import Permission
from tests.fakes.probe import fake_picture
from tests.fakes.world import OWNER, World
from tests.support.inspections import inspect
from tests.unit.api.client import ApiClient

FILES = {"a.png": fake_picture(seed=1), "a.txt": b"a cat", "b.png": b"no picture", "b.txt": b"a dog"}


@pytest.fixture
def route(world: World) -> str:
    world.dataset_runner.when_inspecting = None
    return f"/api/cloud/datasets/pics/versions/{world.push(FILES, dataset_id='pics')}"


def run(world: World, route: str, attempt: int = 1) -> None:
    version = world.ports.datasets.get_version(OWNER, "pics", route.rpartition("/")[2])
    assert version is not None
    inspect(world.ports, version, attempt)


def test_while_it_goes_on_there_is_no_report(api: ApiClient, route: str) -> None:
    answer = api.get(f"{route}/report")
    assert answer.status == 200
    body = answer.json()
    assert (body["inspection"]["status"], body["report"], body["contact_sheet_url"]) == ("pending", None, None)


def test_the_report_with_its_contact_sheet(api: ApiClient, world: World, route: str) -> None:
    run(world, route)
    body = api.get(f"{route}/report").json()
    assert body["inspection"] | {"asked_at": "", "started_at": "", "finished_at": ""} == {
        "status": "done", "attempt": 1, "errors": 1, "warnings": 0, "notes": 0, "problem": None,
        "asked_at": "", "started_at": "", "finished_at": "",
    }  # fmt: skip
    report = body["report"]
    assert report["counts"]["images"] == 2
    (error,) = report["findings"]
    assert (error["level"], error["code"], error["count"], error["paths"]) == ("error", "not_an_image", 1, ["b.png"])
    assert error["advice"]
    assert report["sizes"] == [{"width": 512, "height": 512, "images": 1}]
    assert [fit["resolution"] for fit in report["fits"]] == [512, 1024]
    assert report["contact_sheet_paths"] == ["a.png"]
    assert body["contact_sheet_url"].startswith("fake://datasets/_reports/local/pics/")


def test_a_version_tells_of_its_inspection(api: ApiClient, world: World, route: str) -> None:
    assert api.get(route).json()["inspection"]["status"] == "pending"
    run(world, route)
    assert api.get(route).json()["inspection"]["errors"] == 1
    (listed,) = api.get("/api/cloud/datasets/pics").json()["versions"]
    assert listed["inspection"]["status"] == "done"


def test_an_unfinished_upload_has_none(api: ApiClient, world: World) -> None:
    body: dict[str, Any] = {"dataset_id": "new", "files": [{"path": "a.png", "size": 1, "sha256": "0" * 64}]}
    version = api.post("/api/cloud/datasets", body).json()
    assert version["inspection"] is None
    route = f"/api/cloud/datasets/new/versions/{version['version_id']}"
    assert api.get(f"{route}/report").json()["inspection"] is None
    refused = api.post(f"{route}/inspect")
    assert (refused.status, refused.json()["code"]) == (409, "version_not_ready")


def test_asking_again_is_refused_while_one_goes_on(api: ApiClient, world: World, route: str) -> None:
    refused = api.post(f"{route}/inspect")
    assert (refused.status, refused.json()["code"]) == (409, "inspection_running")
    run(world, route)
    asked = api.post(f"{route}/inspect")
    assert asked.status == 202
    assert (asked.json()["inspection"]["status"], asked.json()["inspection"]["attempt"]) == ("pending", 2)
    assert [key[-1] for key in world.dataset_runner.inspections if key[1] == "pics"] == [1, 2]
    run(world, route, 2)
    assert api.get(f"{route}/report").json()["inspection"]["status"] == "done"


def test_a_version_that_was_never_inspected_can_be(api: ApiClient, world: World, route: str) -> None:
    version = world.ports.datasets.get_version(OWNER, "pics", route.rpartition("/")[2])
    assert version is not None
    world.ports.datasets.update_version(version.changed(inspection=None))
    assert api.get(f"{route}/report").json()["inspection"] is None
    assert api.post(f"{route}/inspect").json()["inspection"]["attempt"] == 1


@pytest.mark.parametrize(("method", "name"), [("GET", "report"), ("POST", "inspect")])
def test_what_is_not_there_is_not_found(api: ApiClient, route: str, method: str, name: str) -> None:
    for path in (route.replace("pics", "other"), route + "0"):
        answer = api.request(method, f"{path}/{name}")
        assert (answer.status, answer.json()["code"]) == (404, "version_not_found")


def test_asking_is_audited(api: ApiClient, world: World, route: str) -> None:
    run(world, route)
    api.post(f"{route}/inspect")
    answer = api.get("/api/audit?action=dataset.inspect")
    assert answer.status == 200
    assert route.rpartition("/")[2] in json.dumps(answer.json())


def test_the_permissions_are_those_of_datasets() -> None:
    needed = {(e.method, e.path.rpartition("/")[2]): e.permission for e in ENDPOINTS if "{version_id}/" in e.path}
    assert needed["GET", "report"] is Permission.DATASET_VIEW
    assert needed["POST", "inspect"] is Permission.DATASET_EDIT
