"""A user's store that breaks at any kind of call, in any way: the delivery ends verified once it works again."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
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
from tests.support.lossy_s3 import Harm, lossy_s3
from tests.support.s3_shipments import Driver, contents, shipment_of

MIB = 1024 * 1024
SIZES = Sizes(part=5 * MIB, most=5 * MIB, whole=5 * MIB, piece=1)
FILES = {"a.safetensors": contents(5 * MIB + 3, 1), "b.png": contents(3000, 2)}
CODES = {
    Harm.REFUSE: {"unavailable"},
    Harm.LOSE: {"unavailable"},
    Harm.RESET: {"unavailable"},
    Harm.HANG: {"timeout"},
    Harm.ERROR: {"unavailable"},
    Harm.BAD_GATEWAY: {"unavailable"},
    Harm.SLOW_DOWN: {"throttled"},
}
CALLS = [
    "HeadObject",
    "PutObject",
    "ListMultipartUploads",
    "CreateMultipartUpload",
    "UploadPart",
    "ListParts",
    "CompleteMultipartUpload",
    "GetObject",
]


@pytest.fixture(scope="module")
def moto() -> Iterator[tuple[int, Any]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, port = server.get_host_and_port()
    client = boto3.Session(aws_access_key_id="owner", aws_secret_access_key="x", region_name="us-east-1").client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", config=Config(proxies={})
    )
    yield port, client
    client.close()
    server.stop()


def target(url: str, bucket: str) -> S3Target:
    destination = S3Destination(bucket=bucket, endpoint_url=url, region="us-east-1")
    secret = S3Secret(access_key_id="AKIA", secret_access_key=SecretStr("secret"))

    def connect(seconds: float | None = None) -> Any:
        # One attempt for each call, so that each fault is seen; the real client hides the first two.
        return connect_foreign(destination, secret, lambda _url: ["127.0.0.1"], allow_http=True, seconds=seconds or 2)

    return S3Target(destination, connect(), connect, sizes=SIZES)


@pytest.mark.parametrize(
    ("call", "harm"),
    [
        *((call, harm) for call in CALLS for harm in (Harm.LOSE, Harm.RESET, Harm.HANG, Harm.SLOW_DOWN)),
        *(("UploadPart", harm) for harm in (Harm.REFUSE, Harm.ERROR, Harm.BAD_GATEWAY)),
        *((call, Harm.ERROR) for call in ("HeadObject", "GetObject", "CompleteMultipartUpload")),
    ],
)
def test_a_fault_at_any_call(moto: tuple[int, Any], call: str, harm: Harm) -> None:
    port, client = moto
    bucket = f"theirs-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    shipment = shipment_of(InMemoryObjectStore(), FILES)
    with lossy_s3(port) as proxy:
        proxy.operation, proxy.harm, proxy.times = call, harm, 1
        drive = Driver(lambda: target(proxy.url, bucket), shipment, seconds=0.001)

        result = drive.deliver()

    assert proxy.harmed == 1
    assert {f.code for f in drive.faults} <= CODES[harm]
    assert drive.faults, "the fault was seen"
    assert all(f.retry and f.advice and f.message for f in drive.faults)
    assert sum(result["confirmed"].values()) == len(shipment.files)
    for path, data in FILES.items():
        assert client.get_object(Bucket=bucket, Key=f"cats/{path}")["Body"].read() == data
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []
    assert threading.active_count() < 60


@pytest.mark.parametrize("harm", [Harm.LOSE, Harm.HANG, Harm.ERROR])
@pytest.mark.parametrize("call", ["PutObject", "GetObject", "HeadObject", "CreateMultipartUpload"])
def test_a_check_says_what_it_met(moto: tuple[int, Any], call: str, harm: Harm) -> None:
    port, client = moto
    bucket = f"theirs-{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    with lossy_s3(port) as proxy:
        proxy.operation, proxy.harm, proxy.times = call, harm, 1
        with pytest.raises(DeliveryFault) as caught:
            target(proxy.url, bucket).check(seconds=2)

    assert caught.value.code in CODES[harm]
    left = [o["Key"] for o in client.list_objects_v2(Bucket=bucket).get("Contents", [])]
    # An answer that never came may have been a yes: only then can something stay.
    assert left == [] or (call == "PutObject" and harm is Harm.LOSE)
