"""What a secret may look like, how it is stored, and what is shown of it."""

from __future__ import annotations

import base64
import itertools
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr

from chalicelib.domain.credential_secrets import (
    BadSecretError,
    Checked,
    Given,
    checked,
    document_of,
    encoded,
    hint_of,
    new_signing_secret,
    rotated,
    secret_of,
    without_secret,
)
from chalicelib.domain.credentials import (
    MAX_SECRET_BYTES,
    CredentialKind,
    HubSecret,
    S3Secret,
    Secret,
    WebhookSecret,
)
from chalicelib.domain.misplaced import holds_credential
from chalicelib.domain.redaction import redact
from chalicelib.domain.webhook_signing import sign, verify

HUB, S3, WEBHOOK = CredentialKind.HUGGINGFACE, CredentialKind.S3, CredentialKind.WEBHOOK
TOKEN = "hf_" + "aBcD1234" * 4
KEY_ID, SECRET_KEY = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SIGNING = "whsec_" + base64.b64encode(bytes(range(32))).decode()
COUNT = itertools.count()


def random() -> str:
    return f"unguessable-{next(COUNT)}"


def check(kind: CredentialKind, **given: str) -> Checked:
    return checked(kind, Given(**given), random)


def refused(kind: CredentialKind, **given: str) -> BadSecretError:
    with pytest.raises(BadSecretError) as caught:
        check(kind, **given)
    for value in given.values():
        assert len(value) < 8 or value not in str(caught.value)
    return caught.value


# --- what is taken ------------------------------------------------------------------------------------------------
def test_white_space_around_a_secret_is_no_part_of_it() -> None:
    assert check(HUB, token=f"  {TOKEN}\r\n").secret == HubSecret(token=SecretStr(TOKEN))
    s3 = check(S3, access_key_id=f"\t{KEY_ID} ", secret_access_key=f"{SECRET_KEY}\n").secret
    assert s3 == S3Secret(access_key_id=KEY_ID, secret_access_key=SecretStr(SECRET_KEY))


def test_the_shape_of_a_token_is_only_advised_on() -> None:
    assert check(HUB, token=TOKEN).warnings == []
    other = check(HUB, token="glpat-something")
    assert other.secret == HubSecret(token=SecretStr("glpat-something"))
    assert "hf_" in other.warnings[0]


def test_temporary_keys_are_advised_on() -> None:
    keys = {"access_key_id": "ASIAIOSFODNN7EXAMPLE", "secret_access_key": SECRET_KEY}
    assert "needs its session_token" in check(S3, **keys).warnings[0]
    assert "ends after hours" in check(S3, **keys, session_token="t" * 1000).warnings[0]
    assert check(S3, access_key_id="minio", secret_access_key="minio123").warnings == []


@pytest.mark.parametrize("secret", [SIGNING, SIGNING.removeprefix("whsec_"), f" {SIGNING.rstrip('=')}\n"])
def test_a_signing_secret_signs(secret: str) -> None:
    made = check(WEBHOOK, secret=secret)
    assert isinstance(made.secret, WebhookSecret)
    assert made.made is None
    (stored,) = (s.get_secret_value() for s in made.secret.secrets)
    assert stored.startswith("whsec_")
    at = datetime(2026, 11, 24, tzinfo=UTC)
    assert verify(b"{}", sign(b"{}", webhook_id="m", at=at, secrets=[stored]), [SIGNING], now=at) == "m"


def test_one_that_is_made_has_32_bytes_and_is_never_the_same() -> None:
    made = [check(WEBHOOK).made for _ in range(3)]
    assert len(set(made)) == 3
    for text in made:
        assert text is not None
        assert len(base64.b64decode(text.removeprefix("whsec_"), validate=True)) == 32
    # Each half alone is unguessable; one source that repeats itself does not halve it to nothing.
    assert new_signing_secret(lambda: "a") != new_signing_secret(lambda: "b")


# --- what is refused ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "given", "field", "code"),
    [
        (HUB, {}, "token", "missing"),
        (HUB, {"token": " \n"}, "token", "empty"),
        (HUB, {"token": "hf_ab cdefgh"}, "token", "characters"),
        (HUB, {"token": "hf_abcd\x00efgh"}, "token", "characters"),
        (HUB, {"token": "hf_abcd\nefgh"}, "token", "characters"),
        (HUB, {"token": "hf_abcd\u200befgh"}, "token", "characters"),
        (HUB, {"token": "x" * 513}, "token", "too_long"),
        (HUB, {"token": TOKEN, "secret": SIGNING}, "secret", "extra"),
        (HUB, {"token": TOKEN, "access_key_id": KEY_ID}, "access_key_id", "extra"),
        (S3, {"secret_access_key": SECRET_KEY}, "access_key_id", "missing"),
        (S3, {"access_key_id": KEY_ID}, "secret_access_key", "missing"),
        (S3, {"access_key_id": KEY_ID, "secret_access_key": SECRET_KEY, "session_token": ""}, "session_token", "empty"),
        (S3, {"access_key_id": KEY_ID, "secret_access_key": SECRET_KEY, "token": TOKEN}, "token", "extra"),
        (S3, {"access_key_id": SECRET_KEY, "secret_access_key": KEY_ID}, "access_key_id", "swapped"),
        (S3, {"access_key_id": SECRET_KEY, "secret_access_key": "something-else"}, "access_key_id", "swapped"),
        (S3, {"access_key_id": "ABCDEFGH", "secret_access_key": "ABCDEFGH"}, "access_key_id", "swapped"),
        (
            S3,
            {"access_key_id": "k" * 128, "secret_access_key": "s" * 512, "session_token": '"' * 3200},
            "session_token",
            "too_long",
        ),
        (WEBHOOK, {"secret": "whsec_"}, "secret", "unusable"),
        (WEBHOOK, {"secret": "whsec_" + base64.b64encode(b"x" * 23).decode()}, "secret", "unusable"),
        (WEBHOOK, {"secret": "whsec_" + base64.b64encode(b"x" * 65).decode()}, "secret", "unusable"),
        (WEBHOOK, {"secret": "correct-horse-battery-staple!"}, "secret", "unusable"),
        (WEBHOOK, {"token": TOKEN}, "token", "extra"),
    ],
)
def test_what_can_not_be_a_secret_is_refused(
    kind: CredentialKind, given: dict[str, str], field: str, code: str
) -> None:
    bad = refused(kind, **given)
    assert (bad.field, bad.code) == (field, code)


def test_the_largest_secret_of_each_kind_can_be_stored() -> None:
    largest = [
        check(HUB, token="x" * 512),
        check(S3, access_key_id="k" * 128, secret_access_key="s" * 512, session_token="t" * 3200),
        check(WEBHOOK, secret=base64.b64encode(b"x" * 64).decode()),
    ]
    for made in largest:
        assert len(encoded(made.secret)) <= MAX_SECRET_BYTES


# --- what is stored and shown -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "secret"),
    [
        (HUB, HubSecret(token=SecretStr(TOKEN))),
        (S3, S3Secret(access_key_id=KEY_ID, secret_access_key=SecretStr(SECRET_KEY))),
        (
            S3,
            S3Secret(access_key_id="k", secret_access_key=SecretStr("s"), session_token=SecretStr("t")),
        ),
        (WEBHOOK, WebhookSecret(secrets=(SecretStr(SIGNING), SecretStr("whsec_old")))),
    ],
)
def test_what_is_stored_comes_back_and_is_of_its_kind_alone(kind: CredentialKind, secret: Secret) -> None:
    document = document_of(secret)
    assert secret_of(kind, document) == secret
    assert all(secret_of(other, document) is None for other in CredentialKind if other is not kind)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"kind": "s3"},
        {"kind": "s3", "access_key_id": 5, "secret_access_key": "x"},
        {"kind": "huggingface", "token": None},
        {"kind": "webhook", "secrets": []},
        {"kind": "webhook", "secrets": "whsec_x"},
    ],
)
def test_a_broken_document_is_no_secret(document: dict[str, object]) -> None:
    assert [secret_of(kind, document) for kind in CredentialKind] == [None, None, None]


def test_hints_tell_little() -> None:
    assert hint_of(HubSecret(token=SecretStr(TOKEN))) == "…1234"
    assert hint_of(HubSecret(token=SecretStr("short"))) == "…"
    assert hint_of(S3Secret(access_key_id=KEY_ID, secret_access_key=SecretStr("s"))) == KEY_ID
    assert (
        hint_of(WebhookSecret(secrets=(SecretStr(SIGNING), SecretStr("whsec_old_old_old_old")))) == "…" + SIGNING[-4:]
    )


def test_nothing_that_holds_a_secret_prints_it() -> None:
    held = [
        Given(token=TOKEN, secret=SIGNING, secret_access_key=SECRET_KEY, session_token=TOKEN),
        check(HUB, token=TOKEN),
        check(S3, access_key_id=KEY_ID, secret_access_key=SECRET_KEY, session_token=TOKEN),
        check(WEBHOOK, secret=SIGNING),
    ]
    made = check(WEBHOOK)
    for text in (repr([*held, made]), str([*held, made])):
        for secret in (TOKEN, SECRET_KEY, SIGNING, made.made):
            assert secret is not None
            assert secret not in text


# --- rotation -----------------------------------------------------------------------------------------------------
def test_two_signing_secrets_at_most_the_newest_first() -> None:
    def new(text: str) -> Checked:
        return Checked(WebhookSecret(secrets=(SecretStr(text),)))

    def texts(of: Checked) -> list[str]:
        assert isinstance(of.secret, WebhookSecret)
        return [s.get_secret_value() for s in of.secret.secrets]

    first = new("a")
    second = rotated(first.secret, new("b"), keep=True)
    assert texts(second) == ["b", "a"]
    assert texts(rotated(second.secret, new("c"), keep=True)) == ["c", "b"]
    assert texts(rotated(second.secret, new("b"), keep=True)) == ["b", "a"]
    assert texts(rotated(second.secret, new("c"), keep=False)) == ["c"]
    assert texts(rotated(None, new("c"), keep=True)) == ["c"]


def test_a_token_is_replaced_whatever_is_to_be_kept() -> None:
    old = HubSecret(token=SecretStr(TOKEN))
    new = check(HUB, token="hf_new")
    assert rotated(old, new, keep=True) == new


def test_what_a_destination_repeats_is_taken_out() -> None:
    secrets: list[Secret] = [
        HubSecret(token=SecretStr("glpat-not-like-a-token")),
        S3Secret(access_key_id="minio", secret_access_key=SecretStr("minio123"), session_token=SecretStr("minio12345")),
        WebhookSecret(secrets=(SecretStr("not-like-one-1"), SecretStr("not-like-one-2"))),
    ]
    for secret in secrets:
        values = [v for k, v in document_of(secret).items() if k not in {"kind", "access_key_id"}]
        flat = [v for value in values for v in (value if isinstance(value, list) else [value])]
        text = without_secret("; ".join(f"bad {v}!" for v in flat), secret)
        assert text == "; ".join("bad [redacted]!" for _ in flat)
    assert without_secret(f"bad {TOKEN}", None) == "bad [redacted]"
    assert without_secret("No bucket minio.", secrets[1]) == "No bucket minio."


# --- where a secret was put by mistake ----------------------------------------------------------------------------
@pytest.mark.parametrize("secret", [TOKEN, SIGNING, "r8_" + "a" * 37])
def test_tokens_are_known_where_they_do_not_belong(secret: str) -> None:
    assert holds_credential(secret)
    assert secret not in redact(f"got {secret} there")
