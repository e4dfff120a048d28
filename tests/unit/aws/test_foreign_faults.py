"""What users read when their store refuses: the right code, whether it is tried again, and what to do."""

from __future__ import annotations

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ParamValidationError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from chalicelib.aws.foreign_faults import Place, answering
from chalicelib.domain.delivery_ports import DeliveryFault

PLACE = Place(
    name="s3://models/loras",
    bucket="models",
    endpoint="minio.example.com:9000",
    region="us-east-1",
    credential="my-minio",
    secrets=("hunter2hunter2",),
)


def faulty(error: Exception, call: str = "PutObject") -> DeliveryFault:
    with pytest.raises(DeliveryFault) as caught, answering(PLACE, call):
        raise error
    assert caught.value.message.endswith((".", "…")), caught.value.message
    assert caught.value.advice.endswith(".")
    assert caught.value.__cause__ is None, "what the store said may hold a secret"
    return caught.value


def refused(code: str, status: int = 400, message: str = "", **more: object) -> ClientError:
    headers = {str(k): v for k, v in dict(more.pop("headers", {})).items()}  # type: ignore[call-overload]
    return ClientError(
        {
            "Error": {"Code": code, "Message": message, **more},
            "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
        },
        "PutObject",
    )


@pytest.mark.parametrize(
    ("error", "code", "retry", "words"),
    [
        (refused("NoSuchBucket", 404), "not_found", False, "bucket 'models'"),
        (refused("SignatureDoesNotMatch", 403), "unauthorized", False, "secret access key does not fit"),
        (refused("InvalidAccessKeyId", 403), "unauthorized", False, "does not know this access key id"),
        (refused("ExpiredToken", 400), "unauthorized", False, "session token"),
        (refused("AccessDenied", 403), "forbidden", False, "PutObject on s3://models/loras"),
        (refused("403", 403), "forbidden", False, "PutObject"),
        (refused("Weird", 403), "forbidden", False, "PutObject"),
        (refused("AccessDenied", 403, "Cannot upload files, storage cap exceeded"), "quota", True, "is full"),
        (refused("XMinioAdminBucketQuotaExceeded", 400), "quota", True, "is full"),
        (refused("XMinioStorageFull", 507), "quota", True, "is full"),
        (refused("EntityTooLarge", 400), "too_large", False, "this size"),
        (refused("413", 413), "too_large", False, "this size"),
        (refused("RequestTimeTooSkewed", 403), "unavailable", True, "clock"),
        (refused("PermanentRedirect", 301), "bad_destination", False, "not in the region us-east-1"),
        (refused("SlowDown", 503), "throttled", True, "fewer requests"),
        (refused("Whatever", 429), "throttled", True, "fewer requests"),
        (refused("503", 503), "throttled", True, "fewer requests"),
        (refused("InternalError", 500), "unavailable", True, "error of its own"),
        (refused("502", 502), "unavailable", True, "error of its own"),
        (refused("BadDigest", 400), "unavailable", True, "not what was sent"),
        (refused("NotImplemented", 501), "bad_destination", False, "does not know PutObject"),
        (refused("MethodNotAllowed", 405), "bad_destination", False, "does not know PutObject"),
        (refused("MalformedPolicy", 400, "No."), "bad_destination", False, "It says: No."),
        (EndpointConnectionError(endpoint_url="https://x", error="no"), "unavailable", True, "can't be reached"),
        (ConnectTimeoutError(endpoint_url="https://x"), "timeout", True, "in time"),
        (ReadTimeoutError(endpoint_url="https://x"), "timeout", True, "in time"),
        (ConnectionClosedError(endpoint_url="https://x"), "unavailable", True, "broke"),
        (HTTPClientError(error=TimeoutError()), "timeout", True, "in time"),
        (HTTPClientError(error=ValueError("?")), "unavailable", True, "broke"),
        (SSLError(endpoint_url="https://x", error="self-signed"), "bad_destination", False, "certificate"),
        (ResponseParserError("<html>"), "bad_destination", False, "not S3"),
        (ParamValidationError(report="Invalid bucket name"), "bad_destination", False, "Invalid bucket name"),
        (ConnectionResetError(), "unavailable", True, "broke"),
    ],
)
def test_each_refusal(error: Exception, code: str, retry: bool, words: str) -> None:
    fault = faulty(error)

    assert (fault.code, fault.retry, fault.restart) == (code, retry, False)
    assert words in fault.message


@pytest.mark.parametrize(
    "error",
    [
        refused("AuthorizationHeaderMalformed", 400, "the region 'us-east-1' is wrong; expecting 'eu-west-3'"),
        refused("AuthorizationHeaderMalformed", 400, "wrong", Region="eu-west-3"),
        refused("PermanentRedirect", 301, headers={"x-amz-bucket-region": "eu-west-3"}),
    ],
)
def test_the_right_region_is_named(error: ClientError) -> None:
    assert faulty(error).advice == "Set the destination's region to eu-west-3."


def test_a_region_that_is_none_is_not_repeated() -> None:
    fault = faulty(refused("PermanentRedirect", 301, Region="<script>"))

    assert "<script>" not in fault.advice


@pytest.mark.parametrize("call", ["GetObject", "ListParts", "AbortMultipartUpload", "HeadObject"])
def test_a_missing_right_is_named(call: str) -> None:
    fault = faulty(refused("AccessDenied", 403), call)

    assert call in fault.message
    assert "s3:" in fault.advice
    assert "stcloud credentials rotate my-minio" in fault.advice


@pytest.mark.parametrize(("said", "seconds"), [("120", 120), ("999999", 7200), ("soon", None), ("-1", None)])
def test_the_pause_that_a_store_asks_for(said: str, seconds: int | None) -> None:
    fault = faulty(refused("SlowDown", 503, headers={"retry-after": said}))

    assert (fault.retry_after and fault.retry_after.total_seconds()) == seconds


def test_what_a_store_says_is_one_short_line_without_secrets() -> None:
    said = "no\x1b[31m\n\nhunter2hunter2 AKIAABCDEFGHIJKLMNOP secret_key=abcdefghijkl " + "x" * 5000
    fault = faulty(refused("AccessDenied", 403, said))

    for secret in ("hunter2", "AKIAABCDEFGHIJKLMNOP", "abcdefghijkl", "\x1b", "\n"):
        assert secret not in fault.message
    assert len(fault.message) < 400


def test_a_refused_address_comes_through() -> None:
    refusal = DeliveryFault("address_refused", "Private.", "Choose another.", retry=False)

    with pytest.raises(DeliveryFault) as caught, answering(PLACE, "PutObject"):
        raise HTTPClientError(error=refusal)

    assert caught.value is refusal
