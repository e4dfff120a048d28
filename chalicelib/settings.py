"""Settings of a deployed function: the only reader of the environment, validated at cold start."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

VERSION = "0.1.0"


class AuthMode(StrEnum):
    """``local``: loopback callers are the local admin (decided at deploy time, never by a request).
    ``token``: all but the public routes need a session, an API key, or the deploy token until there is an admin."""

    LOCAL = "local"
    TOKEN = "token"  # noqa: S105 - the name of a mode


#: A URL or path without a trailing slash, so that others can be put together with it.
Base = Annotated[str, AfterValidator(lambda value: value.strip().rstrip("/"))]


class Settings(BaseSettings):
    """Read from ``STC_*`` variables, and the region from what Lambda sets. Seconds and counts are positive.
    ``s3_endpoint_url`` replaces AWS's S3 address, also in URLs given to others, ``jwks_url`` that of the user
    pool's public keys; empty means AWS. ``hub_url`` is a Hub in place of huggingface.co. ``origin_secret_sha256``
    is of the secret by which the distribution proves itself; empty means that none can. With
    ``only_through_distribution`` whatever lacks that proof is refused. Only a stack on one's own machine has
    ``allow_private_destinations``: http, loopback and private networks as destinations."""

    model_config = SettingsConfigDict(env_prefix="STC_", extra="ignore", frozen=True, validate_by_name=True)

    stage: str
    region: str = Field("us-east-1", validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"))
    auth_mode: AuthMode = AuthMode.TOKEN
    jobs_table: str
    keys_table: str
    audit_table: str
    user_pool_id: str = Field(pattern=r"^[a-z]{2}(-[a-z]+)+-\d_[0-9A-Za-z]+$")
    user_pool_client_id: str
    datasets_bucket: str
    outputs_bucket: str
    state_machine_arn: str = ""
    inspection_arn: str = ""
    unpack_arn: str = ""
    delivery_arn: str = ""
    notify_function: str = ""
    mail_topic_arn: str = ""
    ssm_prefix: Base
    provider_base_url: Base = "https://api.replicate.com"
    hub_url: Base = ""
    sandbox: bool = False
    allow_private_destinations: bool = False
    s3_endpoint_url: Base = ""
    jwks_url: Base = ""
    origin_secret_sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    only_through_distribution: bool = False
    max_concurrent_jobs: int = Field(5, ge=1, le=1000)
    sweep_grace_seconds: int = Field(60, ge=1)
    launch_lease_seconds: int = Field(60, ge=1)
    adopt_settle_seconds: int = Field(30, ge=0)
    dataset_quota_bytes: int = Field(1024**4, ge=0)
    default_max_run_seconds: int = Field(24 * 3600, ge=300, le=34 * 3600)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """The settings of this process. Raises pydantic's ValidationError when the deployment is wrong."""
    return Settings()  # filled from the environment
