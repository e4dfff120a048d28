"""HTTP to addresses that users typed: no private networks, no rebinding, no redirects, bounded in time and size.

A name is resolved once, when the connection is made; every address it stands for must be acceptable, and the connection
goes to one of those very addresses. Between check and connect there is no second look-up that could say something else.
The Host header, SNI and the certificate's check keep the name.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import httpcore
import httpx

from chalicelib.domain.addresses import AddressRefused, IPAddress, SafeUrl, check_address, check_url
from chalicelib.domain.delivery_ports import DeliveryFault

#: Seconds for connecting to one address, and between two bytes.
CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
#: Seconds for everything: look-up, connection, request and answer.
MAX_SECONDS = 15.0
#: Of an answer that is kept; the rest is not read.
MAX_BYTES = 64 * 1024
#: Addresses of one name that are tried.
MAX_TRIED = 4
#: Marks a response whose body was cut, and a request that has less time than others.
CUT, SECONDS = "stc_cut", "stc_seconds"

#: Host and port to addresses as text, as a resolver gives them. Raises Unresolvable.
Resolver = Callable[[str, int], Sequence[str]]


class Unresolvable(Exception):
    """The name stands for no address now."""


@dataclass(frozen=True)
class Checked:
    """``addresses`` is what ``url.host`` stood for a moment ago, each acceptable; at least one."""

    url: SafeUrl
    addresses: Sequence[IPAddress]


def system_resolve(
    host: str, port: int, *, seconds: float = CONNECT_SECONDS, look_up: Callable[..., Any] = socket.getaddrinfo
) -> Sequence[str]:
    """The system's answer, within ``seconds``: getaddrinfo itself can't be told when to stop."""
    answers: queue.SimpleQueue[list[str] | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = look_up(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            answers.put(None)
        else:
            answers.put([str(entry[4][0]) for entry in found])

    threading.Thread(target=ask, daemon=True).start()
    try:
        addresses = answers.get(timeout=seconds)
    except queue.Empty:
        raise Unresolvable(f"{host}: no answer in {seconds:.0f} s") from None
    if addresses is None:
        raise Unresolvable(host)
    return addresses


def guard(url: str, resolve: Resolver = system_resolve, *, allow_private: bool = False) -> Checked:
    """``url`` and the addresses it stands for, all of them acceptable; connect to these and to no others.

    Raises DeliveryFault: ``address_refused`` (never worth a retry), ``unavailable`` when the name is not known now.
    """
    try:
        safe = check_url(url, allow_private=allow_private)
        return Checked(safe, checked_addresses(safe.host, safe.port, resolve, allow_private=allow_private))
    except (AddressRefused, Unresolvable) as exc:
        raise fault_of(exc) from exc


def checked_addresses(host: str, port: int, resolve: Resolver, *, allow_private: bool) -> list[IPAddress]:
    """What ``host`` stands for, in the resolver's order. Raises AddressRefused when any of it is not acceptable: a name
    with one private address is a trap, not an accident. Raises Unresolvable."""
    addresses: list[IPAddress] = []
    for text in resolve(host, port):
        address = ip_address(text.partition("%")[0])
        check_address(address, host, allow_private=allow_private)
        if address not in addresses:
            addresses.append(address)
    if not addresses:
        raise Unresolvable(host)
    return addresses


class _Deadline:
    def __init__(self, seconds: float, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._stop_at = monotonic() + seconds

    def within(self, timeout: float | None) -> float:
        """``timeout``, cut to what is left. Raises ReadTimeout when nothing is."""
        left = self._stop_at - self._monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("out of time")
        return left if timeout is None else min(timeout, left)


class _DeadlineStream(httpcore.NetworkStream):
    """A stream whose every wait ends at the deadline: one byte every few seconds keeps no one here."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: _Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._deadline.within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._deadline.within(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._deadline.within(timeout))
        return _DeadlineStream(inner, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class PinnedBackend(httpcore.NetworkBackend):
    """Connects to checked addresses only, for one request; sockets of this machine are none of its.

    Raises AddressRefused, Unresolvable and httpcore's errors."""

    def __init__(
        self, inner: httpcore.NetworkBackend, resolve: Resolver, deadline: _Deadline, *, allow_private: bool
    ) -> None:
        self._inner = inner
        self._resolve = resolve
        self._deadline = deadline
        self._allow_private = allow_private

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = checked_addresses(host, port, self._resolve, allow_private=self._allow_private)
        failed: Exception | None = None
        for address in addresses[:MAX_TRIED]:
            try:
                stream = self._inner.connect_tcp(
                    str(address), port, self._deadline.within(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failed = exc
            else:
                return _DeadlineStream(stream, self._deadline)
        raise failed or httpcore.ConnectError("no address")


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    return httpx.create_ssl_context(trust_env=False)


class SafeTransport(httpx.BaseTransport):
    """One connection a request; answers are read whole, at most ``max_bytes`` of them (``extensions[CUT]`` says when
    there was more). They are not decoded: a small compressed body may stand for gigabytes.

    Raises AddressRefused, Unresolvable and httpx's errors.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        resolve: Resolver = system_resolve,
        max_seconds: float = MAX_SECONDS,
        max_bytes: int = MAX_BYTES,
        backend: httpcore.NetworkBackend | None = None,
        ssl_context: ssl.SSLContext | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allow_private = allow_private
        self._resolve = resolve
        self._max_seconds = max_seconds
        self._max_bytes = max_bytes
        self._backend = backend
        self._ssl_context = ssl_context
        self._monotonic = monotonic

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        safe = check_url(str(request.url), allow_private=self._allow_private)
        seconds = min(self._max_seconds, request.extensions.get(SECONDS, self._max_seconds))
        deadline = _Deadline(seconds, self._monotonic)
        backend = PinnedBackend(
            self._backend or httpcore.SyncBackend(), self._resolve, deadline, allow_private=self._allow_private
        )
        timeouts = {"connect": CONNECT_SECONDS, "read": READ_SECONDS, "write": READ_SECONDS, "pool": CONNECT_SECONDS}
        body = request.read()
        try:
            with (
                httpcore.ConnectionPool(
                    ssl_context=self._ssl_context or _ssl_context(),
                    max_connections=1,
                    max_keepalive_connections=0,
                    retries=0,
                    network_backend=backend,
                ) as pool,
                pool.stream(
                    request.method,
                    httpcore.URL(
                        scheme=safe.scheme.encode(),
                        host=safe.host.encode(),
                        port=safe.port,
                        target=safe.target.encode(),
                    ),
                    headers=request.headers.raw,
                    content=body,
                    extensions={"timeout": timeouts},
                ) as answer,
            ):
                content, cut = self._read(answer)
        except tuple(_ERRORS) as exc:
            raise _error(exc, request) from exc
        # httpx would decode by these, and they describe a body that may have been cut.
        kept = [(name, value) for name, value in answer.headers if name.lower() not in _BODY_HEADERS]
        return httpx.Response(
            answer.status, headers=kept, stream=httpx.ByteStream(content), extensions={CUT: cut}, request=request
        )

    def _read(self, answer: httpcore.Response) -> tuple[bytes, bool]:
        body = bytearray()
        for chunk in answer.iter_stream():
            body += chunk
            if len(body) > self._max_bytes:
                return bytes(body[: self._max_bytes]), True
        return bytes(body), False


_BODY_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})
#: The most special first: an error is told as the first of these that it is.
_ERRORS: Mapping[type[Exception], type[httpx.TransportError]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.TimeoutException: httpx.ReadTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.NetworkError: httpx.ReadError,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.ProtocolError: httpx.RemoteProtocolError,
}


def _error(exc: Exception, request: httpx.Request) -> httpx.TransportError:
    kind = next(ours for theirs, ours in _ERRORS.items() if isinstance(exc, theirs))
    return kind(str(exc) or type(exc).__name__, request=request)


@dataclass(frozen=True)
class Answer:
    """``body`` holds the first bytes of the answer as they came; ``cut`` says that there was more."""

    status: int
    headers: httpx.Headers
    body: bytes
    cut: bool

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class SafeClient:
    """Sends single requests to users' addresses. No redirects, cookies, proxies or credentials of the environment."""

    def __init__(self, transport: httpx.BaseTransport, *, allow_private: bool) -> None:
        self._transport = transport
        self._allow_private = allow_private

    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        seconds: float | None = None,
    ) -> Answer:
        """The answer, whatever its status; a redirect is an answer too. Raises DeliveryFault: ``address_refused``,
        ``unavailable`` (unknown name, no connection, bad TLS, broken answer), ``timeout``. Its texts hold the host, and
        nothing else of the URL."""
        try:
            safe = check_url(url, allow_private=self._allow_private)
            request = httpx.Request(
                method, safe.url, headers={"Accept-Encoding": "identity", **(headers or {})}, content=content
            )
            if seconds is not None:
                request.extensions[SECONDS] = seconds
            response = self._transport.handle_request(request)
            body = response.read()
        except (AddressRefused, Unresolvable, httpx.TransportError) as exc:
            raise fault_of(exc) from exc
        except httpx.InvalidURL as exc:
            raise DeliveryFault(
                "bad_destination", "The URL can't be read.", "Give a URL such as https://example.com/hook.", retry=False
            ) from exc
        return Answer(response.status_code, response.headers, body, bool(response.extensions.get(CUT)))


def safe_client(
    *,
    allow_private: bool,
    resolve: Resolver = system_resolve,
    max_seconds: float = MAX_SECONDS,
    max_bytes: int = MAX_BYTES,
) -> SafeClient:
    """The client of production; ``allow_private`` is STC_ALLOW_PRIVATE_DESTINATIONS."""
    return SafeClient(
        SafeTransport(allow_private=allow_private, resolve=resolve, max_seconds=max_seconds, max_bytes=max_bytes),
        allow_private=allow_private,
    )


def fault_of(exc: Exception) -> DeliveryFault:
    """One of the errors of this module, or of httpx, as a DeliveryFault."""
    if isinstance(exc, AddressRefused):
        return DeliveryFault("address_refused", exc.message, exc.advice, retry=False)
    if isinstance(exc, Unresolvable):
        return DeliveryFault(
            "unavailable",
            f"The name {exc} is not known.",
            "Check the spelling of the host and its DNS records.",
            retry=True,
        )
    if isinstance(exc, httpx.TimeoutException):
        what = "No connection was made in time." if isinstance(exc, httpx.ConnectTimeout) else "No answer came in time."
        return DeliveryFault("timeout", what, "Look whether the server runs, and answers within seconds.", retry=True)
    if isinstance(exc, httpx.ConnectError) and "certificate" in str(exc).lower():
        return DeliveryFault(
            "unavailable", "The server's certificate is not valid.", "Install one of a public authority.", retry=True
        )
    return DeliveryFault(
        "unavailable",
        "The connection failed or broke.",
        "Look whether the server runs and is open to the internet.",
        retry=True,
    )
