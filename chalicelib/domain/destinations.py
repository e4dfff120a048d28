"""Where a model is sent after it is safe in escrow. Destinations name credentials; they never hold one.

Pure. Escrow itself is no destination: every model is there first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

#: Destinations of one job, and of one owner's defaults.
MAX_DESTINATIONS = 8
#: Names of credentials, as people type them.
CREDENTIAL_NAME = r"^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"


class Part(StrEnum):
    """What of a job is sent: the verified weights, earlier checkpoints, sample pictures, and everything else that was
    published."""

    WEIGHTS = "weights"
    CHECKPOINTS = "checkpoints"
    SAMPLES = "samples"
    OTHER = "other"


DEFAULT_PARTS = (Part.WEIGHTS, Part.SAMPLES)

CredentialName = Annotated[str, Field(pattern=CREDENTIAL_NAME)]


class _Destination(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    include: tuple[Part, ...] = Field(DEFAULT_PARTS, min_length=1, max_length=len(Part))


class HubDestination(_Destination):
    """A model repository on the Hugging Face Hub. Without ``credential`` the owner's only one of this kind is taken."""

    kind: Literal["huggingface"] = "huggingface"
    repo_id: str = Field(min_length=3, max_length=193, description="`owner/name`; made when it is not there.")
    private: bool = True
    revision: str = Field("main", min_length=1, max_length=200)
    license: str | None = Field(None, max_length=60)
    credential: CredentialName | None = None


class S3Destination(_Destination):
    """A bucket of an S3-compatible store: AWS, MinIO, Backblaze B2, Cloudflare R2. Files lie below
    ``<prefix>/<run name or job id>/``. Without ``endpoint_url`` it is AWS's."""

    kind: Literal["s3"] = "s3"
    bucket: str = Field(min_length=3, max_length=255)
    prefix: str = Field("", max_length=512)
    endpoint_url: str | None = Field(None, max_length=500)
    region: str | None = Field(None, max_length=60)
    path_style: bool | None = Field(None, description="Left out: path style when there is an endpoint_url.")
    credential: CredentialName | None = None


class WebhookDestination(_Destination):
    """A signed event with presigned links, to a machine of the user's. ``credential`` names the signing secret."""

    kind: Literal["webhook"] = "webhook"
    url: str = Field(min_length=8, max_length=2000)
    credential: CredentialName | None = None


Destination = Annotated[HubDestination | S3Destination | WebhookDestination, Field(discriminator="kind")]


def label(destination: HubDestination | S3Destination | WebhookDestination) -> str:
    """One line for people: ``huggingface:acme/cats``, ``s3://bucket/prefix``, or the webhook's origin."""
    if isinstance(destination, HubDestination):
        return f"huggingface:{destination.repo_id}"
    if isinstance(destination, S3Destination):
        prefix = destination.prefix.strip("/")
        return f"s3://{destination.bucket}/{prefix}" if prefix else f"s3://{destination.bucket}"
    scheme, _, rest = destination.url.partition("://")
    host = rest.split("/", 1)[0].split("?", 1)[0].rsplit("@", 1)[-1]
    return f"{scheme}://{host}"
