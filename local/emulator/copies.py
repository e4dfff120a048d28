"""Copies inside S3 get the checksum that was asked for, as on AWS.

ministack 1.5.33 (https://github.com/ministackorg/ministack) makes none for a part that is a copy, so that an upload
started with ``x-amz-checksum-algorithm`` could not be put together from them with its composite checksum. And
CopyObject ignores that header: the copy of an object made of parts would go on claiming the composite of parts that it
has not.
"""

from __future__ import annotations

import base64
import re
from importlib import import_module
from typing import Any

from local.emulator.pins import require_source

ASKED, READ = "x-amz-checksum-algorithm", "x-amz-sdk-checksum-algorithm"


def patch_copies() -> None:
    s3: Any = import_module("ministack.services.s3")
    copy_object, copy_part = s3._copy_object, s3._upload_part_copy
    require_source(copy_object, f'headers.get("{READ}") or any(', "_resolve_object_checksums(src_body, headers)")
    require_source(copy_part, '_multipart_uploads[upload_id]["parts"][part_number] = {')
    require_source(s3._complete_multipart_upload, "part_digests.append(stored_checksums.get(checksum_algorithm))")

    def copied(bucket: str, key: str, headers: dict[str, str]) -> Any:
        asked = headers.get(ASKED)
        answer = copy_object(bucket, key, headers | {READ: asked} if asked else headers)
        if not asked or answer[0] != 200:
            return answer
        checksum = s3._buckets[bucket]["objects"][key]["checksums"].get(asked.upper())
        return with_checksum(answer, "CopyObjectResult", asked, checksum)

    def part_copied(bucket: str, key: str, query: dict[str, Any], headers: dict[str, str]) -> Any:
        answer = copy_part(bucket, key, query, headers)
        if answer[0] != 200:
            return answer
        upload = s3._multipart_uploads[s3._qp(query, "uploadId")]
        algorithm = upload.get("checksum_algorithm")
        if not algorithm:
            return answer
        part = upload["parts"][int(s3._qp(query, "partNumber", "1"))]
        checksum = s3._compute_s3_checksum(algorithm, part["body"])
        part["checksums"] = {algorithm: checksum}
        return with_checksum(answer, "CopyPartResult", algorithm, checksum)

    s3._copy_object, s3._upload_part_copy = copied, part_copied


def with_checksum(
    answer: tuple[int, dict[str, str], bytes], element: str, algorithm: str, checksum: str | None
) -> tuple[int, dict[str, str], bytes]:
    """The answer of a copy with the checksum in it. Unchanged without one."""
    status, headers, body = answer
    if checksum is None or not re.fullmatch(r"[A-Z0-9]+", algorithm.upper()):
        return answer
    base64.b64decode(checksum, validate=True)  # so that nothing else gets into the document
    name, end = f"Checksum{algorithm.upper()}", f"</{element}>".encode()
    return status, headers, body.replace(end, f"<{name}>{checksum}</{name}>".encode() + end)
