"""Secrets of a stack, kept in SSM: the provider's token, the trainer user's access key, the hashes of the deploy token
and of the setup code.

They are put here and never by the template, so no template, change set or event ever holds one. What gives power is
recorded in the audit before it is stored.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.domain.audit import AuditAction
from infra.audit import Record
from infra.errors import DeployError, error_code

#: The longest life of a session made from a key; a replaced key is kept this long, because deleting it may end them.
SESSION_LIFETIME = timedelta(hours=36)
MAX_KEYS = 2  # IAM's own limit per user
#: Of ten parameters; an account holds 10,000.
MAX_PAGES = 2_000


@dataclass(frozen=True)
class SecretStore:
    """The stack's part of SSM's parameter store. ``prefix`` as /stcloud/<stage>."""

    ssm: Any
    prefix: str

    def read(self, name: str) -> str | None:
        try:
            found = self.ssm.get_parameter(Name=f"{self.prefix}/{name}", WithDecryption=True)
        except ClientError as error:
            if error_code(error) == "ParameterNotFound":
                return None
            raise
        return str(found["Parameter"]["Value"])

    def write(self, name: str, value: str, *, secret: bool) -> None:
        kind = "SecureString" if secret else "String"
        self.ssm.put_parameter(Name=f"{self.prefix}/{name}", Value=value, Type=kind, Overwrite=True)

    def remove(self, *names: str) -> None:
        """No effect on what is not there."""
        self.ssm.delete_parameters(Names=[f"{self.prefix}/{name}" for name in names])

    def remove_below(self, name: str) -> int:
        """Everything below ``name``, with nothing read but names; returns how much that was."""
        count = 0
        for _ in range(MAX_PAGES):
            # The first page each time: what was on it is gone.
            page = self.ssm.get_parameters_by_path(Path=f"{self.prefix}/{name}", Recursive=True, MaxResults=10)
            names = [str(found["Name"]) for found in page["Parameters"]]
            if names:
                self.ssm.delete_parameters(Names=names)
                count += len(names)
            elif not page.get("NextToken"):
                break
        return count


def put_provider_token(store: SecretStore, token: str | None, say: Callable[[str], None], record: Record) -> None:
    """Stores the token when it is given and differs; says what to do when there is none at all. Raises DeployError."""
    stored = store.read("replicate-token")
    if token is None:
        if stored is None:
            say(
                "No Replicate token is stored, so nothing can be trained yet. Set REPLICATE_API_TOKEN and deploy again."
            )
        return
    token = token.strip()
    if not token.startswith("r8_") or len(token) < 12 or any(c.isspace() for c in token):
        raise DeployError(
            "That is no Replicate token: it starts with r8_. Copy it from https://replicate.com/account/api-tokens"
        )
    if token != stored:
        record(AuditAction.PROVIDER_TOKEN_PUT, "provider:replicate", replaces=stored is not None)
        store.write("replicate-token", token, secret=True)
        say("Stored the Replicate token")


def ensure_deploy_token(store: SecretStore, record: Record, *, rotate: bool) -> str | None:
    """The new token when one was made now, else None. Only its hash is kept, so this is the one chance to see it."""
    known = store.read("deploy-token-sha256") is not None
    if known and not rotate:
        return None
    record(AuditAction.DEPLOY_TOKEN_MAKE, "stack:deploy-token", replaces=known)
    token = f"stc_{secrets.token_urlsafe(32)}"
    store.write("deploy-token-sha256", hashlib.sha256(token.encode()).hexdigest(), secret=False)
    return token


def ensure_setup_code(store: SecretStore, record: Record, *, renew: bool) -> str | None:
    """The one-time code for the first admin when one was made now, else None. Only its hash is kept."""
    known = store.read("setup-code-sha256") is not None
    if known and not renew:
        return None
    record(AuditAction.SETUP_CODE_MAKE, "stack:setup-code", replaces=known)
    code = f"setup_{secrets.token_urlsafe(24)}"
    store.write("setup-code-sha256", hashlib.sha256(code.encode()).hexdigest(), secret=False)
    return code


def ensure_origin_secret(store: SecretStore) -> str:
    """What the distribution proves itself with to the API; made once, and kept so that every deployment is the same."""
    stored = store.read("origin-secret")
    if stored is not None:
        return stored
    secret = secrets.token_urlsafe(32)
    store.write("origin-secret", secret, secret=True)
    return secret


def ensure_name_key(store: SecretStore) -> None:
    """The key that names typed at sign-in are hashed with; made once and kept, so that a name has one hash for ever."""
    if store.read("name-key") is None:
        store.write("name-key", secrets.token_hex(32), secret=True)


@dataclass(frozen=True)
class TrainerKey:
    """The access key of the user whose sessions the trainers get."""

    iam: Any
    store: SecretStore
    user: str
    say: Callable[[str], None]
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))

    def ensure(self, record: Record, *, rotate: bool) -> None:
        """Makes sure that the stored key exists at IAM; makes one otherwise, or when asked. Never more than two keys.

        The key before is kept for as long as sessions made from it may live, then removed by the next deployment.
        Raises DeployError when a rotation would end sessions in use.
        """
        current, others = self._keys()
        if current is not None and not rotate:
            if self._age(current) > SESSION_LIFETIME:
                self._remove(others)
            return
        if current is not None and others:
            ready = current["CreateDate"] + SESSION_LIFETIME
            if self.clock() < ready:
                raise DeployError(
                    "The key was replaced less than 36 hours ago, and trainings started with the one before may still "
                    f"run. Rotate again after {ready:%Y-%m-%d %H:%M} UTC."
                )
        record(AuditAction.TRAINER_KEY_MAKE, f"iam-user:{self.user}", replaces=current is not None)
        existing = [k for k in (current, *others) if k is not None]
        # Oldest first; the stored one is never among those that give way.
        self._remove(others[: max(0, len(existing) - (MAX_KEYS - 1))])
        self._make()

    def remove_all(self) -> None:
        """Removes every key of the user, so that the user can be deleted; no effect when there is no such user."""
        try:
            current, others = self._keys()
        except ClientError as error:
            if error_code(error) == "NoSuchEntity":
                return
            raise
        self._remove([k for k in (current, *others) if k is not None])

    def _keys(self) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """The stored key as IAM knows it, and the other keys, oldest first."""
        stored = self.store.read("trainer-key")
        known = json.loads(stored)["access_key_id"] if stored else None
        keys = sorted(
            self.iam.list_access_keys(UserName=self.user)["AccessKeyMetadata"], key=lambda k: str(k["CreateDate"])
        )
        current = next((k for k in keys if k["AccessKeyId"] == known), None)
        return current, [k for k in keys if k is not current]

    def _age(self, key: dict[str, Any]) -> timedelta:
        created: datetime = key["CreateDate"]
        return self.clock() - created

    def _make(self) -> None:
        made = self.iam.create_access_key(UserName=self.user)["AccessKey"]
        value = json.dumps({"access_key_id": made["AccessKeyId"], "secret_access_key": made["SecretAccessKey"]})
        try:
            self.store.write("trainer-key", value, secret=True)
        except Exception:
            # A key that nobody can read would only use up one of the two.
            self.iam.delete_access_key(UserName=self.user, AccessKeyId=made["AccessKeyId"])
            raise
        self.say("Made an access key for the trainers' sessions")

    def _remove(self, keys: list[dict[str, Any]]) -> None:
        for key in keys:
            self.iam.delete_access_key(UserName=self.user, AccessKeyId=key["AccessKeyId"])
