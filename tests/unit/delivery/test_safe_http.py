"""Requests to users' addresses: what is connected to, and how much of what comes back is taken."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import httpcore
import pytest

from chalicelib.delivery.safe_http import (
    CONNECT_SECONDS,
    READ_SECONDS,
    SafeClient,
    SafeTransport,
    Unresolvable,
    guard,
)
from chalicelib.domain.delivery_ports import DeliveryFault

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire(httpcore.NetworkBackend):
    """A network of scripted servers: ``answers`` by address; None lets nobody in. Each read takes ``seconds``."""

    def __init__(self, answers: dict[str, Sequence[bytes] | None], seconds: float = 0.0) -> None:
        self.answers = answers
        self.seconds = seconds
        self.now = 0.0
        self.connected: list[tuple[str, int]] = []
        self.sent = b""
        self.server_names: list[str | None] = []
        self.waits: list[float | None] = []

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        self.connected.append((host, port))
        self.waits.append(timeout)
        answer = self.answers[host]
        if answer is None:
            self.now += timeout or 0
            raise httpcore.ConnectTimeout("no one there")
        return _WireStream(self, list(answer))


class _WireStream(httpcore.NetworkStream):
    def __init__(self, wire: Wire, answer: list[bytes]) -> None:
        self._wire = wire
        self._answer = answer

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._wire.waits.append(timeout)
        self._wire.now += self._wire.seconds
        return self._answer.pop(0) if self._answer else b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._wire.sent += buffer

    def close(self) -> None: ...

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        assert ssl_context.check_hostname
        assert ssl_context.verify_mode is ssl.CERT_REQUIRED
        self._wire.server_names.append(server_hostname)
        return self

    def get_extra_info(self, info: str) -> Any:
        return None


def client(wire: Wire, *addresses: str, allow_private: bool = False, **limits: Any) -> SafeClient:
    transport = SafeTransport(
        allow_private=allow_private,
        resolve=lambda _h, _p: addresses,
        backend=wire,
        monotonic=lambda: wire.now,
        **limits,
    )
    return SafeClient(transport, allow_private=allow_private)


def test_the_checked_address_is_the_one_connected_to_and_the_name_stays() -> None:
    wire = Wire({"8.8.8.8": [OK]})
    answer = client(wire, "8.8.8.8").send("POST", "https://Example.com:8443/hook?x=1", content=b"hello")
    assert (answer.status, answer.body, answer.cut) == (200, b"ok", False)
    assert wire.connected == [("8.8.8.8", 8443)]
    assert wire.server_names == ["example.com"]
    assert wire.sent.startswith(b"POST /hook?x=1 HTTP/1.1\r\n")
    assert b"Host: example.com:8443\r\n" in wire.sent
    assert wire.sent.endswith(b"\r\n\r\nhello")


def test_a_name_is_resolved_once_so_a_second_answer_changes_nothing() -> None:
    asked: list[str] = []

    def rebinding(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return ["8.8.8.8"] if len(asked) == 1 else ["169.254.169.254"]

    wire = Wire({"8.8.8.8": [OK], "169.254.169.254": [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"]})
    sender = SafeClient(SafeTransport(allow_private=False, resolve=rebinding, backend=wire), allow_private=False)
    assert sender.send("GET", "https://rebind.example/").body == b"ok"
    assert asked == ["rebind.example"]
    with pytest.raises(DeliveryFault) as caught:
        sender.send("GET", "https://rebind.example/")
    assert caught.value.code == "address_refused"
    assert wire.connected == [("8.8.8.8", 443)]


@pytest.mark.parametrize(
    "addresses",
    [
        ("10.0.0.1",),
        ("127.0.0.1",),
        ("::1",),
        ("169.254.169.254",),
        ("8.8.8.8", "10.0.0.1"),
        ("fe80::1%eth0",),
        ("::ffff:10.0.0.1",),
    ],
)
def test_a_name_with_any_private_address_is_refused_before_anything_is_sent(addresses: tuple[str, ...]) -> None:
    wire = Wire({})
    with pytest.raises(DeliveryFault) as caught:
        client(wire, *addresses).send("POST", "https://trap.example/", content=b"x")
    assert (caught.value.code, caught.value.retry) == ("address_refused", False)
    assert wire.connected == []


def test_metadata_is_refused_on_the_own_machine_too() -> None:
    with pytest.raises(DeliveryFault) as caught:
        client(Wire({}), "169.254.169.254", allow_private=True).send("GET", "http://trap.example/")
    assert caught.value.code == "address_refused"
    wire = Wire({"127.0.0.1": [OK]})
    assert client(wire, "127.0.0.1", allow_private=True).send("GET", "http://localhost:8400/").status == 200


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(status: int) -> None:
    head = f"HTTP/1.1 {status} X\r\nLocation: http://169.254.169.254/latest/\r\nContent-Length: 0\r\n\r\n".encode()
    wire = Wire({"8.8.8.8": [head]})
    answer = client(wire, "8.8.8.8").send("GET", "https://example.com/")
    assert (answer.status, answer.is_success) == (status, False)
    assert wire.connected == [("8.8.8.8", 443)]


def test_the_next_address_is_tried_and_the_time_is_shared() -> None:
    wire = Wire({"8.8.8.8": None, "8.8.4.4": None, "1.1.1.1": [OK]})
    answer = client(wire, "8.8.8.8", "8.8.4.4", "8.8.8.8", "1.1.1.1", max_seconds=12).send(
        "GET", "https://example.com/"
    )
    assert answer.status == 200
    assert [host for host, _ in wire.connected] == ["8.8.8.8", "8.8.4.4", "1.1.1.1"]
    assert wire.waits[:3] == [CONNECT_SECONDS, CONNECT_SECONDS, 2.0]


def test_a_large_answer_is_cut_and_not_decoded() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire = Wire({"8.8.8.8": [head, *[b"400\r\n" + b"x" * 0x400 + b"\r\n"] * 100]})
    answer = client(wire, "8.8.8.8", max_bytes=1500).send("GET", "https://example.com/")
    assert (len(answer.body), answer.cut) == (1500, True)
    assert b"Accept-Encoding: identity" in wire.sent


def trickle() -> Sequence[bytes]:
    return [b"HTTP/1.1 200 OK\r\n", *[b"X-More: 1\r\n"] * 1000]


def test_a_trickling_answer_ends_at_the_deadline() -> None:
    wire = Wire({"8.8.8.8": trickle()}, seconds=READ_SECONDS - 1)
    with pytest.raises(DeliveryFault) as caught:
        client(wire, "8.8.8.8", max_seconds=15).send("GET", "https://example.com/")
    assert (caught.value.code, caught.value.retry) == ("timeout", True)
    assert wire.now < 15 + READ_SECONDS
    assert wire.waits[-1] == 15 - (READ_SECONDS - 1)


def no_name(host: str, _port: int) -> Sequence[str]:
    raise Unresolvable(host)


@pytest.mark.parametrize("resolve", [no_name, lambda _h, _p: []])
def test_unknown_names_can_be_tried_again(resolve: Callable[[str, int], Sequence[str]]) -> None:
    sender = SafeClient(SafeTransport(allow_private=False, resolve=resolve, backend=Wire({})), allow_private=False)
    for act in (
        lambda: sender.send("GET", "https://gone.example/?token=hidden"),
        lambda: guard("https://gone.example/", resolve),
    ):
        with pytest.raises(DeliveryFault) as caught:
            act()
        assert (caught.value.code, caught.value.retry) == ("unavailable", True)
        assert "gone.example" in caught.value.message
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("answer", [[], [b"SSH-2.0-OpenSSH\r\n"], [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"]])
def test_broken_answers(answer: Sequence[bytes]) -> None:
    with pytest.raises(DeliveryFault) as caught:
        client(Wire({"8.8.8.8": answer}), "8.8.8.8").send("GET", "https://example.com/")
    assert (caught.value.code, caught.value.retry) == ("unavailable", True)


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://10.0.0.1/", "https://2130706433/", "https://u:p@example.com/"]
)
def test_urls_are_judged_before_anything_is_asked(url: str) -> None:
    def never(_host: str, _port: int) -> Sequence[str]:
        raise AssertionError("asked")

    sender = SafeClient(SafeTransport(allow_private=False, resolve=never, backend=Wire({})), allow_private=False)
    for act in (lambda: sender.send("GET", url), lambda: guard(url, never)):
        with pytest.raises(DeliveryFault) as caught:
            act()
        assert caught.value.code == "address_refused"


def test_guard_gives_the_addresses_to_pin() -> None:
    checked = guard("https://s3.example.com", lambda _h, _p: ["8.8.8.8", "2606:4700::1111", "8.8.8.8"])
    assert checked.url.url == "https://s3.example.com/"
    assert [str(a) for a in checked.addresses] == ["8.8.8.8", "2606:4700::1111"]
    with pytest.raises(DeliveryFault):
        guard("https://s3.example.com", lambda _h, _p: ["192.168.1.2"])
    assert guard("http://minio:9000", lambda _h, _p: ["192.168.1.2"], allow_private=True).url.port == 9000
