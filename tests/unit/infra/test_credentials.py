"""Secrets: what is stored, when keys are made and removed, and that no secret is said aloud."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from chalicelib.aws.parameters import StackParameters
from chalicelib.domain.audit import AuditAction
from infra.credentials import (
    SecretStore,
    TrainerKey,
    ensure_deploy_token,
    ensure_name_key,
    ensure_origin_secret,
    ensure_setup_code,
    put_provider_token,
)
from infra.errors import DeployError
from tests.fakes.aws import InMemoryParameters
from tests.unit.infra.fakes import FakeIam, FakeSsm
from tests.unit.infra.fakes import refused as aws_error

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
TOKEN = "r8_" + "a" * 37
DAY = timedelta(days=1)


class Noted:
    """What the audit was told; ``broken`` makes it fail."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, bool]] = []
        self.broken = False

    def __call__(self, action: AuditAction, target: str, *, replaces: bool) -> None:
        if self.broken:
            raise aws_error("ProvisionedThroughputExceededException", "no")
        self.lines.append((action.value, target, replaces))


class Keys:
    def __init__(self, *ages: timedelta, stored: int | None = None) -> None:
        self.iam, self.ssm, self.said, self.noted = FakeIam(NOW), FakeSsm(), [], Noted()
        self.names = [self.iam.add(age) for age in ages]
        if stored is not None:
            value = json.dumps({"access_key_id": self.names[stored], "secret_access_key": "s"})
            self.ssm.values["/stcloud/test/trainer-key"] = value
        self.key = TrainerKey(
            self.iam, SecretStore(self.ssm, "/stcloud/test"), "stcloud-test-trainer", self.said.append, lambda: NOW
        )

    @property
    def stored(self) -> str:
        return str(json.loads(self.ssm.values["/stcloud/test/trainer-key"])["access_key_id"])


def test_the_first_deployment_makes_a_key_and_the_next_leaves_it() -> None:
    keys = Keys()
    keys.key.ensure(keys.noted, rotate=False)
    first = keys.stored
    assert set(keys.iam.keys) == {first}
    assert keys.ssm.kinds["/stcloud/test/trainer-key"] == "SecureString"
    keys.key.ensure(keys.noted, rotate=False)
    assert keys.stored == first
    assert len(keys.iam.keys) == 1


def test_a_rotation_keeps_the_key_before_for_the_sessions_made_from_it() -> None:
    keys = Keys(30 * DAY, stored=0)
    keys.key.ensure(keys.noted, rotate=True)
    assert keys.stored != keys.names[0]
    assert set(keys.iam.keys) == {keys.names[0], keys.stored}


def test_a_second_rotation_within_36_hours_is_refused_and_changes_nothing() -> None:
    keys = Keys(30 * DAY, timedelta(hours=35), stored=1)
    with pytest.raises(DeployError, match="2026-11-24 13:00 UTC"):
        keys.key.ensure(keys.noted, rotate=True)
    assert set(keys.iam.keys) == set(keys.names)
    assert keys.stored == keys.names[1]


def test_a_later_rotation_drops_the_oldest_key_and_never_has_three() -> None:
    keys = Keys(30 * DAY, 2 * DAY, stored=1)
    keys.key.ensure(keys.noted, rotate=True)
    assert set(keys.iam.keys) == {keys.names[1], keys.stored}


def test_the_key_before_goes_with_the_next_deployment_after_36_hours() -> None:
    soon, later = Keys(30 * DAY, timedelta(hours=30), stored=1), Keys(30 * DAY, 2 * DAY, stored=1)
    soon.key.ensure(soon.noted, rotate=False)
    later.key.ensure(later.noted, rotate=False)
    assert set(soon.iam.keys) == set(soon.names)
    assert set(later.iam.keys) == {later.names[1]}


def test_a_stored_key_that_iam_does_not_know_is_made_anew_even_when_two_strangers_are_in_the_way() -> None:
    keys = Keys(3 * DAY, 2 * DAY)
    keys.ssm.values["/stcloud/test/trainer-key"] = json.dumps({"access_key_id": "AKIAGONE", "secret_access_key": "s"})
    keys.key.ensure(keys.noted, rotate=False)
    assert set(keys.iam.keys) == {keys.names[1], keys.stored}


def test_a_key_that_cannot_be_stored_is_removed_again() -> None:
    keys = Keys()
    keys.ssm.broken = True
    with pytest.raises(ClientError):
        keys.key.ensure(keys.noted, rotate=False)
    assert keys.iam.keys == {}


def test_no_secret_is_said() -> None:
    keys = Keys()
    keys.key.ensure(keys.noted, rotate=False)
    put_provider_token(SecretStore(keys.ssm, "/stcloud/test"), TOKEN, keys.said.append, Noted())
    assert keys.said
    assert not [line for line in keys.said if "secret of" in line or TOKEN in line]


def test_the_provider_token_is_stored_encrypted_and_only_when_it_differs() -> None:
    ssm, said, noted = FakeSsm(), [], Noted()
    store = SecretStore(ssm, "/stcloud/test")
    put_provider_token(store, f" {TOKEN}\n", said.append, noted)
    assert ssm.values["/stcloud/test/replicate-token"] == TOKEN
    assert ssm.kinds["/stcloud/test/replicate-token"] == "SecureString"
    put_provider_token(store, TOKEN, said.append, noted)
    put_provider_token(store, None, said.append, noted)
    assert len(said) == 1


def test_without_any_provider_token_the_user_hears_what_to_do() -> None:
    said: list[str] = []
    put_provider_token(SecretStore(FakeSsm(), "/stcloud/test"), None, said.append, Noted())
    assert "REPLICATE_API_TOKEN" in said[0]


@pytest.mark.parametrize("token", ["", "hf_abcdefghijklmnop", "r8_short", "r8_with a space in it"])
def test_what_is_no_replicate_token_is_refused_without_repeating_it(token: str) -> None:
    ssm = FakeSsm()
    with pytest.raises(DeployError, match="starts with r8_") as refused:
        put_provider_token(SecretStore(ssm, "/stcloud/test"), token, print, Noted())
    assert ssm.values == {}
    assert not token or token not in str(refused.value)


def test_the_deploy_token_is_shown_once_and_only_its_hash_is_kept() -> None:
    ssm, noted = FakeSsm(), Noted()
    store = SecretStore(ssm, "/stcloud/test")
    token = ensure_deploy_token(store, noted, rotate=False)
    assert token is not None
    assert len(token) > 40
    assert list(ssm.values.values()) == [hashlib.sha256(token.encode()).hexdigest()]
    assert ensure_deploy_token(store, noted, rotate=False) is None
    other = ensure_deploy_token(store, noted, rotate=True)
    assert other not in {None, token}


def test_the_setup_code_is_shown_once_and_only_its_hash_is_kept() -> None:
    ssm, noted = FakeSsm(), Noted()
    store = SecretStore(ssm, "/stcloud/test")
    code = ensure_setup_code(store, noted, renew=False)
    assert code is not None
    assert len(code) >= 32
    assert ssm.values == {"/stcloud/test/setup-code-sha256": hashlib.sha256(code.encode()).hexdigest()}
    assert ensure_setup_code(store, noted, renew=False) is None
    renewed = ensure_setup_code(store, noted, renew=True)
    assert renewed is not None
    assert renewed != code
    assert ssm.values == {"/stcloud/test/setup-code-sha256": hashlib.sha256(renewed.encode()).hexdigest()}


def test_the_origin_secret_is_made_once_and_kept_secret() -> None:
    ssm = FakeSsm()
    store = SecretStore(ssm, "/stcloud/test")
    made = ensure_origin_secret(store)
    assert len(made) >= 40
    assert ssm.kinds["/stcloud/test/origin-secret"] == "SecureString"
    assert ensure_origin_secret(store) == made


def test_the_key_of_names_is_made_once_and_kept_secret() -> None:
    ssm = FakeSsm()
    store = SecretStore(ssm, "/stcloud/test")
    ensure_name_key(store)
    made = dict(ssm.values)
    key = StackParameters(InMemoryParameters({"name-key": made["/stcloud/test/name-key"]})).name_key()
    assert len(key) == 32
    assert ssm.kinds["/stcloud/test/name-key"] == "SecureString"
    ensure_name_key(store)
    assert ssm.values == made


def test_what_gives_power_is_recorded_once_it_is_made_and_not_when_nothing_is() -> None:
    keys = Keys()
    store, noted = SecretStore(keys.ssm, "/stcloud/test"), keys.noted
    for again in (False, False, True):
        keys.iam.now += 2 * DAY
        keys.key.ensure(noted, rotate=False)
        put_provider_token(store, TOKEN[:-1] + "b" if again else TOKEN, keys.said.append, noted)
        ensure_deploy_token(store, noted, rotate=again)
        ensure_setup_code(store, noted, renew=again)
    things = [
        ("trainer_key.make", "iam-user:stcloud-test-trainer"),
        ("provider_token.put", "provider:replicate"),
        ("deploy_token.make", "stack:deploy-token"),
        ("setup_code.make", "stack:setup-code"),
    ]
    assert noted.lines == [(*thing, False) for thing in things] + [(*thing, True) for thing in things[1:]]
    rotated = Keys(30 * DAY, stored=0)
    rotated.key.ensure(rotated.noted, rotate=True)
    assert rotated.noted.lines == [(*things[0], True)]


def test_what_can_not_be_recorded_is_not_done() -> None:
    keys = Keys(30 * DAY, stored=0)
    keys.noted.broken = True
    before = dict(keys.ssm.values)
    store = SecretStore(keys.ssm, "/stcloud/test")
    for attempt in (
        lambda: keys.key.ensure(keys.noted, rotate=True),
        lambda: put_provider_token(store, TOKEN, keys.said.append, keys.noted),
        lambda: ensure_deploy_token(store, keys.noted, rotate=False),
        lambda: ensure_setup_code(store, keys.noted, renew=False),
    ):
        with pytest.raises(ClientError, match="Provisioned"):
            attempt()
    assert keys.ssm.values == before
    assert set(keys.iam.keys) == set(keys.names)


def test_secrets_of_destinations_go_with_the_stack_and_nothing_else_does() -> None:
    ssm = FakeSsm(name_key="k")
    ssm.values |= {f"/stcloud/test/credentials/{n % 7}/hub/{n:06d}-x": "{}" for n in range(35)}
    others = {"/stcloud/test/credentials-of-others": "x", "/stcloud/test2/credentials/1/hub/000001-x": "{}"}
    ssm.values |= others
    store = SecretStore(ssm, "/stcloud/test")
    assert store.remove_below("credentials") == 35
    assert ssm.values == {"/stcloud/test/name-key": "k", **others}
    assert store.remove_below("credentials") == 0
