"""The storage endpoint: its answers as SimpleTuner's server gives them, in S3's words."""

from __future__ import annotations

from pydantic import Field

from chalicelib.schemas.base import RequestModel, ResponseModel


class UploadTokenResponse(ResponseModel):
    """``upload_token`` is shown this once."""

    job_id: str
    upload_token: str


class StorageHeaders(RequestModel):
    """A token in one of these; ``X-Upload-Length`` says how large a body is that is not sent along."""

    upload_token: str | None = Field(None, alias="X-Upload-Token")
    simpletuner_secret: str | None = Field(None, alias="X-SimpleTuner-Secret")
    upload_length: int | None = Field(None, alias="X-Upload-Length", ge=0)


class ListObjectsQuery(RequestModel):
    prefix: str = Field("", max_length=1024)
    delimiter: str = Field("", max_length=16)
    start_after: str = Field("", alias="start-after", max_length=1024)
    marker: str = Field("", max_length=1024)
    continuation_token: str = Field("", alias="continuation-token", max_length=1024)
    max_keys: int = Field(1000, alias="max-keys", ge=0, le=1000)
    list_type: str = Field("", alias="list-type", max_length=8)


class StoredObject(ResponseModel):
    """``ETag`` is that of a body that was stored directly; quotes belong to it."""

    ETag: str | None = None
    Key: str
    Bucket: str
    Location: str | None = None


class ObjectLine(ResponseModel):
    """``LastModified`` in epoch seconds."""

    Key: str
    Size: int
    LastModified: float


class ObjectList(ResponseModel):
    Contents: list[ObjectLine]
    Name: str
    CommonPrefixes: list[str] = Field(default_factory=list)
    IsTruncated: bool = False
    NextContinuationToken: str | None = None


class BucketLine(ResponseModel):
    Name: str
    Size: int
    FileCount: int
    LastModified: float


class BucketList(ResponseModel):
    Buckets: list[BucketLine]
    total_size: int
