"""The ObjectStore port: the fake and S3 on the emulator."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.object_store import S3ObjectStore
from chalicelib.aws.object_stream import ObjectChanged
from chalicelib.domain.ports import ObjectStore, PresignedPut
from tests.fakes.aws import InMemoryObjectStore, UploadRefused, to_base64
from tests.support.emulator import Emulator

HOUR = timedelta(hours=1)
AWKWARD = ["a/b c.txt", "a/ü+ä&=?#%.txt", "a/写真.jpg", "a/\U0001f431.png", "a/B.txt", "a/~tilde", "a/'quote'.txt"]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Bucket:
    """A store and what a client does with its upload URLs."""

    store: ObjectStore
    upload: Callable[[PresignedPut, Mapping[str, str], bytes], None]

    def presign(self, key: str, data: bytes) -> PresignedPut:
        now = datetime.now(UTC)
        return self.store.presign_put(key, size=len(data), sha256=sha256(data), now=now, expires=HOUR)


@pytest.fixture(scope="module")
def clients(emulator: Emulator) -> Iterator[Clients]:
    made = Clients("us-east-1", endpoint_url=emulator.url, root=AccessKey("test", "test"))
    yield made
    made.close()


@pytest.fixture
def s3_bucket(emulator: Emulator) -> str:
    name = f"test-{uuid.uuid4().hex[:16]}"
    emulator.client("s3").create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3(s3_bucket: str, clients: Clients) -> S3ObjectStore:
    """Pages of three, so that a handful of keys takes several."""
    return S3ObjectStore(s3_bucket, clients.s3, page=3)


def put(url: str, headers: Mapping[str, str], data: bytes) -> None:
    answer = httpx.put(url, headers=dict(headers), content=data, trust_env=False, timeout=20)
    if answer.is_error:
        raise UploadRefused(answer.text)


@pytest.fixture(params=["memory", "s3"])
def bucket(request: pytest.FixtureRequest) -> Bucket:
    if request.param == "memory":
        fake = InMemoryObjectStore("outputs")
        return Bucket(fake, lambda p, headers, data: fake.upload(p.url, headers, data, now=datetime.now(UTC)))
    return Bucket(request.getfixturevalue("s3"), lambda p, headers, data: put(p.url, headers, data))


def test_an_upload_with_the_given_headers_is_stored_with_its_checksum(bucket: Bucket) -> None:
    data = b"not really a picture"
    before = datetime.now(UTC)
    presigned = bucket.presign("o/d/v/a b.jpg", data)
    bucket.upload(presigned, presigned.headers, data)
    info = bucket.store.head("o/d/v/a b.jpg")
    assert info is not None
    assert (info.key, info.size, info.sha256) == ("o/d/v/a b.jpg", len(data), sha256(data))
    assert info.modified_at.tzinfo is UTC
    assert before + HOUR <= presigned.expires_at <= datetime.now(UTC) + HOUR
    assert bucket.store.get("o/d/v/a b.jpg") == data


def test_an_empty_file_can_be_uploaded(bucket: Bucket) -> None:
    presigned = bucket.presign("empty", b"")
    bucket.upload(presigned, presigned.headers, b"")
    info = bucket.store.head("empty")
    assert info is not None
    assert (info.size, info.sha256) == (0, sha256(b""))


@pytest.mark.parametrize(
    ("sent", "headers"),
    [
        pytest.param(b"RIGHT", None, id="same length, other content"),
        pytest.param(b"right and more", None, id="longer"),
        pytest.param(b"righ", None, id="shorter"),
        pytest.param(b"right", {}, id="without the checksum"),
        pytest.param(b"RIGHT", {"x-amz-checksum-sha256": to_base64(sha256(b"RIGHT"))}, id="its own checksum"),
    ],
)
def test_a_url_accepts_exactly_its_content(bucket: Bucket, sent: bytes, headers: Mapping[str, str] | None) -> None:
    presigned = bucket.presign("file", b"right")
    with pytest.raises(UploadRefused):
        bucket.upload(presigned, presigned.headers if headers is None else headers, sent)
    assert bucket.store.head("file") is None


def test_a_url_can_be_used_again_for_the_same_content(bucket: Bucket) -> None:
    presigned = bucket.presign("file", b"right")
    for _ in range(2):
        bucket.upload(presigned, presigned.headers, b"right")
    assert bucket.store.get("file") == b"right"


@pytest.mark.parametrize("wrong", ["", "abc", "A" * 64, to_base64(sha256(b"x"))])
def test_a_checksum_that_is_none_is_refused(bucket: Bucket, wrong: str) -> None:
    with pytest.raises(ValueError):
        bucket.store.presign_put("file", size=1, sha256=wrong, now=datetime.now(UTC), expires=HOUR)


def test_missing_objects_are_none(bucket: Bucket) -> None:
    assert bucket.store.head("none") is None
    assert bucket.store.get("none") is None
    assert bucket.store.get("none", start=3, length=2) is None
    assert bucket.store.get("none", length=0) is None
    assert bucket.store.open("none") is None


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        (0, None, b"0123456789"),
        (3, None, b"3456789"),
        (0, 4, b"0123"),
        (8, 4, b"89"),
        (9, 1, b"9"),
        (10, None, b""),
        (10, 5, b""),
        (99, None, b""),
        (99, 1, b""),
        (2, 0, b""),
    ],
)
def test_ranges(bucket: Bucket, start: int, length: int | None, expected: bytes) -> None:
    bucket.store.put("digits", b"0123456789")
    assert bucket.store.get("digits", start=start, length=length) == expected


@pytest.mark.parametrize("options", [{"start": -1}, {"length": -1}])
def test_negative_ranges_are_refused(bucket: Bucket, options: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        bucket.store.get("digits", **options)


def test_an_empty_object_is_not_a_missing_one(bucket: Bucket) -> None:
    bucket.store.put("empty", b"")
    assert bucket.store.get("empty") == b""
    assert bucket.store.get("empty", length=8) == b""
    stream = bucket.store.open("empty")
    assert stream is not None
    with stream:
        assert stream.read() == b""


def test_a_stream_reads_the_whole_object_in_pieces(bucket: Bucket) -> None:
    data = bytes(range(256)) * 20_000
    bucket.store.put("big", data)
    stream = bucket.store.open("big")
    assert stream is not None
    with stream:
        head = stream.read(8)
        pieces = list(iter(lambda: stream.read(1_000_000), b""))
    assert head + b"".join(pieces) == data
    assert [len(p) for p in pieces[:-1]] == [1_000_000] * (len(pieces) - 1)


def test_a_stream_can_be_left_unread(bucket: Bucket) -> None:
    bucket.store.put("big", bytes(3_000_000))
    stream = bucket.store.open("big")
    assert stream is not None
    with stream:
        assert stream.read(4) == bytes(4)
    assert stream.closed


@pytest.mark.parametrize("key", ["", "x" * 1025, "é" * 513])
def test_a_key_that_s3_does_not_take_is_refused_before_it_is_asked(bucket: Bucket, key: str) -> None:
    with pytest.raises(ValueError, match="not a key"):
        bucket.store.put(key, b"x")
    with pytest.raises(ValueError, match="not a key"):
        bucket.presign(key, b"x")


def test_the_longest_key_is_taken(bucket: Bucket) -> None:
    # In parts: the emulator's disk takes names of 255 bytes at most.
    key = "/".join(["é" * 100] * 5) + "x" * 20
    assert len(key.encode()) == 1024
    bucket.store.put(key, b"x")
    assert bucket.store.get(key) == b"x"


def test_put_replaces(bucket: Bucket) -> None:
    bucket.store.put("k", b"one", content_type="text/plain")
    bucket.store.put("k", b"two", content_type="text/plain")
    info = bucket.store.head("k")
    assert bucket.store.get("k") == b"two"
    assert info is not None
    assert info.sha256 == sha256(b"two")


def test_listing_is_in_byte_order_over_all_pages(bucket: Bucket) -> None:
    for key in [*AWKWARD, "b/other", "a", "a0"]:
        bucket.store.put(key, key.encode())
    found = list(bucket.store.list("a/"))
    assert [i.key for i in found] == sorted(AWKWARD, key=str.encode)
    assert {i.key: i.size for i in found} == {k: len(k.encode()) for k in AWKWARD}
    assert {i.sha256 for i in found} == {None}
    assert [i.key for i in bucket.store.list("")][:2] == ["a", sorted(AWKWARD, key=str.encode)[0]]


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 7, 100])
def test_a_listing_ends_at_its_limit(bucket: Bucket, limit: int) -> None:
    keys = [f"p/{i:02d}" for i in range(8)]
    for key in keys:
        bucket.store.put(key, b"")
    assert [i.key for i in bucket.store.list("p/", limit=limit)] == keys[:limit]


@pytest.mark.parametrize("after", ["p/00", "p/03", "p/03x", "p/06", "p/07", "p/99", "a"])
def test_a_listing_starts_after_a_key(bucket: Bucket, after: str) -> None:
    keys = [f"p/{i:02d}" for i in range(8)]
    for key in keys:
        bucket.store.put(key, b"")
    assert [i.key for i in bucket.store.list("p/", start_after=after)] == [k for k in keys if k > after]
    assert [i.key for i in bucket.store.list("p/", start_after=after, limit=2)] == [k for k in keys if k > after][:2]


def test_an_empty_prefix_lists_nothing(bucket: Bucket) -> None:
    assert list(bucket.store.list("nothing/here/")) == []


def test_deleting_counts_what_was_asked_for(bucket: Bucket) -> None:
    keys = [f"p/{i}" for i in range(7)]
    for key in keys:
        bucket.store.put(key, b"x")
    assert bucket.store.delete(iter([*keys[:6], "p/never-there"])) == 7
    assert [i.key for i in bucket.store.list("p/")] == ["p/6"]
    assert bucket.store.delete([]) == 0


def test_a_prefix_is_deleted_with_all_below_and_nothing_beside(bucket: Bucket) -> None:
    inside, beside = [f"o/job/{k}" for k in ["a", "b/c", "d", "e", "ü f"]], ["o/job", "o/job-2/a", "o/jo", "p/o/job/a"]
    for key in inside + beside:
        bucket.store.put(key, b"x")
    assert bucket.store.delete_prefix("o/job/") == len(inside)
    assert [i.key for i in bucket.store.list("")] == sorted(beside)
    assert bucket.store.delete_prefix("o/job/") == 0


@pytest.mark.parametrize("prefix", ["", "/", "o", "o/job", "/o/"])
def test_a_dangerous_prefix_is_refused(bucket: Bucket, prefix: str) -> None:
    bucket.store.put("o/job/a", b"x")
    with pytest.raises(ValueError):
        bucket.store.delete_prefix(prefix)
    assert bucket.store.head("o/job/a") is not None


@pytest.mark.parametrize("key", AWKWARD)
def test_any_key_makes_the_round_trip(bucket: Bucket, key: str) -> None:
    presigned = bucket.presign(key, b"data")
    bucket.upload(presigned, presigned.headers, b"data")
    assert bucket.store.get(key) == b"data"
    assert [i.key for i in bucket.store.list(key)] == [key]
    bucket.store.delete([key])
    assert bucket.store.head(key) is None


def test_threads_share_a_store(bucket: Bucket) -> None:
    keys = [f"t/{i:02d}" for i in range(40)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda k: bucket.store.put(k, k.encode()), keys))
        found = list(pool.map(bucket.store.get, keys))
    assert found == [k.encode() for k in keys]


# --- what only a real S3 can show ---------------------------------------------------------------------------------


def fetch(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False, timeout=20)


@pytest.mark.parametrize("key", AWKWARD)
def test_a_download_link_gives_the_object(s3: S3ObjectStore, key: str) -> None:
    s3.put(key, b"data", content_type="text/plain")
    answer = fetch(s3.presign_get(key, expires=HOUR))
    assert (answer.status_code, answer.content) == (200, b"data")
    assert answer.headers["content-type"] == "text/plain"
    assert "content-disposition" not in answer.headers


def test_a_download_link_names_the_file(s3: S3ObjectStore) -> None:
    s3.put("o/j/artifacts/x.safetensors", b"data")
    url = s3.presign_get("o/j/artifacts/x.safetensors", expires=HOUR, filename='mö"del\r\n.safetensors')
    assert fetch(url).headers["content-disposition"] == (
        "attachment; filename=\"m__del__.safetensors\"; filename*=UTF-8''m%C3%B6%22del%0D%0A.safetensors"
    )


def test_a_link_for_one_key_or_one_verb_is_not_good_for_another(s3: S3ObjectStore) -> None:
    s3.put("mine", b"data")
    s3.put("other", b"secret")
    link = s3.presign_get("mine", expires=HOUR)
    assert fetch(link.replace("/mine?", "/other?")).status_code == 403
    assert httpx.delete(link, trust_env=False, timeout=20).status_code == 403
    assert s3.get("mine") == b"data"


def test_an_object_replaced_while_being_read_is_noticed(s3: S3ObjectStore) -> None:
    """Bytes of two objects must never be taken for one: not even when the connection broke in between."""
    s3.put("model", bytes(3_000_000))
    stream = s3.open("model")
    assert stream is not None
    with stream:
        stream.read(10)
        s3.put("model", b"\x01" * 3_000_000)
        stream.raw._drop()  # type: ignore[attr-defined]  # what a lost connection does
        with pytest.raises(ObjectChanged):
            stream.read()


def test_reading_goes_on_after_a_lost_connection(s3: S3ObjectStore) -> None:
    data = bytes(range(251)) * 20_000
    s3.put("model", data)
    stream = s3.open("model")
    assert stream is not None
    with stream:
        head = stream.read(1_500_000)
        stream.raw._drop()  # type: ignore[attr-defined]
        assert head + stream.read() == data


def test_urls_name_the_public_endpoint(s3_bucket: str, emulator: Emulator) -> None:
    made = Clients(
        "us-east-1",
        endpoint_url=emulator.url,
        s3_endpoint_url=f"http://localhost:{emulator.port}",
        root=AccessKey("test", "test"),
    )
    url = S3ObjectStore(s3_bucket, made.s3).presign_get("k", expires=HOUR)
    made.close()
    assert url.startswith(f"http://localhost:{emulator.port}/{s3_bucket}/k?")


def test_a_missing_bucket_is_no_missing_key(clients: Clients) -> None:
    nowhere = S3ObjectStore(f"test-{uuid.uuid4().hex[:16]}", clients.s3)
    with pytest.raises(Exception, match="NoSuchBucket"):
        nowhere.get("k")
    with pytest.raises(Exception, match="NoSuchBucket"):
        list(nowhere.list(""))
