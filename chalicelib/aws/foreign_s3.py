"""A bucket of a user's own, at any S3-compatible store: the ForeignBucket port over boto3.

Contents go with a Content-MD5, which S3 has always had, and with a SHA-256 where the store takes one; not every store
does. A header that a store refuses once is not sent to it again by this object.
"""

from __future__ import annotations

import base64
import hashlib
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any
from urllib.parse import urlsplit

from botocore.exceptions import ClientError

from chalicelib.aws.checksums import composite_hex, to_base64, to_hex
from chalicelib.aws.faults import code_of
from chalicelib.aws.foreign_client import DEFAULT_REGION, Guard, foreign_client, is_plain_http
from chalicelib.aws.foreign_faults import Place, answering
from chalicelib.domain.credentials import S3Secret
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.destinations import S3Destination, label
from chalicelib.domain.foreign_bucket import ForeignObject
from chalicelib.domain.foreign_keys import problem_of
from chalicelib.domain.objects import MultipartGoneError, MultipartInfo, PartInfo, PartRefusedError

CHUNK = 1024 * 1024
#: No single transfer of a part or a small file takes longer, however steadily its bytes trickle.
TRANSFER_SECONDS = 300.0
#: Pages of parts or uploads, 1,000 each.
MAX_PAGES = 11

_MISSING = frozenset({"404", "NoSuchKey"})
_GONE = frozenset({"NoSuchUpload"})
_PARTS_REFUSED = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML"})
#: How stores refuse a header or an option that they don't know.
_UNKNOWN_OPTION = frozenset({"NotImplemented", "501", "InvalidArgument", "InvalidRequest", "BadRequest", "400"})


class ForeignS3:
    """``monotonic`` is for the time bound of a transfer. Not for use by many threads before its first call."""

    def __init__(self, client: Any, place: Place, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._place = place
        self._monotonic = monotonic
        self._checksums = True
        self._asks_checksums = True

    def close(self) -> None:
        self._client.close()

    def head(self, key: str) -> ForeignObject | None:
        with answering(self._place, "HeadObject"):
            try:
                found = self._head(key)
            except ClientError as error:
                if code_of(error) in _MISSING:
                    return None
                raise self._in_words(key, error) from None
        checksum = found.get("ChecksumSHA256")
        return ForeignObject(
            key=key,
            size=int(found["ContentLength"]),
            sha256=to_hex(checksum) if checksum else None,
            composite_sha256=composite_hex(checksum) if checksum else None,
            metadata={name.lower(): value for name, value in found.get("Metadata", {}).items()},
        )

    def _head(self, key: str) -> Any:
        if self._asks_checksums:
            try:
                return self._client.head_object(Bucket=self._place.bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                # A HEAD's error has no body: a store that does not know the header shows only its status.
                if code_of(error) not in {"400", "501"}:
                    raise
            self._asks_checksums = False
        return self._client.head_object(Bucket=self._place.bucket, Key=key)

    def _in_words(self, key: str, error: ClientError) -> ClientError:
        """A HEAD's error has no body, so a wrong key looks like a missing right; the same GET's says which it is."""
        if code_of(error) not in {"301", "400", "401", "403"}:
            return error
        try:
            self._client.get_object(Bucket=self._place.bucket, Key=key, Range="bytes=0-0")["Body"].close()
        except ClientError as worded:
            return error if code_of(worded) in _MISSING else worded
        return error

    def read(self, key: str, *, start: int, length: int) -> Iterator[bytes]:
        if length <= 0:
            return
        stop_at = self._monotonic() + TRANSFER_SECONDS * max(1, -(-length // (64 * CHUNK)))
        with answering(self._place, "GetObject"):
            try:
                answer = self._client.get_object(
                    Bucket=self._place.bucket, Key=key, Range=f"bytes={start}-{start + length - 1}"
                )
            except ClientError as error:
                if code_of(error) in _MISSING | {"InvalidRange", "416"}:
                    return
                raise
        body = answer["Body"]
        left = length
        try:
            while left > 0:
                with answering(self._place, "GetObject"):
                    chunk = body.read(min(CHUNK, left))
                if not chunk:
                    return
                left -= len(chunk)
                if self._monotonic() > stop_at:
                    raise _too_slow(self._place)
                yield chunk
        finally:
            body.close()

    def put(self, key: str, data: bytes, *, sha256: str, metadata: Mapping[str, str], content_type: str) -> None:
        with answering(self._place, "PutObject"):
            self._with_checksum(
                lambda checksum: self._client.put_object(
                    Bucket=self._place.bucket,
                    Key=key,
                    Body=self._body(data),
                    ContentMD5=_md5(data),
                    ContentType=content_type,
                    Metadata=dict(metadata),
                    **({"ChecksumSHA256": to_base64(sha256)} if checksum else {}),
                )
            )

    def delete(self, key: str) -> None:
        with answering(self._place, "DeleteObject"):
            try:
                self._client.delete_object(Bucket=self._place.bucket, Key=key)
            except ClientError as error:
                if code_of(error) not in _MISSING:
                    raise

    def start_upload(self, key: str, *, metadata: Mapping[str, str], content_type: str) -> tuple[str, bool]:
        with answering(self._place, "CreateMultipartUpload"):
            answer = self._with_checksum(
                lambda checksum: self._client.create_multipart_upload(
                    Bucket=self._place.bucket,
                    Key=key,
                    ContentType=content_type,
                    Metadata=dict(metadata),
                    **({"ChecksumAlgorithm": "SHA256"} if checksum else {}),
                )
            )
        return str(answer["UploadId"]), self._checksums

    def uploads(self, key: str) -> Sequence[MultipartInfo]:
        found: list[MultipartInfo] = []
        markers: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            with answering(self._place, "ListMultipartUploads"):
                page = self._client.list_multipart_uploads(Bucket=self._place.bucket, Prefix=key, **markers)
            found += [
                MultipartInfo(upload["Key"], upload["UploadId"], upload["Initiated"].astimezone(UTC))
                for upload in page.get("Uploads", [])
                if upload["Key"] == key
            ]
            following = {
                "KeyMarker": page.get("NextKeyMarker") or "",
                "UploadIdMarker": page.get("NextUploadIdMarker") or "",
            }
            if not page.get("IsTruncated") or not following["KeyMarker"] or following == markers:
                break
            markers = following
        return sorted(found, key=lambda upload: (upload.started_at, upload.upload_id))

    def parts(self, key: str, upload_id: str) -> Sequence[PartInfo]:
        found: dict[int, PartInfo] = {}
        marker = 0
        for _ in range(MAX_PAGES):
            with answering(self._place, "ListParts"), _gone(upload_id):
                page = self._client.list_parts(
                    Bucket=self._place.bucket,
                    Key=key,
                    UploadId=upload_id,
                    **({"PartNumberMarker": marker} if marker else {}),
                )
            for part in page.get("Parts", []):
                found[part["PartNumber"]] = PartInfo(part["PartNumber"], part["Size"], part["ETag"])
            following = int(page.get("NextPartNumberMarker") or 0)
            if not page.get("IsTruncated") or following <= marker:
                break
            marker = following
        return [found[number] for number in sorted(found)]

    def put_part(self, key: str, upload_id: str, number: int, data: bytes, *, sha256: str | None) -> str:
        with answering(self._place, "UploadPart"), _gone(upload_id):
            answer = self._client.upload_part(
                Bucket=self._place.bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=self._body(data),
                ContentMD5=_md5(data),
                **({"ChecksumSHA256": to_base64(sha256)} if sha256 else {}),
            )
        return str(answer["ETag"])

    def finish_upload(self, key: str, upload_id: str, parts: Sequence[PartInfo]) -> None:
        listed = [
            {"PartNumber": part.number, "ETag": part.etag}
            | ({"ChecksumSHA256": to_base64(part.sha256)} if part.sha256 else {})
            for part in parts
        ]
        with answering(self._place, "CompleteMultipartUpload"), _gone(upload_id):
            try:
                self._client.complete_multipart_upload(
                    Bucket=self._place.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": listed}
                )
            except ClientError as error:
                if code_of(error) in _PARTS_REFUSED:
                    raise PartRefusedError(f"the store does not put the parts together: {code_of(error)}") from None
                raise

    def abort_upload(self, key: str, upload_id: str) -> None:
        with answering(self._place, "AbortMultipartUpload"):
            try:
                self._client.abort_multipart_upload(Bucket=self._place.bucket, Key=key, UploadId=upload_id)
            except ClientError as error:
                if code_of(error) not in _GONE | _MISSING:
                    raise

    def _with_checksum(self, call: Callable[[bool], Any]) -> Any:
        if self._checksums:
            try:
                return call(True)
            except ClientError as error:
                if code_of(error) not in _UNKNOWN_OPTION:
                    raise
            answer = call(False)
            self._checksums = False  # it was the checksum, then
            return answer
        return call(False)

    def _body(self, data: bytes) -> _Timed:
        return _Timed(data, self._monotonic() + TRANSFER_SECONDS, self._monotonic, self._place)


class _Timed(io.BytesIO):
    """``data``, without a copy, that ends its upload when that has taken too long. A body with ``read`` also makes
    botocore wait for the store's go-ahead (Expect: 100-continue), so a refused upload costs no bytes."""

    def __init__(self, data: bytes, stop_at: float, monotonic: Callable[[], float], place: Place) -> None:
        super().__init__(data)
        self._stop_at = stop_at
        self._monotonic = monotonic
        self._place = place

    def read(self, size: int | None = -1, /) -> bytes:
        if self._monotonic() > self._stop_at:
            raise _too_slow(self._place)
        return super().read(size)


class _gone:  # noqa: N801 - a context manager, read like a function
    """Turns the store's word for a lost upload into the domain's."""

    def __init__(self, upload_id: str) -> None:
        self._upload_id = upload_id

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ClientError) and code_of(error) in _GONE | {"404"}:
            raise MultipartGoneError(f"no upload {self._upload_id[:40]}") from None


def connect_foreign(
    destination: S3Destination,
    secret: S3Secret | None,
    guard: Guard,
    *,
    allow_http: bool,
    seconds: float | None = None,
) -> ForeignS3:
    """The user's bucket; makes no request. With ``seconds`` calls are not repeated and give up sooner, for checks.

    Raises DeliveryFault ``credential_missing``, ``bad_destination``.
    """
    credential = destination.credential or "NAME"
    if secret is None or not secret.access_key_id or not secret.secret_access_key.get_secret_value():
        raise DeliveryFault(
            "credential_missing",
            f"There is no access key for {label(destination)}.",
            f"Store one: stcloud credentials add {credential} --kind s3 --access-key-id ID.",
            retry=False,
        )
    problem = problem_of(destination) or _problem_of_endpoint(destination.endpoint_url)
    if problem is None and is_plain_http(destination) and not allow_http:
        problem = ("The endpoint is not encrypted.", "Use an https:// address; models and signatures go over it.")
    if problem is not None:
        raise DeliveryFault("bad_destination", *problem, retry=False)
    try:
        client = (
            foreign_client(destination, secret, guard)
            if seconds is None
            else foreign_client(
                destination, secret, guard, connect_timeout=3.0, read_timeout=max(1.0, seconds / 2), attempts=1
            )
        )
    except ValueError:
        raise DeliveryFault(
            "bad_destination",
            "The endpoint is no address of a store.",
            "Write it like https://s3.example.com or https://minio.example.com:9000, without the bucket.",
            retry=False,
        ) from None
    host = urlsplit(destination.endpoint_url).netloc.rpartition("@")[2] if destination.endpoint_url else "AWS S3"
    tokens = [secret.secret_access_key.get_secret_value()]
    if secret.session_token is not None:
        tokens.append(secret.session_token.get_secret_value())
    place = Place(
        name=label(destination),
        bucket=destination.bucket,
        endpoint=host,
        region=destination.region or DEFAULT_REGION,
        credential=credential,
        secrets=tuple(tokens),
    )
    return ForeignS3(client, place)


def _problem_of_endpoint(url: str | None) -> tuple[str, str] | None:
    if url is None:
        return None
    advice = "Write it like https://s3.example.com or https://minio.example.com:9000, without the bucket."
    try:
        parts = urlsplit(url)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole:
        return ("The endpoint is no address of a store.", advice)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        return ("The endpoint holds more than an address.", advice)
    return None


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _too_slow(place: Place) -> DeliveryFault:
    return DeliveryFault(
        "timeout",
        f"{place.endpoint} is too slow: a part took more than {TRANSFER_SECONDS / 60:.0f} minutes.",
        "Look at the store's connection. The delivery is tried again and goes on where it was.",
        retry=True,
    )
