"""S3's own shape of answers, for its SDKs."""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from xml.sax.saxutils import escape

from chalicelib.errors import AppError, BadRequest
from chalicelib.schemas.storage import BucketList, ObjectList

XML = "application/xml"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_CODES = {
    "no_such_bucket": "NoSuchBucket",
    "no_such_key": "NoSuchKey",
    "entity_too_large": "EntityTooLarge",
    "payload_too_large": "EntityTooLarge",
    "upload_quota": "EntityTooLarge",
    "bad_digest": "BadDigest",
    "rate_limited": "SlowDown",
    "unavailable": "ServiceUnavailable",
    "not_implemented": "NotImplemented",
    "unreadable_body": "IncompleteBody",
}
_BY_STATUS = {400: "InvalidRequest", 401: "AccessDenied", 403: "AccessDenied", 404: "NoSuchKey", 422: "InvalidArgument"}
_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256\s.*?Credential=([^/\s,]+)/")


def speaks_s3(headers: Mapping[str, str]) -> bool:
    """Whether an S3 SDK asks."""
    agent = headers.get("user-agent", "").lower()
    return (
        headers.get("authorization", "").startswith("AWS4-HMAC-SHA256")
        or "x-amz-content-sha256" in headers
        or "x-amz-date" in headers
        or any(name in agent for name in ("boto3", "botocore", "aws-sdk"))
        or headers.get("accept", "").lower().startswith(("application/xml", "text/xml"))
    )


def access_key_id(headers: Mapping[str, str]) -> str | None:
    """The access key id of a signed request. Its signature is not checked."""
    found = _CREDENTIAL.match(headers.get("authorization", ""))
    return found[1] if found else None


def error_xml(error: AppError, request_id: str) -> str:
    code = _CODES.get(error.code) or _BY_STATUS.get(error.status, "InternalError")
    return (
        f"{_HEAD}<Error><Code>{code}</Code><Message>{_text(error.detail)}</Message>"
        f"<RequestId>{_text(request_id)}</RequestId></Error>"
    )


def redirect_xml(location: str) -> str:
    return (
        f"{_HEAD}<Error><Code>TemporaryRedirect</Code><Message>The object is at this address: follow the redirect."
        f"</Message><Endpoint>{_text(location)}</Endpoint></Error>"
    )


def objects_xml(found: ObjectList, prefix: str, delimiter: str, limit: int, *, second: bool) -> str:
    """``second``: for ListObjectsV2."""
    lines = "".join(
        f"<Contents><Key>{_text(line.Key)}</Key><LastModified>{_moment(line.LastModified)}</LastModified>"
        f"<Size>{line.Size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for line in found.Contents
    )
    folders = "".join(f"<CommonPrefixes><Prefix>{_text(f)}</Prefix></CommonPrefixes>" for f in found.CommonPrefixes)
    follows = "NextContinuationToken" if second else "NextMarker"
    token = found.NextContinuationToken
    following = f"<{follows}>{_text(token)}</{follows}>" if token is not None else ""
    count = f"<KeyCount>{len(found.Contents) + len(found.CommonPrefixes)}</KeyCount>" if second else ""
    return (
        f"{_HEAD}<ListBucketResult {_NS}><Name>{_text(found.Name)}</Name><Prefix>{_text(prefix)}</Prefix>"
        f"<Delimiter>{_text(delimiter)}</Delimiter><MaxKeys>{limit}</MaxKeys>{count}"
        f"<IsTruncated>{str(found.IsTruncated).lower()}</IsTruncated>{following}{lines}{folders}</ListBucketResult>"
    )


def buckets_xml(found: BucketList) -> str:
    lines = "".join(
        f"<Bucket><Name>{_text(line.Name)}</Name><CreationDate>{_moment(line.LastModified)}</CreationDate></Bucket>"
        for line in found.Buckets
    )
    return f"{_HEAD}<ListAllMyBucketsResult {_NS}><Buckets>{lines}</Buckets></ListAllMyBucketsResult>"


def content_of(raw: bytes, headers: Mapping[str, str]) -> bytes:
    """The object in an SDK's body: without the frames of ``aws-chunked``, and what its checksums say.

    Raises BadRequest (``bad_digest``, ``unreadable_body``). CRC-32, SHA-256 and Content-MD5 in headers or trailers are
    held against it, other checksums are not.
    """
    sums = {name: value for name, value in headers.items() if name.startswith("x-amz-checksum-")}
    data = raw
    if "aws-chunked" in headers.get("content-encoding", "") or headers.get("x-amz-content-sha256", "").startswith(
        "STREAMING-"
    ):
        data, trailers = _unframed(raw)
        sums |= trailers
        announced = headers.get("x-amz-decoded-content-length", "")
        if announced and announced != str(len(data)):
            raise _unreadable()
    made = {
        "x-amz-checksum-crc32": zlib.crc32(data).to_bytes(4, "big"),
        "x-amz-checksum-sha256": hashlib.sha256(data).digest(),
    }
    wrong = any(base64.b64encode(made[n]).decode() != sums[n].strip() for n in made.keys() & sums.keys())
    md5 = headers.get("content-md5")
    if md5 and base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode() != md5.strip():
        wrong = True
    plain = headers.get("x-amz-content-sha256", "")
    if re.fullmatch("[0-9a-f]{64}", plain) and hashlib.sha256(raw).hexdigest() != plain:
        wrong = True
    if wrong:
        raise BadRequest(
            "What arrived is not what was sent. Send the object with Content-Type: application/octet-stream: without "
            "it the gateway takes bytes for text.",
            code="bad_digest",
        )
    return data


def _unframed(raw: bytes) -> tuple[bytes, dict[str, str]]:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html; signatures are not checked."""
    pieces: list[bytes] = []
    at = 0
    while True:
        end = raw.find(b"\r\n", at)
        size_text = raw[at:end].partition(b";")[0] if end >= 0 else b""
        if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", size_text):
            raise _unreadable()
        size, at = int(size_text, 16), end + 2
        if size == 0:
            break
        if raw[at + size : at + size + 2] != b"\r\n":
            raise _unreadable()
        pieces.append(raw[at : at + size])
        at += size + 2
    trailers: dict[str, str] = {}
    for line in raw[at:].split(b"\r\n"):
        name, _, value = line.decode("latin-1").partition(":")
        if value:
            trailers[name.strip().lower()] = value.strip()
    return b"".join(pieces), trailers


def _unreadable() -> BadRequest:
    return BadRequest("The frames of the body (aws-chunked) can't be read.", code="unreadable_body")


def _text(text: str) -> str:
    return escape("".join(c if c.isprintable() or c in "\t\n" else "\ufffd" for c in text))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
