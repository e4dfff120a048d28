"""The ObjectStore port, uploads in parts and copies: the fake and S3 on the emulator."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.object_store import S3ObjectStore
from chalicelib.domain.objects import (
    MultipartGoneError,
    ObjectStore,
    PartInfo,
    PartRefusedError,
    PresignedPut,
    composite_of,
)
from tests.fakes.aws import InMemoryObjectStore, UploadRefused, to_base64
from tests.support.emulator import Emulator

HOUR = timedelta(hours=1)
MIB = 1024**2
FIRST, LAST = b"1" * (5 * MIB), b"the rest"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Bucket:
    store: ObjectStore
    upload: Callable[[PresignedPut, Mapping[str, str], bytes], None]

    def part(self, key: str, upload_id: str, number: int, data: bytes, *, checksum: bool = True) -> PresignedPut:
        return self.store.presign_part(
            key,
            upload_id,
            number,
            size=len(data),
            sha256=sha256(data) if checksum else None,
            now=datetime.now(UTC),
            expires=HOUR,
        )

    def send(self, key: str, upload_id: str, number: int, data: bytes, *, checksum: bool = True) -> None:
        presigned = self.part(key, upload_id, number, data, checksum=checksum)
        self.upload(presigned, presigned.headers, data)

    def two_parts(self, key: str) -> str:
        upload_id = self.store.start_multipart(key)
        self.send(key, upload_id, 2, LAST)
        self.send(key, upload_id, 1, FIRST)
        return upload_id

    def made_of_parts(self, key: str) -> None:
        upload_id = self.two_parts(key)
        self.store.finish_multipart(key, upload_id, self.store.list_parts(key, upload_id))


@pytest.fixture(scope="module")
def clients(emulator: Emulator) -> Iterator[Clients]:
    made = Clients("us-east-1", endpoint_url=emulator.url, root=AccessKey("test", "test"))
    yield made
    made.close()


def put(url: str, headers: Mapping[str, str], data: bytes) -> None:
    answer = httpx.put(url, headers=dict(headers), content=data, trust_env=False, timeout=20)
    if answer.is_error:
        raise UploadRefused(answer.text)


@pytest.fixture(params=["memory", "s3"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    if request.param == "memory":
        fake = InMemoryObjectStore("datasets")
        return Bucket(fake, lambda p, headers, data: fake.upload(p.url, headers, data, now=datetime.now(UTC)))
    emulator: Emulator = request.getfixturevalue("emulator")
    name = f"test-{uuid.uuid4().hex[:16]}"
    emulator.client("s3").create_bucket(Bucket=name)
    clients: Clients = request.getfixturevalue("clients")
    return Bucket(S3ObjectStore(name, clients.s3), lambda p, headers, data: put(p.url, headers, data))


# --- parts --------------------------------------------------------------------------------------------------------
def test_parts_become_one_object_with_a_composite_checksum(bucket: Bucket) -> None:
    upload_id = bucket.two_parts("d/big.bin")
    parts = bucket.store.list_parts("d/big.bin", upload_id)
    assert [(p.number, p.size, p.sha256) for p in parts] == [(1, 5 * MIB, sha256(FIRST)), (2, 8, sha256(LAST))]
    assert bucket.store.head("d/big.bin") is None
    bucket.store.finish_multipart("d/big.bin", upload_id, list(reversed(parts)))
    info = bucket.store.head("d/big.bin")
    assert info is not None
    assert (info.size, info.sha256) == (5 * MIB + 8, None)
    assert info.composite_sha256 == composite_of([sha256(FIRST), sha256(LAST)])
    assert bucket.store.get("d/big.bin", start=5 * MIB - 1) == b"1" + LAST
    assert bucket.store.find_multipart("d/big.bin") is None


def test_finishing_twice_is_finishing_once(bucket: Bucket) -> None:
    upload_id = bucket.two_parts("k")
    parts = bucket.store.list_parts("k", upload_id)
    bucket.store.finish_multipart("k", upload_id, parts)
    bucket.store.finish_multipart("k", upload_id, parts)
    assert bucket.store.get("k", length=1) == b"1"


def test_an_upload_without_checksums_takes_any_content_of_the_size(bucket: Bucket) -> None:
    upload_id = bucket.store.start_multipart("k", checksum=False)
    presigned = bucket.part("k", upload_id, 1, b"abc", checksum=False)
    assert presigned.headers == {}
    bucket.upload(presigned, {}, b"xyz")
    with pytest.raises(UploadRefused):
        bucket.upload(presigned, {}, b"four")
    parts = bucket.store.list_parts("k", upload_id)
    assert [(p.number, p.size, p.sha256) for p in parts] == [(1, 3, None)]
    bucket.store.finish_multipart("k", upload_id, parts)
    info = bucket.store.head("k")
    assert info is not None
    assert (info.sha256, info.composite_sha256) == (None, None)
    assert bucket.store.get("k") == b"xyz"


@pytest.mark.parametrize(
    ("sent", "headers"),
    [
        pytest.param(b"RIGHT", None, id="same length, other content"),
        pytest.param(b"right and more", None, id="longer"),
        pytest.param(b"right", {}, id="without the checksum"),
        pytest.param(b"RIGHT", {"x-amz-checksum-sha256": to_base64(sha256(b"RIGHT"))}, id="its own checksum"),
    ],
)
def test_a_part_url_accepts_exactly_its_part(bucket: Bucket, sent: bytes, headers: Mapping[str, str] | None) -> None:
    upload_id = bucket.store.start_multipart("k")
    presigned = bucket.part("k", upload_id, 1, b"right")
    with pytest.raises(UploadRefused):
        bucket.upload(presigned, presigned.headers if headers is None else headers, sent)
    assert bucket.store.list_parts("k", upload_id) == []


def test_a_part_may_be_sent_again(bucket: Bucket) -> None:
    upload_id = bucket.store.start_multipart("k")
    for _ in range(2):
        bucket.send("k", upload_id, 1, b"same")
    assert [p.size for p in bucket.store.list_parts("k", upload_id)] == [4]


def test_parts_that_are_not_there_are_refused(bucket: Bucket) -> None:
    upload_id = bucket.two_parts("k")
    parts = bucket.store.list_parts("k", upload_id)
    wrong = [PartInfo(1, 5 * MIB, '"00000000000000000000000000000000"', parts[0].sha256), parts[1]]
    for refused in ([], [*parts, PartInfo(3, 1, parts[0].etag, parts[0].sha256)], wrong):
        with pytest.raises(PartRefusedError):
            bucket.store.finish_multipart("k", upload_id, refused)
    assert bucket.store.head("k") is None
    assert bucket.store.list_parts("k", upload_id) == parts


def test_an_aborted_upload_is_gone(bucket: Bucket) -> None:
    upload_id = bucket.two_parts("k")
    parts = bucket.store.list_parts("k", upload_id)
    late = bucket.part("k", upload_id, 1, FIRST)
    for _ in range(2):
        bucket.store.abort_multipart("k", upload_id)
    assert bucket.store.find_multipart("k") is None
    with pytest.raises(MultipartGoneError):
        bucket.store.list_parts("k", upload_id)
    with pytest.raises(MultipartGoneError):
        bucket.store.finish_multipart("k", upload_id, parts)
    with pytest.raises(UploadRefused):
        bucket.upload(late, late.headers, FIRST)
    with pytest.raises(MultipartGoneError):
        bucket.store.list_parts("k", "no-such-upload")
    bucket.store.abort_multipart("k", "no-such-upload")


def test_an_upload_belongs_to_its_key(bucket: Bucket) -> None:
    upload_id = bucket.two_parts("mine")
    with pytest.raises(MultipartGoneError):
        bucket.store.list_parts("other", upload_id)
    bucket.store.abort_multipart("other", upload_id)
    assert len(bucket.store.list_parts("mine", upload_id)) == 2


def test_unfinished_uploads_are_found_by_key(bucket: Bucket) -> None:
    made = {key: bucket.store.start_multipart(key) for key in ("v/a", "v/a.txt", "v/b", "w/a")}
    assert bucket.store.find_multipart("v/a") == made["v/a"]
    assert bucket.store.find_multipart("v/") is None
    assert [m.upload_id for m in bucket.store.multiparts("v/")] == [made[k] for k in ("v/a", "v/a.txt", "v/b")]
    assert [m.key for m in bucket.store.multiparts("v/", limit=2)] == ["v/a", "v/a.txt"]
    again = bucket.store.start_multipart("v/a")
    of_a = [m for m in bucket.store.multiparts("v/a") if m.key == "v/a"]
    assert {m.upload_id for m in of_a} == {made["v/a"], again}
    assert bucket.store.find_multipart("v/a") == of_a[-1].upload_id
    assert {m.started_at.tzinfo for m in of_a} == {UTC}


@pytest.mark.parametrize("number", [0, -1, 10_001])
def test_part_numbers_have_bounds(bucket: Bucket, number: int) -> None:
    upload_id = bucket.store.start_multipart("k")
    with pytest.raises(ValueError):
        bucket.part("k", upload_id, number, b"x")


@pytest.mark.parametrize("key", ["", "x" * 1025])
def test_a_key_that_s3_does_not_take_is_refused(bucket: Bucket, key: str) -> None:
    for write in (
        lambda: bucket.store.start_multipart(key),
        lambda: bucket.store.copy("k", key, size=1),
        lambda: bucket.store.put_stream(key, [b"x"]),
        lambda: bucket.part(key, "id", 1, b"x"),
    ):
        with pytest.raises(ValueError, match="not a key"):
            write()


# --- copies -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("key", ["o/d/v2/a.jpg", "o/d/v2/写真 +&=?#%.jpg"])
def test_a_copy_has_content_and_checksum(bucket: Bucket, key: str) -> None:
    source = key.replace("v2", "v1")
    bucket.store.put(source, b"data")
    assert bucket.store.copy(source, key, size=4, sha256=sha256(b"data"))
    assert bucket.store.copy(source, key, size=4)
    info = bucket.store.head(key)
    assert info is not None
    assert (info.size, info.sha256) == (4, sha256(b"data"))
    assert bucket.store.get(key) == bucket.store.get(source) == b"data"


def test_an_empty_object_is_copied(bucket: Bucket) -> None:
    bucket.store.put("a", b"")
    assert bucket.store.copy("a", "b", size=0, sha256=sha256(b""))
    assert bucket.store.get("b") == b""


def test_the_copy_of_an_object_of_parts_has_the_checksum_of_the_whole(bucket: Bucket) -> None:
    bucket.made_of_parts("a")
    assert bucket.store.copy("a", "b", size=5 * MIB + 8, sha256=sha256(FIRST + LAST))
    info = bucket.store.head("b")
    assert info is not None
    assert (info.sha256, info.composite_sha256) == (sha256(FIRST + LAST), None)


def test_a_missing_source_is_no_copy(bucket: Bucket) -> None:
    assert not bucket.store.copy("none", "b", size=4, sha256=sha256(b"data"))
    assert not bucket.store.copy("none", "b", size=6 * 1024**3)
    assert bucket.store.head("b") is None
    assert bucket.store.find_multipart("b") is None


@pytest.mark.parametrize(("size", "of"), [(5, b"data"), (4, b"other")])
def test_a_source_that_is_something_else_is_no_copy(bucket: Bucket, size: int, of: bytes) -> None:
    bucket.store.put("a", b"data")
    assert not bucket.store.copy("a", "b", size=size, sha256=sha256(of)) or of == b"data"
    if of != b"data":
        assert bucket.store.head("b") is None
    assert bucket.store.get("a") == b"data"


def test_parts_can_be_copies(bucket: Bucket) -> None:
    bucket.store.put("a", FIRST + LAST)
    upload_id = bucket.store.start_multipart("b")
    first = bucket.store.copy_part("a", "b", upload_id, 1, start=0, length=5 * MIB)
    assert first is not None
    assert (first.number, first.size, first.sha256) == (1, 5 * MIB, sha256(FIRST))
    bucket.send("b", upload_id, 2, LAST)
    assert bucket.store.list_parts("b", upload_id)[0] == first
    bucket.store.finish_multipart("b", upload_id, bucket.store.list_parts("b", upload_id))
    info = bucket.store.head("b")
    assert info is not None
    assert info.composite_sha256 == composite_of([sha256(FIRST), sha256(LAST)])
    assert bucket.store.get("b") == FIRST + LAST


def test_a_part_of_what_is_not_there_is_none(bucket: Bucket) -> None:
    bucket.store.put("a", b"short")
    upload_id = bucket.store.start_multipart("b")
    assert bucket.store.copy_part("none", "b", upload_id, 1, start=0, length=5) is None
    assert bucket.store.copy_part("a", "b", upload_id, 1, start=0, length=6) is None
    assert bucket.store.copy_part("a", "b", upload_id, 1, start=5, length=1) is None
    assert bucket.store.list_parts("b", upload_id) == []
    with pytest.raises(MultipartGoneError):
        bucket.store.copy_part("a", "b", "no-such-upload", 1, start=0, length=5)


# --- streams ------------------------------------------------------------------------------------------------------
def test_a_small_stream_is_one_object(bucket: Bucket) -> None:
    info = bucket.store.put_stream("k", iter([b"", b"da", b"ta"]), size=4)
    assert (info.size, info.sha256, info.composite_sha256) == (4, sha256(b"data"), None)
    kept = bucket.store.head("k")
    assert kept is not None
    assert kept.sha256 == sha256(b"data")
    assert bucket.store.put_stream("empty", []).size == 0
    assert bucket.store.get("empty") == b""


@pytest.mark.parametrize("size", [16 * MIB, 16 * MIB + 1, 32 * MIB])
def test_a_large_stream_goes_up_in_parts(bucket: Bucket, size: int) -> None:
    block = bytes(range(256)) * 4096 * 3
    data = (block * (size // len(block) + 1))[:size]
    chunks = [data[at : at + len(block)] for at in range(0, size, len(block))]
    info = bucket.store.put_stream("k", chunks)
    parts = [sha256(data[at : at + 16 * MIB]) for at in range(0, size, 16 * MIB)]
    kept = bucket.store.head("k")
    assert kept is not None
    assert (info.size, info.sha256) == (size, sha256(data))
    assert info.composite_sha256 == (composite_of(parts) if len(parts) > 1 else None) == kept.composite_sha256
    assert bucket.store.get("k", start=size - 100) == data[-100:]
    assert bucket.store.find_multipart("k") is None


def test_a_stream_that_breaks_leaves_nothing(bucket: Bucket) -> None:
    def broken() -> Iterator[bytes]:
        for _ in range(18):
            yield bytes(MIB)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="broke"):
        bucket.store.put_stream("k", broken())
    assert bucket.store.head("k") is None
    assert bucket.store.find_multipart("k") is None


@pytest.mark.parametrize("size", [3, 5])
def test_a_stream_of_another_size_leaves_nothing(bucket: Bucket, size: int) -> None:
    with pytest.raises(ValueError, match="announced"):
        bucket.store.put_stream("k", [b"data"], size=size, sha256=False)
    assert bucket.store.head("k") is None
