"""One S3 bucket."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, BinaryIO
from urllib.parse import quote

from botocore.exceptions import ClientError

from chalicelib.aws.checksums import base64_of, check_key, seconds, to_base64
from chalicelib.aws.clients import ClientSource
from chalicelib.aws.faults import answering, code_of
from chalicelib.aws.multipart import MultipartObjects
from chalicelib.aws.object_stream import BUFFER, LOST, ObjectStream
from chalicelib.domain.objects import ObjectInfo, PresignedPut
from chalicelib.domain.wording import count_text
from chalicelib.errors import Unavailable

_SERVICE = "The object store"
#: Keys in one listing or one DeleteObjects call; S3 takes no more.
PAGE = 1000
#: Tries of a read whose body breaks off; botocore repeats a call only until the first byte has come.
READ_TRIES = 3
#: Tries of the keys that one DeleteObjects call could not delete.
DELETE_TRIES = 3

_MISSING = frozenset({"404", "NoSuchKey"})
_AWKWARD = re.compile(r'[^ -~]|["\\%]')


class S3ObjectStore(MultipartObjects):
    """The ObjectStore port over one bucket.

    Presigned URLs are signed with the credentials of this process and die with them: those of a Lambda's role last a
    few hours from when Lambda fetched them, whatever ``expires`` says
    (https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html). So keep ``expires`` at an hour or
    two, and let a client that gets a 403 ask for a new URL.

    Needs s3:GetObject, s3:PutObject and s3:DeleteObject on the keys, and s3:ListBucket on the bucket without a
    condition: S3 answers 403 instead of 404 for a missing key to whoever may not list. Uploads in parts also need
    s3:AbortMultipartUpload and s3:ListMultipartUploadParts on the keys, s3:ListBucketMultipartUploads on the bucket.
    Raises Unavailable when S3 is busy, PermissionError for a key it refuses to delete, botocore's ClientError when the
    deployment is wrong.
    """

    def __init__(self, bucket: str, client: ClientSource, *, page: int = PAGE) -> None:
        super().__init__(bucket, client)
        self._page_size = page

    @property
    def bucket(self) -> str:
        return self._bucket

    def presign_put(
        self, key: str, *, size: int, sha256: str | None, now: datetime, expires: timedelta
    ) -> PresignedPut:
        # Content-Length is signed too, but every HTTP client sends it by itself, and browsers let nobody set it.
        check_key(key)
        params: dict[str, Any] = {"Bucket": self._bucket, "Key": key, "ContentLength": size}
        headers: dict[str, str] = {}
        if sha256 is not None:
            params["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = to_base64(sha256)
        url = self._client().generate_presigned_url("put_object", Params=params, ExpiresIn=seconds(expires))
        return PresignedPut(url=url, headers=headers, expires_at=now + expires)

    def presign_get(self, key: str, *, expires: timedelta, filename: str | None = None) -> str:
        params = {"Bucket": self._bucket, "Key": key}
        if filename is not None:
            params["ResponseContentDisposition"] = content_disposition(filename)
        return str(self._client().generate_presigned_url("get_object", Params=params, ExpiresIn=seconds(expires)))

    def head(self, key: str) -> ObjectInfo | None:
        return self._head(key)

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes | None:
        if start < 0 or (length is not None and length < 0):
            raise ValueError("start and length are not negative")
        if length == 0:
            return None if self.head(key) is None else b""
        wanted: dict[str, str] = {}
        if start or length is not None:
            wanted["Range"] = f"bytes={start}-" + (str(start + length - 1) if length is not None else "")
        for _ in range(READ_TRIES):
            found = self._get_object(key, wanted)
            if found is None or isinstance(found, bytes):
                return found
            try:
                return bytes(found["Body"].read())
            except LOST:
                continue
            finally:
                found["Body"].close()
        raise Unavailable(f"{_SERVICE} broke off while answering. Try again in a few seconds.", retry_after=5)

    def _get_object(self, key: str, wanted: dict[str, str]) -> dict[str, Any] | bytes | None:
        """The answer, None when the object is missing, b"" when the range begins behind its end."""
        with answering(_SERVICE):
            try:
                answer: dict[str, Any] = self._client().get_object(Bucket=self._bucket, Key=key, **wanted)
            except ClientError as error:
                if code_of(error) in _MISSING:
                    return None
                if code_of(error) == "InvalidRange":
                    return b""
                raise
        return answer

    def open(self, key: str) -> BinaryIO | None:
        first = self._get_object(key, {})
        if not isinstance(first, dict):
            return None
        return io.BufferedReader(ObjectStream(self._client(), self._bucket, key, first), BUFFER)

    def put(self, key: str, data: bytes, *, content_type: str = "application/octet-stream") -> None:
        check_key(key)
        with answering(_SERVICE):
            self._client().put_object(
                Bucket=self._bucket, Key=key, Body=data, ContentType=content_type, ChecksumSHA256=base64_of(data)
            )

    def list(self, prefix: str, *, start_after: str | None = None, limit: int | None = None) -> Iterator[ObjectInfo]:
        left = limit
        token: str | None = None
        while left is None or left > 0:
            size = self._page_size if left is None else min(self._page_size, left)
            page = self._page(prefix, start_after, token, size)
            for found in page.get("Contents", []):
                yield ObjectInfo(
                    key=found["Key"], size=found["Size"], modified_at=found["LastModified"].astimezone(UTC)
                )
            if left is not None:
                left -= len(page.get("Contents", []))
            following = page.get("NextContinuationToken")
            # The same token twice would go round for ever.
            if not page.get("IsTruncated") or not following or following == token:
                return
            token = following

    def _page(self, prefix: str, start_after: str | None, token: str | None, size: int) -> dict[str, Any]:
        options: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, "MaxKeys": size}
        if token is not None:
            options["ContinuationToken"] = token
        elif start_after is not None:
            options["StartAfter"] = start_after
        with answering(_SERVICE):
            page: dict[str, Any] = self._client().list_objects_v2(**options)
        return page

    def delete(self, keys: Iterable[str]) -> int:
        count = 0
        for batch in _batches(keys, self._page_size):
            self._delete(batch)
            count += len(batch)
        return count

    def _delete(self, keys: Sequence[str]) -> None:
        for _ in range(DELETE_TRIES):
            with answering(_SERVICE):
                answer = self._client().delete_objects(
                    Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True}
                )
            errors = answer.get("Errors", [])
            if not errors:
                return
            refused = [e for e in errors if e.get("Code") not in {"InternalError", "SlowDown", "ServiceUnavailable"}]
            if refused:
                raise PermissionError(f"S3 refused to delete {refused[0].get('Key')}: {refused[0].get('Code')}")
            keys = [e["Key"] for e in errors]
        raise Unavailable(
            f"{_SERVICE} could not delete {count_text(len(keys), 'object')}. Try again soon.", retry_after=5
        )

    def delete_prefix(self, prefix: str) -> int:
        if not prefix.endswith("/") or prefix.startswith("/"):
            raise ValueError(f"not a prefix to delete: {prefix!r}")
        return self.delete(info.key for info in self.list(prefix))


def _batches(keys: Iterable[str], size: int) -> Iterator[list[str]]:
    source = iter(keys)
    while batch := list(islice(source, size)):
        yield batch


def content_disposition(filename: str) -> str:
    """A Content-Disposition header value that saves under ``filename`` (RFC 6266), safe whatever the name holds."""
    plain = _AWKWARD.sub("_", filename) or "download"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
