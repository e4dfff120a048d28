"""S3 as the trainer uses it: with the credentials it was handed and no others, bounded in time and size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

MULTIPART_BYTES = 8 * 1024 * 1024
#: One image or caption; the dataset's own limit is larger, but everything here passes through memory.
MAX_OBJECT_BYTES = 64 * 1024 * 1024
MAX_PAGES = 200
DEFAULT_REGION = "us-east-1"


class Client(Protocol):
    """The part of boto3's S3 client that is used. Errors are botocore's."""

    def list_objects_v2(self, **kwargs: Any) -> Any: ...

    def get_object(self, **kwargs: Any) -> Any: ...

    def put_object(self, **kwargs: Any) -> Any: ...

    def upload_file(self, filename: str, bucket: str, key: str, /, **kwargs: Any) -> Any: ...


@dataclass(frozen=True)
class Access:
    """Where and as whom. ``repr`` hides the secrets."""

    endpoint_url: str | None
    region: str | None
    access_key_id: str | None = field(repr=False, default=None)
    secret_access_key: str | None = field(repr=False, default=None)
    session_token: str | None = field(repr=False, default=None)


Connect = Callable[[Access], Client]


def connect(access: Access) -> Client:
    """A client with path-style addresses. Without keys it has none: the environment's are not inherited."""
    client: Client = boto3.session.Session(
        aws_access_key_id=access.access_key_id,
        aws_secret_access_key=access.secret_access_key,
        aws_session_token=access.session_token,
    ).client(
        "s3",
        endpoint_url=access.endpoint_url or None,
        region_name=_region(access.region),
        config=Config(
            connect_timeout=5,
            read_timeout=30,
            retries={"mode": "standard", "total_max_attempts": 3},
            max_pool_connections=4,
            s3={"addressing_style": "path"},
        ),
    )
    return client


def _region(region: str | None) -> str:
    return DEFAULT_REGION if region in (None, "", "auto") else str(region)


def list_keys(client: Client, bucket: str, prefix: str) -> Iterator[str]:
    """All keys below ``prefix``, at most MAX_PAGES pages of them. Raises ValueError beyond."""
    token: dict[str, str] = {}
    for _ in range(MAX_PAGES):
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1000, **token)
        for entry in page.get("Contents", []):
            yield str(entry["Key"])
        if not page.get("IsTruncated"):
            return
        token = {"ContinuationToken": page["NextContinuationToken"]}
    raise ValueError(f"More than {MAX_PAGES * 1000} objects below s3://{bucket}/{prefix}")


def read(client: Client, bucket: str, key: str) -> bytes:
    """Raises ValueError when the object is larger than MAX_OBJECT_BYTES."""
    body = client.get_object(Bucket=bucket, Key=key)["Body"]
    try:
        data: bytes = body.read(MAX_OBJECT_BYTES + 1)
    finally:
        body.close()
    if len(data) > MAX_OBJECT_BYTES:
        raise ValueError(f"s3://{bucket}/{key} is larger than {MAX_OBJECT_BYTES} bytes")
    return data


def upload(client: Client, path: Path, bucket: str, key: str, *, single_part: bool) -> None:
    """One file, in parts from MULTIPART_BYTES on unless ``single_part``."""
    if single_part:
        with path.open("rb") as body:
            client.put_object(Bucket=bucket, Key=key, Body=body)
        return
    transfer = TransferConfig(
        multipart_threshold=MULTIPART_BYTES, multipart_chunksize=MULTIPART_BYTES, use_threads=False
    )
    client.upload_file(str(path), bucket, key, Config=transfer)
