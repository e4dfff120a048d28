"""Archives on the deployed stack: by curl as documented, unpacked by its functions with IAM on, killed on the way."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.archives import ARCHIVE_PART_BYTES
from tests.corpus import tars
from tests.corpus.archives import CASES, READY, Case
from tests.corpus.cases import JPG, TAKEN, TXT
from tests.corpus.tars import entry, tarred
from tests.corpus.zips import STORED, Item, zipped
from tests.stack.test_tutorial import a_jq
from tests.support.kills import kill_workers, workers
from tests.support.stack import Stack, eventually
from tests.support.trainings import pictures

DOCS = Path(__file__).parents[2] / "docs"
ADDRESS = "http://localhost:8001"
MANY = {f"{i:04d}.txt": b"caption %d" % i * (i % 50) for i in range(2_500)}
#: Of every group some, and those whose ways through the functions differ.
SOME = [c for i, c in enumerate(CASES) if i % 9 == 0 or c.name in {"Shift_JIS", "tar.xz", "bomb of many", "no entries"}]


def send(stack: Stack, dataset: str, data: bytes, filename: str = "a.zip", **body: Any) -> str:
    """Uploads and completes; returns the archive's route."""
    route = f"/cloud/datasets/{dataset}/archives"
    made = stack.ok("POST", route, json={"filename": filename, "size": len(data), **body})
    for part in made["parts"]:
        start = (part["number"] - 1) * made["part_size"]
        sent = stack.http.put(part["url"], content=data[start : start + part["size"]], headers=part["headers"])
        assert sent.status_code == 200, sent.text
    done = stack.api("POST", f"{route}/{made['archive_id']}/complete")
    assert done.status == 202, done.text
    return f"{route}/{made['archive_id']}"


def ended(stack: Stack, route: str, *, seconds: float = 120.0) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found: dict[str, Any] = stack.ok("GET", route)
        return found if found["status"] in {"ready", "failed"} else None

    return eventually(look, seconds=seconds)


def files_of(stack: Stack, dataset: str, version_id: str) -> dict[str, bytes]:
    """What a download of the version gives."""
    found, after = {}, None
    for _ in range(100):
        page = stack.ok("POST", f"/cloud/datasets/{dataset}/versions/{version_id}/downloads", json={"after": after})
        for file in page["downloads"]:
            found[file["path"]] = stack.http.get(file["url"]).content
        after = page["next"]
        if after is None:
            return found
    raise AssertionError("the list of downloads does not end")


def keys(stack: Stack, prefix: str = "") -> list[str]:
    pages = stack.client("s3").get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=stack.facts["datasets_bucket"], Prefix=prefix)
    return [item["Key"] for page in found for item in page.get("Contents", [])]


def test_an_archive_is_trained_with_like_a_pushed_dataset(stack: Stack) -> None:
    data = zipped([Item(f"photos/{name}", content) for name, content in pictures().items()])
    archive = ended(stack, send(stack, "arch-train", data, source_path="/data/arch-train"))
    assert (archive["status"], archive["report"]["stripped_folder"]) == ("ready", "photos")
    assert files_of(stack, "arch-train", archive["version_id"]) == pictures()
    pushed = stack.push("arch-train")
    assert (pushed["version_id"], pushed["status"]) == (archive["version_id"], "ready")
    job = stack.submit("arch-train")
    assert stack.wait(job["job_id"], "completed")["status"] == "completed"


@pytest.mark.parametrize("case", SOME, ids=lambda c: c.name)
def test_the_corpus_gets_its_verdicts_and_never_a_5xx(stack: Stack, case: Case) -> None:
    dataset = "arch-" + re.sub(r"\W", "-", case.name, flags=re.ASCII)[:60]
    body = {"sha256": case.sha256} if case.sha256 else {}
    archive = ended(stack, send(stack, dataset, case.make(), case.filename, **body))
    report = archive["report"]
    code = archive["failure"]["code"] if archive["failure"] else archive["status"]
    assert (code, {e["path"]: e["code"] for e in report["left_out"]}) == (case.verdict, case.left_out)
    if case.verdict == READY:
        assert files_of(stack, dataset, archive["version_id"]) == case.files
    else:
        assert archive["failure"]["advice"]
        assert stack.api("GET", f"/cloud/datasets/{dataset}").status == 404
    eventually(lambda: not [k for k in keys(stack, "_archives/") if archive["archive_id"] in k])


def test_many_files_in_several_pieces_and_workers_that_are_killed(stack: Stack) -> None:
    files = {name: data + bytes(2_000) for name, data in MANY.items()}
    route = send(stack, "arch-many", zipped([Item(n, d, STORED) for n, d in files.items()]))
    prefix = f"_unpacked/local/arch-many/a-{route.rpartition('/')[2]}/"
    eventually(lambda: len(keys(stack, prefix)) > 200, seconds=60)
    before = time.monotonic()
    assert kill_workers(w for w in workers(stack) if w.function == "archive-unpack")
    archive = ended(stack, route)
    assert archive["status"] == "ready"
    assert time.monotonic() - before > 5, "a killed step is tried again after a while"
    assert archive["report"]["taken"] == {"files": len(files), "bytes": sum(map(len, files.values()))}
    assert len(keys(stack, prefix)) == len(files)
    downloaded = files_of(stack, "arch-many", archive["version_id"])
    assert downloaded == files


def test_a_step_that_fails_again_and_again_is_told_to_whoever_waits(stack: Stack) -> None:
    route = "/cloud/datasets/arch-broken/archives"
    data = zipped([Item("a.jpg", JPG)])
    made = stack.ok("POST", route, json={"filename": "a.zip", "size": len(data)})
    assert stack.http.put(made["parts"][0]["url"], content=data).status_code == 200
    # What no step expects: its own notes can't be read.
    notes = f"_archives/local/{made['archive_id']}/plan/summary"
    stack.client("s3").put_object(Bucket=stack.facts["datasets_bucket"], Key=notes, Body=b"not gzip")
    assert stack.api("POST", f"{route}/{made['archive_id']}/complete").status == 202
    archive = ended(stack, f"{route}/{made['archive_id']}", seconds=180)
    assert archive["failure"]["code"] == "unpack_failed"
    assert "gzip" not in json.dumps(archive["failure"])
    assert keys(stack, "_archives/") == keys(stack, "local/arch-broken/") == []


def test_the_sweeper_starts_an_unpacking_that_died(stack: Stack) -> None:
    data = zipped([Item(f"{i}.bin", random.Random(i).randbytes(3_000_000), STORED) for i in range(30)])
    route = send(stack, "arch-dead", data)
    states = stack.client("stepfunctions")
    machine = stack.facts["state_machine_arn"].replace("-job", "-unpack")

    def running() -> Any:
        found = states.list_executions(stateMachineArn=machine, statusFilter="RUNNING")["executions"]
        return next((e for e in found if route.rpartition("/")[2] in e["name"]), None)

    execution = eventually(running)
    states.stop_execution(executionArn=execution["executionArn"])
    kill_workers(w for w in workers(stack) if w.function.startswith("archive-"))
    if stack.ok("GET", route)["status"] == "unpacking":
        as_if_later(stack, "arch-dead", route.rpartition("/")[2])
        stack.sweep()
    archive = ended(stack, route)
    assert (archive["status"], archive["report"]["taken"]["files"]) == ("ready", 30)


def as_if_later(stack: Stack, dataset: str, archive_id: str) -> None:
    """Moves the start of the archive's attempt into the past, so that the sweeper does not wait for it to show."""
    dynamodb, table = stack.client("dynamodb"), stack.facts["jobs_table"]
    for key in ({"pk": f"archives#local#{dataset}", "sk": archive_id}, _marker_of(stack, archive_id)):
        where = {name: {"S": value} for name, value in key.items()}
        item = dynamodb.get_item(TableName=table, Key=where, ConsistentRead=True)["Item"]
        document = json.loads(item["document"]["S"]) | {"attempt_at": "2026-01-01T00:00:00Z"}
        dynamodb.update_item(
            TableName=table,
            Key=where,
            UpdateExpression="SET document = :new",
            ExpressionAttributeValues={":new": {"S": json.dumps(document)}},
        )


def _marker_of(stack: Stack, archive_id: str) -> dict[str, str]:
    found = stack.client("dynamodb").query(
        TableName=stack.facts["jobs_table"],
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": "unsettled-archives"}},
    )["Items"]
    return next({"pk": item["pk"]["S"], "sk": item["sk"]["S"]} for item in found if archive_id in item["document"]["S"])


def test_an_upload_says_what_is_missing_and_goes_on(stack: Stack) -> None:
    data = zipped([Item("a.bin", random.Random(5).randbytes(ARCHIVE_PART_BYTES + 3_000_000), STORED)])
    route = "/cloud/datasets/arch-parts/archives"
    made = stack.ok("POST", route, json={"filename": "a.zip", "size": len(data)})
    archive = f"{route}/{made['archive_id']}"
    assert [p["size"] for p in made["parts"]] == [ARCHIVE_PART_BYTES, len(data) - ARCHIVE_PART_BYTES]
    first, second = made["parts"]
    # A part of another size is refused by its signature.
    assert stack.http.put(second["url"], content=data[:100]).status_code == 403
    assert stack.http.put(second["url"], content=data[ARCHIVE_PART_BYTES:]).status_code == 200
    early = stack.api("POST", f"{archive}/complete")
    assert (early.status, early.json["code"]) == (409, "upload_incomplete")
    assert [e["field"] for e in early.json["errors"]] == ["parts.1"]
    again = stack.ok("POST", f"{archive}/parts", json={})
    assert ([p["number"] for p in again["parts"]], again["present"], again["next"]) == ([1], 1, None)
    assert stack.http.put(again["parts"][0]["url"], content=data[:ARCHIVE_PART_BYTES]).status_code == 200
    for _ in range(2):
        assert stack.api("POST", f"{archive}/complete").status == 202
    assert ended(stack, archive)["status"] == "ready"
    assert first["number"] == 1


def test_an_archive_is_listed_and_deleted_its_version_stays(stack: Stack) -> None:
    first = ended(stack, send(stack, "arch-list", zipped([Item("a.jpg", JPG)])))
    second = ended(stack, send(stack, "arch-list", tars.gz(tarred([entry("b.txt", TXT)]))))
    listed = stack.ok("GET", "/cloud/datasets/arch-list/archives")["archives"]
    assert [a["archive_id"] for a in listed] == [second["archive_id"], first["archive_id"]]
    assert stack.ok("DELETE", f"/cloud/datasets/arch-list/archives/{first['archive_id']}")["deleted_objects"] == 1
    assert stack.api("GET", f"/cloud/datasets/arch-list/archives/{first['archive_id']}").status == 404
    assert files_of(stack, "arch-list", first["version_id"]) == {"a.jpg": JPG}
    stack.ok("DELETE", "/cloud/datasets/arch-list")
    assert [key for key in keys(stack) if "arch-list" in key] == []
    assert stack.api("GET", f"/cloud/datasets/arch-list/archives/{second['archive_id']}").status == 404


@pytest.mark.parametrize("name", ["photos.zip", 'my [1] {a,b} "best" photos.zip'])
@pytest.mark.parametrize("loop", [False, True], ids=["one part", "loop"])
def test_the_documented_lines_work(stack: Stack, tmp_path: Path, loop: bool, name: str) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (DOCS / "datasets-archives.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "jq").symlink_to(a_jq())
    files = {**TAKEN, **({"large.bin": random.Random(2).randbytes(ARCHIVE_PART_BYTES + 5)} if loop else {})}
    (tmp_path / name).write_bytes(zipped([Item(n, d, STORED) for n, d in files.items()]))
    dataset = f"arch-docs-{int(loop)}-{len(name)}"
    script = (
        (blocks[1 if loop else 0] + blocks[2])
        .replace(ADDRESS, stack.url)
        .replace("DATASET=photos", f"DATASET={dataset}")
        .replace("photos.zip", name)
    )
    assert shutil.which("curl"), "apt-get install curl"
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=tmp_path,
        env={"PATH": path, "HOME": str(tmp_path), "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads((tmp_path / "archive.json").read_text())
    assert (said["status"], said["report"]["taken"]["files"]) == ("ready", len(files))
    assert files_of(stack, dataset, said["version_id"]) == files
