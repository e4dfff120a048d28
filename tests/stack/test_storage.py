"""The storage endpoint on a deployed stack, with the programs that people use: curl, requests, boto3."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.support.stack import Stack

SMALL = bytes(range(256)) * 40
LARGE = os.urandom(1024) * (12 * 1024)


@pytest.fixture(scope="module")
def uploading(whole_stack: Stack) -> Iterator[tuple[str, str]]:
    """An active job and a token of it."""
    stack = whole_stack
    stack.sandbox.faults()
    stack.push("storage")
    job_id = stack.submit("storage", steps=5_000)["job_id"]
    yield job_id, str(stack.ok("POST", f"/cloud/jobs/{job_id}/upload-token")["upload_token"])
    stack.api("POST", f"/cloud/jobs/{job_id}/cancel")


def curl(*arguments: str) -> str:
    command = ["curl", "-sS", "--max-time", "60", "--noproxy", "*", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


def stored(stack: Stack, job_id: str, key: str) -> bytes:
    bucket = stack.facts["outputs_bucket"]
    found = stack.client("s3").get_object(Bucket=bucket, Key=f"local/{job_id}/uploads/outputs/{key}")
    return bytes(found["Body"].read())


def s3_client(stack: Stack, token: str, *, by_header: bool) -> Any:
    """As SimpleTuner's publisher makes it: endpoint, any keys, and headers added before signing."""
    client = boto3.client(
        "s3",
        endpoint_url=f"{stack.url}/api/cloud/storage",
        aws_access_key_id="local" if by_header else token,
        aws_secret_access_key="any",
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path"}),
    )

    def add(request: Any, **_: Any) -> None:
        request.headers.add_header("Accept", "application/octet-stream")
        if by_header:
            request.headers.add_header("X-Upload-Token", token)

    client.meta.events.register("before-sign.s3", add)
    return client


@pytest.mark.parametrize(("name", "data"), [("small", SMALL), ("large", LARGE)])
def test_curl_uploads_and_downloads(
    stack: Stack, uploading: tuple[str, str], tmp_path: Path, name: str, data: bytes
) -> None:
    job_id, token = uploading
    file, back = tmp_path / "file.bin", tmp_path / "back.bin"
    file.write_bytes(data)
    url, shown = f"{stack.url}/api/cloud/storage/outputs/curl/{name}.bin", f"X-Upload-Token: {token}"
    code = curl("-L", "-o", os.devnull, "-w", "%{http_code}", "-H", shown, "-T", str(file), url)
    assert code == "200"
    assert stored(stack, job_id, f"curl/{name}.bin") == data
    curl("-L", "-H", shown, "-o", str(back), url)
    assert back.read_bytes() == data


@pytest.mark.parametrize(("name", "data"), [("small", SMALL), ("middle", LARGE[: 6 << 20]), ("large", LARGE)])
def test_requests_uploads_and_downloads(stack: Stack, uploading: tuple[str, str], name: str, data: bytes) -> None:
    job_id, token = uploading
    url, shown = f"{stack.url}/api/cloud/storage/outputs/requests/{name}.bin", {"X-Upload-Token": token}
    with requests.Session() as session:
        session.trust_env = False
        assert session.put(url, data=data, headers=shown, timeout=60).status_code == 200
        assert stored(stack, job_id, f"requests/{name}.bin") == data
        assert session.get(url, headers=shown, timeout=60).content == data


def test_an_upload_without_its_body_asks_for_the_address(stack: Stack, uploading: tuple[str, str]) -> None:
    job_id, token = uploading
    shown = {"X-Upload-Token": token, "X-Upload-Length": str(len(LARGE))}
    asked = stack.api("PUT", "/cloud/storage/outputs/asked.bin", headers=shown)
    assert asked.status == 307
    address = asked.headers["location"]
    assert stack.http.put(address, content=LARGE[:-1]).status_code == 403
    assert stack.http.put(address.replace("asked.bin", "other.bin"), content=LARGE).status_code == 403
    assert stack.http.put(address, content=LARGE).status_code == 200
    assert stored(stack, job_id, "asked.bin") == LARGE


@pytest.mark.parametrize("by_header", [True, False], ids=["request_headers", "access key id"])
def test_boto3_uploads_lists_and_downloads(
    stack: Stack, uploading: tuple[str, str], tmp_path: Path, by_header: bool
) -> None:
    job_id, token = uploading
    client = s3_client(stack, token, by_header=by_header)
    octets = {"ContentType": "application/octet-stream"}
    folder = f"boto-{by_header}"
    put = client.put_object(Bucket="outputs", Key=f"{folder}/put.bin", Body=SMALL, **octets)
    assert put["ETag"].strip('"')
    file = tmp_path / "file.bin"
    file.write_bytes(SMALL * 100)
    client.upload_file(str(file), "outputs", f"{folder}/file.bin", ExtraArgs=octets)
    assert stored(stack, job_id, f"{folder}/file.bin") == SMALL * 100
    listed = client.list_objects_v2(Bucket="outputs", Prefix=f"{folder}/")
    assert [(o["Key"], o["Size"]) for o in listed["Contents"]] == [
        (f"{folder}/file.bin", len(SMALL) * 100),
        (f"{folder}/put.bin", len(SMALL)),
    ]
    assert [b["Name"] for b in client.list_buckets()["Buckets"]] == ["outputs"]
    assert client.get_object(Bucket="outputs", Key=f"{folder}/put.bin")["Body"].read() == SMALL
    with pytest.raises(client.exceptions.NoSuchKey):
        client.get_object(Bucket="outputs", Key="nosuch")
    file.write_bytes(LARGE)
    with pytest.raises(Exception, match="force_single_part"):
        client.upload_file(str(file), "outputs", "parts.bin")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3_client(stack, "stu_no", by_header=by_header).list_objects_v2(Bucket="outputs")


def test_what_arrived_goes_with_the_job(stack: Stack) -> None:
    job_id = stack.submit("storage", steps=5_000)["job_id"]
    token = stack.ok("POST", f"/cloud/jobs/{job_id}/upload-token")["upload_token"]
    shown = {"X-Upload-Token": token, "Content-Type": "application/octet-stream"}
    assert stack.api("PUT", "/cloud/storage/outputs/a/b", content=SMALL, headers=shown).status == 200
    stack.ok("GET", f"/cloud/jobs/{job_id}/outputs")
    assert stack.ok("GET", f"/cloud/storage/outputs?prefix={job_id}/")["Contents"][0]["Key"] == f"{job_id}/a/b"
    assert stack.api("PUT", "/cloud/storage/outputs/%2e%2e/x", content=b"x", headers=shown).status in {400, 403, 404}
    stack.ok("POST", f"/cloud/jobs/{job_id}/cancel")
    stack.wait(job_id, "cancelled")
    assert stack.api("PUT", "/cloud/storage/outputs/a/b", content=SMALL, headers=shown).status == 401
    stack.ok("DELETE", f"/cloud/jobs/{job_id}")
    left = stack.client("s3").list_objects_v2(Bucket=stack.facts["outputs_bucket"], Prefix=f"local/{job_id}/")
    assert left["KeyCount"] == 0
