"""What a deployment puts into buckets: the code with its template, and the console."""

from __future__ import annotations

import json
import mimetypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from infra.errors import DeployError, error_code

#: How many code archives stay for rollbacks.
KEPT_ARCHIVES = 5
#: Files whose name holds a hash of their content never change.
_HASHED = re.compile(r"^assets/.+-[A-Za-z0-9_-]{8,}\.[a-z0-9.]+$")
#: mimetypes reads the computer's own tables, which differ; these must be right everywhere.
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True)
class Bucket:
    """One bucket of this account; ``s3`` refuses another owner's bucket of the same name."""

    s3: Any
    name: str
    account: str

    def put(self, key: str, data: bytes, *, content_type: str, cache: str = "no-cache") -> None:
        self.s3.put_object(
            Bucket=self.name,
            Key=key,
            Body=data,
            ContentType=content_type,
            CacheControl=cache,
            ExpectedBucketOwner=self.account,
        )

    def has(self, key: str) -> bool:
        try:
            self.s3.head_object(Bucket=self.name, Key=key, ExpectedBucketOwner=self.account)
        except ClientError as error:
            if error_code(error) in {"404", "NoSuchKey", "NotFound"}:
                return False
            raise
        return True

    def objects(self, prefix: str = "") -> Iterator[dict[str, Any]]:
        pages = self.s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.name, Prefix=prefix, ExpectedBucketOwner=self.account):
            yield from page.get("Contents", [])

    def delete(self, keys: list[str]) -> None:
        for start in range(0, len(keys), 1000):
            batch = [{"Key": key} for key in keys[start : start + 1000]]
            answer = self.s3.delete_objects(
                Bucket=self.name, Delete={"Objects": batch, "Quiet": True}, ExpectedBucketOwner=self.account
            )
            if answer.get("Errors"):
                first = answer["Errors"][0]
                raise DeployError(f"{first.get('Key')} in {self.name} could not be deleted: {first.get('Message')}")

    def empty(self) -> int:
        """Deletes everything; returns the number of objects. No effect when the bucket does not exist."""
        try:
            keys = [item["Key"] for item in self.objects()]
        except ClientError as error:
            if error_code(error) == "NoSuchBucket":
                return 0
            raise
        self.delete(keys)
        return len(keys)


def ensure_artifacts_bucket(bucket: Bucket, region: str, *, on_emulator: bool) -> None:
    """Creates the bucket of code archives when it is missing: private, TLS only. Raises DeployError."""
    try:
        bucket.s3.head_bucket(Bucket=bucket.name, ExpectedBucketOwner=bucket.account)
    except ClientError as error:
        if error_code(error) not in {"404", "NoSuchBucket", "NotFound"}:
            raise DeployError(
                f"The bucket {bucket.name} can't be used ({error_code(error)}): it belongs to somebody else, or these "
                "credentials may not see it."
            ) from error
    else:
        return
    # us-east-1 must not be named: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    place: dict[str, Any] = (
        {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    )
    bucket.s3.create_bucket(Bucket=bucket.name, **place)
    bucket.s3.put_public_access_block(
        Bucket=bucket.name,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True,
            "IgnorePublicAcls": True,
            "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )
    if on_emulator:
        return
    resources = [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"]
    statement = {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": resources,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    bucket.s3.put_bucket_policy(Bucket=bucket.name, Policy=json.dumps(policy))


def forget_old_archives(bucket: Bucket, prefix: str) -> None:
    """Keeps the newest few below ``prefix``."""
    found = sorted(bucket.objects(prefix), key=lambda item: (item["LastModified"], item["Key"]), reverse=True)
    bucket.delete([item["Key"] for item in found[KEPT_ARCHIVES:]])


def content_type(path: str) -> str:
    suffix = Path(path).suffix.lower()
    return _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"


def cache_control(path: str) -> str:
    """Hashed files for ever; whatever may change under its name is asked for again each time."""
    return "public, max-age=31536000, immutable" if _HASHED.match(path) else "no-cache"


def publish_console(bucket: Bucket, dist: Path, say: Callable[[str], None]) -> int:
    """Makes the bucket hold exactly the files of ``dist``; returns how many. Pages go last and stale files after
    them, so a page that is being served never refers to what is not there."""
    files = sorted(p.relative_to(dist).as_posix() for p in dist.rglob("*") if p.is_file())
    files.sort(key=lambda name: name.endswith(".html"))
    for name in files:
        bucket.put(name, (dist / name).read_bytes(), content_type=content_type(name), cache=cache_control(name))
    stale = [item["Key"] for item in bucket.objects() if item["Key"] not in set(files)]
    bucket.delete(stale)
    say(f"Published the console ({len(files)} files)")
    return len(files)
