"""Two researchers, a lead and an admin on one deployed stack with IAM on: who sees, changes and reaches what."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from botocore.exceptions import ClientError
from PIL import Image

from tests.support.closed_stack import Caller, ClosedStack, Member
from tests.support.places import place_of
from tests.support.stack import Answer
from tests.support.trainings import dataloader, training_config

#: Both researchers use the same names for different things.
DATASET, CONFIG, IDEMPOTENCY = "tenant-photos", "tenant-config", "tenant-build-1"
DENIED = {"AccessDenied", "403"}


@dataclass(frozen=True)
class Owned:
    """What one researcher has made. ``job_id`` has completed; ``place`` is the last part of the version's prefix."""

    who: Member
    version_id: str
    place: str
    job_id: str
    key_id: str

    @property
    def secrets(self) -> set[str]:
        """Texts that nobody else may be shown."""
        return {self.job_id, self.key_id, self.who.user_id}

    def dataset_key(self, path: str = "picture-0.png") -> str:
        return f"{self.who.user_id}/{DATASET}/{self.place}/{path}"


@pytest.fixture(scope="module")
def both(team: ClosedStack) -> dict[str, Owned]:
    """Rita's and Otto's. They differ in their pictures and in the config's description."""
    made = {}
    for name, red in (("rita", 1), ("otto", 2)):
        who = team[name]
        version = who.push(DATASET, {"picture-0.png": png(red), "picture-0.txt": name.encode()})
        body = {"config": training_config(6), "dataloader_config": dataloader(DATASET), "description": f"of {name}"}
        who.ok("PUT", f"/configs/{CONFIG}", json=body)
        job = who.submit(DATASET, key=IDEMPOTENCY)
        key = team.make_key(name)["key_info"]["id"]
        detail = who.ok("GET", f"/cloud/datasets/{DATASET}/versions/{version['version_id']}")
        made[name] = Owned(who, version["version_id"], place_of(detail["manifest_url"]), job["job_id"], key)
    for owned in made.values():
        owned.who.wait(owned.job_id, "completed", seconds=120)
    return made


def png(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (64, 64), (60 * shade, 20, 20)).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def rita(both: dict[str, Owned]) -> Owned:
    return both["rita"]


@pytest.fixture(scope="module")
def otto(both: dict[str, Owned]) -> Owned:
    return both["otto"]


PARTS = ("", "/logs", "/events", "/inline-progress", "/outputs", "/config")


@pytest.mark.parametrize("part", PARTS)
def test_a_job_and_all_its_parts_are_its_owners(rita: Owned, otto: Owned, part: str) -> None:
    assert rita.who.api("GET", f"/cloud/jobs/{rita.job_id}{part}").status == 200
    refused = otto.who.api("GET", f"/cloud/jobs/{rita.job_id}{part}")
    never = otto.who.api("GET", f"/cloud/jobs/{'x' * len(rita.job_id)}{part}")
    assert refused.status == never.status == 404
    assert alike(refused) == alike(never)


def alike(answer: Answer) -> str:
    """The answer without what differs between two requests and two ids."""
    return json.dumps({k: v for k, v in answer.json.items() if k in {"code", "title", "status"}})


@pytest.mark.parametrize("path", ["/cloud/jobs?limit=500", "/cloud/datasets", "/configs", "/auth/api-keys"])
def test_lists_hold_ones_own(rita: Owned, otto: Owned, path: str) -> None:
    for mine, theirs in ((rita, otto), (otto, rita)):
        text = mine.who.api("GET", path).text
        assert not [secret for secret in theirs.secrets if secret in text]
        assert f"of {theirs.who.name}" not in text
    sync = otto.who.ok("GET", "/cloud/jobs?sync_active=true&limit=500")["jobs"]
    assert {j["user_id"] for j in sync} == {otto.who.user_id}


def test_asking_for_another_persons_things_by_name_gets_none(rita: Owned, otto: Owned) -> None:
    for query in (f"user_id={rita.who.user_id}", f"owner={rita.who.user_id}", "all=true"):
        found = otto.who.api("GET", f"/cloud/jobs?limit=500&{query}")
        assert rita.job_id not in found.text
    assert otto.who.api("GET", f"/auth/api-keys?user_id={rita.who.user_id}").status in {403, 404}


def test_the_same_names_mean_ones_own(rita: Owned, otto: Owned) -> None:
    assert rita.job_id != otto.job_id
    for mine in (rita, otto):
        assert f'"of {mine.who.name}"' in mine.who.api("GET", f"/configs/{CONFIG}").text
        assert mine.who.ok("GET", f"/cloud/datasets/{DATASET}")["latest_version"] == mine.version_id
        again = mine.who.ok(
            "POST",
            "/cloud/jobs/submit?provider=replicate",
            json={"config": training_config(6), "dataloader_config": dataloader(DATASET)},
            headers={"Idempotency-Key": IDEMPOTENCY},
        )
        assert (again["job_id"], again["idempotent_hit"]) == (mine.job_id, True)
    assert otto.who.api("GET", f"/cloud/datasets/{DATASET}/versions/{rita.version_id}").status == 404


def test_another_persons_dataset_cannot_be_trained_on(team: ClosedStack, rita: Owned) -> None:
    """Lena sees every job, and has no dataset of this name; naming rita's place does not help."""
    lena = team["lena"]
    refused = lena.api(
        "POST",
        "/cloud/jobs/submit?provider=replicate",
        json={"config": training_config(6), "dataloader_config": dataloader(DATASET)},
    )
    assert refused.status == 422, refused.text
    sneaky = [
        {
            "id": "sneaky",
            "type": "aws",
            "dataset_type": "image",
            "aws_bucket_name": team.stack.facts["datasets_bucket"],
            "aws_data_prefix": f"{rita.who.user_id}/{DATASET}/{rita.place}/",
            "aws_endpoint_url": team.stack.facts["emulator_url"],
            "caption_strategy": "textfile",
        }
    ]
    job = lena.ok(
        "POST",
        "/cloud/jobs/submit?provider=replicate",
        json={"config": training_config(6), "dataloader_config": sneaky, "accept_warnings": True},
    )["job"]
    assert lena.wait(job["job_id"], seconds=120)["status"] == "failed"
    (prediction,) = team.stack.sandbox.predictions(job["job_id"])
    (entry,) = (e for e in json.loads(prediction["input"]["dataloader_json"]) if e["id"] == "sneaky")
    # Nobody put credentials into it.
    assert {k: v for k, v in entry.items() if k.startswith("aws_")} == {
        k: v for k, v in sneaky[0].items() if k.startswith("aws_")
    }


def test_others_change_nothing(rita: Owned, otto: Owned) -> None:
    for method, path in (
        ("DELETE", f"/cloud/jobs/{rita.job_id}"),
        ("POST", f"/cloud/jobs/{rita.job_id}/cancel"),
        ("DELETE", f"/auth/api-keys/{rita.key_id}"),
        ("POST", f"/auth/api-keys/{rita.key_id}/rotate"),
        ("DELETE", f"/cloud/datasets/{DATASET}/versions/{rita.version_id}"),
        ("POST", f"/cloud/datasets/{DATASET}/versions/{rita.version_id}/uploads"),
    ):
        request: dict[str, Any] = {"json": {}} if method == "POST" else {}
        assert otto.who.api(method, path, **request).status == 404, path
    assert rita.who.job(rita.job_id)["status"] == "completed"
    assert rita.who.ok("GET", f"/auth/api-keys/{rita.key_id}")["is_active"] is True


def test_leads_look_and_admins_delete(team: ClosedStack, rita: Owned) -> None:
    lena, ada = team["lena"], team["ada"]
    for part in PARTS:
        assert lena.api("GET", f"/cloud/jobs/{rita.job_id}{part}").status == 200, part
    seen = {j["user_id"] for j in lena.ok("GET", "/cloud/jobs?limit=500")["jobs"]}
    assert {rita.who.user_id, team["otto"].user_id} <= seen
    assert lena.api("DELETE", f"/cloud/jobs/{rita.job_id}").status == 404
    assert lena.api("DELETE", f"/auth/api-keys/{rita.key_id}").status == 404
    assert ada.ok("GET", f"/auth/api-keys/{rita.key_id}")["user_id"] == rita.who.user_id
    job = rita.who.submit(DATASET)
    rita.who.wait(job["job_id"], "completed")
    assert ada.ok("DELETE", f"/cloud/jobs/{job['job_id']}")["success"] is True
    found = ada.ok("GET", f"/audit?target=job:{job['job_id']}&action=job.delete")["entries"]
    assert [(e["actor_username"], e["owner"], e["result"]) for e in found] == [("ada", rita.who.user_id, "allowed")]


def test_keys_reach_what_their_owner_owns(team: ClosedStack, rita: Owned, otto: Owned) -> None:
    key = team.key("otto")
    assert key.api("GET", f"/cloud/jobs/{rita.job_id}").status == 404
    assert key.api("GET", f"/cloud/jobs/{otto.job_id}").status == 200
    assert '"of otto"' in key.api("GET", f"/configs/{CONFIG}").text
    shared = team.key("lena", scoped_permissions=["job.view.own"])
    assert shared.api("GET", f"/cloud/jobs/{rita.job_id}").status == 404


# What S3 lets through


@dataclass
class Trainer:
    """What rita's job was handed."""

    job_id: str
    s3: Any
    datasets: str
    outputs: str

    def may(self, what: str, **request: Any) -> bool:
        try:
            getattr(self.s3, what)(**request)
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            assert code in DENIED, (what, request, code)
            return False
        return True


@pytest.fixture(scope="module")
def trainer(team: ClosedStack, rita: Owned) -> Iterator[Trainer]:
    """A job of rita's while it runs."""
    stack = team.stack
    stack.sandbox.faults({"fault": "pace", "seconds": 2})
    job_id = rita.who.submit(DATASET, steps=100)["job_id"]
    rita.who.wait(job_id, "running")
    stack.sandbox.faults()
    (prediction,) = stack.sandbox.predictions(job_id)
    handed = json.loads(prediction["input"]["config_json"])["publishing_config"][0]
    s3 = stack.client(
        "s3",
        aws_access_key_id=handed["access_key"],
        aws_secret_access_key=handed["secret_key"],
        aws_session_token=handed["session_token"],
    )
    yield Trainer(job_id, s3, stack.facts["datasets_bucket"], stack.facts["outputs_bucket"])
    s3.close()
    rita.who.ok("POST", f"/cloud/jobs/{job_id}/cancel")
    rita.who.wait(job_id, "cancelled")


def test_a_jobs_credentials_reach_its_owners_dataset_and_its_own_outputs(trainer: Trainer, rita: Owned) -> None:
    assert trainer.may("get_object", Bucket=trainer.datasets, Key=rita.dataset_key())
    own = f"{rita.who.user_id}/{trainer.job_id}/artifacts/probe"
    assert trainer.may("put_object", Bucket=trainer.outputs, Key=own, Body=b"x")


def test_a_jobs_credentials_reach_nothing_of_others(trainer: Trainer, rita: Owned, otto: Owned) -> None:
    outputs, datasets = trainer.outputs, trainer.datasets
    theirs, mine = otto.who.user_id, rita.who.user_id
    assert not trainer.may("get_object", Bucket=datasets, Key=otto.dataset_key())
    assert not trainer.may("put_object", Bucket=datasets, Key=otto.dataset_key(), Body=b"x")
    assert not trainer.may("delete_object", Bucket=datasets, Key=otto.dataset_key())
    for owner, job_id in ((theirs, otto.job_id), (mine, rita.job_id), (theirs, trainer.job_id)):
        key = f"{owner}/{job_id}/artifacts/probe"
        assert not trainer.may("get_object", Bucket=outputs, Key=key), key
        assert not trainer.may("put_object", Bucket=outputs, Key=key, Body=b"x"), key
    for bucket in (datasets, outputs):
        for prefix in ("", f"{theirs}/", mine[:-1]):
            assert not trainer.may("list_objects_v2", Bucket=bucket, Prefix=prefix), (bucket, prefix)


def test_a_presigned_upload_is_good_for_its_own_object_alone(team: ClosedStack, rita: Owned, otto: Owned) -> None:
    data = b"new text"
    manifest = [{"path": "a.txt", "size": len(data), "sha256": sha256(data)}, *one_picture()]
    version = rita.who.ok("POST", "/cloud/datasets", json={"dataset_id": "tenant-upload", "files": manifest})
    route = f"/cloud/datasets/tenant-upload/versions/{version['version_id']}/uploads"
    upload = next(u for u in rita.who.ok("POST", route, json={})["uploads"] if u["path"] == "a.txt")
    http = team.stack.http
    own = urlsplit(upload["url"]).path
    assert f"/{rita.who.user_id}/" in own
    for path in (
        own.replace(rita.who.user_id, otto.who.user_id),
        own.replace("a.txt", "b.txt"),
        f"/{team.stack.facts['datasets_bucket']}/{otto.dataset_key()}",
    ):
        answer = http.put(with_path(upload["url"], path), content=data, headers=upload["headers"])
        assert answer.status_code == 403, (path, answer.text)
    assert http.get(upload["url"]).status_code == 403
    assert http.delete(upload["url"]).status_code == 403
    assert http.put(upload["url"], content=data, headers=upload["headers"]).status_code == 200


def test_a_presigned_download_is_good_for_its_own_object_alone(team: ClosedStack, rita: Owned, otto: Owned) -> None:
    file = rita.who.ok("GET", f"/cloud/jobs/{rita.job_id}/outputs")["files"][0]
    theirs = otto.who.ok("GET", f"/cloud/jobs/{otto.job_id}/outputs")["files"][0]
    http = team.stack.http
    assert f"/{rita.who.user_id}/{rita.job_id}/" in file["url"]
    assert http.get(file["url"]).status_code == 200
    for path in (urlsplit(theirs["url"]).path, f"/{team.stack.facts['outputs_bucket']}"):
        assert http.get(with_path(file["url"], path)).status_code == 403, path
    assert http.put(file["url"], content=b"x").status_code == 403
    plain = file["url"].partition("?")[0]
    for headers in ({}, rita.who.headers):
        assert http.get(plain, headers=headers).status_code in {400, 403}


def with_path(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=path))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def one_picture() -> list[dict[str, Any]]:
    data = png(3)
    return [{"path": "a.png", "size": len(data), "sha256": sha256(data)}]


def test_nobody_reads_the_buckets_without_a_signature(team: ClosedStack, rita: Owned) -> None:
    nobody: Caller = team.caller()
    facts = team.stack.facts
    for bucket, key in (
        (facts["datasets_bucket"], rita.dataset_key()),
        (facts["outputs_bucket"], f"{rita.who.user_id}/{rita.job_id}/manifest.json"),
    ):
        assert nobody.http.get(f"{facts['emulator_url']}/{bucket}/{key}").status_code == 403
        assert nobody.http.get(f"{facts['emulator_url']}/{bucket}?list-type=2").status_code == 403
