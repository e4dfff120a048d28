"""The check of a bucket: what it finds out, and what it leaves there."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from chalicelib.delivery.s3_check import check_bucket
from chalicelib.domain.delivery_ports import CheckedTarget, DeliveryFault
from chalicelib.domain.destinations import S3Destination
from tests.fakes.foreign_bucket import FakeForeignBucket, Held, fault

KEY = "loras/.stcloud-canary-abc"


def checked(bucket: FakeForeignBucket, monotonic: Callable[[], float] = lambda: 0.0) -> CheckedTarget:
    return check_bucket(
        S3Destination(bucket="models", prefix="loras/"), bucket, token="abc", seconds=10, monotonic=monotonic
    )


def refusing(*calls: str, code: str = "forbidden") -> FakeForeignBucket:
    def before(call: str, key: str) -> None:
        if call in calls:
            raise fault(code)

    return FakeForeignBucket(before=before)


def test_all_is_well() -> None:
    bucket = FakeForeignBucket(checksums=True)

    found = checked(bucket)

    assert found.facts == (
        "writes to s3://models/loras",
        "reads back what was written",
        "takes uploads in parts with SHA-256",
        "removes its traces",
    )
    assert (bucket.objects, bucket.under_way) == ({}, {})
    assert bucket.calls[0] == ("put", KEY)


@pytest.mark.parametrize("call", ["put", "read", "start_upload"])
@pytest.mark.parametrize("code", ["forbidden", "unauthorized", "unavailable"])
def test_what_fails_is_said_and_nothing_stays(call: str, code: str) -> None:
    bucket = refusing(call, code=code)

    with pytest.raises(DeliveryFault) as caught:
        checked(bucket)

    assert caught.value.code == code
    assert bucket.objects == {}


def test_a_key_that_may_not_list_can_not_see_what_is_there() -> None:
    bucket = refusing("head")

    with pytest.raises(DeliveryFault) as caught:
        checked(bucket)

    assert caught.value.code == "forbidden"
    assert "s3:ListBucket" in caught.value.advice
    assert bucket.objects == {}


def test_a_missing_right_to_delete_is_a_warning() -> None:
    bucket = refusing("delete")

    found = checked(bucket)

    assert found.facts[-1].startswith("warning: may not delete (s3:DeleteObject)")
    assert found.result == {"canary_left": KEY}
    assert list(bucket.objects) == [KEY]


def test_a_missing_right_to_abort_is_a_warning() -> None:
    found = checked(refusing("abort_upload"))

    assert any("s3:AbortMultipartUpload" in fact for fact in found.facts)
    assert found.facts[-1] == "removes its traces"


def test_other_contents_come_back() -> None:
    bucket = FakeForeignBucket()

    def lose(call: str, key: str) -> None:
        if call == "put":
            bucket.objects[key] = Held(b"something else")

    bucket.after = lose
    with pytest.raises(DeliveryFault) as caught:
        checked(bucket)

    assert caught.value.code == "bad_destination"
    assert bucket.objects == {}


def test_a_store_that_is_too_slow() -> None:
    clock = itertools.count(0, 6)
    bucket = FakeForeignBucket()

    with pytest.raises(DeliveryFault) as caught:
        checked(bucket, lambda: float(next(clock)))

    assert (caught.value.code, caught.value.retry) == ("timeout", True)
    assert bucket.objects == {}
