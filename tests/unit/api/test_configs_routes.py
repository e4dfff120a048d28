"""Saved configs over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.permissions import Permission
from tests.fakes.world import CONFIG, DATALOADER
from tests.unit.api.client import ApiClient

CONFIGS = "/api/configs"
BODY: dict[str, Any] = {"config": CONFIG, "dataloader_config": DATALOADER, "description": "first"}


def test_a_config_comes_back_as_it_was_saved(api: ApiClient) -> None:
    saved = api.put(f"{CONFIGS}/mine", BODY)
    assert (saved.status, saved.json()["version"], saved.json()["success"]) == (200, 1, True)
    body = api.get(f"{CONFIGS}/mine").json()
    assert (body["name"], body["version"]) == ("mine", 1)
    assert (body["config"], body["dataloader_config"]) == (CONFIG, DATALOADER)
    assert (body["metadata"]["model_family"], body["metadata"]["model_type"]) == ("flux", "lora")
    assert body["metadata"]["description"] == "first"


def test_saving_what_is_there_makes_no_version_and_a_change_does(api: ApiClient) -> None:
    api.put(f"{CONFIGS}/mine", BODY)
    assert api.put(f"{CONFIGS}/mine", BODY).json()["version"] == 1
    changed = {**BODY, "config": {**CONFIG, "--lora_rank": 8}}
    assert api.post(CONFIGS, {**changed, "name": "mine"}).json()["version"] == 2
    assert [v["version"] for v in api.get(f"{CONFIGS}/mine").json()["versions"]] == [2, 1]
    assert api.get(f"{CONFIGS}/mine?version=1").json()["config"] == CONFIG
    assert api.get(f"{CONFIGS}/mine?version=2").json()["config"]["--lora_rank"] == 8


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("mine?version=3", 404, "config_not_found"),
        ("mine?version=0", 422, "validation_failed"),
        ("mine?version=99999999999999999999", 422, "validation_failed"),
        ("nosuch", 404, "config_not_found"),
        ("a%2Fb", 404, "config_not_found"),
    ],
)
def test_what_is_not_there(api: ApiClient, path: str, status: int, code: str) -> None:
    api.put(f"{CONFIGS}/mine", BODY)
    answer = api.get(f"{CONFIGS}/{path}")
    assert (answer.status, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("name", ["a%2Fb", "..", "-a", "a..b", "%F0%9F%98%80", "a%20b", "x" * 101])
def test_a_name_that_fits_into_no_path_is_refused(api: ApiClient, name: str) -> None:
    answer = api.put(f"{CONFIGS}/{name}", BODY)
    assert (answer.status, answer.json()["code"], answer.json()["errors"][0]["field"]) == (422, "invalid_name", "name")


def test_the_name_in_a_body_is_checked_too(api: ApiClient) -> None:
    answer = api.post(CONFIGS, {**BODY, "name": "a/b"})
    assert (answer.status, answer.json()["errors"][0]["field"]) == (422, "name")
    dots = api.post(CONFIGS, {**BODY, "name": "a..b"})
    assert (dots.status, dots.json()["code"]) == (422, "invalid_name")


def test_a_secret_is_not_even_stored(api: ApiClient) -> None:
    answer = api.put(f"{CONFIGS}/mine", {"config": {"--hub_token": "hf_" + "x" * 30}})
    assert (answer.status, answer.json()["code"]) == (422, "secret_in_config")
    assert "hf_x" not in answer.body.decode()
    assert api.get(f"{CONFIGS}/mine").status == 404


def test_what_the_trainer_would_refuse_can_be_saved(api: ApiClient) -> None:
    assert api.put(f"{CONFIGS}/draft", {"config": {}}).status == 200


def test_the_list_is_by_name_and_pages(api: ApiClient) -> None:
    for name in ("b", "a", "c"):
        api.put(f"{CONFIGS}/{name}", BODY)
    first = api.get(f"{CONFIGS}?limit=2").json()
    rest = api.get(f"{CONFIGS}?limit=2&cursor={first['next']}").json()
    assert [c["name"] for c in first["configs"] + rest["configs"]] == ["a", "b", "c"]
    assert rest["next"] is None
    assert api.get(f"{CONFIGS}?cursor=zzz").json()["code"] == "invalid_cursor"


def test_delete_removes_all_versions(api: ApiClient) -> None:
    api.put(f"{CONFIGS}/mine", BODY)
    assert api.delete(f"{CONFIGS}/mine").json() == {"success": True, "name": "mine"}
    assert api.delete(f"{CONFIGS}/mine").status == 404
    assert api.get(CONFIGS).json()["configs"] == []


def test_configs_belong_to_their_owner(api: ApiClient) -> None:
    api.put(f"{CONFIGS}/mine", BODY)
    api.act_as("other", Permission.CONFIG_VIEW, Permission.CONFIG_EDIT)
    assert api.get(f"{CONFIGS}/mine").status == 404
    assert api.get(CONFIGS).json()["configs"] == []
    assert api.put(f"{CONFIGS}/mine", {"config": {"a": 1}}).json()["version"] == 1
