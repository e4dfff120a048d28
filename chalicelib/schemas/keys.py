"""API keys on the wire: SimpleTuner's recorded fields first, then ours."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, RootModel

from chalicelib.domain.api_keys import ApiKey
from chalicelib.domain.permissions import Permission
from chalicelib.schemas.base import RequestModel, ResponseModel, StrictRequest

MAX_DAYS, DEFAULT_DAYS = 365, 90
MAX_OVERLAP_SECONDS = 7 * 24 * 3600


def _name(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("must hold something to read, and no control characters")
    return text.strip()


class NewKeyBody(StrictRequest):
    """A misspelt limit would make a key without it, so unknown fields are refused."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "ci-pipeline", "expires_days": 90, "scoped_permissions": ["job.submit", "job.view.own"]}
            ]
        }
    )

    name: Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_name)]
    expires_days: int | None = Field(
        None, strict=True, ge=1, le=MAX_DAYS, description=f"Every key ends; after {DEFAULT_DAYS} days unless told."
    )
    scoped_permissions: list[Annotated[str, Field(max_length=100)]] | None = Field(
        None,
        min_length=1,
        max_length=50,
        description="What the key may do, never more than its owner; all that a key can when left out.",
    )
    budget_usd: Decimal | None = Field(
        None,
        gt=0,
        le=1_000_000,
        max_digits=11,
        decimal_places=4,
        description="What all its jobs together may cost, running ones counted at their worst case.",
    )
    providers: list[Annotated[str, Field(max_length=100)]] | None = Field(
        None, min_length=1, max_length=20, description="Where it may submit; everywhere when left out."
    )


class RotateBody(StrictRequest):
    overlap_seconds: int = Field(
        0, strict=True, ge=0, le=MAX_OVERLAP_SECONDS, description="How long the old key works beside the new one."
    )


class ListKeysQuery(RequestModel):
    user_id: str | None = Field(None, max_length=100, description="Another person's keys; needs `api.keys.all`.")


class KeyInfo(ResponseModel):
    """A key without its secret, which nobody can see again. ``budget_used_usd`` is told for a single key only."""

    id: str
    name: str
    key_prefix: str
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime | None
    is_active: bool
    scoped_permissions: list[Permission] | None
    user_id: str
    revoked_at: datetime | None
    budget_usd: float | None
    budget_used_usd: float | None = None
    providers: list[str] | None


class KeyListResponse(RootModel[list[KeyInfo]]):
    """Newest first; revoked and expired ones stay for a while."""


class KeyIssuedResponse(ResponseModel):
    """``key`` is shown this once: keep it like a password."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    key: str
    key_info: KeyInfo


class KeyRevokedResponse(ResponseModel):
    success: Literal[True] = True
    detail: str
    key_info: KeyInfo


def key_info(key: ApiKey, now: datetime, used: Decimal | None = None) -> KeyInfo:
    return KeyInfo(
        id=key.key_id,
        name=key.name,
        key_prefix=key.prefix,
        created_at=key.created_at,
        last_used_at=key.last_used_at,
        expires_at=key.expires_at,
        is_active=key.is_live(now),
        scoped_permissions=None if key.scopes is None else sorted(key.scopes),
        user_id=key.user_id,
        revoked_at=key.revoked_at,
        budget_usd=None if key.budget_usd is None else float(key.budget_usd),
        budget_used_usd=None if used is None else float(used),
        providers=None if key.providers is None else sorted(key.providers),
    )
