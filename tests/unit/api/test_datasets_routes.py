"""Datasets over HTTP: manifest, presigned uploads, confirmation, immutability."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from chalicelib.domain.permissions import Permission
from tests.fakes.world import World
from tests.unit.api.client import ApiClient

DATASETS = "/api/cloud/datasets"
FILES = {f"{i:02d}.jpg": b"x" * i for i in range(5)} | {"日本/写真.png": b"png"}


def manifest(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    return [{"path": p, "size": len(b), "sha256": hashlib.sha256(b).hexdigest()} for p, b in files.items()]


def new(api: ApiClient, files: Mapping[str, bytes] = FILES, dataset_id: str = "d") -> Any:
    answer = api.post(DATASETS, {"dataset_id": dataset_id, "source_path": "/data/d/", "files": manifest(files)})
    assert answer.status == 201
    return answer.json()


def put_all(api: ApiClient, world: World, version: Any, files: Mapping[str, bytes] = FILES) -> None:
    body = api.post(f"{path_of(version)}/uploads", {}).json()
    for upload in body["uploads"]:
        world.dataset_files.upload(upload["url"], upload["headers"], files[upload["path"]], now=world.clock.now())


def path_of(version: Any) -> str:
    return f"{DATASETS}/{version['dataset_id']}/versions/{version['version_id']}"


def test_a_push_from_manifest_to_ready(api: ApiClient, world: World) -> None:
    version = new(api)
    assert (version["status"], version["created"], version["files"]) == ("uploading", True, len(FILES))
    assert version["source_path"] == "/data/d"
    assert api.get(f"{DATASETS}/d").json()["latest_version"] is None, "not before every file is confirmed"
    put_all(api, world, version)
    done = api.post(f"{path_of(version)}/complete")
    assert (done.status, done.json()["status"], done.json()["checked"]) == (200, "ready", len(FILES))
    dataset = api.get(f"{DATASETS}/d").json()
    assert dataset["latest_version"] == version["version_id"]
    assert [v["version_id"] for v in dataset["versions"]] == [version["version_id"]]
    detail = api.get(path_of(version)).json()
    assert detail["manifest_url"].startswith("fake://datasets/_manifests/")


def test_pushing_the_same_again_finds_it(api: ApiClient, world: World) -> None:
    version = new(api)
    put_all(api, world, version)
    api.post(f"{path_of(version)}/complete")
    again = api.post(DATASETS, {"dataset_id": "d", "files": list(reversed(manifest(FILES)))})
    assert (again.status, again.json()["created"], again.json()["status"]) == (200, False, "ready")
    assert again.json()["version_id"] == version["version_id"]
    uploads = api.post(f"{path_of(version)}/uploads", {}).json()
    assert (uploads["uploads"], uploads["present"], uploads["next"]) == ([], len(FILES), None)
    assert api.post(f"{path_of(version)}/complete").json()["status"] == "ready"


def test_an_interrupted_upload_goes_on_where_it_was(api: ApiClient, world: World) -> None:
    version = new(api)
    first = api.post(f"{path_of(version)}/uploads", {"limit": 2}).json()
    assert [u["path"] for u in first["uploads"]] == ["00.jpg", "01.jpg"]
    for upload in first["uploads"]:
        world.dataset_files.upload(upload["url"], upload["headers"], FILES[upload["path"]], now=world.clock.now())
    fresh = api.post(f"{path_of(version)}/uploads", {"limit": 2}).json()
    assert ([u["path"] for u in fresh["uploads"]], fresh["present"]) == (["02.jpg", "03.jpg"], 2)
    onward = api.post(f"{path_of(version)}/uploads", {"limit": 500, "after": fresh["next"]}).json()
    assert ([u["path"] for u in onward["uploads"]], onward["next"]) == (["04.jpg", "日本/写真.png"], None)


def test_completing_too_early_names_the_files(api: ApiClient, world: World) -> None:
    version = new(api)
    body = api.post(f"{path_of(version)}/complete")
    assert (body.status, body.json()["code"]) == (409, "upload_incomplete")
    assert {e["field"] for e in body.json()["errors"]} == set(FILES)
    assert api.get(path_of(version)).json()["status"] == "uploading"


def test_other_content_is_found_out(api: ApiClient, world: World) -> None:
    version = new(api)
    put_all(api, world, version)
    record = world.ports.datasets.get_version("local", "d", version["version_id"])
    assert record is not None
    world.dataset_files.put(f"{record.prefix}01.jpg", b"y")
    body = api.post(f"{path_of(version)}/complete").json()
    assert [(e["field"], e["code"]) for e in body["errors"]] == [("01.jpg", "differs")]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"files": []}, "validation_failed"),
        ({"files": [{"path": "a"}]}, "validation_failed"),
        ({"dataset_id": "../x"}, "validation_failed"),
        ({"unknown": 1}, "validation_failed"),
        ({"files": [{"path": "../x", "size": 1, "sha256": "a" * 64}]}, "invalid_manifest"),
        ({"files": [{"path": "a", "size": -1, "sha256": "a" * 64}]}, "invalid_manifest"),
        ({"files": [{"path": "a", "size": 1, "sha256": "zz"}]}, "invalid_manifest"),
        ({"files": [{"path": "a", "size": 1, "sha256": "a" * 64}] * 2}, "invalid_manifest"),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_by_line(api: ApiClient, change: dict[str, Any], code: str) -> None:
    answer = api.post(DATASETS, {"dataset_id": "d", "files": manifest(FILES), **change})
    assert (answer.status, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["field"]
    assert api.get(f"{DATASETS}/d").status == 404


def test_a_version_that_is_too_large_is_413(api: ApiClient) -> None:
    parts = ["b" * 64] * 1600
    files = [{"path": f"{i}", "size": 100 * 1024**3, "sha256": "a" * 64, "parts": parts} for i in range(11)]
    answer = api.post(DATASETS, {"dataset_id": "d", "files": files})
    assert (answer.status, answer.json()["code"]) == (413, "payload_too_large")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "nosuch"),
        ("DELETE", "nosuch"),
        ("GET", "d/versions/v-0"),
        ("DELETE", "d/versions/v-0"),
        ("POST", "d/versions/v-0/uploads"),
        ("POST", "d/versions/v-0/complete"),
    ],
)
def test_what_is_not_there(api: ApiClient, method: str, path: str) -> None:
    new(api)
    answer = api.request(method, f"{DATASETS}/{path}", {})
    assert answer.status == 404
    assert answer.json()["code"] in {"dataset_not_found", "version_not_found"}


def test_a_dataset_in_use_stays(api: ApiClient, world: World) -> None:
    job_id = world.submit().job.job_id
    version = world.job(job_id).datasets[0].version_id
    for path in ("photos", f"photos/versions/{version}"):
        answer = api.delete(f"{DATASETS}/{path}")
        assert (answer.status, answer.json()["code"], answer.json()["job_id"]) == (409, "dataset_in_use", job_id)
    world.run(300)
    deleted = api.delete(f"{DATASETS}/photos").json()
    assert (deleted["dataset_id"], deleted["deleted_objects"]) == ("photos", 5)
    assert list(world.dataset_files.list("")) == []


def test_deleting_the_latest_version_makes_the_one_before_it_latest(api: ApiClient, world: World) -> None:
    first = world.push(dataset_id="d")
    world.clock.advance(1)
    second = world.push({"z.jpg": b"z"}, dataset_id="d")
    assert api.get(f"{DATASETS}/d").json()["latest_version"] == second
    assert api.delete(f"{DATASETS}/d/versions/{second}").status == 200
    assert api.get(f"{DATASETS}/d").json()["latest_version"] == first


def test_the_list_pages_and_belongs_to_its_owner(api: ApiClient) -> None:
    new(api, dataset_id="a")
    first = api.get(f"{DATASETS}?limit=1").json()
    rest = api.get(f"{DATASETS}?limit=1&cursor={first['next']}").json()
    assert [d["dataset_id"] for d in first["datasets"] + rest["datasets"]] == ["a", "photos"]
    assert api.get(f"{DATASETS}?cursor=x").json()["code"] == "invalid_cursor"
    api.act_as("other", Permission.DATASET_VIEW)
    assert api.get(DATASETS).json()["datasets"] == []
    assert api.get(f"{DATASETS}/photos").status == 404
