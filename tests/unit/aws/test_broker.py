"""The broker's requests and faults."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.aws.broker import MAX_NAME, StsBroker, federation_name
from chalicelib.aws.clients import AccessKey
from chalicelib.domain.failures import FaultKind, ProviderFault
from tests.unit.aws.aws_doubles import Script, client_error, timed_out

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
