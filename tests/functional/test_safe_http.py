"""The client of users' addresses over real sockets: TLS names, and what a real resolver says."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from chalicelib.delivery.safe_http import SafeClient, SafeTransport, Unresolvable, guard, system_resolve
from chalicelib.domain.delivery_ports import DeliveryFault

NAME = "hooks.example.com"


def certificate(folder: Path, name: str) -> Path:
    """A certificate of its own authority, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    path = folder / f"{name}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return path


class Server(HTTPServer):
    def __init__(self, pem: Path | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked_names: list[str | None] = []
        self.hosts: list[str | None] = []
        if pem is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            context.sni_callback = lambda _socket, name, _context: self.asked_names.append(name)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def handle_error(self, *_: object) -> None:
        """Refused handshakes are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.hosts.append(self.headers["host"])
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(307)
        self.send_header("Location", "http://169.254.169.254/latest/meta-data/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    return certificate(tmp_path, NAME)


@pytest.fixture
def server(pem: Path) -> Iterator[Server]:
    with Server(pem) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(5)


def loopback(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def client(pem: Path) -> SafeClient:
    context = ssl.create_default_context(cafile=str(pem))
    return SafeClient(SafeTransport(allow_private=True, resolve=loopback, ssl_context=context), allow_private=True)


def test_the_name_is_what_tls_and_http_see_while_the_address_is_the_checked_one(server: Server, pem: Path) -> None:
    answer = client(pem).send("POST", f"https://{NAME}:{server.server_port}/in", content=b"hello")
    assert (answer.status, answer.body) == (307, b"hello")
    assert server.asked_names == [NAME]
    assert server.hosts == [f"{NAME}:{server.server_port}"]


def test_a_certificate_of_another_name_is_refused(server: Server, pem: Path) -> None:
    with pytest.raises(DeliveryFault) as caught:
        client(pem).send("POST", f"https://other.example.com:{server.server_port}/in", content=b"secret")
    assert (caught.value.code, caught.value.retry) == ("unavailable", True)
    assert "certificate" in caught.value.message
    assert server.hosts == []


def test_an_unknown_authority_is_refused(server: Server) -> None:
    sender = SafeClient(SafeTransport(allow_private=True, resolve=loopback), allow_private=True)
    with pytest.raises(DeliveryFault) as caught:
        sender.send("POST", f"https://{NAME}:{server.server_port}/in", content=b"secret")
    assert "certificate" in caught.value.message
    assert server.hosts == []


def test_proxies_of_the_environment_are_not_used(server: Server, pem: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert client(pem).send("POST", f"https://{NAME}:{server.server_port}/", content=b"x").status == 307


def test_on_a_hosted_stack_this_computer_is_refused_by_whatever_name(server: Server) -> None:
    for host in ("127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1"):
        with pytest.raises(DeliveryFault) as caught:
            guard(f"https://{host}:{server.server_port}/")
        assert caught.value.code == "address_refused"
    assert server.hosts == []


def test_the_systems_resolver_answers_or_says_that_it_can_not() -> None:
    assert set(system_resolve("localhost", 80)) <= {"127.0.0.1", "::1"}
    assert system_resolve("127.0.0.1", 80) == ["127.0.0.1"]


def test_a_resolver_that_knows_nothing_or_hangs_is_told_apart_from_an_answer() -> None:
    def unknown(*_: object, **__: object) -> None:
        raise OSError(-2, "Name or service not known")

    hangs = threading.Event()
    with pytest.raises(Unresolvable):
        system_resolve("gone.example", 80, look_up=unknown)
    with pytest.raises(Unresolvable) as caught:
        system_resolve("slow.example", 80, seconds=0.05, look_up=lambda *_, **__: hangs.wait(5) and [])
    hangs.set()
    assert "no answer" in str(caught.value)


def test_a_closed_port_is_unavailable() -> None:
    sender = SafeClient(SafeTransport(allow_private=True, resolve=loopback), allow_private=True)
    with pytest.raises(DeliveryFault) as caught:
        sender.send("GET", "http://localhost:9/")
    assert (caught.value.code, caught.value.retry) == ("unavailable", True)
