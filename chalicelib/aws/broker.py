"""Temporary credentials for the trainer, from AWS STS."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from botocore.exceptions import ClientError, HTTPClientError

from chalicelib.aws.clients import AccessKey
from chalicelib.aws.faults import code_of, is_busy
from chalicelib.aws.session_policy import PolicyTooLarge, session_policy
from chalicelib.domain.failures import FaultKind, ProviderFault
from chalicelib.domain.ports import TemporaryCredentials
from chalicelib.domain.wording import count_text

logger = logging.getLogger(__name__)

MIN_DURATION = timedelta(minutes=15)
MAX_DURATION = timedelta(hours=36)
MAX_NAME = 32

_KEY_REFUSED = frozenset({"InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"})
_TOO_LARGE = frozenset({"PackedPolicyTooLarge", "PackedPolicyTooLargeException"})


class KeySource(Protocol):
    def __call__(self, *, refresh: bool = False) -> AccessKey | None:
        """The trainer user's key, or None when none is stored; ``refresh`` passes over a cache."""


class StsBroker:
    """The CredentialsBroker port: GetFederationToken, signed with the key of the stack's trainer user.

    A Lambda's role can't do this: credentials made from role credentials last an hour at most. ``connect`` makes an STS
    client for a key. A key that STS refuses is read again once, so a rotation takes effect at once.

    Raises ProviderFault with ``sent`` False (nothing was launched): ``too_many_datasets`` is the user's to mend,
    ``trainer_key_missing`` and ``trainer_key_refused`` the operator's, ``credentials_unavailable`` passes. Raises
    ValueError for prefixes or durations outside of the port's contract.
    """

    def __init__(
        self,
        *,
        datasets_bucket: str,
        outputs_bucket: str,
        key: KeySource,
        connect: Callable[[AccessKey], Any],
        partition: str = "aws",
    ) -> None:
        self._datasets_bucket = datasets_bucket
        self._outputs_bucket = outputs_bucket
        self._key = key
        self._connect = connect
        self._partition = partition
        self._lock = threading.Lock()
        self._client: tuple[AccessKey, Any] | None = None

    def scoped(
        self,
        *,
        name: str,
        read_prefixes: Sequence[str],
        scratch_prefix: str,
        write_prefix: str,
        duration: timedelta,
    ) -> TemporaryCredentials:
        if not MIN_DURATION <= duration <= MAX_DURATION:
            raise ValueError(f"credentials last between {MIN_DURATION} and {MAX_DURATION}, not {duration}")
        policy = self._policy(read_prefixes, scratch_prefix, write_prefix)
        request = {
            "Name": federation_name(name),
            "Policy": policy,
            "DurationSeconds": int(duration.total_seconds()),
        }
        key = self._key()
        try:
            return self._federate(key, request)
        except ClientError as error:
            if code_of(error) in _TOO_LARGE:
                raise _too_many(len(read_prefixes)) from None
            fresh = self._key(refresh=True) if code_of(error) in _KEY_REFUSED else key
            if fresh == key:
                raise _fault(error) from error
        except HTTPClientError as error:
            raise _fault(error) from error
        try:
            return self._federate(fresh, request)
        except (ClientError, HTTPClientError) as error:
            raise _fault(error) from error

    def check(self, *, read_prefixes: Sequence[str], scratch_prefix: str, write_prefix: str) -> None:
        """As the port says. How well AWS packs a policy is known from its answer only, so ``scoped`` may refuse what
        passes here, though not by much: the policy's characters are limited besides."""
        self._policy(read_prefixes, scratch_prefix, write_prefix)

    def _policy(self, read_prefixes: Sequence[str], scratch_prefix: str, write_prefix: str) -> str:
        try:
            return session_policy(
                datasets_bucket=self._datasets_bucket,
                outputs_bucket=self._outputs_bucket,
                read_prefixes=read_prefixes,
                scratch_prefix=scratch_prefix,
                write_prefix=write_prefix,
                partition=self._partition,
            )
        except PolicyTooLarge:
            raise _too_many(len(read_prefixes)) from None

    def close(self) -> None:
        """Closes the connection; the next use makes a new one."""
        with self._lock:
            if self._client is not None:
                self._client[1].close()
                self._client = None

    def _federate(self, key: AccessKey | None, request: dict[str, Any]) -> TemporaryCredentials:
        if key is None:
            raise _ours("trainer_key_missing", "No access key for the trainer is stored with the stack; deploy again.")
        answer = self._client_for(key).get_federation_token(**request)
        # How close the packed policy comes to AWS's limit is known from this answer only.
        logger.info("federated %s: policy at %s%% of the limit", request["Name"], answer.get("PackedPolicySize"))
        made = answer["Credentials"]
        return TemporaryCredentials(
            access_key_id=made["AccessKeyId"],
            secret_access_key=made["SecretAccessKey"],
            session_token=made["SessionToken"],
            expires_at=made["Expiration"],
        )

    def _client_for(self, key: AccessKey) -> Any:
        with self._lock:
            if self._client is None or self._client[0] != key:
                if self._client is not None:
                    self._client[1].close()
                self._client = (key, self._connect(key))
            return self._client[1]


def federation_name(name: str) -> str:
    """``name`` as STS takes it: 2 to 32 letters, digits and ``_+=,.@-``; shown in CloudTrail."""
    return re.sub(r"[^\w+=,.@-]", "-", name, flags=re.ASCII)[:MAX_NAME].ljust(2, "-")


def _too_many(count: int) -> ProviderFault:
    return ProviderFault(
        f"The names of its {count_text(count, 'dataset')} are too long for one set of temporary credentials. Use "
        "fewer local datasets in one job, or shorter dataset ids.",
        kind=FaultKind.USER,
        code="too_many_datasets",
        sent=False,
    )


def _ours(code: str, message: str) -> ProviderFault:
    return ProviderFault(message, kind=FaultKind.OURS, code=code, sent=False)


def _fault(error: ClientError | HTTPClientError) -> ProviderFault:
    """AWS's words go to the log through the cause; the record gets ours, which hold nothing of the request."""
    if isinstance(error, HTTPClientError) or is_busy(error):
        return _ours("credentials_unavailable", "AWS STS does not answer now.")
    if code_of(error) in _KEY_REFUSED:
        return _ours("trainer_key_refused", "AWS refuses the trainer's stored access key; deploy again to renew it.")
    return _ours("credentials_refused", f"AWS STS refuses to make the trainer's credentials ({code_of(error)}).")
