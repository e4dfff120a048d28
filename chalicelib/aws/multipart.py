"""Uploads in parts and copies within one S3 bucket.

Where the emulator (ministack 1.5.33) differs from AWS: its CopyObject and UploadPartCopy don't make the checksum that
was asked for (``local/emulator/copies.py`` adds that), it takes parts below 5 MiB, and parts without a checksum in an
upload that was started with one, and a restart forgets unfinished uploads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from chalicelib.aws.checksums import base64_of, check_key, composite_hex, seconds, to_base64, to_hex
from chalicelib.aws.clients import ClientSource
from chalicelib.aws.faults import answering, code_of
from chalicelib.domain.objects import (
    MAX_PARTS,
    MultipartGoneError,
    MultipartInfo,
    ObjectInfo,
    PartInfo,
    PartRefusedError,
    PresignedPut,
    composite_of,
)

_SERVICE = "The object store"
#: What one CopyObject takes at most.
MAX_COPY_BYTES = 5 * 1024**3
#: Parts of copies above that.
COPY_PART_BYTES = 512 * 1024**2
#: Parts of streams, and the size up to which a stream needs none.
STREAM_PART_BYTES = 16 * 1024**2
#: Items in one page of uploads or parts; S3 gives no more.
PAGE = 1000

_GONE = frozenset({"NoSuchUpload"})
_REFUSED = frozenset(
    {"InvalidPart", "InvalidPartOrder", "EntityTooSmall", "BadDigest", "MalformedXML", "InvalidRequest"}
)
_NO_SOURCE = frozenset({"NoSuchKey", "404", "InvalidRange", "InvalidArgument", "PreconditionFailed"})


class MultipartObjects:
    """The part of ``S3ObjectStore`` that is about parts and copies."""

    def __init__(self, bucket: str, client: ClientSource) -> None:
        self._bucket = bucket
        self._client = client

    def _head(self, key: str) -> ObjectInfo | None:
        with answering(_SERVICE):
            try:
                found = self._client().head_object(Bucket=self._bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if code_of(error) in {"404", "NoSuchKey"}:
                    return None
                raise
        checksum = found.get("ChecksumSHA256")
        whole = found.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT"
        return ObjectInfo(
            key=key,
            size=found["ContentLength"],
            modified_at=found["LastModified"].astimezone(UTC),
            sha256=to_hex(checksum) if checksum and whole else None,
            composite_sha256=composite_hex(checksum) if checksum else None,
        )

    def start_multipart(
        self, key: str, *, checksum: bool = True, content_type: str = "application/octet-stream"
    ) -> str:
        check_key(key)
        options = {"ChecksumAlgorithm": "SHA256"} if checksum else {}
        with answering(_SERVICE):
            answer = self._client().create_multipart_upload(
                Bucket=self._bucket, Key=key, ContentType=content_type, **options
            )
        return str(answer["UploadId"])

    def multiparts(self, prefix: str, *, limit: int = PAGE) -> Sequence[MultipartInfo]:
        found: list[MultipartInfo] = []
        markers: dict[str, str] = {}
        while len(found) < limit:
            with answering(_SERVICE):
                page = self._client().list_multipart_uploads(
                    Bucket=self._bucket, Prefix=prefix, MaxUploads=min(PAGE, limit - len(found)), **markers
                )
            found += [
                MultipartInfo(upload["Key"], upload["UploadId"], upload["Initiated"].astimezone(UTC))
                for upload in page.get("Uploads", [])
            ]
            following = {
                "KeyMarker": page.get("NextKeyMarker") or "",
                "UploadIdMarker": page.get("NextUploadIdMarker") or "",
            }
            # The same markers twice would go round for ever.
            if not page.get("IsTruncated") or not following["KeyMarker"] or following == markers:
                break
            markers = following
        return sorted(found, key=lambda m: (m.key.encode(), m.started_at, m.upload_id))

    def find_multipart(self, key: str) -> str | None:
        ours = [m for m in self.multiparts(key) if m.key == key]
        return ours[-1].upload_id if ours else None

    def presign_part(
        self, key: str, upload_id: str, number: int, *, size: int, sha256: str | None, now: datetime, expires: timedelta
    ) -> PresignedPut:
        check_key(key)
        _check_number(number)
        params: dict[str, Any] = {
            "Bucket": self._bucket,
            "Key": key,
            "UploadId": upload_id,
            "PartNumber": number,
            "ContentLength": size,
        }
        headers: dict[str, str] = {}
        if sha256 is not None:
            params["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = to_base64(sha256)
        url = self._client().generate_presigned_url("upload_part", Params=params, ExpiresIn=seconds(expires))
        return PresignedPut(url=url, headers=headers, expires_at=now + expires)

    def copy_part(
        self, source_key: str, target_key: str, upload_id: str, number: int, *, start: int, length: int
    ) -> PartInfo | None:
        check_key(target_key)
        _check_number(number)
        with answering(_SERVICE):
            try:
                answer = self._client().upload_part_copy(
                    Bucket=self._bucket,
                    Key=target_key,
                    UploadId=upload_id,
                    PartNumber=number,
                    CopySource={"Bucket": self._bucket, "Key": source_key},
                    CopySourceRange=f"bytes={start}-{start + length - 1}",
                )
            except ClientError as error:
                if code_of(error) in _GONE:
                    raise MultipartGoneError(target_key) from error
                if code_of(error) in _NO_SOURCE:
                    return None
                raise
        result = answer["CopyPartResult"]
        checksum = result.get("ChecksumSHA256")
        return PartInfo(number, length, result["ETag"], to_hex(checksum) if checksum else None)

    def list_parts(self, key: str, upload_id: str) -> list[PartInfo]:
        found: list[PartInfo] = []
        marker = 0
        while len(found) < MAX_PARTS:
            with answering(_SERVICE):
                try:
                    page = self._client().list_parts(
                        Bucket=self._bucket, Key=key, UploadId=upload_id, MaxParts=PAGE, PartNumberMarker=marker
                    )
                except ClientError as error:
                    if code_of(error) in _GONE:
                        raise MultipartGoneError(key) from error
                    raise
            for part in page.get("Parts", []):
                checksum = part.get("ChecksumSHA256")
                sha256 = to_hex(checksum) if checksum else None
                found.append(PartInfo(part["PartNumber"], part["Size"], part["ETag"], sha256))
            following = int(page.get("NextPartNumberMarker") or 0)
            if not page.get("IsTruncated") or following <= marker:
                break
            marker = following
        return found

    def finish_multipart(self, key: str, upload_id: str, parts: Sequence[PartInfo]) -> None:
        if not parts:
            raise PartRefusedError("there are no parts")
        ordered = sorted(parts, key=lambda p: p.number)
        listed: list[dict[str, Any]] = []
        for part in ordered:
            line: dict[str, Any] = {"PartNumber": part.number, "ETag": part.etag}
            if part.sha256 is not None:
                line["ChecksumSHA256"] = to_base64(part.sha256)
            listed.append(line)
        with answering(_SERVICE):
            try:
                self._client().complete_multipart_upload(
                    Bucket=self._bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": listed}
                )
            except ClientError as error:
                if code_of(error) in _REFUSED:
                    raise PartRefusedError(f"{code_of(error)}: {key}") from error
                if code_of(error) not in _GONE:
                    raise
                if not self._is_made_of(key, ordered):
                    raise MultipartGoneError(key) from error

    def _is_made_of(self, key: str, parts: Sequence[PartInfo]) -> bool:
        """Whether the object of this key is these parts: then an earlier call, whose answer was lost, finished it."""
        found = self._head(key)
        if found is None or found.size != sum(part.size for part in parts):
            return False
        digests = [part.sha256 for part in parts if part.sha256 is not None]
        return len(digests) != len(parts) or found.composite_sha256 == composite_of(digests)

    def abort_multipart(self, key: str, upload_id: str) -> None:
        with answering(_SERVICE):
            try:
                self._client().abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)
            except ClientError as error:
                if code_of(error) not in _GONE:
                    raise

    def copy(self, source_key: str, target_key: str, *, size: int, sha256: str | None = None) -> bool:
        check_key(target_key)
        if size > MAX_COPY_BYTES:
            return self._copy_in_parts(source_key, target_key, size)
        with answering(_SERVICE):
            try:
                answer = self._client().copy_object(
                    Bucket=self._bucket,
                    Key=target_key,
                    CopySource={"Bucket": self._bucket, "Key": source_key},
                    ChecksumAlgorithm="SHA256",
                )
            except ClientError as error:
                if code_of(error) in _NO_SOURCE:
                    return False
                raise
        checksum = answer.get("CopyObjectResult", {}).get("ChecksumSHA256")
        # AWS's answer has the checksum, not the size; with the checksum confirmed there is nothing left to ask for.
        if sha256 is not None and checksum and to_hex(checksum) == sha256:
            return True
        found = self._head(target_key)
        if found is not None and found.size == size and sha256 in {None, found.sha256}:
            return True
        with answering(_SERVICE):
            self._client().delete_object(Bucket=self._bucket, Key=target_key)
        return False

    def _copy_in_parts(self, source_key: str, target_key: str, size: int) -> bool:
        upload_id = self.start_multipart(target_key)
        parts: list[PartInfo] = []
        done = False
        try:
            for number, start in enumerate(range(0, size, COPY_PART_BYTES), 1):
                length = min(COPY_PART_BYTES, size - start)
                part = self.copy_part(source_key, target_key, upload_id, number, start=start, length=length)
                if part is None:
                    return False
                parts.append(part)
            self.finish_multipart(target_key, upload_id, parts)
            done = True
            return True
        finally:
            if not done:
                self.abort_multipart(target_key, upload_id)

    def put_stream(
        self, key: str, chunks: Iterable[bytes], *, size: int | None = None, sha256: bool = True
    ) -> ObjectInfo:
        check_key(key)
        part_bytes = max(STREAM_PART_BYTES, -(-(size or 0) // MAX_PARTS))
        whole = hashlib.sha256()
        total = 0
        upload_id: str | None = None
        parts: list[PartInfo] = []
        done = False
        try:
            for piece, is_last in _pieces(chunks, part_bytes):
                total += len(piece)
                if size is not None and total > size:
                    raise ValueError(f"more than the {size} bytes that were announced")
                if sha256:
                    whole.update(piece)
                if is_last and size is not None and total != size:
                    raise ValueError(f"{total} bytes instead of the {size} that were announced")
                if is_last and upload_id is None:
                    self._put_small(key, piece)
                    break
                if upload_id is None:
                    upload_id = self.start_multipart(key)
                parts.append(self._put_part(key, upload_id, len(parts) + 1, piece))
                del piece  # or it would be held while the next one is put together
            if upload_id is not None:
                self.finish_multipart(key, upload_id, parts)
            done = True
        finally:
            if not done and upload_id is not None:
                self.abort_multipart(key, upload_id)
        digests = [part.sha256 for part in parts if part.sha256 is not None]
        return ObjectInfo(
            key=key,
            size=total,
            modified_at=datetime.now(UTC),
            sha256=whole.hexdigest() if sha256 else None,
            composite_sha256=composite_of(digests) if parts else None,
        )

    def _put_small(self, key: str, data: bytearray) -> None:
        with answering(_SERVICE):
            self._client().put_object(Bucket=self._bucket, Key=key, Body=data, ChecksumSHA256=base64_of(data))

    def _put_part(self, key: str, upload_id: str, number: int, data: bytearray) -> PartInfo:
        with answering(_SERVICE):
            answer = self._client().upload_part(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=data,
                ChecksumSHA256=base64_of(data),
            )
        return PartInfo(number, len(data), answer["ETag"], hashlib.sha256(data).hexdigest())


def _pieces(chunks: Iterable[bytes], size: int) -> Iterator[tuple[bytearray, bool]]:
    """The content in pieces of ``size``, each with whether it is the last; one empty piece when there is nothing."""
    buffer = bytearray()
    for chunk in chunks:
        at = 0
        while at < len(chunk):
            # A piece is given away only when more follows, so that the last one is known.
            if len(buffer) == size:
                yield buffer, False
                buffer = bytearray()
            step = min(size - len(buffer), len(chunk) - at)
            buffer += memoryview(chunk)[at : at + step]
            at += step
    yield buffer, True


def _check_number(number: int) -> None:
    if not 1 <= number <= MAX_PARTS:
        raise ValueError(f"parts are numbered from 1 to {MAX_PARTS}, not {number}")
