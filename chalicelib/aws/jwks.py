"""Sessions of the user pool: access tokens, verified offline against the pool's public keys."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from chalicelib.domain.access_ports import InvalidSessionError
from chalicelib.domain.people import Session
from chalicelib.domain.permissions import ROLES, Role
from chalicelib.errors import Unavailable

#: The only algorithm Cognito signs with; what the token's header asks for is never followed.
ALGORITHM = "RS256"
#: An ID token of the same sign-in is no session: it goes to other parties.
_TOKEN_USE = "access"  # noqa: S105 - the name of a kind
#: Clocks of two computers differ: a token may have been made a little later than now. It never ends later than it says.
SKEW = timedelta(seconds=60)
#: Cognito's access tokens have about 1 KB; longer ones are not worth a look.
MAX_TOKEN_LENGTH = 8192
#: Seconds. An unknown key id asks the pool again, but not more often than this, whatever tokens come.
REFETCH_AFTER = 60.0
#: Seconds after which the keys are fetched again in any case, so that one the pool has given up does not live on.
KEYS_LIFETIME = 3600.0
#: Seconds until a fetch that failed is tried again.
RETRY_AFTER = 5.0
FETCH_TIMEOUT = 3
MAX_JWKS_BYTES = 64 * 1024
#: Bits; Cognito's keys have 2,048.
MIN_KEY_BITS = 2048

#: Gives the pool's key set as JSON. Raises OSError, ValueError.
JwksSource = Callable[[], bytes]


class JwksVerifier:
    """The SessionVerifier port over one user pool and one app client. Safe to share between threads.

    ``fetch`` gives the pool's key set; ``monotonic`` is a clock in seconds. Raises Unavailable while no keys are known
    and the pool does not give any: a session is not called wrong because we can't tell.
    """

    def __init__(
        self, issuer: str, client_id: str, fetch: JwksSource, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._issuer = issuer
        self._client_id = client_id
        self._keys = _KeySet(fetch, monotonic)

    def verify(self, access_token: str, now: datetime) -> Session:
        # 60 ms with the first token; a process that sees none does not pay.
        import jwt

        if len(access_token) > MAX_TOKEN_LENGTH:
            raise InvalidSessionError
        try:
            header = jwt.get_unverified_header(access_token)
            kid = header.get("kid")
            if header.get("alg") != ALGORITHM or not isinstance(kid, str):
                raise InvalidSessionError
            key = self._keys.get(kid)
            if key is None:
                raise InvalidSessionError
            # Times are compared below, with the clock handed in; Cognito's access tokens have client_id instead of aud.
            claims = jwt.decode(
                access_token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                options={
                    "require": ["exp", "iat", "iss", "sub", "jti", "client_id", "token_use", "username"],
                    "verify_aud": False,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
        # UnicodeError: the token has characters that no token has.
        except (jwt.PyJWTError, UnicodeError):
            # Without the cause: the library's messages may quote the token.
            raise InvalidSessionError from None
        return self._session(claims, now)

    def _session(self, claims: Mapping[str, Any], now: datetime) -> Session:
        if claims["token_use"] != _TOKEN_USE or claims["client_id"] != self._client_id:
            raise InvalidSessionError
        expires_at, issued_at = _time(claims["exp"]), _time(claims["iat"])
        not_before = _time(claims.get("nbf", claims["iat"]))
        if now >= expires_at or max(issued_at, not_before) > now + SKEW:
            raise InvalidSessionError
        return Session(
            user_id=_text(claims["sub"]),
            username=_text(claims["username"]),
            role=role_of(claims.get("cognito:groups")),
            token_id=_text(claims["jti"]),
            expires_at=expires_at,
        )


def role_of(groups: object) -> Role | None:
    """The role of a member of these groups, or None. Of several it is the weakest: a change of role that broke off half
    way never gives more than either."""
    if not isinstance(groups, list):
        return None
    known = [role for role in Role if role.value in groups]
    return min(known, key=lambda role: len(ROLES[role]), default=None)


def region_of(pool_id: str) -> str:
    """The region of a pool: its id is ``<region>_<letters>``."""
    return pool_id.partition("_")[0]


def issuer_of(pool_id: str) -> str:
    """The ``iss`` of the pool's tokens."""
    region = region_of(pool_id)
    suffix = ".cn" if region.startswith("cn-") else ""
    return f"https://cognito-idp.{region}.amazonaws.com{suffix}/{pool_id}"


def pool_verifier(pool_id: str, client_id: str, jwks_url: str = "") -> JwksVerifier:
    """The verifier of a pool; sends nothing. ``jwks_url`` replaces AWS's address of the pool's keys."""
    issuer = issuer_of(pool_id)
    return JwksVerifier(issuer, client_id, http_source(jwks_url or f"{issuer}/.well-known/jwks.json"))


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Keys come from the address that was asked or from nowhere."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def http_source(url: str) -> JwksSource:
    """Fetches the key set over HTTPS (plain HTTP on the loopback address only), bounded in time and size.

    Raises ValueError for any other address at once; the fetch raises OSError and ValueError.
    """
    parts = urlsplit(url)
    local = parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError("The user pool's keys must come over https.")
    handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
    if local:
        # An emulator on this computer is never behind a proxy, whatever HTTP_PROXY says.
        handlers.append(urllib.request.ProxyHandler({}))
    opener = urllib.request.build_opener(*handlers)

    def fetch() -> bytes:
        with opener.open(url, timeout=FETCH_TIMEOUT) as answer:
            body: bytes = answer.read(MAX_JWKS_BYTES + 1)
        if len(body) > MAX_JWKS_BYTES:
            raise ValueError("The key set is too large.")
        return body

    return fetch


class _KeySet:
    """The pool's public keys by id."""

    def __init__(self, fetch: JwksSource, monotonic: Callable[[], float]) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._keys: dict[str, Any] = {}
        self._fetched = float("-inf")
        self._next_try = float("-inf")

    def get(self, kid: str) -> Any:
        """The public key, or None when the pool has none of this id. Raises Unavailable."""
        # The lock is held while asking, so threads that miss the same key ask once.
        with self._lock:
            now = self._monotonic()
            stale = now >= self._fetched + KEYS_LIFETIME
            if (stale or kid not in self._keys) and now >= self._next_try:
                self._refresh(now)
            if not self._keys:
                raise Unavailable("Sign-in can't be checked right now. Try again in a few seconds.", retry_after=5)
            return self._keys.get(kid)

    def _refresh(self, now: float) -> None:
        try:
            found = public_keys(self._fetch())
        # What http.client says of a broken answer is no OSError.
        except (OSError, ValueError, HTTPException):
            found = {}
        if found:
            self._keys, self._fetched = found, now
        # A fetch that failed keeps the keys it has: the pool's keys change rarely, its address may be out of reach.
        self._next_try = now + (REFETCH_AFTER if found else RETRY_AFTER)


def public_keys(document: bytes) -> dict[str, Any]:
    """The RSA signing keys of a key set by their id; others are left out. Raises ValueError for no key set at all."""
    from jwt import PyJWTError
    from jwt.algorithms import RSAAlgorithm

    keys = json.loads(document)
    listed = keys.get("keys") if isinstance(keys, dict) else None
    if not isinstance(listed, list):
        raise ValueError("That is no key set.")  # noqa: TRY004 - it is the document that is wrong
    found: dict[str, Any] = {}
    for entry in listed:
        if not isinstance(entry, dict) or entry.get("kty") != "RSA" or not isinstance(entry.get("kid"), str):
            continue
        if entry.get("use", "sig") != "sig" or entry.get("alg", ALGORITHM) != ALGORITHM or "d" in entry:
            continue
        try:
            key = RSAAlgorithm.from_jwk(entry)
        except (PyJWTError, ValueError, TypeError, KeyError):
            continue
        if key.key_size >= MIN_KEY_BITS:
            found[entry["kid"]] = key
    return found


def _time(value: object) -> datetime:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidSessionError
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidSessionError from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise InvalidSessionError
    return value
