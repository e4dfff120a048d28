"""Named credentials of destinations: what is shown of them, and what never is. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, Self

from pydantic import BaseModel, ConfigDict, SecretStr

MAX_CREDENTIALS = 50
#: What SSM's standard tier holds in one parameter.
MAX_SECRET_BYTES = 4096


class CredentialKind(StrEnum):
    HUGGINGFACE = "huggingface"
    S3 = "s3"
    WEBHOOK = "webhook"


class HubSecret(BaseModel):
    """A token with the right to write."""

    model_config = ConfigDict(frozen=True)

    token: SecretStr


class S3Secret(BaseModel):
    """Keys of an S3-compatible store. The id is no secret: it is shown, and ``publishing_config`` finds a credential
    by it."""

    model_config = ConfigDict(frozen=True)

    access_key_id: str
    secret_access_key: SecretStr
    session_token: SecretStr | None = None


class WebhookSecret(BaseModel):
    """Signing secrets (``whsec_…``), the newest first; the one before it still signs while receivers change over."""

    model_config = ConfigDict(frozen=True)

    secrets: tuple[SecretStr, ...]


Secret = HubSecret | S3Secret | WebhookSecret


class Credential(BaseModel):
    """What is known of a credential without its secret. ``hint`` tells it from others: the last four characters of a
    token, the access key id. ``facts`` is what the last test found. ``secret_version`` grows with every rotation.

    ``secret_id`` names the secret in the SecretStore together with the credential's name. It is new with every version
    and never used twice, so a record never meets a secret that another writer left.
    """

    model_config = ConfigDict(frozen=True)

    owner: str
    name: str
    kind: CredentialKind
    hint: str
    created_at: datetime
    updated_at: datetime
    rotated_at: datetime | None = None
    tested_at: datetime | None = None
    test_passed: bool | None = None
    facts: tuple[str, ...] = ()
    secret_version: int = 1
    secret_id: str
    revision: int = 1

    @property
    def secret_name(self) -> str:
        """The name of its secret in the SecretStore."""
        return f"{self.name}/{self.secret_id}"

    @property
    def stored_at(self) -> datetime:
        """When its present secret was stored."""
        return self.rotated_at or self.created_at

    def changed(self, now: datetime, **changes: Any) -> Self:
        return self.model_copy(update={**changes, "updated_at": now, "revision": self.revision + 1})


class CredentialStore(Protocol):
    """Records without secrets."""

    def create(self, credential: Credential) -> None:
        """Raises StaleRecordError when the owner has one of this name, SlotsFullError when they have MAX_CREDENTIALS
        already."""

    def get(self, owner: str, name: str) -> Credential | None:
        """Strongly consistent."""

    def update(self, credential: Credential) -> None:
        """Replaces the record whose revision is ``credential.revision - 1``. Raises StaleRecordError otherwise."""

    def list_of(self, owner: str) -> Sequence[Credential]:
        """By name; at most MAX_CREDENTIALS."""

    def delete(self, credential: Credential) -> None:
        """Removes this very revision; no effect when it is gone. Raises StaleRecordError otherwise."""


class SecretStore(Protocol):
    """Secrets by owner and name, encrypted at rest. Raises Unavailable when it can't answer.

    Names have letters, digits, dots, dashes and underscores in parts between slashes: ``<credential>/<secret id>``
    of credentials, ``Channel.<id>/<secret id>`` of notifications' channels, which no credential's name can be.
    """

    def put(self, owner: str, name: str, secret: Mapping[str, Any]) -> None:
        """Stores or replaces it (JSON values). Raises ValueError when it is larger than MAX_SECRET_BYTES as JSON."""

    def get(self, owner: str, name: str) -> Mapping[str, Any] | None:
        """None when there is none, or what is there can't be read. Never cached beyond a call: a rotated or deleted
        secret is not used any more. Right after a ``put`` under a new name it may still be None for a moment."""

    def delete(self, owner: str, name: str) -> None:
        """No effect when there is none."""

    def names(self, owner: str, within: str = "") -> Sequence[str]:
        """Names of the owner's secrets, or of those below ``within`` (without its slash). For removing what nobody
        needs any more."""
