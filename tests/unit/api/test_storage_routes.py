"""The storage endpoint: who gets in, where objects land, and the two shapes of its answers."""

from __future__ import annotations

import base64
import hashlib
import xml.etree.ElementTree as ET
import zlib
from dataclasses import replace

import pytest

from chalicelib.domain.storage import MAX_DIRECT_BYTES, uploads_prefix
from chalicelib.services.storage import StorageService
from tests.fakes.world import ME, World
from tests.unit.api.client import Answer, ApiClient
from tests.unit.api.team import Team

PUT = "/api/cloud/storage/outputs/"
OCTETS = {"content-type": "application/octet-stream"}
S3 = {"user-agent": "Boto3/1.44", **OCTETS}


def token_of(client: ApiClient, job_id: str) -> str:
    answer = client.post(f"/api/cloud/jobs/{job_id}/upload-token")
    assert answer.status == 201, answer.body
    return str(answer.json()["upload_token"])


@pytest.fixture
def job(world: World) -> str:
    return world.submit().job.job_id


@pytest.fixture
def token(api: ApiClient, job: str) -> str:
    return token_of(api, job)


def put(api: ApiClient, token: str | None, key: str, data: bytes = b"hello", **headers: str) -> Answer:
    shown = {"x-upload-token": token} if token is not None else {}
    return api.put(PUT + key, data, headers={**OCTETS, **shown, **headers})


def test_a_small_object_is_stored_below_its_job(api: ApiClient, world: World, job: str, token: str) -> None:
    answer = put(api, token, "a/b.safetensors", b"\x00\xff\xfe")
    etag = f'"{hashlib.md5(bytes([0, 255, 254]), usedforsecurity=False).hexdigest()}"'
    assert (answer.status, answer.headers["ETag"]) == (200, etag)
    assert answer.json() | {"Location": None} == {
        "ETag": etag,
        "Key": "a/b.safetensors",
        "Bucket": "outputs",
        "Location": None,
    }
    assert world.outputs.get(f"{uploads_prefix('local', job)}a/b.safetensors") == b"\x00\xff\xfe"
    assert put(api, None, "x", **{"x-simpletuner-secret": token}).status == 200


def test_refusals_say_what_simpletuner_says_and_tell_nothing_apart(
    api: ApiClient, world: World, job: str, token: str
) -> None:
    nobody = put(api, None, "a")
    assert (nobody.status, nobody.json()["detail"]) == (
        401,
        "Authentication required. Provide per-job upload token via X-Upload-Token header.",
    )
    other = world.submit().job.job_id
    wrong = [
        "zzz",
        token[:-1] + ("0" if token[-1] != "0" else "1"),
        token.replace(job, other),
        token.replace(job, "0" * 26),
        "stu_" + "x" * 9000,
    ]
    answers = {(a.status, a.json()["detail"]) for a in (put(api, t, "a") for t in wrong)}
    assert answers == {(401, "Invalid upload token. Token must match an active job.")}
    world.services.jobs.cancel(ME, job)
    world.run(120)
    assert world.job(job).is_terminal
    ended = put(api, token, "a")
    assert {(ended.status, ended.json()["detail"])} == answers
    assert api.get(PUT + "a", headers={"x-upload-token": token}).status == 401
    assert api.post(f"/api/cloud/jobs/{job}/upload-token").json()["code"] == "job_over"
    world.services.jobs.delete(ME, job)
    assert put(api, token, "a").status == 401


@pytest.mark.parametrize(
    "key",
    ["../../x", "a/../b", "..%2f..%2fx", "%2e%2e/x", "a//b", "a%2f%2fb", "a%00b", "a%0ab", "a/.", "%5cx", "%ff"],
)
def test_no_key_leads_out_of_the_jobs_folder(api: ApiClient, world: World, token: str, key: str) -> None:
    before = dict(world.outputs._objects)
    assert put(api, token, key).status in {400, 404, 403}
    assert world.outputs._objects == before


def test_keys_may_be_long_and_of_any_script(api: ApiClient, world: World, job: str, token: str) -> None:
    room = 1024 - len(uploads_prefix("local", job))
    assert put(api, token, "k" * room).status == 200
    assert put(api, token, "k" * (room + 1)).json()["code"] == "invalid_key"
    assert put(api, token, "k" * 1025).status == 404
    assert put(api, token, "%E7%8C%AB/%252e%252e").status == 200
    assert world.outputs.get(f"{uploads_prefix('local', job)}猫/%2e%2e") == b"hello"


def test_another_bucket_is_none(api: ApiClient, token: str) -> None:
    answer = api.put("/api/cloud/storage/otherjob/x", b"x", headers={"x-upload-token": token})
    assert (answer.status, answer.json()["code"]) == (404, "no_such_bucket")


def test_large_objects_are_redirected_to_exactly_their_place(
    api: ApiClient, world: World, job: str, token: str
) -> None:
    for size, sent in ((MAX_DIRECT_BYTES + 1, b"x" * (MAX_DIRECT_BYTES + 1)), (10**10 // 2, b"")):
        announced = {} if sent else {"x-upload-length": str(size)}
        answer = put(api, token, "big.bin", sent, **announced)
        assert answer.status == 307
        key, signed, sha256, _ = world.outputs._puts[answer.headers["Location"]]
        assert (key, signed, sha256) == (f"{uploads_prefix('local', job)}big.bin", size, None)
    assert put(api, token, "big.bin", b"", **{"x-upload-length": str(6 * 1024**3)}).status == 413
    assert put(api, token, "big.bin", b"x", **{"x-upload-length": "5"}).status == 400
    assert put(api, token, "big.bin", b"", **{"x-upload-length": "-1"}).status == 400


def test_bytes_that_a_gateway_took_for_text_are_never_stored(api: ApiClient, world: World, token: str) -> None:
    mangled = b"\xff\xfe".decode("utf-8", "replace").encode()
    sent = {"x-upload-token": token, "content-type": "text/plain", "content-length": "2"}
    answer = api.put(PUT + "t", mangled, headers=sent)
    assert answer.status == 307
    assert world.outputs._puts[answer.headers["Location"]][1] == 2


def test_a_job_has_a_bound(api: ApiClient, token: str) -> None:
    own = api.services
    small = StorageService(own.ports, own.doors, own.audit, own.jobs, max_job_bytes=6)
    api.services = replace(own, storage=small)
    assert put(api, token, "a").status == 200
    assert put(api, token, "a").status == 200  # in its own place
    assert put(api, token, "b").json()["code"] == "upload_quota"


def test_five_tokens_a_job_each_in_the_audit_without_itself(api: ApiClient, world: World, job: str) -> None:
    tokens = [token_of(api, job) for _ in range(5)]
    assert api.post(f"/api/cloud/jobs/{job}/upload-token").json()["code"] == "too_many_tokens"
    assert all(put(api, t, "x").status == 200 for t in tokens)
    lines = [r for r in world.audit.records if str(r.action) == "upload_token.create"]
    assert sum(r.result == "allowed" for r in lines) == 5
    assert not any(t in str(r) for t in tokens for r in lines)
    assert not any(t in str(world.doors.upload_tokens.get(job)) for t in tokens)


def test_a_token_sees_its_own_job_and_owners_see_theirs(team: Team) -> None:
    rita, otto = team.session("rita"), team.session("otto")
    job = team.submit(rita).json()["job_id"]
    assert otto.post(f"/api/cloud/jobs/{job}/upload-token").status == 404
    token = token_of(rita, job)
    bare = ApiClient(rita.services)
    assert put(bare, token, "a/b.txt").status == 200
    shown = {"x-upload-token": token}
    assert [o["Key"] for o in bare.get(PUT[:-1], headers=shown).json()["Contents"]] == ["a/b.txt"]
    assert bare.get(f"{PUT}a/b.txt", headers=shown).status == 307
    assert bare.get(f"{PUT}a/nosuch", headers=shown).json()["detail"] == "Object not found"
    assert rita.get(PUT[:-1]).json()["CommonPrefixes"] == [f"{job}/"]
    assert [o["Key"] for o in rita.get(f"{PUT[:-1]}?prefix={job}/").json()["Contents"]] == [f"{job}/a/b.txt"]
    assert rita.get(f"{PUT}{job}/a/b.txt").status == 307
    assert rita.get("/api/cloud/storage").json()["total_size"] == 5
    for client in (otto, team.session("ada")):
        assert client.get(PUT[:-1]).json()["CommonPrefixes"] == []
        assert client.get(f"{PUT[:-1]}?prefix={job}/").json()["Contents"] == []
        assert client.get(f"{PUT}{job}/a/b.txt").status == 404
    assert bare.get(PUT[:-1], headers={"x-upload-token": "no"}).status == 401
    assert rita.get(PUT[:-1], headers={"x-upload-token": "no"}).status == 401  # never passed over
    assert rita.get("/api/cloud/storage/nosuch").json()["Contents"] == []


def test_pages_and_folders(api: ApiClient, token: str) -> None:
    for key in ("a/1", "a/2", "b", "c/1", "d"):
        put(api, token, key)
    seen, after = [], ""
    for _ in range(10):
        path = f"{PUT[:-1]}?list-type=2&delimiter=/&max-keys=1&continuation-token={after}"
        page = api.get(path, headers={"x-upload-token": token}).json()
        seen += [o["Key"] for o in page["Contents"]] + page["CommonPrefixes"]
        after = page["NextContinuationToken"] or ""
        if not page["IsTruncated"]:
            break
    assert seen == ["a/", "b", "c/", "d"]


def test_sdks_of_s3_get_its_shape(api: ApiClient, token: str) -> None:
    shown = {**S3, "x-upload-token": token}
    stored = api.put(f"{PUT}m.txt", b"hello", headers=shown)
    assert (stored.status, stored.body, stored.headers["Content-Type"]) == (200, b"", "application/xml")
    listed = ET.fromstring(api.get(f"{PUT[:-1]}?list-type=2", headers=shown).body)
    ns = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    assert [e.text for e in listed.iter(f"{ns}Key")] == ["m.txt"]
    assert listed.findtext(f"{ns}KeyCount") == "1"
    assert api.get(f"{PUT}m.txt", headers=shown).body == b"hello"
    missing = api.get(f"{PUT}nosuch", headers=shown)
    assert (missing.status, ET.fromstring(missing.body).findtext("Code")) == (404, "NoSuchKey")
    refused = api.put(f"{PUT}m", b"x", headers=S3)
    assert (refused.status, ET.fromstring(refused.body).findtext("Code")) == (401, "AccessDenied")
    parts = api.post(f"{PUT}m?uploads", headers=shown)
    assert (parts.status, ET.fromstring(parts.body).findtext("Code")) == (501, "NotImplemented")
    large = api.put(f"{PUT}m", b"x" * (MAX_DIRECT_BYTES + 1), headers=shown)
    assert (large.status, ET.fromstring(large.body).findtext("Code")) == (413, "EntityTooLarge")


def test_a_token_may_be_the_access_key_id_and_nothing_else_may(api: ApiClient, token: str) -> None:
    def signed(key_id: str) -> dict[str, str]:
        scope = f"Credential={key_id}/20261124/us-east-1/s3/aws4_request"
        return {**OCTETS, "authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"}

    assert api.put(f"{PUT}k", b"x", headers=signed(token)).status == 200
    assert api.put(f"{PUT}k", b"x", headers=signed("local")).status == 401
    assert api.get(PUT[:-1], headers=signed("local")).status == 401


def test_frames_and_checksums_of_sdks(api: ApiClient, world: World, job: str, token: str) -> None:
    crc = base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
    body = f"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:{crc}\r\n\r\n".encode()
    framed = {**S3, "x-upload-token": token, "content-encoding": "aws-chunked", "x-amz-decoded-content-length": "5"}
    assert api.put(f"{PUT}f", body, headers=framed).status == 200
    assert world.outputs.get(f"{uploads_prefix('local', job)}f") == b"hello"
    for broken in (body.replace(b"hello", b"hellO"), body[:4], b"zz\r\n", b"5\r\nhel\r\n0\r\n\r\n"):
        assert api.put(f"{PUT}g", broken, headers=framed).status == 400
    assert world.outputs.get(f"{uploads_prefix('local', job)}g") is None
