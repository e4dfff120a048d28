"""Archives over HTTP: upload in parts, completion, what is refused before anything is uploaded."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chalicelib.domain.archives import ARCHIVE_PART_BYTES, GIB, MAX_ARCHIVE_BYTES
from chalicelib.domain.audit import AuditAction, AuditResult
from chalicelib.domain.permissions import Permission
from tests.corpus.cases import GOOD, TAKEN
from tests.corpus.zips import zipped
from tests.fakes.world import World
from tests.support.unpacking import run_steps
from tests.unit.api.client import ApiClient, local_services, with_ports

ARCHIVES = "/api/cloud/datasets/packed/archives"
DATA = zipped(GOOD)


def start(api: ApiClient, size: int = len(DATA), **body: Any) -> Any:
    answer = api.post(ARCHIVES, {"filename": "写真.zip", "size": size, **body})
    assert answer.status == 201, answer.body
    return answer.json()


def put(world: World, part: Any, data: bytes) -> None:
    world.dataset_files.upload(part["url"], part["headers"], data, now=world.clock.now())


def send(api: ApiClient, world: World, data: bytes = DATA) -> str:
    """An archive that is complete; returns its route."""
    made = start(api, len(data))
    put(world, made["parts"][0], data)
    route = f"{ARCHIVES}/{made['archive_id']}"
    assert api.post(f"{route}/complete").status == 202
    return route


def unpack(api: ApiClient, world: World, route: str) -> Any:
    archive = api.services.archives.get("local", "packed", route.rpartition("/")[2])
    run_steps(archive, world.ports)
    return api.get(route).json()


def test_an_archive_from_upload_to_version(api: ApiClient, world: World) -> None:
    route = send(api, world)
    waiting = api.get(route).json()
    assert (waiting["status"], waiting["version_id"], waiting["report"]) == ("unpacking", None, None)
    done = unpack(api, world, route)
    assert (done["status"], done["filename"], done["failure"]) == ("ready", "写真.zip", None)
    assert done["report"]["taken"] == {"files": 2, "bytes": sum(map(len, TAKEN.values()))}
    version = api.get(f"/api/cloud/datasets/packed/versions/{done['version_id']}").json()
    assert (version["status"], version["files"]) == ("ready", 2)
    assert api.get("/api/cloud/datasets/packed").json()["latest_version"] == done["version_id"]
    assert [a["archive_id"] for a in api.get(ARCHIVES).json()["archives"]] == [done["archive_id"]]


def test_a_refused_archive_says_why_and_what_to_do(api: ApiClient, world: World) -> None:
    done = unpack(api, world, send(api, world, DATA[:50]))
    assert (done["status"], done["version_id"]) == ("failed", None)
    assert done["failure"]["code"] == "truncated_archive"
    assert "upload it again" in done["failure"]["advice"]
    assert done["report"]["taken"] == {"files": 0, "bytes": 0}


def test_parts_come_in_batches_and_are_renewed(api: ApiClient, world: World) -> None:
    made = start(api, 300 * ARCHIVE_PART_BYTES + 1)
    assert (made["part_size"], len(made["parts"]), made["next"]) == (ARCHIVE_PART_BYTES, 200, 200)
    route = f"{ARCHIVES}/{made['archive_id']}/parts"
    rest = api.post(route, {"after": 200}).json()
    assert ([p["number"] for p in rest["parts"]], rest["next"]) == (list(range(201, 302)), None)
    assert rest["parts"][-1]["size"] == 1
    put(world, rest["parts"][-1], b"x")
    again = api.post(route, {"after": 299, "limit": 5}).json()
    assert ([p["number"] for p in again["parts"]], again["present"], again["next"]) == ([300], 1, None)
    assert api.post(route, {"after": 299, "limit": 1}).json()["next"] is None


def test_completing_too_early_names_the_parts(api: ApiClient, world: World) -> None:
    made = start(api, 2 * ARCHIVE_PART_BYTES)
    answer = api.post(f"{ARCHIVES}/{made['archive_id']}/complete")
    assert (answer.status, answer.json()["code"]) == (409, "upload_incomplete")
    assert [e["field"] for e in answer.json()["errors"]] == ["parts.1", "parts.2"]
    assert world.dataset_runner.unpacks == {}


def test_an_upload_that_expired_says_so(api: ApiClient, world: World) -> None:
    made = start(api)
    archive = world.archives.get("local", "packed", made["archive_id"])
    assert archive is not None
    world.dataset_files.abort_multipart(archive.key, archive.upload_id)
    for action, body in (("parts", {}), ("complete", None)):
        answer = api.post(f"{ARCHIVES}/{made['archive_id']}/{action}", body)
        assert (answer.status, answer.json()["code"]) == (409, "upload_expired")


def test_completing_may_be_repeated_and_starts_one_execution(api: ApiClient, world: World) -> None:
    world.dataset_runner.start_fails = 0
    route = send(api, world)
    assert api.post(f"{route}/complete").json()["status"] == "unpacking"
    assert len(world.dataset_runner.unpacks) == 1
    answer = api.post(f"{route}/parts", {})
    assert (answer.status, answer.json()["code"]) == (409, "archive_not_uploading")
    unpack(api, world, route)
    assert api.post(f"{route}/complete").json()["status"] == "ready"
    assert len(world.dataset_runner.unpacks) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"size": 0}, 422, "validation_failed"),
        ({"size": MAX_ARCHIVE_BYTES + 1}, 422, "validation_failed"),
        ({"filename": ""}, 422, "validation_failed"),
        ({"sha256": "A" * 64}, 422, "validation_failed"),
        ({"unknown": 1}, 422, "validation_failed"),
        ({"size": 5 * GIB, "filename": "photos.TAR.gz"}, 413, "compressed_tar_too_large"),
        ({"size": 30 * GIB, "sha256": "a" * 64}, 413, "archive_too_large_to_hash"),
    ],
)
def test_what_can_be_told_before_is(api: ApiClient, world: World, body: dict[str, Any], status: int, code: str) -> None:
    answer = api.post(ARCHIVES, {"filename": "a.zip", "size": 9, **body})
    assert (answer.status, answer.json()["code"]) == (status, code)
    assert list(world.dataset_files.multiparts("_archives/")) == []


@pytest.mark.parametrize("name", ["..", "-x", "a b", "x" * 101, "a%2Fb"])
def test_a_dataset_has_a_name_that_can_be_one(api: ApiClient, name: str) -> None:
    answer = api.post(f"/api/cloud/datasets/{name}/archives", {"filename": "a.zip", "size": 9})
    assert answer.status in {404, 422}


def test_beyond_the_quota_nothing_is_started(world: World) -> None:
    limits = replace(world.ports.limits, dataset_quota_bytes=100)
    api = ApiClient(with_ports(local_services(world), limits=limits))
    answer = api.post(ARCHIVES, {"filename": "a.zip", "size": 101})
    assert (answer.status, answer.json()["code"], answer.json()["quota_bytes"]) == (413, "quota_exceeded", 100)


@pytest.mark.parametrize(("method", "action"), [("GET", ""), ("DELETE", ""), ("POST", "/parts"), ("POST", "/complete")])
def test_what_is_not_there(api: ApiClient, method: str, action: str) -> None:
    answer = api.request(method, f"{ARCHIVES}/nosuch{action}", {})
    assert (answer.status, answer.json()["code"]) == (404, "archive_not_found")
    assert api.get("/api/cloud/datasets/nosuch/archives").json()["code"] == "dataset_not_found"
    assert api.get(f"{ARCHIVES}?cursor=x").json()["code"] == "invalid_cursor"


def test_deleting_gives_up_an_upload_and_keeps_a_version(api: ApiClient, world: World) -> None:
    made = start(api)
    assert api.delete(f"{ARCHIVES}/{made['archive_id']}").status == 200
    assert list(world.dataset_files.multiparts("_archives/")) == []
    route = send(api, world)
    busy = api.delete(route)
    assert (busy.status, busy.json()["code"]) == (409, "archive_unpacking")
    done = unpack(api, world, route)
    assert api.delete(route).json() == {"success": True, "archive_id": done["archive_id"], "deleted_objects": 1}
    assert api.get(f"/api/cloud/datasets/packed/versions/{done['version_id']}").json()["status"] == "ready"
    assert api.get(route).status == 404


def test_a_dataset_takes_its_archives_along_and_waits_for_one_that_is_unpacked(api: ApiClient, world: World) -> None:
    first = send(api, world)
    unpack(api, world, first)
    second = send(api, world, zipped(GOOD[:1]))
    busy = api.delete("/api/cloud/datasets/packed")
    assert (busy.status, busy.json()["code"]) == (409, "archive_unpacking")
    unpack(api, world, second)
    assert api.delete("/api/cloud/datasets/packed").status == 200
    assert [api.get(route).status for route in (first, second)] == [404, 404]
    assert [i.key for i in world.dataset_files.list("") if "packed" in i.key or "_archives" in i.key] == []


def test_a_version_takes_the_archive_along_that_it_was_made_of(api: ApiClient, world: World) -> None:
    route = send(api, world)
    done = unpack(api, world, route)
    assert api.delete(f"/api/cloud/datasets/packed/versions/{done['version_id']}").status == 200
    assert api.get(route).status == 404
    assert [i.key for i in world.dataset_files.list("") if "packed" in i.key or "_archives" in i.key] == []


def test_an_archive_belongs_to_its_owner_and_is_in_the_audit(api: ApiClient, world: World) -> None:
    route = send(api, world)
    api.act_as("other", Permission.DATASET_VIEW, Permission.DATASET_EDIT)
    assert api.get(route).status == api.delete(route).status == api.post(f"{route}/complete").status == 404
    api.act_as("viewer", Permission.DATASET_VIEW)
    assert api.post(ARCHIVES, {"filename": "a.zip", "size": 9}).status == 403
    noted = [(r.action, r.target, r.result) for r in world.audit.records]
    target = f"dataset:packed/archives/{route.rpartition('/')[2]}"
    created = (AuditAction.ARCHIVE_CREATE, "dataset:packed")
    assert noted == [
        (*created, AuditResult.ALLOWED),
        (AuditAction.ARCHIVE_COMPLETE, target, AuditResult.ALLOWED),
        (AuditAction.ARCHIVE_DELETE, target, AuditResult.FAILED),
        (AuditAction.ARCHIVE_COMPLETE, target, AuditResult.FAILED),
        (*created, AuditResult.DENIED),
    ]
