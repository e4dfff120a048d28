"""Sessions: which tokens count, when keys are fetched, and that no doubt lets anybody in."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.client import IncompleteRead
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from chalicelib.aws.jwks import (
    KEYS_LIFETIME,
    REFETCH_AFTER,
    RETRY_AFTER,
    JwksVerifier,
    http_source,
    issuer_of,
    pool_verifier,
    public_keys,
    role_of,
)
from chalicelib.domain.access_ports import InvalidSessionError
from chalicelib.domain.permissions import Role
from chalicelib.errors import Unavailable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ISSUER = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Abc"
CLIENT = "client-of-ours"
#: Making a key takes a while, so all tests share three.
KEYS = {kid: rsa.generate_private_key(public_exponent=65537, key_size=2048) for kid in ("one", "two")}
SMALL = rsa.generate_private_key(public_exponent=65537, key_size=1024)


def jwk(kid: str, key: rsa.RSAPrivateKey | None = None, **changes: Any) -> dict[str, Any]:
    public = RSAAlgorithm.to_jwk((key or KEYS[kid]).public_key(), as_dict=True)
    return {**public, "kid": kid, "alg": "RS256", "use": "sig", **changes}


def document(*kids: str) -> bytes:
    return json.dumps({"keys": [jwk(kid) for kid in kids]}).encode()


def claims(**changes: Any) -> dict[str, Any]:
    """The claims of one of Cognito's access tokens; None takes one out."""
    given = {
        "sub": "11111111-2222-3333-4444-555555555555",
        "iss": ISSUER,
        "client_id": CLIENT,
        "token_use": "access",
        "scope": "aws.cognito.signin.user.admin",
        "auth_time": int(NOW.timestamp()),
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 900,
        "jti": "token-1",
        "origin_jti": "origin-1",
        "username": "alice",
        "cognito:groups": ["researcher"],
    } | changes
    return {name: value for name, value in given.items() if value is not None}


def token(kid: str = "one", *, header: dict[str, Any] | None = None, **changes: Any) -> str:
    return jwt.encode(claims(**changes), KEYS[kid], algorithm="RS256", headers={"kid": kid} | (header or {}))


class Pool:
    """The pool's key set, and a clock in seconds."""

    def __init__(self, *kids: str) -> None:
        self.kids = kids
        self.fetches = 0
        self.broken: Exception | None = None
        self.seconds = 1000.0

    def fetch(self) -> bytes:
        self.fetches += 1
        if self.broken is not None:
            raise self.broken
        return document(*self.kids)

    def verifier(self) -> JwksVerifier:
        return JwksVerifier(ISSUER, CLIENT, self.fetch, lambda: self.seconds)


@pytest.fixture
def pool() -> Pool:
    return Pool("one")


def test_a_sound_token_is_a_session(pool: Pool) -> None:
    session = pool.verifier().verify(token(), NOW)
    assert (session.user_id, session.username, session.role, session.token_id) == (
        "11111111-2222-3333-4444-555555555555",
        "alice",
        Role.RESEARCHER,
        "token-1",
    )
    assert session.expires_at == NOW + timedelta(minutes=15)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Other"},
        {"iss": ISSUER + "/"},
        {"client_id": "client of another"},
        {"client_id": None, "aud": CLIENT},
        {"token_use": "id"},
        {"token_use": None},
        {"sub": None},
        {"sub": ""},
        {"username": None},
        {"username": ""},
        {"username": 7},
        {"jti": None},
        {"exp": None},
        {"exp": "soon"},
        {"exp": True},
        {"exp": 10**30},
        {"iat": None},
        {"iat": int(NOW.timestamp()) + 61},
        {"nbf": int(NOW.timestamp()) + 61},
        {"exp": int(NOW.timestamp())},
    ],
)
def test_one_wrong_claim_is_enough(pool: Pool, changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSessionError):
        pool.verifier().verify(token(**changes), NOW)


def test_clocks_may_differ_by_a_minute_and_no_session_gets_longer_by_it(pool: Pool) -> None:
    verifier = pool.verifier()
    made = token()
    assert verifier.verify(made, NOW + timedelta(minutes=14, seconds=59)).username == "alice"
    with pytest.raises(InvalidSessionError):
        verifier.verify(made, NOW + timedelta(minutes=15))
    assert verifier.verify(made, NOW - timedelta(seconds=60)).username == "alice"
    with pytest.raises(InvalidSessionError):
        verifier.verify(made, NOW - timedelta(seconds=61))


def forged(change: Callable[[dict[str, Any], dict[str, Any]], None], *, keep_signature: bool) -> str:
    head, body, signature = token().split(".")
    header, payload = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, body))
    change(header, payload)
    parts = [base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=").decode() for p in (header, payload)]
    return ".".join([*parts, signature if keep_signature else ""])


@pytest.mark.parametrize(
    "made",
    [
        forged(lambda h, p: p.update({"cognito:groups": ["admin"]}), keep_signature=True),
        forged(lambda h, p: h.update(alg="none"), keep_signature=False),
        forged(lambda h, p: h.update(alg="none"), keep_signature=True),
        forged(lambda h, p: h.update(alg="HS256"), keep_signature=True),
        forged(lambda h, p: h.update(alg="RS512"), keep_signature=True),
        forged(lambda h, p: h.update(kid=["one"]), keep_signature=True),
        forged(lambda h, p: h.pop("kid"), keep_signature=True),
        forged(lambda h, p: h.update(crit=["exp"]), keep_signature=True),
    ],
    ids=["changed", "none", "none with signature", "HS256", "RS512", "odd kid", "no kid", "critical"],
)
def test_a_token_that_was_touched_is_none(pool: Pool, made: str) -> None:
    with pytest.raises(InvalidSessionError):
        pool.verifier().verify(made, NOW)


def test_the_public_key_is_no_shared_secret(pool: Pool) -> None:
    """The old trick: HS256 with the public key, which everybody knows, as the secret."""
    secret = KEYS["one"].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _, body, _ = token().split(".")
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one","typ":"JWT"}').rstrip(b"=").decode()
    signature = hmac.new(secret, f"{head}.{body}".encode(), "sha256").digest()
    made = f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    with pytest.raises(InvalidSessionError):
        pool.verifier().verify(made, NOW)


def test_a_key_in_the_token_itself_is_not_looked_at(pool: Pool) -> None:
    header = {"kid": "one", "jwk": jwk("two"), "jku": "https://evil.example/jwks.json", "x5u": "https://evil.example/x"}
    made = jwt.encode(claims(), KEYS["two"], algorithm="RS256", headers=header)
    with pytest.raises(InvalidSessionError):
        pool.verifier().verify(made, NOW)
    assert pool.fetches == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "stk_abc",
        "é.é.é",
        "\ud800.x.y",
        "x" * 9000,
        "eyJhbGciOiJSUzI1NiJ9",
        "\x00",
        "e30.e30.e30",
    ],
)
def test_what_is_no_token_asks_the_pool_nothing(pool: Pool, text: str) -> None:
    with pytest.raises(InvalidSessionError):
        pool.verifier().verify(text, NOW)
    assert pool.fetches == 0


def test_errors_do_not_hold_the_token(pool: Pool) -> None:
    made = token(iss="https://elsewhere.example")
    with pytest.raises(InvalidSessionError) as caught:
        pool.verifier().verify(made, NOW)
    assert caught.value.args == ()
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- keys ---------------------------------------------------------------------------------------------------------


def test_keys_are_fetched_once_and_by_one_thread(pool: Pool) -> None:
    verifier, made = pool.verifier(), token()
    with ThreadPoolExecutor(8) as threads:
        names = set(threads.map(lambda _: verifier.verify(made, NOW).username, range(40)))
    assert names == {"alice"}
    assert pool.fetches == 1


def test_a_new_key_of_the_pool_is_found_within_a_minute(pool: Pool) -> None:
    verifier = pool.verifier()
    verifier.verify(token("one"), NOW)
    pool.kids = ("one", "two")
    pool.seconds += REFETCH_AFTER
    assert verifier.verify(token("two"), NOW).username == "alice"
    assert pool.fetches == 2
    # The other one still counts, without another look.
    assert verifier.verify(token("one"), NOW).username == "alice"
    assert pool.fetches == 2


def test_unknown_key_ids_ask_the_pool_once_a_minute_whoever_sends_them(pool: Pool) -> None:
    verifier = pool.verifier()
    verifier.verify(token(), NOW)
    for second in range(120):
        pool.seconds = 1000.0 + second
        with pytest.raises(InvalidSessionError):
            verifier.verify(token("two", header={"kid": f"made-up-{second}"}), NOW)
    assert pool.fetches == 2


def test_a_key_that_the_pool_gave_up_ends_within_an_hour(pool: Pool) -> None:
    verifier = pool.verifier()
    verifier.verify(token("one"), NOW)
    pool.kids = ("two",)
    pool.seconds += KEYS_LIFETIME
    with pytest.raises(InvalidSessionError):
        verifier.verify(token("one"), NOW)


@pytest.mark.parametrize("error", [OSError("unreachable"), TimeoutError(), IncompleteRead(b""), ValueError("no JSON")])
def test_without_any_keys_nobody_is_called_wrong_and_nobody_gets_in(pool: Pool, error: Exception) -> None:
    pool.broken = error
    verifier = pool.verifier()
    for _ in range(5):
        with pytest.raises(Unavailable):
            verifier.verify(token(), NOW)
    assert pool.fetches == 1
    pool.broken = None
    pool.seconds += RETRY_AFTER
    assert verifier.verify(token(), NOW).username == "alice"


def test_known_keys_outlive_a_pool_that_does_not_answer(pool: Pool) -> None:
    verifier = pool.verifier()
    verifier.verify(token(), NOW)
    pool.broken = OSError("unreachable")
    pool.seconds += KEYS_LIFETIME * 3
    assert verifier.verify(token(), NOW).username == "alice"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"{}", b'{"keys": {}}', b"null", b"\xff"])
def test_what_is_no_key_set_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError):
        public_keys(text)


def test_only_keys_that_cognito_could_sign_with_are_taken() -> None:
    private = RSAAlgorithm.to_jwk(KEYS["two"], as_dict=True)
    listed: list[Any] = [
        jwk("one"),
        jwk("small", SMALL),
        jwk("encrypts", KEYS["two"], use="enc"),
        jwk("other", KEYS["two"], alg="RS512"),
        {**jwk("no-id", KEYS["two"]), "kid": None},
        {**private, "kid": "private", "use": "sig", "alg": "RS256"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "kid": "half"},
        "text",
        None,
    ]
    assert list(public_keys(json.dumps({"keys": listed}).encode())) == ["one"]


# --- addresses and roles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool_id", "issuer"),
    [
        ("eu-west-1_Abc", "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Abc"),
        ("cn-north-1_Abc", "https://cognito-idp.cn-north-1.amazonaws.com.cn/cn-north-1_Abc"),
        ("us-gov-west-1_A", "https://cognito-idp.us-gov-west-1.amazonaws.com/us-gov-west-1_A"),
    ],
)
def test_the_issuer_follows_from_the_pool(pool_id: str, issuer: str) -> None:
    assert issuer_of(pool_id) == issuer
    assert isinstance(pool_verifier(pool_id, CLIENT), JwksVerifier)


@pytest.mark.parametrize(
    "url", ["http://example.com/jwks.json", "ftp://x/y", "file:///etc/passwd", "http://localhost.evil.example/", ""]
)
def test_keys_never_come_over_an_open_line(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        http_source(url)


@pytest.mark.parametrize(
    ("groups", "role"),
    [
        (["admin"], Role.ADMIN),
        (["lead"], Role.LEAD),
        (["admin", "viewer"], Role.VIEWER),
        (["admin", "researcher"], Role.RESEARCHER),
        (["admins", "Admin"], None),
        (["eu-west-1_Abc_okta", "lead"], Role.LEAD),
        ([], None),
        (None, None),
        ("admin", None),
        ({"admin": True}, None),
        ([None, 3, ["admin"]], None),
    ],
)
def test_the_role_is_the_weakest_of_the_groups(groups: object, role: Role | None) -> None:
    assert role_of(groups) is role
