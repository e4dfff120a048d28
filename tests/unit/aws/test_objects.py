"""S3 on a bad day: broken connections, partial deletes, busy servers."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import IncompleteReadError

from chalicelib.aws.checksums import MAX_EXPIRES, to_base64, to_hex
from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.aws.object_store import READ_TRIES, S3ObjectStore, content_disposition
from chalicelib.aws.object_stream import MAX_FRUITLESS, ObjectChanged, ObjectStream
from chalicelib.errors import Unavailable
from tests.unit.aws.aws_doubles import Body, Script, answer, client_error, timed_out

DATA = bytes(range(256)) * 40
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def stream(client: Script) -> io.BufferedReader:
    opened = S3ObjectStore("b", client).open("k")
    assert isinstance(opened, io.BufferedReader)
    return opened


def test_a_stream_goes_on_where_the_connection_broke() -> None:
    cut_off = IncompleteReadError(actual_bytes=1, expected_bytes=2)
    client = Script(
        get_object=[
            answer(DATA, Body(DATA, good=100)),
            answer(DATA[100:], Body(DATA[100:], good=5000, error=cut_off)),
            answer(DATA[5100:]),
        ]
    )
    with stream(client) as opened:
        assert opened.read() == DATA
    assert [options.get("Range") for _, options in client.calls] == [None, "bytes=100-", "bytes=5100-"]
    assert {options.get("IfMatch") for _, options in client.calls[1:]} == {'"e"'}


def test_a_body_that_ends_early_without_an_error_is_read_on() -> None:
    client = Script(get_object=[answer(DATA, Body(DATA[:10])), answer(DATA[10:])])
    with stream(client) as opened:
        assert opened.read() == DATA


@pytest.mark.parametrize("code", ["PreconditionFailed", "NoSuchKey", "InvalidRange"])
def test_a_stream_never_mixes_two_objects(code: str) -> None:
    client = Script(get_object=[answer(DATA, Body(DATA, good=100)), client_error(code, 412)])
    with stream(client) as opened, pytest.raises(ObjectChanged):
        opened.read()


def test_a_stream_gives_up_when_nothing_comes_any_more() -> None:
    broken = [answer(DATA[100:], Body(DATA, good=0)) for _ in range(MAX_FRUITLESS)]
    client = Script(get_object=[answer(DATA, Body(DATA, good=100)), *broken])
    with stream(client) as opened, pytest.raises(OSError, match="at byte 100 of 10240"):
        opened.read()


def test_progress_renews_the_patience() -> None:
    pieces = [answer(DATA[i:], Body(DATA[i:], good=1)) for i in range(20)]
    client = Script(get_object=[*pieces, answer(DATA[20:])])
    with stream(client) as opened:
        assert opened.read() == DATA


@pytest.mark.parametrize("error", [client_error("SlowDown", 503), timed_out()])
def test_a_busy_store_stops_a_stream_with_a_reason(error: Exception) -> None:
    client = Script(get_object=[answer(DATA, Body(DATA, good=100)), error])
    with stream(client) as opened, pytest.raises(Unavailable):
        opened.read()


def test_closing_a_stream_closes_its_connection() -> None:
    body = Body(DATA)
    opened = ObjectStream(Script(), "b", "k", answer(DATA, body))
    opened.close()
    assert body.closed


def test_a_read_that_breaks_off_is_repeated() -> None:
    client = Script(get_object=[answer(DATA, Body(DATA, good=3)), answer(DATA)])
    assert S3ObjectStore("b", client).get("k", start=2) == DATA
    assert [options["Range"] for _, options in client.calls] == ["bytes=2-"] * 2


def test_a_read_is_not_repeated_for_ever() -> None:
    bodies = [Body(DATA, good=3) for _ in range(READ_TRIES)]
    client = Script(get_object=[answer(DATA, body) for body in bodies])
    with pytest.raises(Unavailable):
        S3ObjectStore("b", client).get("k")
    assert all(body.closed for body in bodies)


def test_keys_that_could_not_be_deleted_are_tried_again() -> None:
    error = {"Key": "b", "Code": "InternalError"}
    client = Script(delete_objects=[{"Errors": [error]}, {}])
    assert S3ObjectStore("x", client).delete(["a", "b"]) == 2
    assert client.calls[1][1]["Delete"]["Objects"] == [{"Key": "b"}]


def test_deleting_does_not_hide_what_stayed() -> None:
    client = Script(delete_objects=[{"Errors": [{"Key": "b", "Code": "SlowDown"}]}] * 3)
    with pytest.raises(Unavailable, match="1 object"):
        S3ObjectStore("x", client).delete(["a", "b"])
    refused = Script(delete_objects=[{"Errors": [{"Key": "b", "Code": "AccessDenied"}]}])
    with pytest.raises(PermissionError, match="b: AccessDenied"):
        S3ObjectStore("x", refused).delete(["a", "b"])


def test_deletes_go_out_a_thousand_at_a_time() -> None:
    client = Script(delete_objects=[{}, {}, {}])
    assert S3ObjectStore("x", client).delete(str(i) for i in range(2001)) == 2001
    assert [len(options["Delete"]["Objects"]) for _, options in client.calls] == [1000, 1000, 1]


def test_a_listing_that_goes_in_circles_ends() -> None:
    page = {"Contents": [], "IsTruncated": True, "NextContinuationToken": "same"}
    client = Script(list_objects_v2=[page, page])
    assert list(S3ObjectStore("x", client).list("p/")) == []


def test_a_composite_checksum_is_none_of_the_object() -> None:
    common = {"ContentLength": 3, "LastModified": NOW}
    whole = to_base64("ab" * 32)
    client = Script(
        head_object=[
            common | {"ChecksumSHA256": whole, "ChecksumType": "FULL_OBJECT"},
            common | {"ChecksumSHA256": whole},
            common | {"ChecksumSHA256": f"{whole}-3"},
            common | {"ChecksumSHA256": whole, "ChecksumType": "COMPOSITE"},
            common | {"ChecksumCRC64NVME": "AAAAAAAAAAA=", "ChecksumType": "FULL_OBJECT"},
        ]
    )
    store = S3ObjectStore("x", client)
    found = [store.head("k") for _ in range(5)]
    assert [info and info.sha256 for info in found] == ["ab" * 32, "ab" * 32, None, None, None]
    assert {options["ChecksumMode"] for _, options in client.calls} == {"ENABLED"}


def test_a_forbidden_object_is_not_a_missing_one() -> None:
    store = S3ObjectStore(
        "x", Script(head_object=[client_error("403", 403)], get_object=[client_error("AccessDenied")])
    )
    with pytest.raises(Exception, match="403"):
        store.head("k")
    with pytest.raises(Exception, match="AccessDenied"):
        store.get("k")


def test_checksums_are_spelled_both_ways() -> None:
    assert to_hex(to_base64("00" * 31 + "ff")) == "00" * 31 + "ff"
    assert to_hex("%%%") is None
    assert to_hex("AAAA") is None


def test_an_upload_link_signs_size_and_checksum() -> None:
    """Unsigned, the size would be checked only after a wrong upload of any length has been taken in."""
    clients = Clients("eu-central-1", root=AccessKey("AKIA", "secret"))
    put = S3ObjectStore("bkt", clients.s3).presign_put(
        "k", size=3, sha256="ab" * 32, now=NOW, expires=timedelta(hours=1)
    )
    assert "X-Amz-SignedHeaders=content-length%3Bhost%3Bx-amz-checksum-sha256&" in put.url
    assert "X-Amz-Expires=3600&" in put.url
    assert put.headers == {"x-amz-checksum-sha256": to_base64("ab" * 32)}
    assert put.expires_at == NOW + timedelta(hours=1)


@pytest.mark.parametrize("expires", [timedelta(0), timedelta(seconds=-1), MAX_EXPIRES + timedelta(seconds=1)])
def test_links_have_a_sensible_life(expires: timedelta) -> None:
    store = S3ObjectStore("x", Script(generate_presigned_url=[]))
    with pytest.raises(ValueError):
        store.presign_get("k", expires=expires)
    with pytest.raises(ValueError):
        store.presign_put("k", size=1, sha256="ab" * 32, now=NOW, expires=expires)


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.zip", "attachment; filename=\"a.zip\"; filename*=UTF-8''a.zip"),
        ("猫.png", "attachment; filename=\"_.png\"; filename*=UTF-8''%E7%8C%AB.png"),
        ('a";x="b', "attachment; filename=\"a_;x=_b\"; filename*=UTF-8''a%22%3Bx%3D%22b"),
        ("a\r\nSet-Cookie: x", "attachment; filename=\"a__Set-Cookie: x\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20x"),
        ("", "attachment; filename=\"download\"; filename*=UTF-8''"),
    ],
)
def test_file_names_can_not_break_the_header(name: str, header: str) -> None:
    assert content_disposition(name) == header
