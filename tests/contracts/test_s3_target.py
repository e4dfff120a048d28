"""Delivery to a user's bucket against two S3 implementations: the AWS emulator, as a user of another account with keys
and rights of its own, and moto's server. What the tests look at, they read with the bucket owner's own client."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from botocore.config import Config
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from chalicelib.aws.foreign_s3 import connect_foreign
from chalicelib.delivery.s3 import S3Target
from chalicelib.delivery.s3_pieces import Sizes
from chalicelib.domain.credentials import S3Secret
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.destinations import S3Destination
from tests.fakes.aws import InMemoryObjectStore
from tests.support.emulator import Emulator
from tests.support.s3_shipments import Driver, budget, contents, shipment_of

MIB = 1024 * 1024
#: The smallest parts that S3 takes.
SIZES = Sizes(part=5 * MIB, most=6 * MIB, whole=8 * MIB, piece=2)
OTHER_ACCOUNT = "999999999999"
FILES = {
    "pytorch_lora_weights.safetensors": contents(5 * MIB + 3, 1),
    "checkpoint-9/transformer.safetensors": contents(10 * MIB + 1, 2),
    "samples/ein Bild.png": contents(3000, 3),
    "empty.txt": b"",
}
KEYS = {
    "loras/cats/pytorch_lora_weights.safetensors": FILES["pytorch_lora_weights.safetensors"],
    "loras/cats/checkpoint-9/transformer.safetensors": FILES["checkpoint-9/transformer.safetensors"],
    "loras/cats/samples/ein_Bild-5d708f8b.png": FILES["samples/ein Bild.png"],
    "loras/cats/empty.txt": b"",
}


@dataclass
class Store:
    """``owner`` is the bucket owner's own client; ``secret`` are the keys that were stored for deliveries."""

    url: str
    owner: Any
    bucket: str
    secret: S3Secret
    asked: list[str] = field(default_factory=list)

    def destination(self, **changes: Any) -> S3Destination:
        return S3Destination(
            **{"bucket": self.bucket, "prefix": "loras", "endpoint_url": self.url, "region": "us-east-1"} | changes
        )

    def target(self, secret: S3Secret | None = None, **changes: Any) -> S3Target:
        destination = self.destination(**changes)

        def guard(url: str) -> list[str]:
            self.asked.append(url)
            return ["127.0.0.1"]

        def bucket(seconds: float | None = None) -> Any:
            return connect_foreign(destination, secret or self.secret, guard, allow_http=True, seconds=seconds)

        return S3Target(destination, bucket(), bucket, sizes=SIZES)

    def content(self) -> Mapping[str, bytes]:
        listed = self.owner.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {o["Key"]: self.owner.get_object(Bucket=self.bucket, Key=o["Key"])["Body"].read() for o in listed}

    def under_way(self) -> list[Any]:
        return list(self.owner.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []))

    def overwrite(self, key: str, change: Callable[[bytes], bytes], *, keep_metadata: bool) -> None:
        found = self.owner.get_object(Bucket=self.bucket, Key=key)
        metadata = found["Metadata"] if keep_metadata else {}
        self.owner.put_object(Bucket=self.bucket, Key=key, Body=change(found["Body"].read()), Metadata=metadata)


def client_of(service: str, url: str, key: str, secret: str) -> Any:
    return boto3.Session(aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1").client(
        service, endpoint_url=url, config=Config(proxies={}, s3={"addressing_style": "path"})
    )


def policy(bucket: str, *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """The least that a delivery needs, as documented in docs/delivery/s3.md."""
    objects = ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload", "ListMultipartUploadParts")
    whole = ("ListBucket", "ListBucketMultipartUploads")
    statements = [
        {
            "Effect": "Allow",
            "Action": [f"s3:{name}" for name in names if name not in without],
            "Resource": resource,
        }
        for names, resource in ((objects, f"arn:aws:s3:::{bucket}/loras/*"), (whole, f"arn:aws:s3:::{bucket}"))
    ]
    return {"Version": "2012-10-17", "Statement": statements}


@contextmanager
def on_emulator(emulator: Emulator, *, without: tuple[str, ...] = ()) -> Iterator[Store]:
    owner = client_of("s3", emulator.url, OTHER_ACCOUNT, "x")
    iam = client_of("iam", emulator.url, OTHER_ACCOUNT, "x")
    bucket, user = f"theirs-{uuid.uuid4().hex[:12]}", f"user-{uuid.uuid4().hex[:12]}"
    owner.create_bucket(Bucket=bucket)
    iam.create_user(UserName=user)
    iam.put_user_policy(UserName=user, PolicyName="deliver", PolicyDocument=json.dumps(policy(bucket, without=without)))
    key = iam.create_access_key(UserName=user)["AccessKey"]
    secret = S3Secret(access_key_id=key["AccessKeyId"], secret_access_key=SecretStr(key["SecretAccessKey"]))
    yield Store(emulator.url, owner, bucket, secret)
    owner.close()
    iam.close()


@contextmanager
def on_moto() -> Iterator[Store]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    owner, bucket = client_of("s3", url, "owner", "x"), f"theirs-{uuid.uuid4().hex[:12]}"
    owner.create_bucket(Bucket=bucket)
    yield Store(url, owner, bucket, S3Secret(access_key_id="AKIA", secret_access_key=SecretStr("secret")))
    owner.close()
    server.stop()


@pytest.fixture(params=["emulator", "moto"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "moto":
        with on_moto() as made:
            yield made
    else:
        with on_emulator(request.getfixturevalue("emulator")) as made:
            yield made


def test_everything_arrives_and_is_confirmed(store: Store) -> None:
    shipment = shipment_of(InMemoryObjectStore(), FILES)
    drive = Driver(store.target, shipment, seconds=0.001)

    result = drive.deliver()

    content = dict(store.content())
    manifest = content.pop("loras/cats/manifest.json")
    assert content == KEYS
    assert json.loads(manifest)["files"]
    assert drive.faults == []
    assert store.under_way() == []
    assert result["uri"] == f"s3://{store.bucket}/loras/cats/"
    assert sum(result["confirmed"].values()) == len(shipment.files)
    metadata = store.owner.head_object(Bucket=store.bucket, Key="loras/cats/empty.txt")["Metadata"]
    assert metadata == {"stcloud-job": "01job", "stcloud-sha256": shipment.files[3].sha256}
    assert set(store.asked) == {f"{store.url}/"}, "every connection was allowed before it was made"


def test_sending_again_changes_nothing(store: Store) -> None:
    shipment = shipment_of(InMemoryObjectStore(), FILES)
    Driver(store.target, shipment).deliver()
    before = store.owner.list_objects_v2(Bucket=store.bucket)["Contents"]

    Driver(store.target, shipment_of(InMemoryObjectStore(), FILES)).deliver()

    assert store.owner.list_objects_v2(Bucket=store.bucket)["Contents"] == before


def zeroed(data: bytes) -> bytes:
    return bytes(len(data))


def truncated(data: bytes) -> bytes:
    return data[:-1]


def swapped(data: bytes) -> bytes:
    return data[len(data) // 2 :] + data[: len(data) // 2]


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("pytorch_lora_weights.safetensors", truncated),
        ("pytorch_lora_weights.safetensors", zeroed),
        ("checkpoint-9/transformer.safetensors", swapped),
    ],
)
def test_a_changed_copy_is_caught_and_mended(store: Store, path: str, change: Callable[[bytes], bytes]) -> None:
    drive = Driver(store.target, shipment_of(InMemoryObjectStore(), FILES))
    drive.between = lambda: store.overwrite(f"loras/cats/{path}", change, keep_metadata=True)

    drive.deliver()

    assert [f.code for f in drive.faults] == ["corrupt_at_target"]
    assert store.content()[f"loras/cats/{path}"] == FILES[path]


def test_a_replaced_copy_is_caught_and_left_alone(store: Store) -> None:
    key = "loras/cats/pytorch_lora_weights.safetensors"
    drive = Driver(store.target, shipment_of(InMemoryObjectStore(), FILES))
    drive.between = lambda: store.overwrite(key, zeroed, keep_metadata=False)

    with pytest.raises(DeliveryFault) as caught:
        drive.deliver()

    assert [f.code for f in drive.faults] == ["corrupt_at_target", "conflict"]
    assert not caught.value.retry
    assert store.content()[key] == zeroed(KEYS[key])


def test_objects_of_others_are_left_alone(store: Store) -> None:
    key = "loras/cats/checkpoint-9/transformer.safetensors"
    store.owner.put_object(Bucket=store.bucket, Key=key, Body=b"theirs")

    with pytest.raises(DeliveryFault) as caught:
        Driver(store.target, shipment_of(InMemoryObjectStore(), FILES)).deliver()

    assert caught.value.code == "conflict"
    assert store.content()[key] == b"theirs"


def test_abandoning_leaves_no_upload_of_ours(store: Store) -> None:
    key = "loras/cats/pytorch_lora_weights.safetensors"
    theirs = store.owner.create_multipart_upload(Bucket=store.bucket, Key=key)["UploadId"]
    shipment = shipment_of(InMemoryObjectStore(), FILES)
    advance = store.target().send(shipment, None, budget(0.001))
    for piece in advance.fan[:1]:
        store.target().piece(shipment, piece)
    ours = len(store.under_way()) - 1

    store.target().abandon(shipment, advance.state)

    assert ours == 2
    assert [upload["UploadId"] for upload in store.under_way()] == [theirs]


def test_a_check_leaves_nothing_behind(store: Store) -> None:
    found = store.target().check(seconds=20)

    assert store.content() == {}
    assert store.under_way() == []
    assert found.facts[0] == f"writes to s3://{store.bucket}/loras"
    assert not [fact for fact in found.facts if fact.startswith("warning")]


def test_a_bucket_that_is_not_there(store: Store) -> None:
    for call in (
        lambda t: t.check(seconds=20),
        lambda t: Driver(lambda: t, shipment_of(InMemoryObjectStore(), FILES)).deliver(),
    ):
        with pytest.raises(DeliveryFault) as caught:
            call(store.target(bucket="no-such-bucket-of-theirs"))
        assert (caught.value.code, caught.value.retry) == ("not_found", False)
        assert "no-such-bucket-of-theirs" in caught.value.message


@pytest.mark.parametrize(
    ("right", "call"),
    [
        ("PutObject", "PutObject"),
        ("GetObject", "GetObject"),
    ],
)
def test_a_right_that_is_missing_is_named(emulator: Emulator, right: str, call: str) -> None:
    with on_emulator(emulator, without=(right,)) as store:
        with pytest.raises(DeliveryFault) as caught:
            store.target().check(seconds=20)

        assert (caught.value.code, caught.value.retry) == ("forbidden", False)
        assert call in caught.value.message + caught.value.advice
        assert right in caught.value.advice


def test_deliveries_need_no_right_to_delete_and_a_check_says_so(emulator: Emulator) -> None:
    with on_emulator(emulator, without=("DeleteObject",)) as store:
        found = store.target().check(seconds=20)
        Driver(store.target, shipment_of(InMemoryObjectStore(), FILES)).deliver()

        assert any("s3:DeleteObject" in fact for fact in found.facts)
        assert found.result["canary_left"] in store.content()


def test_deliveries_need_no_right_to_list_uploads(emulator: Emulator) -> None:
    with on_emulator(emulator, without=("ListBucketMultipartUploads",)) as store:
        Driver(store.target, shipment_of(InMemoryObjectStore(), FILES)).deliver()

        assert set(KEYS) < set(store.content())


def test_keys_that_are_wrong(emulator: Emulator) -> None:
    with on_emulator(emulator) as store:
        wrong = [
            S3Secret(access_key_id="AKIANOSUCHKEYATALL12", secret_access_key=SecretStr("x" * 40)),
            S3Secret(access_key_id=store.secret.access_key_id, secret_access_key=SecretStr("wrong-secret" * 3)),
        ]
        for secret in wrong:
            with pytest.raises(DeliveryFault) as caught:
                store.target(secret).check(seconds=20)
            assert caught.value.code in {"unauthorized", "forbidden"}
            assert not caught.value.retry
            assert "stcloud credentials rotate" in caught.value.advice
            assert secret.secret_access_key.get_secret_value() not in repr((caught.value, caught.value.args))


@pytest.mark.usefixtures("aws_environment")
def test_nothing_of_this_process_takes_part(emulator: Emulator) -> None:
    """The environment has keys that may do everything, and the emulator as AWS's address; neither is used."""
    asked: list[str] = []

    def refuse(url: str) -> list[str]:
        asked.append(url)
        raise DeliveryFault("address_refused", "Not there.", "Choose another.", retry=False)

    keys = S3Secret(access_key_id="AKIA", secret_access_key=SecretStr("secret"))
    destination = S3Destination(bucket="models", region="eu-west-1")
    bucket = connect_foreign(destination, keys, refuse, allow_http=True)
    with pytest.raises(DeliveryFault) as caught:
        bucket.head("x")
    empty = S3Secret(access_key_id="AKIA", secret_access_key=SecretStr(""))
    with pytest.raises(DeliveryFault) as missing:
        connect_foreign(destination, empty, refuse, allow_http=True)
    bucket.close()

    assert caught.value.code == "address_refused"
    assert set(asked) == {"https://models.s3.eu-west-1.amazonaws.com:443/"}
    assert missing.value.code == "credential_missing"
