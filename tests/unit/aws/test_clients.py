"""Clients are bounded, shared and signed for the right host."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chalicelib.aws.clients import ATTEMPTS, CONNECT_TIMEOUT, READ_TIMEOUT, AccessKey, Clients, partition_of


def clients(region: str = "eu-central-1", **options: Any) -> Clients:
    return Clients(region, root=AccessKey("AKIA", "secret"), **options)


def test_every_client_is_bounded() -> None:
    made = clients()
    for client in (made.s3(), made.ssm(), made.stepfunctions(), made.sts(AccessKey("a", "b"))):
        config = client.meta.config
        assert (config.connect_timeout, config.read_timeout) == (CONNECT_TIMEOUT, READ_TIMEOUT)
        assert config.retries == {"mode": "standard", "total_max_attempts": ATTEMPTS}
        assert client.meta.region_name == "eu-central-1"


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_links_on_aws_name_the_regional_host_and_sign_what_they_must(region: str) -> None:
    made = clients(region).s3()
    put = {"Bucket": "bkt", "Key": "k", "ContentLength": 3, "ChecksumSHA256": "abc"}
    url = made.generate_presigned_url("put_object", Params=put, ExpiresIn=60)
    assert url.startswith(f"https://bkt.s3.{region}.amazonaws.com/k?")
    assert "X-Amz-SignedHeaders=content-length%3Bhost%3Bx-amz-checksum-sha256&" in url
    assert "crc32" not in url.lower()


def test_links_with_an_endpoint_have_the_bucket_in_the_path() -> None:
    made = clients(s3_endpoint_url="http://127.0.0.1:9").s3()
    url = made.generate_presigned_url("get_object", Params={"Bucket": "bkt", "Key": "k"}, ExpiresIn=60)
    assert url.startswith("http://127.0.0.1:9/bkt/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&")


def test_an_emulator_is_never_behind_a_proxy() -> None:
    local = clients(s3_endpoint_url="http://127.0.0.1:9")
    assert [c.meta.config.proxies for c in (local.s3(), local.ssm(), local.sts(AccessKey("a", "b")))] == [{}, {}, {}]
    assert clients().s3().meta.config.proxies is None
    assert clients(s3_endpoint_url="https://minio.example.com").s3().meta.config.proxies is None


def test_threads_get_the_same_client() -> None:
    made, barrier = clients(), threading.Barrier(8)

    def get(_: int) -> int:
        barrier.wait(10)
        return id(made.ssm())

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(get, range(8)))) == 1


def test_closed_clients_are_made_anew() -> None:
    made = clients()
    first = made.ssm()
    made.close()
    assert made.ssm() is not first


def test_a_key_hides_itself() -> None:
    assert "secret" not in repr(AccessKey("AKIA", "secret"))
    assert "AKIA" not in str(AccessKey("AKIA", "secret"))


@pytest.mark.parametrize(
    ("region", "partition"), [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")]
)
def test_partitions(region: str, partition: str) -> None:
    assert partition_of(region) == partition
