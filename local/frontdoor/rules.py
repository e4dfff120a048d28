"""Pure rules of the front door: whom it answers, and which headers pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

Headers = list[tuple[bytes, bytes]]

#: API Gateway's limit of a request body.
MAX_BODY_BYTES = 10 * 1024 * 1024
#: Objects that are put to the storage endpoint are redirected to S3 above this size, so their bodies go no further.
STORAGE_DIRECT_BYTES = 4 * 1024 * 1024
_STORAGE = "/api/cloud/storage/"
LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Addresses of the emulator itself, which a CloudFront distribution would not have.
_NOT_OURS = ("/_ministack", "/_localstack", "/_aws")
_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade expect".split()
)
#: What a client could say about where it comes from (the API takes the caller's address from it), and what would make
#: the emulator take the request for a call of another AWS service.
_UNTRUSTED = frozenset({b"host", b"forwarded", b"x-real-ip", b"x-amz-target", b"x-amzn-request-context"})
_UNTRUSTED_PREFIXES = (b"x-forwarded-", b"cloudfront-", b"x-ministack-")


@dataclass(frozen=True)
class Refusal:
    """An answer of the front door's own: becomes a problem document."""

    status: int
    code: str
    title: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)


def host_name(authority: str) -> str:
    """The name of ``name:port``, lower case, IPv6 in its brackets."""
    authority = authority.strip().lower()
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]


def refusal(method: str, path: str, headers: Headers, port: int) -> Refusal | None:
    """Why this request goes no further, or None.

    Whoever reaches this port is the local admin, so a web page of another site must not: neither through a name of its
    own that resolves to this computer (421), nor by sending the browser here (403).
    """
    hosts = [value.decode("latin-1") for value in values(headers, b"host")]
    if len(hosts) != 1 or host_name(hosts[0]) not in LOOPBACK_NAMES:
        return Refusal(
            421,
            "wrong_host",
            "Misdirected request",
            f"This server answers as localhost only. Open http://localhost:{port} instead.",
        )
    if method not in SAFE_METHODS and not _same_site(headers):
        return Refusal(
            403,
            "cross_site",
            "Cross-site request refused",
            f"A page of another site sent this request. Use the console at http://localhost:{port}, the command line "
            "or curl (without an Origin header).",
        )
    if path.startswith(_NOT_OURS):
        return Refusal(404, "not_found", "Not found", "There is nothing at this address.")
    length = next(iter(values(headers, b"content-length")), b"0")
    if is_large_upload(method, path, headers):
        return None
    if length.isdigit() and int(length) > MAX_BODY_BYTES:
        return too_large()
    return None


def is_large_upload(method: str, path: str, headers: Headers) -> bool:
    """Whether the API answers from the size alone, as API Gateway could not."""
    length = next(iter(values(headers, b"content-length")), b"")
    large = length.isdigit() and len(length) <= 15 and int(length) > STORAGE_DIRECT_BYTES
    return method == "PUT" and path.startswith(_STORAGE) and large


def without_body(headers: Headers) -> Headers:
    """The headers of a large upload, its size said in another one."""
    length = next(iter(values(headers, b"content-length")), b"0")
    own = (b"content-length", b"x-upload-length")
    kept = [(name, value) for name, value in headers if name.lower() not in own]
    return [*kept, (b"content-length", b"0"), (b"x-upload-length", length)]


def too_large() -> Refusal:
    return Refusal(
        413,
        "payload_too_large",
        "Payload too large",
        f"A request body may have {MAX_BODY_BYTES >> 20} MB at most. Send large files through the upload addresses "
        "that POST /api/cloud/datasets gives.",
        {"Connection": "close"},
    )


def _same_site(headers: Headers) -> bool:
    if any(value.strip().lower() == b"cross-site" for value in values(headers, b"sec-fetch-site")):
        return False
    for value in values(headers, b"origin"):
        parts = urlsplit(value.decode("latin-1"))
        if parts.scheme not in {"http", "https"} or host_name(parts.netloc) not in LOOPBACK_NAMES:
            return False
    return True


def values(headers: Headers, name: bytes) -> Iterator[bytes]:
    return (value for key, value in headers if key.lower() == name)


def to_upstream(headers: Headers, host: str) -> Headers:
    """The request's headers as the distribution ``host`` gets them."""
    dropped = _UNTRUSTED | _named_by_connection(headers)
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() not in dropped and not name.lower().startswith(_UNTRUSTED_PREFIXES)
    ]
    return [(b"host", host.encode("latin-1")), *kept]


def to_client(headers: Headers) -> Headers:
    """The answer's headers without those that end at this hop; several Set-Cookie stay several."""
    dropped = _named_by_connection(headers)
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    named: Iterable[bytes] = (
        token.strip().lower() for value in values(headers, b"connection") for token in value.split(b",")
    )
    return _HOP_BY_HOP | frozenset(named)


def wants_page(method: str, headers: Headers) -> bool:
    """Whether a browser shows the answer to a person."""
    return method == "GET" and any(b"text/html" in value.lower() for value in values(headers, b"accept"))
