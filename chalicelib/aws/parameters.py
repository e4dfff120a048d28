"""What the deploy program leaves in SSM Parameter Store: the public URL and the secrets."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from typing import Protocol

from botocore.exceptions import ClientError

from chalicelib.aws.clients import AccessKey, ClientSource
from chalicelib.aws.faults import answering, code_of
from chalicelib.errors import Unavailable

#: Seconds until a value is read again; a rotated secret or a revoked token takes effect within this time.
LIFETIME = 60.0
#: Seconds until a missing value is looked for again, so that a stored one takes effect soon.
MISSING_LIFETIME = 5.0

_SHA256 = re.compile(r"[0-9a-f]{64}")
_KEY = re.compile(r"([0-9a-f]{2}){32,64}")
_ORIGIN = re.compile(r"https?://[^\s/?#]+")


class ParameterSource(Protocol):
    def get(self, name: str) -> str | None:
        """The stored value in clear, or None when there is none."""


class SsmParameters:
    """Parameters below one path. Needs ssm:GetParameter on them. Raises Unavailable when SSM is busy."""

    def __init__(self, prefix: str, client: ClientSource) -> None:
        self._prefix = prefix.rstrip("/")
        self._client = client

    def get(self, name: str) -> str | None:
        with answering("The parameter store"):
            try:
                found = self._client().get_parameter(Name=f"{self._prefix}/{name}", WithDecryption=True)
            except ClientError as error:
                if code_of(error) == "ParameterNotFound":
                    return None
                raise
        return str(found["Parameter"]["Value"])


class StackParameters:
    """The parameters by meaning, cached: also the StackFacts port. Safe to share between threads.

    A value that can't be what it should be counts as missing: nobody gets in by a broken one.
    """

    def __init__(self, source: ParameterSource, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, str | None]] = {}

    def public_url(self) -> str:
        """Raises Unavailable (``not_deployed``) until the deploy program has stored it."""
        value = (self._read("public-url") or "").rstrip("/")
        if not _ORIGIN.fullmatch(value):
            raise _unfinished("its public URL")
        return value

    def provider_token(self, provider: str) -> str | None:
        """The provider's API token, or None when the provider is not configured."""
        return self._read(f"{provider}-token")

    def deploy_token_sha256(self) -> str | None:
        """The hash of the hosted stack's token in lower-case hex, or None: then nobody is let in."""
        return self._read_sha256("deploy-token-sha256")

    def setup_code_sha256(self) -> str | None:
        """The hash of the one-time code that lets a hosted stack's first admin in, or None: then nobody is."""
        return self._read_sha256("setup-code-sha256")

    def name_key(self) -> bytes:
        """The key of the hashes of typed names. Raises Unavailable (``not_deployed``)."""
        value = (self._read("name-key") or "").lower()
        if not _KEY.fullmatch(value):
            raise _unfinished("the key that it hashes names with")
        return bytes.fromhex(value)

    def trainer_key(self, *, refresh: bool = False) -> AccessKey | None:
        """The key of the trainer's IAM user; ``refresh`` reads it again now."""
        value = self._read("trainer-key", refresh=refresh)
        try:
            stored = json.loads(value or "null")
            key_id, secret = stored["access_key_id"], stored["secret_access_key"]
        except (ValueError, TypeError, KeyError):
            return None
        if not (isinstance(key_id, str) and isinstance(secret, str) and key_id and secret):
            return None
        return AccessKey(key_id, secret)

    def _read_sha256(self, name: str) -> str | None:
        value = (self._read(name) or "").lower()
        return value if _SHA256.fullmatch(value) else None

    def _read(self, name: str, *, refresh: bool = False) -> str | None:
        # The lock is held while asking, so threads that want the same value ask once.
        with self._lock:
            known = self._known.get(name)
            now = self._monotonic()
            if known is not None and not refresh and now < known[0]:
                return known[1]
            value = (self._source.get(name) or "").strip() or None
            self._known[name] = (now + (LIFETIME if value else MISSING_LIFETIME), value)
            return value


def _unfinished(what: str) -> Unavailable:
    return Unavailable(
        f"This stack does not know {what} yet. Finish its deployment, then try again.",
        code="not_deployed",
        retry_after=30,
    )
