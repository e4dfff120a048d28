"""What a failed call to a user's own store means, in words for the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    IncompleteReadError,
    ParamValidationError,
    ReadTimeoutError,
    ResponseStreamingError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from chalicelib.aws.faults import code_of
from chalicelib.domain.delivery_ports import DeliveryFault
from chalicelib.domain.redaction import redact

#: Rights by call, as AWS names them; other stores use the same names or simply read and write.
RIGHTS = {
    "HeadObject": "s3:GetObject, and s3:ListBucket on the bucket",
    "GetObject": "s3:GetObject",
    "PutObject": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "ListParts": "s3:ListMultipartUploadParts",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads on the bucket",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}
MAX_WORDS = 200
MAX_ASKED = 7200

_BAD_SECRET = frozenset({"SignatureDoesNotMatch"})
_BAD_KEY = frozenset({"InvalidAccessKeyId", "InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure"})
_BAD_TOKEN = frozenset({"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"})
_FORBIDDEN = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "UnauthorizedAccess", "403", "401"})
_SKEW = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_ELSEWHERE = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "301", "307"}
    | {"TemporaryRedirect"}
)
_THROTTLED = frozenset(
    {"SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException", "TooManyRequests"}
    | {"TooManyRequestsException", "RequestLimitExceeded", "BandwidthLimitExceeded", "XMinioServerNotInitialized"}
)
_FULL = frozenset(
    {"QuotaExceeded", "XMinioAdminBucketQuotaExceeded", "XMinioStorageFull", "StorageFull", "InsufficientStorage"}
)
_TOO_LARGE = frozenset({"EntityTooLarge", "MaxMessageLengthExceeded"})
_BROKEN_ON_THE_WAY = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"})
_UNKNOWN_CALL = frozenset({"NotImplemented", "MethodNotAllowed", "501", "405"})
_BUSY = frozenset({"InternalError", "ServiceUnavailable", "OperationAborted", "RequestTimeout"})
#: B2's caps come as AccessDenied, with words.
_CAP = re.compile(r"\bcap exceeded\b|\bstorage.{0,20}(limit|quota)\b", re.IGNORECASE)
_REGION = re.compile(r"[a-z0-9-]{2,40}")


@dataclass(frozen=True)
class Place:
    """What messages call a destination: ``name`` like ``s3://bucket/prefix``, ``endpoint`` its host, the stored
    credential's name. ``secrets`` are masked in whatever the store says."""

    name: str
    bucket: str
    endpoint: str
    region: str
    credential: str
    secrets: Sequence[str] = field(default=(), repr=False)


@contextmanager
def answering(place: Place, call: str) -> Iterator[None]:
    """Around one call, whose own retries are used up by then: whatever botocore raises becomes a DeliveryFault."""
    try:
        yield
    except ClientError as error:
        raise fault_of(error, place, call) from None
    except ParamValidationError as error:
        raise _bad(f"The address or the bucket can't be right.{_quoted(_words(str(error), place))}", place) from None
    except (BotoCoreError, ResponseParserError, OSError) as error:
        raise _unreached(error, place) from None


def fault_of(error: ClientError, place: Place, call: str) -> DeliveryFault:
    """What the store answered."""
    code = code_of(error)
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) or 0)
    said = _words(str(error.response.get("Error", {}).get("Message", "")), place)
    for matches, fault in _RULES:
        if matches(code, status, said):
            return fault(error, place, call, said)
    return _bad(f"{place.endpoint} refuses {call} with {_words(code, place) or status}.{_quoted(said)}", place)


_Fault = Callable[[ClientError, Place, str, str], DeliveryFault]


def _no_bucket(_error: ClientError, place: Place, _call: str, _said: str) -> DeliveryFault:
    return DeliveryFault(
        "not_found",
        f"There is no bucket '{place.bucket}' at {place.endpoint}.",
        "Create it, or correct the bucket's name, the endpoint or the region. Deliveries make no buckets.",
        retry=False,
    )


def _forbidden(error: ClientError, place: Place, call: str, said: str) -> DeliveryFault:
    if _CAP.search(said):
        return _full(error, place, call, said)
    return DeliveryFault(
        "forbidden",
        f"{place.endpoint} refuses {call} on {place.name} to this key.{_quoted(said)}",
        f"Allow the key {RIGHTS.get(call, 'to read and write')} there, or use another credential: "
        f"stcloud credentials rotate {place.credential}.",
        retry=False,
    )


def _wrong_secret(_error: ClientError, place: Place, _call: str, _said: str) -> DeliveryFault:
    return DeliveryFault(
        "unauthorized",
        f"The secret access key does not fit the access key id, says {place.endpoint}.",
        f"Enter the pair again: stcloud credentials rotate {place.credential}.",
        retry=False,
    )


def _wrong_key(_error: ClientError, place: Place, _call: str, _said: str) -> DeliveryFault:
    return DeliveryFault(
        "unauthorized",
        f"{place.endpoint} does not know this access key id.",
        "Look whether the key still exists and belongs to this store, then: "
        f"stcloud credentials rotate {place.credential}.",
        retry=False,
    )


def _wrong_token(_error: ClientError, place: Place, _call: str, _said: str) -> DeliveryFault:
    return DeliveryFault(
        "unauthorized",
        f"The session token is no longer valid at {place.endpoint}.",
        f"Store a new one, or better a key that does not expire: stcloud credentials rotate {place.credential}.",
        retry=False,
    )


def _skewed(_error: ClientError, place: Place, _call: str, _said: str) -> DeliveryFault:
    return DeliveryFault(
        "unavailable",
        f"The clock of {place.endpoint} is more than a few minutes away from ours, so it takes no signature.",
        "Set the store's clock, by NTP best. The delivery goes on by itself then.",
        retry=True,
    )


def _elsewhere(error: ClientError, place: Place, _call: str, said: str) -> DeliveryFault:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    details = error.response.get("Error", {})
    named = re.search(r"expecting '([a-z0-9-]{2,40})'", said)
    region = details.get("Region") or headers.get("x-amz-bucket-region") or (named[1] if named else None)
    if region and _REGION.fullmatch(str(region)):
        advice = f"Set the destination's region to {region}."
    else:
        advice = "Set the destination's region and endpoint to the bucket's own; the store's console shows them."
    return DeliveryFault(
        "bad_destination",
        f"The bucket '{place.bucket}' is not in the region {place.region} of {place.endpoint}.",
        advice,
        retry=False,
    )


def _throttled(error: ClientError, place: Place, _call: str, _said: str) -> DeliveryFault:
    return DeliveryFault(
        "throttled",
        f"{place.endpoint} asks for fewer requests.",
        "Nothing to do: the delivery goes on later.",
        retry=True,
        retry_after=_asked(error),
    )


def _full(_error: ClientError, place: Place, _call: str, said: str) -> DeliveryFault:
    return DeliveryFault(
        "quota",
        f"{place.name} is full.{_quoted(said)}",
        "Make room or raise the limit at the store. The delivery goes on by itself then.",
        retry=True,
    )


def _too_large(_error: ClientError, place: Place, call: str, _said: str) -> DeliveryFault:
    return DeliveryFault(
        "too_large",
        f"{place.endpoint} takes no object or part of this size ({call}).",
        "Raise the limit at the store or the proxy before it, or choose another store.",
        retry=False,
    )


def _broken(_error: ClientError, place: Place, call: str, _said: str) -> DeliveryFault:
    return DeliveryFault(
        "unavailable",
        f"What reached {place.endpoint} was not what was sent ({call}).",
        "Nothing to do at first: it is sent again. If it stays, look for a proxy that changes contents.",
        retry=True,
    )


def _unknown_call(_error: ClientError, place: Place, call: str, _said: str) -> DeliveryFault:
    return _bad(f"{place.endpoint} does not know {call}.", place)


def _busy(error: ClientError, place: Place, _call: str, _said: str) -> DeliveryFault:
    return DeliveryFault(
        "unavailable",
        f"{place.endpoint} has an error of its own ({_words(code_of(error), place)}).",
        "Nothing to do at first: the delivery is tried again. If it stays, look at the store.",
        retry=True,
        retry_after=_asked(error),
    )


def _in(codes: frozenset[str]) -> Callable[[str, int, str], bool]:
    return lambda code, _status, _said: code in codes


#: The first that matches counts.
_RULES: Sequence[tuple[Callable[[str, int, str], bool], _Fault]] = (
    (_in(frozenset({"NoSuchBucket"})), _no_bucket),
    (_in(_BAD_SECRET), _wrong_secret),
    (_in(_BAD_KEY), _wrong_key),
    (_in(_BAD_TOKEN), _wrong_token),
    (_in(_SKEW), _skewed),
    (_in(_ELSEWHERE), _elsewhere),
    (_in(_FULL), _full),
    (_in(_TOO_LARGE), _too_large),
    (_in(_BROKEN_ON_THE_WAY), _broken),
    (_in(_THROTTLED), _throttled),
    (_in(_UNKNOWN_CALL), _unknown_call),
    (_in(_FORBIDDEN), _forbidden),
    (_in(_BUSY), _busy),
    (lambda _code, status, _said: status in {429, 503}, _throttled),
    (lambda _code, status, _said: status == 413, _too_large),
    (lambda _code, status, _said: status == 507, _full),
    (lambda _code, status, _said: status in {401, 403}, _forbidden),
    (lambda _code, status, _said: status >= 500, _busy),
)


def _bad(message: str, place: Place) -> DeliveryFault:
    return DeliveryFault(
        "bad_destination",
        message,
        f"Check the endpoint ({place.endpoint}: the store's S3 API, not its web console), bucket and region.",
        retry=False,
    )


def _unreached(error: Exception, place: Place) -> DeliveryFault:
    """No answer, or none that is whole."""
    refused = _inside(error, DeliveryFault)
    if isinstance(refused, DeliveryFault):
        return refused
    if isinstance(error, SSLError):
        return DeliveryFault(
            "bad_destination",
            f"The certificate of {place.endpoint} is not valid for it.",
            "Give the store a certificate of a public authority for this name; self-signed ones are not accepted.",
            retry=False,
        )
    if isinstance(error, ConnectTimeoutError | ReadTimeoutError) or _inside(error, TimeoutError):
        return DeliveryFault(
            "timeout",
            f"{place.endpoint} did not answer in time.",
            "Look whether the store runs and is open to the internet. The delivery is tried again.",
            retry=True,
        )
    if isinstance(error, ResponseParserError):
        return _bad(f"{place.endpoint} answers with something that is not S3.", place)
    if isinstance(error, EndpointConnectionError):
        return DeliveryFault(
            "unavailable",
            f"{place.endpoint} can't be reached.",
            "Check the endpoint's name and port, and whether the store runs and is open to the internet.",
            retry=True,
        )
    if isinstance(error, HTTPClientError | IncompleteReadError | ResponseStreamingError | OSError):
        return DeliveryFault(
            "unavailable",
            f"The connection to {place.endpoint} broke.",
            "Nothing to do at first: the delivery is tried again. If it stays, look at the store and its proxies.",
            retry=True,
        )
    return _bad(f"{place.endpoint} can't be used: {type(error).__name__}.", place)


def _inside(error: BaseException | None, wanted: type[BaseException]) -> BaseException | None:
    """The first of this kind among an error and what caused it; botocore keeps causes as arguments."""
    for _ in range(8):
        if error is None or isinstance(error, wanted):
            return error
        inner = getattr(error, "kwargs", {}).get("error")
        error = inner if isinstance(inner, BaseException) else (error.__cause__ or error.__context__)
    return None


def _words(text: str, place: Place) -> str:
    """What a store says, which may be anything: one short line without secrets."""
    for secret in place.secrets:
        text = text.replace(secret, "[redacted]")
    line = " ".join(redact("".join(c if c.isprintable() else " " for c in text[:2000])).split())
    return line if len(line) <= MAX_WORDS else line[: MAX_WORDS - 1] + "…"


def _quoted(said: str) -> str:
    return f" It says: {said.rstrip('.')}." if said else ""


def _asked(error: ClientError) -> timedelta | None:
    value = str(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("retry-after", ""))
    return timedelta(seconds=min(int(value), MAX_ASKED)) if value.isascii() and value.isdigit() else None
