"""The sandbox Hub against the library as anybody uses it, without anything of ours in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from chalicelib.delivery.hub_session import HfApi, HfHubHTTPError
from local.sandbox.hub.app import HubOptions, build_hub
from local.sandbox.hub.people import READ_TOKEN, WRITE_TOKEN
from tests.functional.sandbox_server import running_sandbox
from tests.support.hub import RunningHub, running_hub

# The library's own upload passes file objects in a way that its HTTP client has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[RunningHub]:
    with running_hub(tmp_path / "hub", chunk_bytes=100_000) as running:
        yield running


@pytest.fixture
def api(hub: RunningHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=WRITE_TOKEN)


def test_a_folder_goes_up_and_comes_back(hub: RunningHub, api: HfApi, tmp_path: Path) -> None:
    source = tmp_path / "model"
    (source / "samples").mkdir(parents=True)
    files = {
        "model.safetensors": os.urandom(350_000),
        "README.md": b"---\nlicense: mit\n---\n# Cats\n",
        "samples/1.png": b"\x89PNG\0",
        "config.json": b"{}",
    }
    for path, data in files.items():
        (source / path).write_bytes(data)
    api.create_repo("sandbox/cats", private=True)
    done = api.upload_folder(repo_id="sandbox/cats", folder_path=source)
    assert set(api.list_repo_files("sandbox/cats")) == {*files, ".gitattributes"}
    assert api.model_info("sandbox/cats").sha == done.oid
    assert hub.content() == files
    for path, data in files.items():
        url = f"{hub.url}/sandbox/cats/resolve/{done.oid}/{path}"
        headers = {"authorization": f"Bearer {WRITE_TOKEN}"}
        assert httpx.get(url, headers=headers).content == data
        part = httpx.get(url, headers=headers | {"range": "bytes=1-3"})
        assert (part.status_code, part.content) == (206, data[1:4])
    # The same again: the library finds that nothing is new, and no content is sent.
    before = len(hub.requests())
    assert api.upload_folder(repo_id="sandbox/cats", folder_path=source).oid == done.oid
    assert not [made for made in hub.requests()[before:] if made.startswith("PUT")]


def test_what_exists_and_who_may(hub: RunningHub, api: HfApi) -> None:
    assert api.whoami()["name"] == "sandbox"
    api.create_repo("sandbox/cats", private=True)
    with pytest.raises(HfHubHTTPError) as exists:
        api.create_repo("sandbox/cats")
    assert exists.value.response.status_code == 409
    assert api.create_repo("sandbox/cats", exist_ok=True).repo_id == "sandbox/cats"
    reader = HfApi(endpoint=hub.url, token=READ_TOKEN)
    assert reader.model_info("sandbox/cats").private
    for refused in (
        lambda: reader.upload_file(path_or_fileobj=b"x", path_in_repo="x.txt", repo_id="sandbox/cats"),
        lambda: api.create_repo("strangers/cats"),
    ):
        with pytest.raises(HfHubHTTPError) as forbidden:
            refused()
        assert forbidden.value.response.status_code == 403
    nobody = HfApi(endpoint=hub.url, token=False)
    with pytest.raises(HfHubHTTPError):
        nobody.model_info("sandbox/cats")


def test_a_stale_parent_and_a_pointer_to_nothing_are_refused(hub: RunningHub, api: HfApi) -> None:
    api.create_repo("sandbox/cats")
    first = api.upload_file(path_or_fileobj=b"1", path_in_repo="a.txt", repo_id="sandbox/cats").oid
    api.upload_file(path_or_fileobj=b"2", path_in_repo="a.txt", repo_id="sandbox/cats")
    with pytest.raises(HfHubHTTPError) as stale:
        api.upload_file(path_or_fileobj=b"3", path_in_repo="a.txt", repo_id="sandbox/cats", parent_commit=first)
    assert stale.value.response.status_code == 412
    lines = '{"key":"lfsFile","value":{"path":"m.safetensors","algo":"sha256","oid":"%s","size":1}}\n' % ("a" * 64)
    answer = httpx.post(
        f"{hub.url}/api/models/sandbox/cats/commit/main",
        content=lines,
        headers={"authorization": f"Bearer {WRITE_TOKEN}"},
    )
    assert answer.status_code == 400
    assert "does not exist" in answer.text


def test_content_that_is_not_what_was_promised_is_refused(hub: RunningHub, api: HfApi) -> None:
    api.create_repo("sandbox/cats")
    headers = {"authorization": f"Bearer {WRITE_TOKEN}"}
    body = {"objects": [{"oid": "b" * 64, "size": 3}]}
    answer = httpx.post(f"{hub.url}/sandbox/cats.git/info/lfs/objects/batch", json=body, headers=headers)
    href = answer.json()["objects"][0]["actions"]["upload"]["href"]
    assert httpx.put(href, content=b"abcd").status_code == 400
    assert httpx.put(href, content=b"abc").status_code == 400
    assert hub.hub.storage.large("b" * 64) is None
    assert httpx.put(href + "x", content=b"abc").status_code == 403


def test_it_remembers_after_a_restart(tmp_path: Path) -> None:
    with running_hub(tmp_path) as hub:
        HfApi(endpoint=hub.url, token=WRITE_TOKEN).create_repo("sandbox/cats", private=True)
    again = build_hub(HubOptions(tmp_path))
    assert [(repo.name, repo.private) for repo in again.storage.repos()] == [("sandbox/cats", True)]


def test_it_is_beside_the_sandbox_provider_and_says_what_it_is(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        url = f"{sandbox.origin}/hub"
        page = httpx.get(f"{url}/").text
        assert "sandbox, not huggingface.co" in page
        assert WRITE_TOKEN in page
        api = HfApi(endpoint=url, token=WRITE_TOKEN)
        api.create_repo("sandbox/cats")
        api.upload_file(path_or_fileobj=os.urandom(100), path_in_repo="m.safetensors", repo_id="sandbox/cats")
        made = httpx.get(f"{url}/__sandbox__/requests").json()["requests"]
        assert [entry["path"] for entry in made if entry["method"] == "PUT"]
        rules = {"rules": [{"fault": "503", "match": "whoami", "times": 1}]}
        assert httpx.put(f"{url}/__sandbox__/faults", json=rules).json()["rules"][0]["struck"] == 0
        auth = {"authorization": f"Bearer {WRITE_TOKEN}"}
        assert [httpx.get(f"{url}/api/whoami-v2", headers=auth).status_code for _ in range(2)] == [503, 200]
        assert httpx.put(f"{url}/__sandbox__/faults", json={"rules": [{"fault": "flood"}]}).status_code == 422
        assert httpx.get(f"{url}/", headers={"origin": "https://evil.test"}).status_code == 403
        assert httpx.post(f"{url}/__sandbox__/reset").status_code == 200
        assert "none yet" in httpx.get(f"{url}/").text
