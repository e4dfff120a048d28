"""Faults, the runner's names, clients' settings, the broker's and the parameters' edges."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.aws.broker import MAX_NAME, StsBroker, federation_name
from chalicelib.aws.clients import ATTEMPTS, CONNECT_TIMEOUT, READ_TIMEOUT, AccessKey, Clients, partition_of
from chalicelib.aws.faults import answering
from chalicelib.aws.parameters import StackParameters
from chalicelib.aws.runner import StepFunctionsRunner, execution_arn
from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.errors import Unavailable
from tests.fakes.aws import InMemoryParameters
from tests.unit.aws.aws_doubles import Script, client_error, timed_out

MACHINE = "arn:aws:states:eu-west-1:123456789012:stateMachine:stcloud-prod-job"


# --- faults ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "error",
    [
        client_error("ThrottlingException"),
        client_error("SlowDown", 503),
        client_error("Anything", 500),
        client_error("Anything", 429),
        timed_out(),
    ],
)
def test_busy_and_silent_are_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable, match="Storage does not answer") as caught, answering("Storage"):
        raise error
    assert caught.value.retry_after == 5
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [client_error("AccessDenied", 403), client_error("NoSuchBucket", 404), KeyError("x")])
def test_our_own_mistakes_go_up_as_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, answering("Storage"):
        raise error
    assert caught.value is error


# --- the runner -----------------------------------------------------------------------------------------------------
def test_execution_names_and_arns() -> None:
    client = Script(start_execution=[{}], describe_execution=[{"status": "SUCCEEDED"}])
    runner = StepFunctionsRunner(MACHINE, client)
    runner.start("01job", 3)
    assert not runner.is_running("01job", 3)
    started, asked = client.calls[0][1], client.calls[1][1]
    assert (started["stateMachineArn"], started["name"]) == (MACHINE, "01job-3")
    assert json.loads(started["input"]) == {"job_id": "01job", "attempt": 3}
    assert asked["executionArn"] == "arn:aws:states:eu-west-1:123456789012:execution:stcloud-prod-job:01job-3"


def test_what_is_no_machine_is_told() -> None:
    with pytest.raises(ValueError, match="state machine"):
        execution_arn("", "01job-1")


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE"])
def test_only_running_runs(status: str) -> None:
    assert not StepFunctionsRunner(MACHINE, Script(describe_execution=[{"status": status}])).is_running("j", 1)


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_nobody_to_wake(code: str) -> None:
    assert not StepFunctionsRunner(MACHINE, Script(send_task_success=[client_error(code)])).wake("t")


def test_a_failed_call_is_not_taken_for_an_answer() -> None:
    """A sweeper that takes a throttled question for 'not running' would start a second execution."""
    busy, forbidden = client_error("ThrottlingException"), client_error("AccessDeniedException")
    runner = StepFunctionsRunner(
        MACHINE,
        Script(start_execution=[busy, forbidden], describe_execution=[busy], send_task_success=[busy, forbidden]),
    )
    for call in (lambda: runner.start("j", 1), lambda: runner.is_running("j", 1), lambda: runner.wake("t")):
        with pytest.raises(Unavailable):
            call()
    for call in (lambda: runner.start("j", 1), lambda: runner.wake("t")):
        with pytest.raises(Exception, match="AccessDenied"):
            call()


# --- clients --------------------------------------------------------------------------------------------------------
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


# --- the broker -----------------------------------------------------------------------------------------------------
FEDERATED = {
    "Credentials": {
        "AccessKeyId": "ASIA1",
        "SecretAccessKey": "s",
        "SessionToken": "t",
        "Expiration": datetime(2026, 11, 25, tzinfo=UTC),
    },
    "PackedPolicySize": 40,
}
ASKED: dict[str, Any] = {
    "name": "01job",
    "read_prefixes": ["o/d/v-1/"],
    "scratch_prefix": "_scratch/o/01job/",
    "write_prefix": "o/01job/artifacts/",
    "duration": timedelta(hours=1),
}


class Keys:
    """The stored key: the cached one until it is asked for with ``refresh``."""

    def __init__(self, cached: AccessKey | None, stored: AccessKey | None) -> None:
        self.cached, self.stored, self.refreshed = cached, stored, 0

    def __call__(self, *, refresh: bool = False) -> AccessKey | None:
        if refresh:
            self.refreshed += 1
            self.cached = self.stored
        return self.cached


OLD, NEW = AccessKey("AKIAOLD", "old"), AccessKey("AKIANEW", "new")


def broker(keys: Keys, made: dict[AccessKey, Script]) -> StsBroker:
    return StsBroker(datasets_bucket="d", outputs_bucket="o", key=keys, connect=made.__getitem__)


def test_what_sts_is_asked_for() -> None:
    sts = Script(get_federation_token=[FEDERATED, FEDERATED])
    under_test = broker(Keys(OLD, OLD), {OLD: sts})
    made = under_test.scoped(**ASKED)
    under_test.scoped(**ASKED)
    assert (made.access_key_id, made.session_token) == ("ASIA1", "t")
    request = sts.calls[0][1]
    assert (request["Name"], request["DurationSeconds"]) == ("01job", 3600)
    assert json.loads(request["Policy"])["Version"] == "2012-10-17"


def test_a_refused_key_is_read_again_once() -> None:
    old = Script(get_federation_token=[client_error("InvalidClientTokenId", 403)])
    new = Script(get_federation_token=[FEDERATED])
    keys = Keys(OLD, NEW)
    assert broker(keys, {OLD: old, NEW: new}).scoped(**ASKED).access_key_id == "ASIA1"
    assert keys.refreshed == 1
    assert old.closed


@pytest.mark.parametrize(
    ("errors", "code", "kind"),
    [
        ([client_error("InvalidClientTokenId", 403)] * 2, "trainer_key_refused", FaultKind.OURS),
        ([client_error("SignatureDoesNotMatch", 403)] * 2, "trainer_key_refused", FaultKind.OURS),
        ([client_error("PackedPolicyTooLarge")], "too_many_datasets", FaultKind.USER),
        ([client_error("Throttling")], "credentials_unavailable", FaultKind.OURS),
        ([client_error("InternalFailure", 500)], "credentials_unavailable", FaultKind.OURS),
        ([timed_out()], "credentials_unavailable", FaultKind.OURS),
        ([client_error("AccessDenied", 403)], "credentials_refused", FaultKind.OURS),
    ],
)
def test_faults_say_who_has_to_act(errors: list[Exception], code: str, kind: FaultKind) -> None:
    sts = Script(get_federation_token=errors)
    with pytest.raises(ProviderFault) as caught:
        broker(Keys(OLD, OLD), {OLD: sts}).scoped(**ASKED)
    assert (caught.value.code, caught.value.kind, caught.value.sent) == (code, kind, False)
    assert "AKIA" not in caught.value.message


def test_a_key_taken_away_meanwhile() -> None:
    sts = Script(get_federation_token=[client_error("InvalidClientTokenId", 403)])
    with pytest.raises(ProviderFault, match="deploy again") as caught:
        broker(Keys(OLD, None), {OLD: sts}).scoped(**ASKED)
    assert caught.value.code == "trainer_key_missing"


@pytest.mark.parametrize(
    ("name", "federated"),
    [("01jdabc", "01jdabc"), ("a b/c", "a-b-c"), ("x" * 40, "x" * MAX_NAME), ("x", "x-"), ("日本", "--")],
)
def test_federation_names(name: str, federated: str) -> None:
    assert federation_name(name) == federated


# --- parameters -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("value", ["", " ", "unset", "ftp://x", "https://", "https://a b", "https://x/path", "//x"])
def test_what_is_no_public_url_counts_as_none(value: str) -> None:
    with pytest.raises(Unavailable) as caught:
        StackParameters(InMemoryParameters({"public-url": value})).public_url()
    assert caught.value.code == "not_deployed"


@pytest.mark.parametrize("value", ["", "abc", "ab" * 31, "ab" * 33, "zz" * 32, "unset"])
def test_a_broken_token_hash_lets_nobody_in(value: str) -> None:
    assert StackParameters(InMemoryParameters({"deploy-token-sha256": value})).deploy_token_sha256() is None


@pytest.mark.parametrize(
    "value",
    [
        *["", "null", "[]", "{}", "nope", '"text"', "3", '{"access_key_id":"a"}'],
        '{"access_key_id":"","secret_access_key":"s"}',
        '{"access_key_id":1,"secret_access_key":2}',
    ],
)
def test_a_broken_trainer_key_counts_as_none(value: str) -> None:
    assert StackParameters(InMemoryParameters({"trainer-key": value})).trainer_key() is None


def test_a_blank_provider_token_means_not_configured() -> None:
    assert StackParameters(InMemoryParameters({"replicate-token": " \n"})).provider_token("replicate") is None


def test_values_are_read_once_while_fresh_even_by_many_threads() -> None:
    source = InMemoryParameters({"replicate-token": "r8", "trainer-key": "{}"})
    stack = StackParameters(source, lambda: 0.0)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: stack.provider_token("replicate"), range(50))) == {"r8"}
    assert source.reads == 1
    stack.trainer_key()
    stack.trainer_key()
    assert source.reads == 2
    stack.trainer_key(refresh=True)
    assert source.reads == 3


def test_a_store_that_does_not_answer_is_no_missing_value() -> None:
    class Busy:
        def get(self, name: str) -> str | None:
            raise Unavailable("busy")

    stack = StackParameters(Busy())
    for read in (stack.deploy_token_sha256, stack.public_url, lambda: stack.provider_token("replicate")):
        with pytest.raises(Unavailable, match="busy"):
            read()
