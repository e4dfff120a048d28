"""Routes of the tutorial's storage endpoint: upload tokens, objects, lists.

Its callers are trainers and SDKs. All of its authentication is here: a token decides which job's folder is written, and
whoever shows none reads as an owner.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel

from chalicelib.api.routing import Api, Audited, Call, Reply
from chalicelib.api.storage_xml import (
    XML,
    access_key_id,
    buckets_xml,
    content_of,
    objects_xml,
    redirect_xml,
    speaks_s3,
)
from chalicelib.domain.audit import AuditAction
from chalicelib.domain.jobs import Job
from chalicelib.domain.permissions import Permission
from chalicelib.domain.storage import BUCKET, MAX_DIRECT_BYTES
from chalicelib.errors import AuthenticationError, BadRequest, PayloadTooLarge, PermissionDenied
from chalicelib.schemas import storage as schema
from chalicelib.services.rates import CALLS, REFUSED, RateLimited
from chalicelib.services.storage import Scope

api = Api(tag="storage")
T = TypeVar("T")
OCTETS = "application/octet-stream"
_WRITES = "a job's upload token is the credential, in X-Upload-Token or X-SimpleTuner-Secret"
_READS = "a job's upload token reads that job's objects; without one the caller is identified as everywhere"
#: What a gateway puts in the place of bytes that are no text.
_REPLACEMENT = "\ufffd".encode()


@api.endpoint(
    "POST",
    "/cloud/jobs/{job_id}/upload-token",
    permission=Permission.JOB_SUBMIT,
    response=schema.UploadTokenResponse,
    status=201,
    statuses=(404,),
    audited=Audited(AuditAction.UPLOAD_TOKEN_CREATE, "job:{job_id}", granting=True),
    spends=True,
)
def create_upload_token(call: Call[None, None], job_id: str) -> schema.UploadTokenResponse:
    """Make a token with which a program can upload files for one active job.

    Shown this once. It ends with the job; a job has five at most.
    """
    token = call.services.storage.issue(call.actor, call.who, job_id)
    return schema.UploadTokenResponse(job_id=job_id, upload_token=token)


@api.endpoint(
    "PUT",
    "/cloud/storage/{bucket}/{key+}",
    permission=None,
    response=schema.StoredObject,
    statuses=(307, 400, 401, 413, 429),
    headers=schema.StorageHeaders,
    raw_body="The object. Up to 4 MiB it is stored directly; larger ones are redirected to S3.",
    public_reason=_WRITES,
    from_machines=True,
    storage=True,
)
def put_object(call: Call[None, None], bucket: str, key: str) -> Reply:
    """Upload an object for a job.

    Above 4 MiB the answer is a redirect (307) to an address of S3 that takes exactly this key and size for an hour. The
    gateway refuses bodies above 10 MB: send none, with its size as `X-Upload-Length`, and put the object to the
    `Location` of the answer.
    """
    job = _guarded(call, _job_of_token)
    storage, s3 = call.services.storage, speaks_s3(call.headers)
    size = _announced(call)
    data = b""
    if size is None:
        data = content_of(call.raw_body, call.headers)
        size = len(data)
    whole = storage.accept(job, bucket, key, size)
    if size <= MAX_DIRECT_BYTES and "x-upload-length" not in call.headers and _is_whole(call, data):
        etag = f'"{storage.put(whole, data)}"'
        view = schema.StoredObject(ETag=etag, Key=key, Bucket=bucket)
        return Reply(view, headers={"ETag": etag, **_typed(s3)}, text="" if s3 else None)
    if s3:
        raise PayloadTooLarge(
            f"Through an SDK an object may have {MAX_DIRECT_BYTES >> 20} MiB here, sent with Content-Type: {OCTETS}. "
            "For larger ones use curl -L -T, or the S3 credentials in the job's own publishing_config.",
            code="entity_too_large",
        )
    # Without the body's exact size nothing can be signed: a body that a gateway took for text has another one now.
    sent = None if "x-upload-length" in call.headers else _length(call, "content-length")
    put = storage.link_to_put(whole, size if sent is None else sent)
    view = schema.StoredObject(Key=key, Bucket=bucket, Location=put.url)
    return Reply(view, status=307, headers={"Location": put.url})


@api.endpoint(
    "POST",
    "/cloud/storage/{bucket}/{key+}",
    permission=None,
    response=schema.StoredObject,
    statuses=(401, 413, 429, 501),
    headers=schema.StorageHeaders,
    public_reason=_WRITES,
    from_machines=True,
    storage=True,
)
def post_object(call: Call[None, None], bucket: str, key: str) -> Reply:  # noqa: ARG001 - parts of the path
    """Uploads in parts are not served: S3's parts of 5 MiB don't fit through the gateway."""
    _guarded(call, _job_of_token)
    raise _NoParts(
        "Uploads in parts are not served here. In a publishing_config set force_single_part to true; objects above "
        f"{MAX_DIRECT_BYTES >> 20} MiB go with curl -L -T, or with the S3 credentials of the job itself.",
        code="not_implemented",
    )


@api.endpoint(
    "GET",
    "/cloud/storage/{bucket}/{key+}",
    permission=None,
    response=schema.StoredObject,
    status=307,
    statuses=(400, 401, 403, 429),
    headers=schema.StorageHeaders,
    public_reason=_READS,
    storage=True,
)
def get_object(call: Call[None, None], bucket: str, key: str) -> Reply:
    """Get an object: a redirect (307) to an address of S3 that is good for an hour.

    Owners put the job's id before the key. SDKs of S3, which follow no redirect, get objects of up to 4 MiB directly
    when they send `Accept: application/octet-stream`, and texts without it.
    """
    storage, s3 = call.services.storage, speaks_s3(call.headers)
    found = storage.find(_scope(call), bucket, key)
    if s3 and found.size <= MAX_DIRECT_BYTES:
        data = storage.read(found)
        wants_octets = call.headers.get("accept", "").split(",")[0].split(";")[0].strip().lower() == OCTETS
        if data is not None:
            view = schema.StoredObject(Key=key, Bucket=bucket)
            if wants_octets:
                return Reply(view, status=200, headers={"Content-Type": OCTETS}, text=data)
            try:
                return Reply(view, status=200, headers={"Content-Type": "text/plain"}, text=data.decode())
            except UnicodeDecodeError:
                pass  # bytes that are no text pass the gateway only for those who ask for bytes: the redirect is left
    url = storage.link_to_get(found)
    view = schema.StoredObject(Key=key, Bucket=bucket, Location=url)
    return Reply(view, headers={"Location": url, **_typed(s3)}, text=redirect_xml(url) if s3 else None)


@api.endpoint(
    "GET",
    "/cloud/storage/{bucket}",
    permission=None,
    query=schema.ListObjectsQuery,
    response=schema.ObjectList,
    statuses=(401, 403, 429),
    headers=schema.StorageHeaders,
    public_reason=_READS,
    storage=True,
)
def list_objects(call: Call[None, schema.ListObjectsQuery], bucket: str) -> Reply:
    """List objects by key.

    With a token those of its job. Owners see their newest jobs as folders, and what is in one with its id and a slash
    as the `prefix`.
    """
    query, second = call.query, call.query.list_type == "2"
    after = query.continuation_token or query.start_after or query.marker
    found = call.services.storage.page(
        _scope(call), bucket, prefix=query.prefix, delimiter=query.delimiter, after=after, limit=query.max_keys
    )
    view = schema.ObjectList(
        Contents=[
            schema.ObjectLine(Key=o.key, Size=o.size, LastModified=o.modified_at.timestamp()) for o in found.objects
        ],
        Name=bucket,
        CommonPrefixes=list(found.folders),
        IsTruncated=found.next is not None,
        NextContinuationToken=found.next,
    )
    return _shaped(call, view, lambda: objects_xml(view, query.prefix, query.delimiter, query.max_keys, second=second))


@api.endpoint(
    "GET",
    "/cloud/storage",
    permission=None,
    response=schema.BucketList,
    statuses=(401, 403, 429),
    headers=schema.StorageHeaders,
    public_reason=_READS,
    storage=True,
)
def list_buckets(call: Call[None, None]) -> Reply:
    """List the buckets: there is one, and none before the first upload. Of an owner the newest 50 jobs count."""
    size, files, changed = call.services.storage.usage(_scope(call))
    lines = (
        [schema.BucketLine(Name=BUCKET, Size=size, FileCount=files, LastModified=changed.timestamp())]
        if changed
        else []
    )
    view = schema.BucketList(Buckets=lines, total_size=size)
    return _shaped(call, view, lambda: buckets_xml(view))


class _NoParts(BadRequest):
    status, title = 501, "Not implemented"


def _token(call: Call[Any, Any]) -> str | None:
    """The token shown, if any. An SDK that can set no header sends it as its access key id."""
    headers = call.headers
    return headers.get("x-upload-token") or headers.get("x-simpletuner-secret") or access_key_id(headers)


def _job_of_token(call: Call[Any, Any]) -> Job:
    token = _token(call)
    if token is None:
        raise AuthenticationError("Authentication required. Provide per-job upload token via X-Upload-Token header.")
    job = call.services.storage.job_with(token)
    call.services.rates.require(CALLS, f"upload#{job.job_id}")
    return job


def _scope(call: Call[Any, Any]) -> Scope:
    """Whose objects are read. A token that is no good is refused, never passed over."""

    def recognised(call: Call[Any, Any]) -> Scope:
        if _token(call) is not None:
            return Scope(_job_of_token(call), None)
        who = call.identify().who
        if not who.may(Permission.JOB_VIEW_OWN):
            raise PermissionDenied(f"This needs the permission {Permission.JOB_VIEW_OWN.value}.")
        return Scope(None, who)

    return _guarded(call, recognised)


def _guarded(call: Call[Any, Any], act: Callable[[Call[Any, Any]], T]) -> T:
    """``act``; who is refused is counted by source address, so that guessing costs us no more than other guesses."""
    rates, address = call.services.rates, call.facts.source_ip
    worn = rates.refused(REFUSED, address)
    if worn is not None:
        raise RateLimited(worn)
    try:
        return act(call)
    except AuthenticationError:
        rates.require(REFUSED, address)
        raise


def _announced(call: Call[Any, Any]) -> int | None:
    """The size of a body that was not sent along."""
    size = _length(call, "x-upload-length")
    if size is not None and call.raw_body:
        raise BadRequest("X-Upload-Length is for a request without a body.", code="invalid_upload_length")
    return size


def _length(call: Call[Any, Any], name: str) -> int | None:
    text = call.headers.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise BadRequest(f"{name} must be a number of bytes.", code="invalid_upload_length")
    return int(text)


def _is_whole(call: Call[Any, Any], data: bytes) -> bool:
    """Whether the bytes are those that were sent: a gateway that takes them for text replaces what is none."""
    announced = None if speaks_s3(call.headers) else _length(call, "content-length")
    octets = call.headers.get("content-type", "").split(";")[0].strip().lower() == OCTETS
    return (announced in {None, len(data)}) and (octets or _REPLACEMENT not in data)


def _typed(s3: bool) -> dict[str, str]:
    return {"Content-Type": XML} if s3 else {}


def _shaped(call: Call[Any, Any], view: BaseModel, xml: Callable[[], str]) -> Reply:
    s3 = speaks_s3(call.headers)
    return Reply(view, headers=_typed(s3), text=xml() if s3 else None)
