"""Credentials to store."""

from __future__ import annotations

from typing import Any

from chalicelib.domain.credentials import Credential, CredentialKind
from tests.support.jobs import NOW, OWNER


def a_credential(name: str = "hub", *, owner: str = OWNER, **changes: Any) -> Credential:
    base = Credential(
        owner=owner,
        name=name,
        kind=CredentialKind.HUGGINGFACE,
        hint="…wxyz",
        created_at=NOW,
        updated_at=NOW,
        secret_id="000001-abc",
    )
    return base.model_copy(update=changes)
