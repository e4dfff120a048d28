"""Pushes against the deployed stack, IAM on: what is sent, what is copied inside S3, files in parts, quota, tenants."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.closed_stack import ClosedStack
from tests.support.places import place_of
from tests.support.stack import Stack, eventually

PART = 64 * 1024**2
MIB = 1024**2


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def line(path: str, data: bytes) -> dict[str, Any]:
    pieces = [data[at : at + PART] for at in range(0, len(data), PART)]
    parts = {"parts": [sha256(p) for p in pieces]} if len(pieces) > 1 else {}
    return {"path": path, "size": len(data), "sha256": sha256(data), **parts}


class Push:
    """One version being pushed by hand; counts what is sent."""

    def __init__(self, stack: Stack, dataset_id: str, files: Mapping[str, bytes]) -> None:
        self.stack, self.files = stack, files
        body = {"dataset_id": dataset_id, "files": [line(p, b) for p, b in files.items()]}
        self.version = stack.ok("POST", "/cloud/datasets", json=body)
        self.route = f"/cloud/datasets/{dataset_id}/versions/{self.version['version_id']}"
        self.sent_paths: list[str] = []
        self.sent_bytes = self.copied = self.copied_bytes = 0

    def batch(self, **body: Any) -> Any:
        return self.stack.ok("POST", f"{self.route}/uploads", json=body)

    def put(self, upload: Mapping[str, Any], data: bytes) -> int:
        self.sent_bytes += len(data)
        answer = self.stack.http.put(upload["url"], content=data, headers=upload["headers"])
        return answer.status_code

    def send_all(self, limit: int = 100) -> None:
        after = None
        for _ in range(1_000):
            found = self.batch(after=after, limit=limit)
            self.copied += found["copied"]
            self.copied_bytes += found["copied_bytes"]
            for upload in found["uploads"]:
                self.sent_paths.append(upload["path"])
                data = self.files[upload["path"]]
                for part in upload.get("parts", [upload]):
                    start = (part.get("number", 1) - 1) * PART
                    assert self.put(part, data[start : start + part["size"]]) == 200
                if "parts" in upload and not upload["more_parts"]:
                    self.stack.ok("POST", f"{self.route}/uploads/finish", json={"path": upload["path"]})
            after = found["next"]
            if after is None:
                return
        raise AssertionError("the uploads have no end")

    def complete(self) -> Any:
        return eventually(
            lambda: done if (done := self.stack.ok("POST", f"{self.route}/complete"))["status"] == "ready" else None
        )


def name(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex[:8]}"


def test_a_push_after_one_percent_changed_sends_that(stack: Stack) -> None:
    dataset = name("again")
    files = {f"{i:04d}.jpg": f"{i}".encode() * 400 for i in range(500)}
    first = Push(stack, dataset, files)
    first.send_all()
    assert len(first.sent_paths) == 500
    first.complete()
    changed = {**files, **{f"{i:04d}.jpg": b"changed" + f"{i}".encode() for i in range(0, 500, 100)}}
    second = Push(stack, dataset, changed)
    second.send_all()
    assert second.sent_paths == [f"{i:04d}.jpg" for i in range(0, 500, 100)]
    assert second.copied == 495
    assert second.sent_bytes < 0.02 * sum(map(len, files.values()))
    second.complete()
    diff = stack.ok("GET", f"{second.route}/diff")
    assert (diff["base"], diff["changed"]["files"], diff["unchanged"]["files"]) == (first.version["version_id"], 5, 495)
    links = stack.ok("POST", f"{second.route}/downloads", json={"limit": 500})["downloads"]
    assert len(links) == 500
    for link in (links[0], links[1], links[-1]):
        got = stack.http.get(link["url"]).content
        assert (got, sha256(got)) == (changed[link["path"]], link["sha256"])
    unchanged = Push(stack, dataset, changed)
    assert unchanged.version["status"] == "ready"
    deleted = stack.ok("DELETE", f"/cloud/datasets/{dataset}")
    assert deleted["deleted_objects"] >= 1_002
    assert deleted["deleted_bytes"] > sum(map(len, files.values())) + sum(map(len, changed.values()))
    left = stack.client("s3").list_objects_v2(Bucket=stack.facts["datasets_bucket"], Prefix=f"local/{dataset}/")
    assert left["KeyCount"] == 0


def test_a_file_of_130_mib_survives_a_lost_part_and_is_copied_next_time(stack: Stack) -> None:
    dataset = name("big")
    data = b"".join(bytes([i]) * MIB for i in range(130))
    push = Push(stack, dataset, {"big.bin": data, "note.txt": b"hello"})
    found = push.batch()
    big = next(u for u in found["uploads"] if u["path"] == "big.bin")
    assert [p["size"] for p in big["parts"]] == [PART, PART, 2 * MIB]
    assert push.put(big["parts"][0], data[:PART]) == 200
    assert push.put(big["parts"][2], data[2 * PART :]) == 200
    refused = stack.api("POST", f"{push.route}/uploads/finish", json={"path": "big.bin"})
    assert (refused.status, refused.json["code"], refused.json["missing_parts"]) == (409, "upload_incomplete", [2])
    wrong = stack.http.put(big["parts"][1]["url"], content=data[:PART], headers=big["parts"][1]["headers"])
    assert wrong.status_code == 400
    again = push.batch()
    assert [p["number"] for u in again["uploads"] for p in u.get("parts", [])] == [2]
    push.send_all()
    push.complete()
    detail = stack.ok("GET", push.route)
    head = stack.client("s3").head_object(
        Bucket=stack.facts["datasets_bucket"],
        Key=f"local/{dataset}/{place_of(detail['manifest_url'])}/big.bin",
        ChecksumMode="ENABLED",
    )
    assert (head["ContentLength"], head["ChecksumType"]) == (len(data), "COMPOSITE")
    moved = Push(stack, dataset, {"moved/big.bin": data, "note.txt": b"hello", "new.txt": b"n"})
    moved.send_all()
    assert (moved.sent_paths, moved.copied, moved.copied_bytes) == (["new.txt"], 2, len(data) + 5)
    moved.complete()
    assert stack.ok("GET", f"{moved.route}/diff")["renamed"] == {"files": 1, "bytes": len(data)}
    stack.ok("DELETE", f"/cloud/datasets/{dataset}")
    open_ones = stack.client("s3").list_multipart_uploads(Bucket=stack.facts["datasets_bucket"])
    assert [u["Key"] for u in open_ones.get("Uploads", []) if dataset in u["Key"]] == []


def test_a_url_takes_its_file_only_and_for_its_time(stack: Stack) -> None:
    push = Push(stack, name("url"), {"a.txt": b"right"})
    upload = push.batch()["uploads"][0]
    assert push.put(upload, b"wrong") == 400
    query = parse_qs(urlsplit(upload["url"]).query)
    assert query["X-Amz-Expires"] == ["3600"]
    stale = upload["url"].replace("X-Amz-Expires=3600", "X-Amz-Expires=1")
    assert push.put({**upload, "url": stale}, b"right") == 403, "its time is part of what was signed"
    renewed = push.batch()["uploads"][0]
    assert push.put(renewed, b"right") == 200
    assert push.complete()["status"] == "ready"


def test_a_manifest_too_large_for_a_request_is_uploaded(stack: Stack) -> None:
    dataset = name("many")
    content = b"what no other test ever sent, so that nothing can be copied"
    lines = [{"path": f"{i:06d}.txt", "size": len(content), "sha256": sha256(content)} for i in range(20_001)]
    inline = stack.api("POST", "/cloud/datasets", json={"dataset_id": dataset, "files": lines})
    assert (inline.status, inline.json["code"]) == (422, "validation_failed")
    data = "".join(json.dumps(each) + "\n" for each in lines).encode()
    place = stack.ok("POST", f"/cloud/datasets/{dataset}/manifests", json={"size": len(data), "sha256": sha256(data)})
    assert stack.http.put(place["url"], content=data, headers=place["headers"]).status_code == 200
    version = stack.ok("POST", "/cloud/datasets", json={"dataset_id": dataset, "manifest_id": place["manifest_id"]})
    assert (version["files"], version["status"]) == (20_001, "uploading")
    batch = stack.ok("POST", f"/cloud/datasets/{dataset}/versions/{version['version_id']}/uploads", json={"limit": 500})
    assert (len(batch["uploads"]), batch["next"]) == (500, "000499.txt")
    assert len(json.dumps(batch)) < 4_000_000
    stack.ok("DELETE", f"/cloud/datasets/{dataset}")


def test_a_quota_is_kept(stack: Stack) -> None:
    before = stack.ok("GET", "/cloud/datasets/usage")
    table, key = stack.facts["jobs_table"], {"pk": {"S": "usage#local"}, "sk": {"S": "datasets"}}
    full = before["quota_bytes"] - before["bytes"] - 10

    def add(size: int) -> None:
        stack.client("dynamodb").update_item(
            TableName=table,
            Key=key,
            UpdateExpression="ADD used :n",
            ExpressionAttributeValues={":n": {"N": str(size)}},
        )

    add(full)
    try:
        body = {"dataset_id": name("full"), "files": [line("a", b"12345678901")]}
        refused = stack.api("POST", "/cloud/datasets", json=body)
        assert (refused.status, refused.json["code"]) == (413, "quota_exceeded")
        assert stack.api("GET", f"/cloud/datasets/{body['dataset_id']}").status == 404
        fits = {"dataset_id": name("fits"), "files": [line("a", b"1234567890")]}
        stack.ok("POST", "/cloud/datasets", json=fits)
        assert stack.ok("GET", "/cloud/datasets/usage")["bytes"] == before["quota_bytes"]
        stack.ok("DELETE", f"/cloud/datasets/{fits['dataset_id']}")
    finally:
        add(-full)
    assert stack.ok("GET", "/cloud/datasets/usage") == before


def test_old_versions_end_when_the_dataset_says_so(stack: Stack) -> None:
    dataset = name("kept")
    old = stack.push(dataset, {"a": b"1"})
    new = stack.push(dataset, {"a": b"2"})
    assert stack.ok("PATCH", f"/cloud/datasets/{dataset}", json={"retention_days": 1})["retention_days"] == 1
    stack.sweep()
    assert len(stack.ok("GET", f"/cloud/datasets/{dataset}")["versions"]) == 2
    grow_old(stack, dataset, old["version_id"])
    stack.ok("PATCH", f"/cloud/datasets/{dataset}", json={"retention_days": 1})
    eventually(lambda: len(stack.ok("GET", f"/cloud/datasets/{dataset}")["versions"]) == 1 or not stack.sweep())
    detail = stack.ok("GET", f"/cloud/datasets/{dataset}")
    assert [v["version_id"] for v in detail["versions"]] == [new["version_id"]] == [detail["latest_version"]]


def grow_old(stack: Stack, dataset: str, version_id: str) -> None:
    """Makes a version complete since two years."""
    dynamodb, table = stack.client("dynamodb"), stack.facts["jobs_table"]
    found = dynamodb.query(
        TableName=table,
        KeyConditionExpression="pk = :pk",
        ExpressionAttributeValues={":pk": {"S": f"versions#local#{dataset}"}},
    )["Items"]
    for item in found:
        document = json.loads(item["document"]["S"])
        if document["version_id"] == version_id:
            document["completed_at"] = "2024-11-24T12:00:00Z"
            item["document"] = {"S": json.dumps(document)}
            dynamodb.put_item(TableName=table, Item=item)


def test_another_owners_identical_file_is_never_a_copy_source(team: ClosedStack) -> None:
    rita, otto = team["rita"], team["otto"]
    dataset, secret = name("tenant"), {"secret.txt": b"only rita has this " * 50, "big.bin": b"s" * (PART + 5)}
    mine = Push(rita, dataset, secret)
    mine.send_all()
    mine.complete()
    theirs = Push(otto, dataset, secret)
    assert theirs.version["status"] == "uploading"
    found = theirs.batch()
    assert (found["copied"], found["present"], len(found["uploads"])) == (0, 0, 2)
    refused = otto.api("POST", f"{theirs.route}/complete")
    assert (refused.status, refused.json["code"]) == (409, "upload_incomplete")
    for upload in found["uploads"]:
        urls = [part["url"] for part in upload.get("parts", [upload])]
        assert all(f"/{otto.user_id}/{dataset}/" in url for url in urls)
    finish = otto.api("POST", f"{theirs.route}/uploads/finish", json={"path": "big.bin"})
    assert (finish.status, finish.json["missing_parts"]) == (409, [1, 2])
    assert otto.api("POST", f"{mine.route}/downloads", json={}).status in {404, 409}
    for route in ("diff",):
        assert otto.api("GET", f"/cloud/datasets/{dataset}/versions/v-none/{route}").status == 404


@pytest.mark.parametrize("owner", ["otto"])
def test_a_staged_manifest_is_its_owners(team: ClosedStack, owner: str) -> None:
    dataset, data = name("staged"), (json.dumps(line("a", b"x")) + "\n").encode()
    rita, other = team["rita"], team[owner]
    place = rita.ok("POST", f"/cloud/datasets/{dataset}/manifests", json={"size": len(data), "sha256": sha256(data)})
    assert rita.http.put(place["url"], content=data, headers=place["headers"]).status_code == 200
    body = {"dataset_id": dataset, "manifest_id": place["manifest_id"]}
    refused = other.api("POST", "/cloud/datasets", json=body)
    assert (refused.status, refused.json["code"]) == (404, "manifest_not_found")
    assert rita.api("POST", "/cloud/datasets", json=body).status == 201
