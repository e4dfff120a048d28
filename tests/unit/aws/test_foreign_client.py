"""Connecting to users' stores: what is refused before any request, and what never shows."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from chalicelib.aws.foreign_s3 import ForeignS3, connect_foreign
from chalicelib.domain.credentials import HubSecret, S3Secret
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.destinations import S3Destination
from chalicelib.wiring import s3_connector

SECRET = S3Secret(
    access_key_id="AKIA", secret_access_key=SecretStr("hunter2hunter2"), session_token=SecretStr("token-of-theirs")
)


def nowhere(url: str) -> list[str]:
    raise AssertionError(f"nothing is asked for before a request, but {url} was")


def connected(*, allow_http: bool = False, **fields: object) -> ForeignS3:
    destination = S3Destination.model_validate({"bucket": "models", **fields})
    return connect_foreign(destination, SECRET, nowhere, allow_http=allow_http)


@pytest.mark.parametrize(
    "fields",
    [
        {"endpoint_url": "http://minio.example.com"},
        {"endpoint_url": "ftp://minio.example.com"},
        {"endpoint_url": "minio.example.com"},
        {"endpoint_url": "https://"},
        {"endpoint_url": "https://minio.example.com:99999"},
        {"endpoint_url": "https://[::1"},
        {"endpoint_url": "https://me:hunter2@minio.example.com"},
        {"endpoint_url": "https://minio.example.com/?x=1"},
        {"bucket": "arn:aws:s3:us-east-1:123456789012:accesspoint/mine"},
        {"region": "us-east-1.evil.example"},
        {"prefix": "../up"},
    ],
)
def test_what_is_no_destination(fields: dict[str, object]) -> None:
    with pytest.raises(DeliveryFault) as caught:
        connected(**fields)

    assert (caught.value.code, caught.value.retry) == ("bad_destination", False)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("secret", [None, HubSecret(token=SecretStr("hf_x"))])
def test_keys_are_never_looked_for_elsewhere(secret: HubSecret | None) -> None:
    with pytest.raises(DeliveryFault) as caught:
        s3_connector(allow_private=False)(S3Destination(bucket="models", credential="mine"), secret)

    assert caught.value.code == "credential_missing"
    assert "stcloud credentials add mine --kind s3" in caught.value.advice


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({}, "https://models.s3.us-east-1.amazonaws.com:443/"),
        ({"region": "eu-west-1", "path_style": True}, "https://s3.eu-west-1.amazonaws.com:443/"),
        ({"endpoint_url": "https://minio.example.com:9000"}, "https://minio.example.com:9000/"),
        ({"endpoint_url": "https://s3.example.com", "path_style": False}, "https://models.s3.example.com:443/"),
    ],
)
def test_where_each_style_connects(fields: dict[str, object], url: str) -> None:
    """The name that is judged is the one that is connected to, the bucket's own included."""
    asked: list[str] = []

    def guard(url: str) -> list[str]:
        asked.append(url)
        raise DeliveryFault("address_refused", "Not there.", "Choose another.", retry=False)

    destination = S3Destination.model_validate({"bucket": "models", **fields})
    bucket = connect_foreign(destination, SECRET, guard, allow_http=False, seconds=2)
    with pytest.raises(DeliveryFault) as caught:
        bucket.head("x")
    bucket.close()

    assert caught.value.code == "address_refused"
    assert set(asked) == {url}


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "10.0.0.7", "[::1]", "[fd00:ec2::254]"])
def test_private_addresses_are_refused_on_a_hosted_stack(host: str) -> None:
    target = s3_connector(allow_private=False)(S3Destination(bucket="models", endpoint_url=f"https://{host}"), SECRET)

    with pytest.raises(DeliveryFault) as caught:
        target.check(seconds=2)

    assert (caught.value.code, caught.value.retry) == ("address_refused", False)


def test_secrets_do_not_show() -> None:
    bucket = connected(endpoint_url="https://minio.example.com")
    shown = repr(vars(bucket)) + repr(bucket) + repr(bucket._place)
    bucket.close()

    for secret in ("hunter2hunter2", "token-of-theirs"):
        assert secret not in shown
