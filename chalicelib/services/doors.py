"""What the use cases of the doors need from the world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from chalicelib.domain.access_ports import AccessStore, AuditStore, RateStore, SessionVerifier, UserPool
from chalicelib.domain.storage import UploadTokenStore


class DoorSecrets(Protocol):
    """What the deploy program left. Hashes are SHA-256 in lower-case hex, or None when there is none. Cached by their
    source."""

    def deploy_token_sha256(self) -> str | None: ...

    def setup_code_sha256(self) -> str | None: ...

    def name_key(self) -> bytes:
        """The key that names typed at sign-in are hashed with; it never changes. Raises Unavailable (``not_deployed``)
        without one: a name in clear, or hashed so that it can be guessed, is no way out."""


@dataclass(frozen=True)
class Doors:
    """The ports of people, keys and audit. ``random_text`` gives that many random characters of base 62."""

    pool: UserPool
    sessions: SessionVerifier
    access: AccessStore
    audit: AuditStore
    rates: RateStore
    secrets: DoorSecrets
    upload_tokens: UploadTokenStore
    random_text: Callable[[int], str]
