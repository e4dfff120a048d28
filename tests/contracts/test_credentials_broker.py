"""The CredentialsBroker port: the fake, and STS with IAM on, where the credentials are tried on S3."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.broker import StsBroker
from chalicelib.aws.clients import AccessKey, Clients
from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.ports import CredentialsBroker, TemporaryCredentials
from tests.fakes.aws import FakeBroker
from tests.support.emulator import Emulator

JOB = "01jdfake0000000000000job01"
READ = ["alice/photos/v-0001/", "alice/masks/v-0002/"]
SCRATCH = f"_scratch/alice/{JOB}/"
WRITE = f"alice/{JOB}/artifacts/"
ASKED: dict[str, Any] = {
    "name": JOB,
    "read_prefixes": READ,
    "scratch_prefix": SCRATCH,
    "write_prefix": WRITE,
    "duration": timedelta(hours=26),
}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow"} | s for s in statements]})


@dataclass
class Aws:
    """Two buckets, and the trainer's user with the permissions that the deployed one has."""

    emulator: Emulator
    clients: Clients
    datasets: str
    outputs: str
    user: str
    key: AccessKey

    def broker(self, key: Callable[..., AccessKey | None] | None = None) -> StsBroker:
        return StsBroker(
            datasets_bucket=self.datasets,
            outputs_bucket=self.outputs,
            key=key or (lambda *, refresh=False: self.key),
            connect=self.clients.sts,
        )

    def new_key(self) -> AccessKey:
        made = self.emulator.client("iam").create_access_key(UserName=self.user)["AccessKey"]
        return AccessKey(made["AccessKeyId"], made["SecretAccessKey"])


@pytest.fixture(scope="module")
def aws(emulator: Emulator) -> Iterator[Aws]:
    tag = uuid.uuid4().hex[:12]
    datasets, outputs, user = f"test-{tag}-datasets", f"test-{tag}-outputs", f"test-{tag}-trainer"
    s3, iam = emulator.client("s3"), emulator.client("iam")
    for bucket in (datasets, outputs, f"test-{tag}-other"):
        s3.create_bucket(Bucket=bucket)
    for bucket, key in [
        (datasets, f"{READ[0]}a.jpg"),
        (datasets, f"{READ[1]}a.png"),
        (datasets, "alice/photos/v-0003/a.jpg"),
        (datasets, "bob/photos/v-0001/a.jpg"),
        (datasets, "_scratch/alice/another/index.json"),
        (datasets, f"{SCRATCH}index.json"),
        (outputs, f"{WRITE}earlier.png"),
        (outputs, f"alice/{JOB}/manifest.json"),
        (outputs, f"bob/{JOB}/artifacts/model.safetensors"),
        (f"test-{tag}-other", f"{READ[0]}a.jpg"),
    ]:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    iam.create_user(UserName=user)
    iam.put_user_policy(
        UserName=user,
        PolicyName="trainer",
        PolicyDocument=policy(
            {"Action": "sts:GetFederationToken", "Resource": "*"},
            {
                "Action": [
                    "s3:GetObject",
                    "s3:PutObject",
                    "s3:DeleteObject",
                    "s3:AbortMultipartUpload",
                    "s3:ListBucket",
                ],
                "Resource": [f"arn:aws:s3:::test-{tag}-*", f"arn:aws:s3:::test-{tag}-*/*"],
            },
        ),
    )
    clients = Clients("us-east-1", endpoint_url=emulator.url, root=AccessKey("test", "test"))
    made = Aws(emulator, clients, datasets, outputs, user, AccessKey("", ""))
    made.key = made.new_key()
    yield made
    clients.close()


@pytest.fixture
def sts_broker(aws: Aws) -> Iterator[StsBroker]:
    broker = aws.broker()
    yield broker
    broker.close()


@pytest.fixture(params=["memory", "sts"])
def broker(request: pytest.FixtureRequest) -> CredentialsBroker:
    if request.param == "memory":
        return FakeBroker(now=datetime.now(UTC))
    sts: StsBroker = request.getfixturevalue("sts_broker")
    return sts


def test_credentials_last_as_long_as_asked_for(broker: CredentialsBroker) -> None:
    for duration in (timedelta(minutes=15), timedelta(hours=26), timedelta(hours=36)):
        made = broker.scoped(**ASKED | {"duration": duration})
        assert abs(made.expires_at - (datetime.now(UTC) + duration)) < timedelta(minutes=1)
        assert made.access_key_id
        assert made.secret_access_key
        assert made.session_token


def test_their_text_hides_the_secrets(broker: CredentialsBroker) -> None:
    made = broker.scoped(**ASKED)
    for secret in (made.access_key_id, made.secret_access_key, made.session_token):
        assert secret not in repr(made)
        assert secret not in str(made)


@pytest.mark.parametrize("duration", [timedelta(minutes=14), timedelta(hours=36, seconds=1), timedelta(0)])
def test_a_duration_out_of_bounds_is_refused(broker: CredentialsBroker, duration: timedelta) -> None:
    with pytest.raises(ValueError):
        broker.scoped(**ASKED | {"duration": duration})


@pytest.mark.parametrize(("count", "length"), [(8, 90), (20, 8), (5, 98)])
def test_what_would_not_fit_is_known_without_asking(broker: CredentialsBroker, count: int, length: int) -> None:
    asked = {k: v for k, v in ASKED.items() if k.endswith(("prefix", "prefixes"))}
    broker.check(**asked)
    too_much = [f"alice/{'d' * length}{i:02}/v-{i:020x}/" for i in range(count)]
    for call, rest in ((broker.check, {}), (broker.scoped, {"name": JOB, "duration": timedelta(hours=1)})):
        with pytest.raises(ProviderFault) as caught:
            call(**asked | {"read_prefixes": too_much} | rest)
        assert (caught.value.code, caught.value.kind) == ("too_many_datasets", FaultKind.USER)
        assert caught.value.sent is False


@pytest.mark.parametrize(
    "wrong",
    [{"read_prefixes": ["alice/photos/v-0001"]}, {"read_prefixes": ["alice/*/"]}, {"scratch_prefix": ""},
     {"scratch_prefix": "_scratch"}, {"write_prefix": "alice"}],
)  # fmt: skip
def test_a_prefix_that_would_open_more_is_refused(broker: CredentialsBroker, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        broker.scoped(**ASKED | wrong)


# --- what the credentials open, tried on S3 with IAM on -----------------------------------------------------------


@pytest.fixture(scope="module")
def trainer(aws: Aws) -> Iterator[Any]:
    """S3 as the trainer sees it."""
    broker = aws.broker()
    client = s3_of(aws, broker.scoped(**ASKED))
    broker.close()
    yield client
    client.close()


def s3_of(aws: Aws, made: TemporaryCredentials) -> Any:
    return aws.emulator.client(
        "s3",
        aws_access_key_id=made.access_key_id,
        aws_secret_access_key=made.secret_access_key,
        aws_session_token=made.session_token,
    )


def keys(client: Any, bucket: str, prefix: str) -> list[str]:
    return [found["Key"] for found in client.list_objects_v2(Bucket=bucket, Prefix=prefix).get("Contents", [])]


def denied(call: Callable[..., Any], **options: Any) -> None:
    with pytest.raises(ClientError) as caught:
        call(**options)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403, caught.value


def test_datasets_can_be_listed_and_read(trainer: Any, aws: Aws) -> None:
    for prefix, name in ((READ[0], "a.jpg"), (READ[1], "a.png")):
        assert keys(trainer, aws.datasets, prefix) == [f"{prefix}{name}"]
        body = trainer.get_object(Bucket=aws.datasets, Key=f"{prefix}{name}")["Body"].read()
        assert body == f"{prefix}{name}".encode()
        assert trainer.head_object(Bucket=aws.datasets, Key=f"{prefix}{name}")["ContentLength"] == len(body)


def test_a_dataset_version_can_not_be_changed(trainer: Any, aws: Aws) -> None:
    for key in (f"{READ[0]}a.jpg", f"{READ[0]}new.jpg"):
        denied(trainer.put_object, Bucket=aws.datasets, Key=key, Body=b"x")
        denied(trainer.delete_object, Bucket=aws.datasets, Key=key)
        denied(trainer.create_multipart_upload, Bucket=aws.datasets, Key=key)


def test_scratch_space_can_be_listed_read_written_and_deleted(trainer: Any, aws: Aws) -> None:
    key = f"{SCRATCH}photos/aspect_ratio_bucket_indices.json"
    trainer.put_object(Bucket=aws.datasets, Key=key, Body=b"{}")
    assert keys(trainer, aws.datasets, SCRATCH) == [f"{SCRATCH}index.json", key]
    assert keys(trainer, aws.datasets, f"{SCRATCH}photos") == [key]
    assert trainer.get_object(Bucket=aws.datasets, Key=key)["Body"].read() == b"{}"
    trainer.delete_object(Bucket=aws.datasets, Key=key)
    assert keys(trainer, aws.datasets, SCRATCH) == [f"{SCRATCH}index.json"]


def test_outputs_can_be_listed_read_and_written_but_not_deleted(trainer: Any, aws: Aws) -> None:
    key = f"{WRITE}checkpoint-100/pytorch_lora_weights.safetensors"
    trainer.put_object(Bucket=aws.outputs, Key=key, Body=b"weights")
    assert key in keys(trainer, aws.outputs, WRITE)
    assert trainer.get_object(Bucket=aws.outputs, Key=key)["Body"].read() == b"weights"
    denied(trainer.delete_object, Bucket=aws.outputs, Key=key)
    denied(trainer.delete_object, Bucket=aws.outputs, Key=f"{WRITE}earlier.png")


def test_a_large_model_goes_up_in_parts_and_a_broken_upload_can_be_given_up(trainer: Any, aws: Aws) -> None:
    where = {"Bucket": aws.outputs, "Key": f"{WRITE}big.safetensors"}
    upload = trainer.create_multipart_upload(**where)["UploadId"]
    part = trainer.upload_part(**where, UploadId=upload, PartNumber=1, Body=bytes(5 * 1024 * 1024))
    trainer.complete_multipart_upload(
        **where, UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert trainer.head_object(**where)["ContentLength"] == 5 * 1024 * 1024
    broken = trainer.create_multipart_upload(**where)["UploadId"]
    trainer.abort_multipart_upload(**where, UploadId=broken)


@pytest.mark.parametrize(
    ("bucket", "key"),
    [
        pytest.param("datasets", "bob/photos/v-0001/a.jpg", id="another owner's dataset"),
        pytest.param("datasets", "alice/photos/v-0003/a.jpg", id="another version"),
        pytest.param("datasets", "_scratch/alice/another/index.json", id="another job's scratch"),
        pytest.param("outputs", f"alice/{JOB}/manifest.json", id="what the service keeps beside the outputs"),
        pytest.param("outputs", f"bob/{JOB}/artifacts/model.safetensors", id="another owner's outputs"),
        pytest.param("outputs", f"{READ[0]}a.jpg", id="a dataset's key in the other bucket"),
        pytest.param("datasets", f"{WRITE}earlier.png", id="an output's key in the other bucket"),
        pytest.param("other", f"{READ[0]}a.jpg", id="another bucket"),
    ],
)
def test_everything_else_is_closed(trainer: Any, aws: Aws, bucket: str, key: str) -> None:
    name = {"datasets": aws.datasets, "outputs": aws.outputs}.get(bucket, aws.outputs.replace("-outputs", "-other"))
    denied(trainer.get_object, Bucket=name, Key=key)
    denied(trainer.put_object, Bucket=name, Key=key, Body=b"x")
    denied(trainer.delete_object, Bucket=name, Key=key)
    denied(trainer.list_objects_v2, Bucket=name, Prefix=key.rpartition("/")[0] + "/")


@pytest.mark.parametrize("prefix", ["", "alice/", "alice/photos/", "alice/photos/v-0001", "bob/", "_scratch/"])
def test_nothing_wider_than_a_prefix_can_be_listed(trainer: Any, aws: Aws, prefix: str) -> None:
    denied(trainer.list_objects_v2, Bucket=aws.datasets, Prefix=prefix)
    denied(trainer.list_objects_v2, Bucket=aws.outputs, Prefix=prefix)


def test_a_listing_without_any_prefix_is_closed(trainer: Any, aws: Aws) -> None:
    denied(trainer.list_objects_v2, Bucket=aws.datasets)
    denied(trainer.list_objects_v2, Bucket=aws.outputs)


def test_links_signed_with_them_open_no_more(trainer: Any, aws: Aws) -> None:
    def status(key: str) -> int:
        link = trainer.generate_presigned_url("get_object", Params={"Bucket": aws.datasets, "Key": key}, ExpiresIn=60)
        return httpx.get(link, trust_env=False, timeout=20).status_code

    assert status(f"{READ[0]}a.jpg") == 200
    assert status("bob/photos/v-0001/a.jpg") == 403


def test_without_datasets_there_is_scratch_and_output_only(aws: Aws, sts_broker: StsBroker) -> None:
    client = s3_of(aws, sts_broker.scoped(**ASKED | {"read_prefixes": []}))
    client.put_object(Bucket=aws.outputs, Key=f"{WRITE}x", Body=b"x")
    denied(client.get_object, Bucket=aws.datasets, Key=f"{READ[0]}a.jpg")
    client.close()


# --- what can go wrong ----------------------------------------------------------------------------------------------


def fault_of(broker: StsBroker, **changes: Any) -> ProviderFault:
    with pytest.raises(ProviderFault) as caught:
        broker.scoped(**ASKED | changes)
    broker.close()
    assert caught.value.sent is False
    return caught.value


def test_without_a_stored_key(aws: Aws) -> None:
    fault = fault_of(aws.broker(lambda *, refresh=False: None))
    assert (fault.code, fault.kind) == ("trainer_key_missing", FaultKind.OURS)


def test_with_a_key_that_is_not_known(aws: Aws) -> None:
    fault = fault_of(aws.broker(lambda *, refresh=False: AccessKey("AKIAIOSFODNN7EXAMPLE", "wrong")))
    assert (fault.code, fault.kind) == ("trainer_key_refused", FaultKind.OURS)
    assert "AKIAIOSFODNN7EXAMPLE" not in fault.message


def test_a_rotated_key_takes_effect_at_once(aws: Aws) -> None:
    """The broker still holds the old key when the deploy program has deleted it."""
    old = aws.new_key()
    stored = [old]
    broker = aws.broker(lambda *, refresh=False: stored[-1] if refresh else stored[0])
    assert broker.scoped(**ASKED).access_key_id
    iam = aws.emulator.client("iam")
    iam.delete_access_key(UserName=aws.user, AccessKeyId=old.access_key_id)
    new = aws.new_key()
    stored.append(new)
    assert broker.scoped(**ASKED).access_key_id
    broker.close()
    iam.delete_access_key(UserName=aws.user, AccessKeyId=new.access_key_id)


def test_eight_datasets_with_ordinary_names_fit(aws: Aws, sts_broker: StsBroker) -> None:
    prefixes = [f"local/portrait-photos-{i}/v-{i:020x}/" for i in range(8)]
    assert sts_broker.scoped(**ASKED | {"read_prefixes": prefixes}).session_token


def test_datasets_whose_names_are_too_long_are_named_as_the_reason(aws: Aws) -> None:
    fault = fault_of(aws.broker(), read_prefixes=[f"local/{'x' * 99}{i}/v-{i:020x}/" for i in range(8)])
    assert (fault.code, fault.kind) == ("too_many_datasets", FaultKind.USER)
    assert "shorter dataset ids" in fault.message
