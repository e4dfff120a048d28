"""Uploads in parts and copies when S3's answers get lost, come in pages, or say no."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from chalicelib.aws.checksums import composite_hex, to_base64
from chalicelib.aws.multipart import COPY_PART_BYTES, MAX_COPY_BYTES, STREAM_PART_BYTES
from chalicelib.aws.object_store import S3ObjectStore
from chalicelib.domain.objects import MultipartGoneError, PartInfo, PartRefusedError, composite_of
from chalicelib.errors import Unavailable
from tests.unit.aws.aws_doubles import Script, client_error, timed_out

NOW = datetime(2026, 11, 24, tzinfo=UTC)
A, B = "aa" * 32, "bb" * 32
PARTS = [PartInfo(1, 5, '"1"', A), PartInfo(2, 3, '"2"', B)]


def store(**script: Any) -> tuple[S3ObjectStore, Script]:
    client = Script(**script)
    return S3ObjectStore("bucket", client), client


def head_of(parts: list[str], size: int) -> dict[str, Any]:
    digest, _, count = composite_of(parts).partition("-")
    checksum = f"{to_base64(digest)}-{count}"
    return {"ContentLength": size, "LastModified": NOW, "ChecksumSHA256": checksum, "ChecksumType": "COMPOSITE"}


def raw_part(number: int) -> dict[str, Any]:
    return {"PartNumber": number, "Size": 5, "ETag": '"e"', "ChecksumSHA256": to_base64(A)}


def test_parts_come_in_pages() -> None:
    first = {"Parts": [raw_part(n) for n in range(1, 1001)], "IsTruncated": True, "NextPartNumberMarker": 1000}
    objects, client = store(list_parts=[first, {"Parts": [raw_part(1001)], "IsTruncated": False}])
    assert [p.number for p in objects.list_parts("k", "u")] == list(range(1, 1002))
    assert [options["PartNumberMarker"] for _, options in client.calls] == [0, 1000]


def test_pages_of_parts_and_uploads_that_go_in_circles_end() -> None:
    page = {"Parts": [], "IsTruncated": True, "NextPartNumberMarker": 0}
    assert store(list_parts=[page])[0].list_parts("k", "u") == []
    circle = {"Uploads": [], "IsTruncated": True, "NextKeyMarker": "k", "NextUploadIdMarker": "u"}
    assert store(list_multipart_uploads=[circle, circle])[0].multiparts("k") == []


def test_unfinished_uploads_come_in_pages_oldest_first() -> None:
    def upload(key: str, name: str, second: int) -> dict[str, Any]:
        return {"Key": key, "UploadId": name, "Initiated": NOW.replace(second=second)}

    first = {
        "Uploads": [upload("k", "new", 9), upload("k", "old", 1)],
        "IsTruncated": True,
        "NextKeyMarker": "k",
        "NextUploadIdMarker": "old",
    }
    last = {"Uploads": [upload("k2", "x", 0)], "IsTruncated": False}
    objects, client = store(list_multipart_uploads=[first, last])
    assert [m.upload_id for m in objects.multiparts("k")] == ["old", "new", "x"]
    assert client.calls[1][1]["KeyMarker"] == "k"


def test_a_completion_whose_answer_got_lost_is_known_again() -> None:
    objects, _ = store(complete_multipart_upload=[client_error("NoSuchUpload", 404)], head_object=[head_of([A, B], 8)])
    objects.finish_multipart("k", "u", PARTS)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(client_error("404", 404), id="nothing there"),
        pytest.param(head_of([A, B], 9), id="other size"),
        pytest.param(head_of([B, A], 8), id="other parts"),
    ],
)
def test_an_upload_that_is_gone_is_not_taken_for_finished(found: Any) -> None:
    objects, _ = store(complete_multipart_upload=[client_error("NoSuchUpload", 404)], head_object=[found])
    with pytest.raises(MultipartGoneError):
        objects.finish_multipart("k", "u", PARTS)


def test_parts_are_named_in_order_with_their_checksums() -> None:
    objects, client = store(complete_multipart_upload=[{}])
    objects.finish_multipart("k", "u", list(reversed(PARTS)))
    assert client.calls[0][1]["MultipartUpload"]["Parts"] == [
        {"PartNumber": 1, "ETag": '"1"', "ChecksumSHA256": to_base64(A)},
        {"PartNumber": 2, "ETag": '"2"', "ChecksumSHA256": to_base64(B)},
    ]


@pytest.mark.parametrize("code", ["InvalidPart", "EntityTooSmall", "InvalidPartOrder"])
def test_parts_that_s3_refuses(code: str) -> None:
    objects, _ = store(complete_multipart_upload=[client_error(code)])
    with pytest.raises(PartRefusedError, match=code):
        objects.finish_multipart("k", "u", PARTS)


@pytest.mark.parametrize("error", [client_error("SlowDown", 503), timed_out()])
def test_a_busy_store_is_unavailable(error: Exception) -> None:
    for name, call in (
        ("complete_multipart_upload", lambda s: s.finish_multipart("k", "u", PARTS)),
        ("list_parts", lambda s: s.list_parts("k", "u")),
        ("create_multipart_upload", lambda s: s.start_multipart("k")),
        ("copy_object", lambda s: s.copy("a", "b", size=1)),
        ("upload_part_copy", lambda s: s.copy_part("a", "b", "u", 1, start=0, length=1)),
        ("list_multipart_uploads", lambda s: s.find_multipart("k")),
        ("abort_multipart_upload", lambda s: s.abort_multipart("k", "u")),
    ):
        with pytest.raises(Unavailable):
            call(store(**{name: [error]})[0])


def test_what_is_denied_is_not_taken_for_missing() -> None:
    with pytest.raises(Exception, match="AccessDenied"):
        store(copy_object=[client_error("AccessDenied", 403)])[0].copy("a", "b", size=1)
    with pytest.raises(Exception, match="AccessDenied"):
        store(list_parts=[client_error("AccessDenied", 403)])[0].list_parts("k", "u")


def test_a_confirmed_copy_takes_one_request() -> None:
    objects, client = store(copy_object=[{"CopyObjectResult": {"ChecksumSHA256": to_base64(A)}}])
    assert objects.copy("a", "b", size=1, sha256=A)
    assert [name for name, _ in client.calls] == ["copy_object"]
    assert client.calls[0][1]["ChecksumAlgorithm"] == "SHA256"


def test_more_than_one_copy_takes_is_copied_in_parts() -> None:
    size = MAX_COPY_BYTES + 1
    count = -(-size // COPY_PART_BYTES)
    objects, client = store(
        create_multipart_upload=[{"UploadId": "u"}],
        upload_part_copy=[{"CopyPartResult": {"ETag": f'"{n}"', "ChecksumSHA256": to_base64(A)}} for n in range(count)],
        complete_multipart_upload=[{}],
    )
    assert objects.copy("a", "b", size=size)
    ranges = [o["CopySourceRange"] for name, o in client.calls if name == "upload_part_copy"]
    assert (ranges[0], ranges[-1]) == (f"bytes=0-{COPY_PART_BYTES - 1}", f"bytes={MAX_COPY_BYTES}-{MAX_COPY_BYTES}")


def test_a_copy_in_parts_that_fails_is_aborted() -> None:
    objects, client = store(
        create_multipart_upload=[{"UploadId": "u"}],
        upload_part_copy=[client_error("NoSuchKey", 404)],
        abort_multipart_upload=[{}],
    )
    assert not objects.copy("a", "b", size=MAX_COPY_BYTES + 1)
    assert client.calls[-1][0] == "abort_multipart_upload"


def test_a_stream_is_never_held_whole() -> None:
    class Sink:
        """Takes parts and forgets them."""

        def __call__(self) -> Any:
            return self

        def create_multipart_upload(self, **_: Any) -> Any:
            return {"UploadId": "u"}

        def upload_part(self, **_: Any) -> Any:
            return {"ETag": '"e"'}

        def complete_multipart_upload(self, **_: Any) -> Any:
            return {}

    def chunks() -> Iterator[bytes]:
        for _ in range(160):
            yield bytes(1024**2)

    tracemalloc.start()
    try:
        info = S3ObjectStore("bucket", Sink()).put_stream("k", chunks(), sha256=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (info.size, info.sha256) == (160 * 1024**2, None)
    assert peak < 1.5 * STREAM_PART_BYTES


@pytest.mark.parametrize("text", ["", "x", "AAAA-2", f"{to_base64(A)}", f"{to_base64(A)}-0", f"{to_base64(A)}-x"])
def test_what_is_no_composite_checksum(text: str) -> None:
    assert composite_hex(text) is None
    assert composite_hex(f"{to_base64(A)}-12") == f"{A}-12"
